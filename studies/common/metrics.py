"""Accuracy against budget, and several benchmarks mixed in one stream."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from bayescascade.cascade.rules import Route
from bayescascade.errors import CascadeError
from bayescascade.logs.texts import ANSWER, TEXT
from bayescascade.logs.validate import validate_log
from bayescascade.rivals.base import mean_height, measure
from bayescascade.runtime.two_tier import check_costs

_LOGARITHMS, _SHARES = {"logprob", "p_true"}, {"probability", "margin", "votes"}


def budget_area(
    played: Route, log: xr.Dataset, *, shares: np.ndarray | None = None, pair: tuple[int, int] = (0, -1)
) -> float:
    """Mean accuracy over budgets from all-small to all-large: higher is better.

    Examples
    --------
    >>> import numpy as np
    >>> import bayescascade as bc
    >>> from bayescascade.rivals.base import StageDecisions
    >>> from studies.common.metrics import budget_area
    >>> log = bc.simulate(100, n_stages=2, random_seed=1)
    >>> ends = StageDecisions(np.array([0, 1])).decide(log)
    >>> bool(np.isclose(budget_area(ends, log), log["correct"].mean()))  # a straight line between the two
    True

    Parameters
    ----------
    played : Route
        Points of one method, in any order.
    log : xarray.Dataset
        What they were played on: labels, and the mean costs that are paid.
    shares : array (point,), optional
        Where each point's budget stands between the two ends, 0 to 1: accuracy is then taken against the budget
        that was given, as published. By default it is taken against what was spent, the same way for methods
        without budgets.
    pair : tuple of int
        Numbers of the small and the large model among the log's stages.

    Returns
    -------
    float
        Area under accuracy, by trapezoids, divided by the cost range, which goes from the small model's mean cost
        to the large one's. Both ends are added as points; points of equal cost are averaged; what lies beyond is
        cut off.

    Raises
    ------
    CascadeError
        If the small model is not the cheaper one, or there is not one share for each point.

    References
    ----------
    Ramirez, Birch & Titov (2024), arXiv:2405.02134.
    """
    error, spent = measure(played, log)
    mean = log["cost"].mean("query").transpose("stage").values
    right = log["correct"].mean("query").transpose("stage").values
    small, large = check_costs((mean[pair[0]], mean[pair[1]]))
    if shares is None:
        at = (spent - small) / (large - small)
    else:
        at = np.asarray(shares, dtype=float)
        if at.shape != error.shape:
            raise CascadeError(f"shares has shape {at.shape} for {len(error)} points; give one share for each.")
    x = np.append(at, [0.0, 1.0])
    y = np.append(1.0 - error, [right[pair[0]], right[pair[1]]])
    return mean_height(x, y, (0.0, 1.0))


def mixed_stream(logs: Mapping[str, xr.Dataset], *, random_seed: int = 0) -> xr.Dataset:
    """Mix the queries of several benchmarks in one stream.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from studies.common.metrics import mixed_stream
    >>> logs = {"law": bc.simulate(50), "medicine": bc.simulate(80, confidence_kind="logprob")}
    >>> mixed = mixed_stream(logs, random_seed=1)
    >>> mixed.sizes["query"], mixed.attrs["confidence_kind"], sorted(set(mixed["task"].values.tolist()))
    (130, 'probability', ['law', 'medicine'])

    Parameters
    ----------
    logs : mapping of str to xarray.Dataset
        A log for each task, all with the same stages in the same order.
    random_seed : int
        Of the order of queries.

    Returns
    -------
    xarray.Dataset
        Queries in random order, their ids ``"<task>/<query>"``, with a coord ``task`` over query; ``confidence``,
        ``correct``, ``cost``, and ``prompt`` and ``answer`` where all logs have them. Confidences of one kind stay
        as they are. Of several kinds, all become ``probability``: logarithms of probabilities (``logprob``,
        ``p_true``) by the exponential, ``margin`` and ``votes`` as they stand. That is one scale, not one meaning:
        a method that compares raw confidences across tasks pays for it, as it would when deployed.

    Raises
    ------
    CascadeError
        If there is no log, stages differ, or a ``score``, which has no common scale, stands beside another kind.
    """
    if not logs:
        raise CascadeError("there are no logs to be mixed; give a dict with a log for each task.")
    checked = {name: validate_log(log) for name, log in logs.items()}
    kinds = {str(log.attrs["confidence_kind"]) for log in checked.values()}
    if len(kinds) > 1 and not kinds <= _LOGARITHMS | _SHARES:
        raise CascadeError(
            f"confidences of the kinds {', '.join(sorted(kinds))} have no common scale; mix others."
        )
    stages = {name: [str(s) for s in log["stage"].values] for name, log in checked.items()}
    first = next(iter(stages))
    for name in stages:
        if stages[name] != stages[first]:
            raise CascadeError(
                f"tasks of one stream share their stages, but those of {first!r} are {stages[first]} and those of "
                f"{name!r} are {stages[name]}; choose the common ones, in one order."
            )
    held = ["confidence", "correct", "cost"]
    held += [name for name in (TEXT, ANSWER) if all(name in log for log in checked.values())]
    parts = []
    for name, log in checked.items():
        part = (
            log[held].transpose("query", "stage").drop_vars([c for c in log.coords if c not in ("query", "stage")])
        )
        if len(kinds) > 1 and log.attrs["confidence_kind"] in _LOGARITHMS:
            part["confidence"] = np.exp(part["confidence"])
        ids = np.array([f"{name}/{query}" for query in log["query"].values.tolist()])
        parts.append(part.assign_coords(query=ids, task=("query", np.full(len(ids), name))))
    joined = xr.concat(parts, dim="query", join="override", combine_attrs="drop")
    order = np.random.default_rng(random_seed).permutation(joined.sizes["query"])
    kind = kinds.pop() if len(kinds) == 1 else "probability"
    return joined.isel(query=order).assign_attrs(confidence_kind=kind, stage_order="as given")
