"""`score`: run thresholds on the queries of a log; thresholds in any form, checked once for all who apply them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from bayescascade.cascade.rules import Rules, is_one_point, read_rules, stages_named
from bayescascade.errors import CascadeError, bad_value
from bayescascade.logs.validate import validate_log


@dataclass(frozen=True)
class Walk:
    """What rules make of the queries of a log: who runs and answers what, (query, stage) each."""

    ran: np.ndarray
    accepted: np.ndarray
    abstained: np.ndarray


def walk(confidence: np.ndarray, rules: Rules, point: int) -> Walk:
    """Run one point of rules on confidences (query, stage); a query stops where its confidence is NaN."""
    going = np.ones(len(confidence), dtype=bool)
    ran, accepted, abstained = np.zeros((3, *confidence.shape), dtype=bool)
    for j, value in enumerate(confidence.T):
        ran[:, j] = going
        if rules.reject is not None:
            abstained[:, j] = going & (value < rules.reject[point, j])
        accepted[:, j] = going & ~abstained[:, j] & (value >= rules.thresholds[point, j])
        going = going & ~abstained[:, j] & (value < rules.thresholds[point, j])
    return Walk(ran, accepted, abstained)


def score(log: xr.Dataset, thresholds: Any, reject: Any = None, *, cost: str = "mean") -> xr.Dataset:
    """Run thresholds on a log: the empirical counterpart of `evaluate`.

    Examples
    --------
    >>> import bayescascade as bc
    >>> out = bc.score(bc.load_example(), [0.9, 0.9, float("-inf")])
    >>> float(out["reach"][0])
    1.0

    A last stage that would rather not answer than answer below a confidence of 0.6:

    >>> out = bc.score(bc.load_example(), [0.9, 0.9, float("-inf")], reject=[float("-inf")] * 2 + [0.6])
    >>> bool(out["abstained"] > 0)
    True

    Parameters
    ----------
    log : xarray.Dataset
        As `read_log` returns it. Every query must have run, and have labelled, the stage that answers it.
    thresholds : array-like, DataArray, ThresholdSolution or Policy
        As for `evaluate`. Those that name some of the log's stages only run these, in their order.
    reject : array-like or DataArray, optional
        (stage,) or (point, stage): a stage abstains below it, and the query ends there. -inf never abstains. By
        default what the solution or policy says.
    cost : str
        ``"mean"``: the sum of reach times the stage's mean cost in the log. ``"queries"``: what the queries that
        reached each stage did cost there, where known, which matters when hard queries cost more. Latency
        likewise.

    Returns
    -------
    xarray.Dataset
        ``error`` (wrong answers per query), ``cost`` and ``abstained`` (share of queries left without an answer)
        over ([point]); ``reach`` and ``answered`` (share answered by each stage) over ([point,] stage); where the
        log has it, ``latency`` (per query, in the log's units, NaN where a stage's is not known) over ([point]);
        ``n_queries``.

    Raises
    ------
    CascadeError
        For bad thresholds, or when a query is deferred to a stage that the log has not run or not labelled.
    """
    log = validate_log(log)
    stages, kind = (
        stages_named(thresholds, [str(s) for s in log["stage"].values]),
        str(log.attrs["confidence_kind"]),
    )
    log = log.sel(stage=stages)
    rules = read_rules(thresholds, stages, kind, reject)
    confidence = log["confidence"].transpose("query", "stage").values
    correct = log["correct"].transpose("query", "stage").values
    own_cost = _costs(log, cost)
    latency = log["latency"].transpose("query", "stage").values if "latency" in log else None
    found: dict[str, list[Any]] = {name: [] for name in ("error", "cost", "abstained", "reach", "answered")}
    waited = []
    for point in range(len(rules.thresholds)):
        went = walk(confidence, rules, point)
        _check_labels(log, went, confidence, correct)
        found["error"].append(np.sum(went.accepted & (correct < 0.5)) / len(confidence))
        found["cost"].append(_total(own_cost, went.ran, cost).mean())
        found["abstained"].append(went.abstained.any(axis=1).mean())
        found["reach"].append(went.ran.mean(axis=0))
        found["answered"].append(went.accepted.mean(axis=0))
        if latency is not None:
            waited.append(_total(latency, went.ran, cost).mean())
    dims = ("point", "stage")
    out = xr.Dataset(
        {name: (dims[: np.ndim(values)], values) for name, values in found.items()},
        coords={"stage": stages},
        attrs={"n_queries": len(confidence)},
    )
    if latency is not None:
        out["latency"] = ("point", waited, log["latency"].attrs)
    return out.isel(point=0) if is_one_point(thresholds) else out


def _check_labels(log: xr.Dataset, went: Walk, confidence: np.ndarray, correct: np.ndarray) -> None:
    missing = (went.accepted & ~np.isfinite(correct)) | (went.ran & np.isnan(confidence))
    if missing.any():
        j = int(np.argmax(missing.any(axis=0)))
        query, name = log["query"].values[np.flatnonzero(missing[:, j])[0]], str(log["stage"].values[j])
        raise CascadeError(
            f"{missing[:, j].sum()} queries (first: {query}) are answered by stage {name!r}, which the log "
            "has not run or not labelled for them; score needs a log in which it is run and labelled."
        )


def cost_of_queries(log: xr.Dataset, rules: Rules, point: int = 0, cost: str = "mean") -> np.ndarray:
    """What each query costs under one point of rules, by stages' mean costs or by its own if known (query,)."""
    confidence = log["confidence"].transpose("query", "stage").values
    went = walk(confidence, rules, point)
    return _total(_costs(log, cost), went.ran, cost)


