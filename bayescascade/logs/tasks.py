"""Several tasks in one model: logs joined before the fit, and the fit of one task taken out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from bayescascade._common.messages import listed, show
from bayescascade.errors import TO_FILL_IN, CascadeError, in_python, option, said, shown
from bayescascade.logs.tables import task_ids
from bayescascade.logs.validate import check_names, validate_log
from bayescascade.signals.kinds import KINDS

_LOGARITHMS = {name for name, kind in KINDS.items() if kind.minus_inf}


def combine_tasks(logs: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Join the logs of several tasks (or tenants) into one, so that one fit pools them.

    Examples
    --------
    >>> import bayescascade as bc
    >>> log = bc.combine_tasks({"law": bc.simulate(50), "medicine": bc.simulate(80)})
    >>> dict(log.sizes), log["query"].values[[0, 50]].tolist(), log["task"].values[[0, 50]].tolist()
    ({'query': 130, 'stage': 3}, ['law/0', 'medicine/0'], ['law', 'medicine'])

    Parameters
    ----------
    logs : mapping of str to xarray.Dataset
        A log for each task, as `read_log` returns it, all with the same stages in the same order and of the same
        ``confidence_kind``.

    Returns
    -------
    xarray.Dataset
        Dims ``(query, stage)``: the queries of each task in turn, with ``confidence``, ``correct``, ``cost`` and,
        where a log has it, ``latency``; a coord ``task`` over query. Where query ids repeat between tasks, every
        id becomes ``"<task>/<query>"``.

    Raises
    ------
    CascadeError
        If ``logs`` is not a mapping of names to logs, a log breaks a rule of `validate_log` or has several tasks
        of its own, or two logs differ in stages or ``confidence_kind``.

    See Also
    --------
    select_task : the fit of one task.
    """
    if not isinstance(logs, Mapping) or not logs:
        raise CascadeError(
            f'the logs should be a dict with a log for each task, {{"law": log1, "medicine": log2}}, '
            f"but are {show(logs)}"
        )
    for name in logs:
        if not isinstance(name, str) or not name.strip():
            raise CascadeError(f"a task's name should be a text but is {shown(name)}")
    check_names("task", logs)
    checked = {name: _checked(name, log) for name, log in logs.items()}
    first, *rest = checked
    for name in rest:
        _check_alike(first, checked[first], name, checked[name])
    _check_units(checked)
    queries = [log["query"].values for log in checked.values()]
    if len({ids.dtype.kind for ids in queries}) > 1:  # 1 and "1" would be one label
        queries = [ids.astype(str).astype(object) for ids in queries]
    tasks = np.repeat(list(checked), [len(ids) for ids in queries])
    orders = {str(log.attrs["stage_order"]) for log in checked.values()}
    joined = xr.concat([_bare(log) for log in checked.values()], dim="query", join="override")
    return joined.assign_coords(
        query=task_ids(tasks, np.concatenate(queries)), stage=checked[first]["stage"].values, task=("query", tasks)
    ).assign_attrs(
        confidence_kind=checked[first].attrs["confidence_kind"],
        stage_order=orders.pop() if len(orders) == 1 else "as given",
    )


def _checked(name: str, log: Any) -> xr.Dataset:
    try:
        log = validate_log(log)
    except CascadeError as error:
        raise CascadeError(f"task {name!r}: " + error.message) from None
    if "task" in log.coords and len(own := np.unique(log["task"].values)) > 1:
        raise CascadeError(
            f"the log of task {name!r} has the tasks {listed(own.tolist())} already; pass a log for each of "
            "them, or drop them" + in_python(" with log.drop_vars('task')")
        )
    return log


def _check_alike(first: str, one: xr.Dataset, name: str, other: xr.Dataset) -> None:
    stages, others = ([str(s) for s in log["stage"].values] for log in (one, other))
    if set(stages) != set(others):
        raise CascadeError(
            f"tasks share their stages, but those of {first!r} are {listed(stages)} and those of {name!r} are "
            f"{listed(others)}; keep the common ones with "
            + option("stages", [TO_FILL_IN])
            + in_python(" of read_log, or rename a stage with log.assign_coords(stage=[...])")
        )
    if stages != others:
        raise CascadeError(
            f"tasks share the order of their stages, but it is {listed(stages)} in {first!r} and "
            f"{listed(others)} in {name!r}; put them in one order" + in_python(" with log.sel(stage=[...])")
        )
    kinds = one.attrs["confidence_kind"], other.attrs["confidence_kind"]
    if kinds[0] != kinds[1]:
        advice = "log the same confidence for every task, or fit the tasks apart"
        if set(kinds) <= _LOGARITHMS:
            advice = said(
                "both are logarithms of probabilities, so read both logs with {}, or both with {!r}",
                (option("confidence_kind", kinds[0]), kinds[1]),
            )
        raise CascadeError(
            f"tasks share one kind of confidence, but it is {kinds[0]!r} in {first!r} and {kinds[1]!r} in "
            f"{name!r}; " + advice
        )


def _check_units(checked: dict[str, xr.Dataset]) -> None:
    units = {name: log["latency"].attrs.get("units") for name, log in checked.items() if "latency" in log}
    if len(set(units.values())) > 1:
        named = ", ".join(f"{unit or 'not named'} in {name!r}" for name, unit in units.items())
        raise CascadeError(
            f"latencies are in different units ({named}); bring them to one unit, or leave them out"
            + in_python(" with log.drop_vars('latency')")
        )


def _bare(log: xr.Dataset) -> xr.Dataset:
    """What a log is made of, without other variables."""
    names = [name for name in ("confidence", "correct", "cost", "latency") if name in log]
    return (
        log[names]
        .drop_vars([name for name in log.coords if name not in ("query", "stage")])
        .drop_attrs(deep=False)
    )


def tasks_of(log: xr.Dataset, as_in: Sequence[str] = ()) -> tuple[list[str], np.ndarray]:
    """Names of a log's tasks, and the number of each query's; no names where there are not two of them.

    They are numbered in the order of ``as_in``, or, without, in that of their first queries, which is another one
    in a part of a log.
    """
    if as_in:
        place = {name: i for i, name in enumerate(as_in)}
        return list(as_in), np.array([place[name] for name in log["task"].values.astype(str)], dtype=np.int64)
    if "task" not in log.coords or log["task"].dims != ("query",):
        return [], np.zeros(log.sizes["query"], dtype=np.int64)
    names, number = np.unique(log["task"].values.astype(str), return_inverse=True)
    # in order of first appearance
    first = np.array([np.argmax(number == i) for i in range(len(names))])
    order = np.argsort(first)
    rank = np.argsort(order)
    return ([str(n) for n in names[order]] if len(names) > 1 else []), rank[number]
