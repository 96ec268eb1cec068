"""`aggregate`: a log of any size to what `score` needs of it; and the scoring of it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from bayescascade._common.arrays import safe_divide
from bayescascade._common.messages import listed, show
from bayescascade.aggregates.aggregate import AMOUNTS, UNKNOWN, WRONG, Aggregate
from bayescascade.aggregates.counting import MEMORY, Counted, Recipe, count_table
from bayescascade.aggregates.partitions import count_collection, count_files
from bayescascade.cascade.rules import DecisionRule, route
from bayescascade.errors import TO_FILL_IN, CascadeError, CascadeWarning, in_python, option
from bayescascade.logs.columns import check_grades, check_pass_mark
from bayescascade.logs.sources import Table, find_files, is_partitioned, is_pattern, table_of_files, table_of_frame
from bayescascade.logs.tables import TRUTH, load_table
from bayescascade.logs.validate import check_stage, validate_log
from bayescascade.signals.kinds import check_kind


def aggregate(
    source: Any,
    thresholds: Any,
    reject: Any = None,
    *,
    confidence_kind: str | None = None,
    cost: str | Mapping[str, float] = "cost",
    stages: Iterable[str] | None = None,
    task: str | None = None,
    of_task: str | None = None,
    grades: Mapping[str, float | None] | None = None,
    pass_mark: float | None = None,
    client: Any = None,
    memory_limit: str = MEMORY,
) -> Aggregate:
    """Count a log of any size, so that thresholds can be scored on it; counts of several logs add up.

    Examples
    --------
    >>> import bayescascade as bc
    >>> log = bc.load_example()
    >>> counted = bc.aggregate(log, [0.8, 0.9, float("-inf")])
    >>> counted.n_queries
    300.0

    A policy on a folder of files, in bounded memory, and on one more day:

    >>> import pathlib, tempfile
    >>> policy = bc.Policy([str(s) for s in log["stage"].values], [0.8, 0.9, float("-inf")], "probability")
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> bc.write_log(log.isel(query=slice(150)), folder / "monday.parquet")
    >>> bc.write_log(log.isel(query=slice(150, None)), folder / "tuesday.parquet")
    >>> both = bc.aggregate(folder, policy)
    >>> today = bc.aggregate(folder / "tuesday.parquet", policy)
    >>> (both + today).n_queries
    450.0
    >>> bool(bc.score(both, policy)["error"] == bc.score(log, policy)["error"])
    True

    Parameters
    ----------
    source : Dataset, path, pattern, folder, list of paths, DataFrame or Dask DataFrame
        A log as `read_log` returns it, counted by NumPy. Files, Parquet or CSV in either layout of `read_log`,
        counted by DuckDB, which spills to disk what does not fit; all of one layout, and a query may have rows in
        several. A Dask DataFrame, by its partitions: there all rows of a query are in one.
    thresholds, reject
        The thresholds to score, as for `score`. Several points are counted at once; the number of patterns grows
        with theirs.
    confidence_kind, cost, task, grades, pass_mark
        As for `read_log`. The kind is by default that of a policy or solution, else what the files say.
    stages : iterable of str, optional
        Names of the cascade's stages, in order; by default those of a policy, a solution or a Dataset.
    of_task : str, optional
        Count the queries of this task only.
    client : distributed.Client or str, optional
        Count files, or partitions, on this Dask cluster, or on that of a scheduler, by its address; all rows of a
        query are then in one file.
    memory_limit : str
        Memory that DuckDB may use in each process before it writes to disk.

    Returns
    -------
    Aggregate
        To be given to `score` with these thresholds, added to others, and saved by `save_aggregate`.

    Raises
    ------
    CascadeError
        For files that cannot be read or differ in columns, types or kind; for values that `read_log` refuses; for
        a cluster that does not answer, or is lost.

    Warns
    -----
    CascadeWarning
        If rows carry a label but no confidence.

    See Also
    --------
    score : the error and cost of the thresholds.
    save_aggregate, load_aggregate : keep it for tomorrow.
    """
    if isinstance(source, xr.Dataset):
        log = validate_log(source, labels=False)
        if of_task is not None:
            log = _only(log, of_task)
        rule = DecisionRule.from_any(
            thresholds, [str(s) for s in log["stage"].values], str(log.attrs["confidence_kind"]), reject
        )
        return Aggregate.of_log(log.sel(stage=rule.stages), _edges(rule))
    kind = confidence_kind or getattr(thresholds, "confidence_kind", None)
    if kind is not None:
        check_kind(kind)
    if task is not None and not isinstance(task, str):
        raise CascadeError(
            option("task") + f" should name a column but is {show(task)}", parameter="task", value=task
        )
    if not isinstance(cost, str) and not isinstance(cost, Mapping):
        raise CascadeError(
            option("cost") + f" should name a column or give prices by stage but is {show(cost)}",
            parameter="cost",
            value=cost,
        )
    named = _named_stages(thresholds, stages)
    table = None if is_partitioned(source) else _table(source)
    # of a table without a kind, what follows says so
    told = kind or (None if table is None else table.kind) or "score"
    rule = DecisionRule.from_any(thresholds, named, told, reject)
    mark = check_pass_mark(pass_mark)
    words = TRUTH | check_grades(grades, mark)
    recipe = Recipe(tuple(rule.stages), _edges(rule), kind, cost, task, of_task, words, memory_limit, mark)
    if table is None:
        found = count_collection(source, recipe, client)
    elif client is not None and table.paths:
        found = count_files(table, recipe, client)
    else:
        found = count_table(table, recipe)
    _check_whole(found, table)
    return found.aggregate


def _only(log: xr.Dataset, task: str) -> xr.Dataset:
    tasks = log["task"].values.tolist() if "task" in log.coords else []
    if task not in tasks:
        raise CascadeError(f"the log has no query of the task {show(task)}; it has {listed(dict.fromkeys(tasks))}")
    return log.isel(query=log["task"].values == task)


def _table(source: Any) -> Table:
    if is_pattern(source) or isinstance(source, str | os.PathLike):
        return table_of_files(find_files(source))
    return table_of_frame(load_table(source))


def _named_stages(thresholds: Any, stages: Iterable[str] | None) -> list[str]:
    names = getattr(thresholds, "stages", None) if stages is None else stages
    given = getattr(thresholds, "thresholds", thresholds)
    if names is None and isinstance(given, xr.DataArray) and "stage" in given.coords:
        names = given["stage"].values
    if names is None or isinstance(names, str):
        raise CascadeError(
            "nothing says which stages the thresholds are for; name them, cheapest first, with "
            + option("stages", [TO_FILL_IN])
            + in_python(", or give a policy"),
            parameter="stages",
        )
    return [str(name) for name in names]


def _edges(rule: DecisionRule) -> tuple[np.ndarray, ...]:
    """The finite thresholds of each stage."""
    both = rule.accept if rule.reject is None else np.concatenate([rule.accept, rule.reject])
    return tuple(np.unique(column[np.isfinite(column)]) for column in both.T)


def _check_whole(found: Counted, table: Table | None) -> None:
    """Raise `CascadeError` where what was counted is no log of these stages; warn of labels that are lost."""
    counted, name = found.aggregate, "the log" if table is None else table.name
    if not len(counted.weight):
        raise CascadeError(
            f"{name} has no query that ran a stage of {listed(counted.stages)}; its stages are "
            f"{listed(sorted(found.names))}"
        )
    missing = [stage for stage in counted.stages if stage not in found.names]
    if missing and not found.names <= set(counted.stages):
        raise CascadeError(f"there is no stage {show(missing[0])} in {name}; it has {listed(sorted(found.names))}")
    known = counted.amounts[:, :, AMOUNTS.index("cost"), 0].sum(axis=0)
    for stage, run, paid in zip(counted.stages, (counted.cell > 0).any(axis=0), known, strict=True):
        if run:
            check_stage(stage, np.array([True]), None, np.array([0.0 if paid else np.nan]))
    if found.lost:
        warnings.warn(
            f"{found.lost} labels of {name} stand without a confidence; there the stage "
            "counts as not run, and no label is read; fill in the confidence to use them",
            CascadeWarning,
            stacklevel=3,
        )


class Scored(NamedTuple):
    """Amounts of a rule on an aggregate, as `score` has them, and what could not be followed or judged.

    ``left`` and ``lost`` are the queries that are sent to a stage that was not run, and the answers without a
    label, at the point where most are: how many, out of how many, and the first stage where.
    """

    found: dict[str, np.ndarray]
    left: tuple[float, float, str]
    lost: tuple[float, float, str]
    n: float


def score_aggregate(counted: Aggregate, rule: DecisionRule, cost: str) -> Scored:
    """Run a rule on the patterns of an aggregate.

    A pattern stands for its queries: thresholds do not tell them apart.
    """
    at = [counted.stages.index(stage) for stage in rule.stages]
    cell, label, weight = counted.cell[:, at], counted.label[:, at], counted.weight
    edges = [counted.edges[j] for j in at]
    accept = _as_cells(rule.accept, edges, rule.stages)
    low = None if rule.reject is None else _as_cells(rule.reject, edges, rule.stages)
    routed = route(np.where(cell > 0, cell - 1.0, np.nan), accept, low)
    unrun = routed.reach & (cell == 0).T
    unlabelled = routed.accepted & (label == UNKNOWN).T & ~unrun
    followed = ~unrun.any(axis=1)  # (point, pattern)
    n = followed @ weight
    known = (followed & ~unlabelled.any(axis=1)) @ weight
    judged = routed.accepted & (followed & ~unlabelled.any(axis=1))[:, None]
    each = np.where(n > 0, n, 1.0)
    abstained = np.zeros_like(followed) if routed.abstained is None else routed.abstained & followed
    found = {
        "error": safe_divide((judged & (label == WRONG).T) @ weight @ np.ones(len(at)), known, np.nan),
        "abstained": abstained @ weight / each,
        "reach": (routed.reach & followed[:, None]) @ weight / each[:, None],
        "answered": (routed.accepted & followed[:, None]) @ weight / each[:, None],
    }
    for i, name in enumerate(AMOUNTS if counted.unit is not None else AMOUNTS[:1]):
        paid = _paid(counted.amounts[:, at, i], weight, routed.reach, followed, cost)
        found[name] = safe_divide(paid, each)
    worst = int(((unrun.any(axis=1)) @ weight).argmax())
    lost = int((unlabelled.any(axis=1) @ weight).argmax())
    whole, asked = counted.n_queries, float(n[worst])
    squares = followed[worst] @ counted.square
    return Scored(
        found,
        (float(unrun[worst].any(axis=0) @ weight), whole, _stage_of(unrun[worst], rule.stages)),
        (float(unlabelled[lost].any(axis=0) @ weight), asked, _stage_of(unlabelled[lost], rule.stages)),
        float(safe_divide(asked**2, squares)),
    )


def _stage_of(lacks: np.ndarray, stages: list[str]) -> str:
    return stages[int(lacks.any(axis=1).argmax())]


def _as_cells(thresholds: np.ndarray, edges: list[np.ndarray], stages: list[str]) -> np.ndarray:
    """The number of edges that a confidence is at least at where it is at or above a threshold (point, stage)."""
    out = thresholds.copy()
    for j, (column, own) in enumerate(zip(thresholds.T, edges, strict=True)):
        finite = np.isfinite(column)
        unknown = np.setdiff1d(column[finite], own)
        if len(unknown):
            raise CascadeError(
                f"the aggregate was counted for other thresholds: at stage {stages[j]!r} it tells apart "
                f"{listed(own.tolist())}, but {unknown[0]:g} is asked for. Count the log again "
                "with these thresholds."
            )
        out[finite, j] = 1 + np.searchsorted(own, column[finite])
    return out


def _paid(
    moments: np.ndarray, weight: np.ndarray, reach: np.ndarray, followed: np.ndarray, cost: str
) -> np.ndarray:
    """What all queries that can be followed pay at the stages that they run (point,), see `empirical._price`."""
    out = np.zeros(len(reach))
    for j in range(moments.shape[1]):
        n, first = moments[:, j, 0], moments[:, j, 1]
        here, counted = reach[:, j], reach[:, j] & followed
        mean = first.sum() / n.sum() if n.sum() > 0 else np.nan
        if cost == "mean":
            # of a stage that nobody runs the cost does not matter
            out += np.where(counted.any(axis=1), mean * (counted @ weight), 0.0)
            continue
        of_those = np.where(here @ n > 0, safe_divide(here @ first, here @ n), mean)
        lacking = counted @ (weight - n)
        out += counted @ first + np.where(lacking > 0, of_those * lacking, 0.0)
    return out