def _costs(log: xr.Dataset, cost: str) -> np.ndarray:
    if cost not in ("mean", "queries"):
        raise bad_value("cost", cost, "choose 'mean' or 'queries'", "is not known")
    return log["cost"].transpose("query", "stage").values


def _total(own: np.ndarray, ran: np.ndarray, cost: str) -> np.ndarray:
    """Sum over the stages that each query runs of what they take (query,)."""
    each = [np.where(ran[:, j], _price(own[:, j], ran[:, j], cost), 0.0) for j in range(ran.shape[1])]
    return np.sum(each, axis=0)


def _price(own: np.ndarray, going: np.ndarray, cost: str) -> np.ndarray:
    """What one stage costs each query: its mean cost, or the query's own where that is known (query,)."""
    known = np.isfinite(own)
    price = np.full(len(own), own[known].mean() if known.any() else np.nan)
    if cost == "queries":
        price = np.where(known, own, own[known & going].mean() if (known & going).any() else price)
    return price


def reach_of(confidence: np.ndarray, thresholds: np.ndarray, reject: np.ndarray | None = None) -> np.ndarray:
    """Which stages each query runs (point, stage, query), for accepting and any rejecting thresholds."""
    defer = confidence.T[None] < thresholds[:, :, None]
    if reject is not None:
        defer &= confidence.T[None] >= reject[:, :, None]
    before = np.concatenate([np.ones_like(defer[:, :1]), defer[:, :-1]], axis=1)
    return np.logical_and.accumulate(before, axis=1)


def run(
    confidence: np.ndarray, wrong: np.ndarray, thresholds: np.ndarray, reject: np.ndarray | None = None
) -> np.ndarray:
    """What is lost on each query (point, query): ``wrong`` (query, stage) at the stage that answers, if any."""
    reach = reach_of(confidence, thresholds, reject)
    query, last = np.arange(len(wrong)), reach.sum(axis=1) - 1
    lost = wrong[query, last]
    if reject is None:
        return lost
    return np.where(confidence[query, last] < np.take_along_axis(reject, last, axis=1), 0.0, lost)
