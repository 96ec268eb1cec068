"""`score`: run thresholds on the queries of a log."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from bayescascade._common.arrays import safe_divide
from bayescascade.aggregates.aggregate import Aggregate
from bayescascade.cascade.aggregated import score_aggregate
from bayescascade.cascade.predictive import in_words, predict, promise_in_words
from bayescascade.cascade.rules import DecisionRule, Route, route_blocks
from bayescascade.display.format import CI_PROB
from bayescascade.errors import CascadeError, CascadeWarning, bad_value
from bayescascade.logs.validate import validate_log
from bayescascade.signals.confidence import refuse_other_signal

_FEW_LOST = 0.05


def score(
    log: xr.Dataset | Aggregate,
    thresholds: Any,
    reject: Any = None,
    *,
    cost: str = "mean",
    fit: xr.DataTree | None = None,
) -> xr.Dataset:
    """Run thresholds on a log: the empirical counterpart of `evaluate`.

    Examples
    --------
    >>> import bayescascade as bc
    >>> out = bc.score(bc.load_example(), [0.9, 0.9, float("-inf")])
    >>> float(out["reach"][0])
    1.0

    What a solution expects, beside what a log of so many queries should show:

    >>> train, test = bc.load_example().isel(query=slice(100, None)), bc.load_example().isel(query=slice(100))
    >>> solution = bc.tune(bc.fit(train, random_seed=1, progressbar=False), max_error=0.35)
    >>> bc.score(test, solution).attrs["text"].startswith("Error: ")
    True

    A last stage that would rather not answer than answer below a confidence of 0.6:

    >>> out = bc.score(bc.load_example(), [0.9, 0.9, float("-inf")], reject=[float("-inf")] * 2 + [0.6])
    >>> bool(out["abstained"] > 0)
    True

    Parameters
    ----------
    log : xarray.Dataset or Aggregate
        As `read_log` returns it. Reach and cost need no labels: a log without any has an error of NaN. Or what
        `aggregate` counted of a log for these thresholds.
    thresholds : array-like, DataArray, ThresholdSolution or Policy
        As for `evaluate`. Those that name some of the log's stages only run these, in their order.
    reject : array-like or DataArray, optional
        (stage,) or (point, stage): a stage abstains below it, and the query ends there. -inf never abstains. By
        default what the solution or policy says.
    cost : str
        ``"mean"``: the sum of reach times the stage's mean cost in the log. ``"queries"``: what the queries that
        reached each stage did cost there, where known, which matters when hard queries cost more. Latency
        likewise.
    fit : DataTree, optional
        Where the thresholds are numbers, what says what to expect of them. A solution says so itself, and a
        policy where its metadata holds enough.

    Returns
    -------
    xarray.Dataset
        ``error`` (wrong answers per query), ``cost`` and ``abstained`` (share of queries left without an answer)
        over ([point]); ``reach`` and ``answered`` (share answered by each stage) over ([point,] stage); where the
        log has it, ``latency`` (per query, in the log's units, NaN where a stage's is not known) over ([point]);
        the attributes ``n_queries`` (of an aggregate that decayed, how many queries of equal weight tell as much)
        and ``n_labelled``, of how many of them the answer has a label.
        Where it is known what to expect, also ``error_expected``, ``error_low``, ``error_high`` and the same of
        ``cost``: the posterior mean of the long-run rate, and the predictive interval of ``ci_prob`` for a log of
        so many queries, within which it should show them, unless the model is wrong or the queries are of another
        kind. For one threshold vector the attribute ``text`` says it in words, and ``promise`` whether the limits
        of the solution's or policy's goal were kept on this log.

    Raises
    ------
    CascadeError
        For bad thresholds, or when no query can be followed to its answer.

    Warns
    -----
    CascadeWarning
        Where queries are left out because the log has not run the stages that thresholds send them to; where
        answers have no label, so that the error is that of the others, or NaN if there are none.
    """
    if cost not in ("mean", "queries"):
        raise bad_value("cost", cost, "choose 'mean' or 'queries'", "is not known")
    if isinstance(log, Aggregate):
        rule = DecisionRule.from_any(thresholds, list(log.stages), log.kind, reject)
        found, units, counts = _score_aggregate(log, rule, cost)
    else:
        log = validate_log(log, labels=False)
        stages = [str(name) for name in log["stage"].values]
        rule = DecisionRule.from_any(thresholds, stages, str(log.attrs["confidence_kind"]), reject)
        refuse_other_signal(log.attrs.get("signal"), getattr(thresholds, "signal", None), "the log")
        found, units, counts = _score_log(log.sel(stage=rule.stages), rule, cost)
    out = xr.Dataset(
        {name: (("point", "stage")[: values.ndim], values) for name, values in found.items() if name != "latency"},
        coords={"stage": rule.stages},
        attrs=counts._asdict(),
    )
    if "latency" in found:
        out["latency"] = ("point", found["latency"], units)
    source = fit if fit is not None else None if reject is not None else thresholds
    for name, of in predict(source, rule, *counts).items():
        out = out.assign({f"{name}_{part}": ("point", values) for part, values in of._asdict().items()})
        out.attrs["ci_prob"] = CI_PROB
    if not rule.single:
        return out
    out = out.isel(point=0)
    promise = promise_in_words(out, _goal_of(thresholds))
    if promise is not None and reject is None:
        out.attrs["promise"] = promise
    return out.assign_attrs(text=in_words(out)) if "error_expected" in out else out


class _Counts(NamedTuple):
    """Queries that could be followed, and those of them whose answer has a label."""

    n_queries: int
    n_labelled: int


_Found = tuple[dict[str, np.ndarray], dict[Any, Any], _Counts]  # amounts, attributes of latency, queries


def _score_log(log: xr.Dataset, rule: DecisionRule, cost: str) -> _Found:
    confidence = log["confidence"].transpose("query", "stage").values
    correct = log["correct"].transpose("query", "stage").values
    own_cost, wrong = _costs(log, cost), correct.T < 0.5
    latency = log["latency"].transpose("query", "stage").values if "latency" in log else None
    names = ("error", "cost", "abstained", "reach", "answered", *(["latency"] if latency is not None else []))
    found: dict[str, list[np.ndarray]] = {name: [] for name in names}
    lacks = []
    for route in route_blocks(confidence, rule.accept, rule.reject):
        lack = _what_lacks(route, confidence, correct)
        lacks.append(lack)
        followed = ~lack.unrun.any(axis=1)  # (point, query)
        n = np.maximum(followed.sum(axis=1), 1)
        known = followed & ~lack.unlabelled.any(axis=1)
        wrongly = np.count_nonzero(route.accepted & wrong & known[:, None], axis=(1, 2))
        found["error"].append(safe_divide(wrongly, known.sum(axis=1), np.nan))
        found["cost"].append((_total(own_cost, route.reach, cost) * followed).sum(axis=1) / n)
        abstained = np.zeros_like(followed) if route.abstained is None else route.abstained & followed
        found["abstained"].append(abstained.sum(axis=1) / n)
        found["reach"].append(np.count_nonzero(route.reach & followed[:, None], axis=2) / n[:, None])
        found["answered"].append(np.count_nonzero(route.accepted & followed[:, None], axis=2) / n[:, None])
        if latency is not None:
            found["latency"].append((_total(latency, route.reach, cost) * followed).sum(axis=1) / n)
    units = {} if latency is None else log["latency"].attrs
    return {name: np.concatenate(values) for name, values in found.items()}, units, _remark(log, lacks)


def _score_aggregate(counted: Aggregate, rule: DecisionRule, cost: str) -> _Found:
    scored = score_aggregate(counted, rule, cost)
    left, whole, stage = scored.left
    lost, asked, where = scored.lost
    _say_left_out(left, whole, f"first at stage {stage!r}", stacklevel=4)
    labelled = bool((counted.label > 0).any())
    _say_unlabelled(lost, asked, f"first at stage {where!r}", labelled, stacklevel=4)
    units = {"units": counted.unit} if counted.unit else {}
    known = (asked - lost) / asked if asked else 0.0
    return scored.found, units, _Counts(round(scored.n), round(scored.n * known))


def _goal_of(thresholds: Any) -> Any:
    """What a solution or a policy was tuned to, None of others."""
    goal = getattr(thresholds, "goal", None)
    return goal if goal is not None else getattr(thresholds, "metadata", {}).get("goal")


class _Lack(NamedTuple):
    """Where queries cannot be followed, and which answers have no label, each (point, stage, query)."""

    unrun: np.ndarray
    unlabelled: np.ndarray


def _what_lacks(route: Route, confidence: np.ndarray, correct: np.ndarray) -> _Lack:
    unrun = route.reach & np.isnan(confidence.T)
    return _Lack(unrun, route.accepted & ~np.isfinite(correct.T) & ~unrun)


def _remark(log: xr.Dataset, lacks: list[_Lack]) -> _Counts:
    """Warn of what was left out, at the point that lacks most; how many queries and labels count there.

    Raises `CascadeError` where that is all of them.
    """
    n = log.sizes["query"]
    unrun = _most(lack.unrun for lack in lacks)
    _say_left_out(int(unrun.sum()), n, _first(log, unrun))
    unlabelled = _most(lack.unlabelled for lack in lacks)
    asked, lost, labelled = n - int(unrun.sum()), int(unlabelled.sum()), bool(log["correct"].notnull().any())
    _say_unlabelled(lost, asked, _first(log, unlabelled), labelled)
    return _Counts(asked, asked - lost)


def _say_left_out(left: float, n: float, first: str, stacklevel: int = 5) -> None:
    """Warn of queries that cannot be followed; `CascadeError` where that is all of them."""
    if not left:
        return
    if left == n:
        raise CascadeError(
            f"no query of the log ran the stages that these thresholds send it to ({first}); "
            "score needs queries that can be followed to their answer."
        )
    warnings.warn(
        f"{left:.12g} of {n:.12g} queries ({first}) are sent to a stage that the log has not run for them. "
        "They are left out of all numbers. Where a cascade at work stopped early these are no random part, so "
        "run the stages for them, or read error and cost as those of the others.",
        CascadeWarning,
        stacklevel=stacklevel,
    )


def _say_unlabelled(lost: float, asked: float, first: str, labelled: bool, stacklevel: int = 5) -> None:
    """Warn of answers that have no label."""
    if not lost:
        return
    rest = (
        "so the error is that of the others, which is the same only if labels were given at random"
        if labelled and lost < asked
        else "so the error is not known; reach and cost need no labels"
    )
    warnings.warn(
        f"{lost:.12g} of {asked:.12g} answers ({first}) have no label, {rest}. Label more of them.",
        CascadeWarning,
        stacklevel=stacklevel,
    )


def _most(parts: Iterable[np.ndarray]) -> np.ndarray:
    """What lacks at the point where most does (stage, query)."""
    each = [part[part.sum(axis=(1, 2)).argmax()] for part in parts]
    return max(each, key=np.sum)


def _first(log: xr.Dataset, lacks: np.ndarray) -> str:
    j = int(lacks.any(axis=1).argmax())
    return f"first: query {log['query'].values[lacks[j].argmax()]}, stage {str(log['stage'].values[j])!r}"


def check_followed(log: xr.Dataset, thresholds: Any) -> None:
    """Raise `CascadeError` unless every query ran what thresholds send it to, and its answer has a label."""
    for of_stages, missing in _unknown(log, thresholds):
        if missing.any():
            most = _most([missing])
            raise CascadeError(
                f"{int(most.sum())} queries ({_first(of_stages, most)}) are sent to a stage that the log has not "
                "run or not labelled for them."
            )


def without_lost(log: xr.Dataset, thresholds: Any) -> xr.Dataset:
    """The log without the few queries that did not run what thresholds send them to, or have no label there.

    Calls time out now and then. Raises `CascadeError` where more than 5% of the queries are such.
    """
    known = np.ones(log.sizes["query"], dtype=bool)
    for _, missing in _unknown(log, thresholds):
        known &= ~missing.any(axis=(0, 1))
    log = log.isel(query=known) if known.mean() >= 1.0 - _FEW_LOST else log
    check_followed(log, thresholds)
    return log


def _unknown(log: xr.Dataset, thresholds: Any) -> Iterator[tuple[xr.Dataset, np.ndarray]]:
    """Blocks of thresholds: the log of their stages, and what it does not know (point, stage, query)."""
    stages = [str(name) for name in log["stage"].values]
    rule = DecisionRule.from_any(thresholds, stages, str(log.attrs["confidence_kind"]))
    log = log.sel(stage=rule.stages)
    confidence, correct = (log[name].transpose("query", "stage").values for name in ("confidence", "correct"))
    for route in route_blocks(confidence, rule.accept, rule.reject):
        lack = _what_lacks(route, confidence, correct)
        yield log, lack.unrun | lack.unlabelled


def cost_of_queries(log: xr.Dataset, rule: DecisionRule, cost: str = "mean") -> np.ndarray:
    """Cost of each query under a rule, by stages' mean costs or by its own if known (point, query)."""
    confidence = log["confidence"].transpose("query", "stage").values
    return _total(_costs(log, cost), rule.apply(confidence).reach, cost)


def _costs(log: xr.Dataset, cost: str) -> np.ndarray:
    if cost not in ("mean", "queries"):
        raise bad_value("cost", cost, "choose 'mean' or 'queries'", "is not known")
    return log["cost"].transpose("query", "stage").values


def _total(own: np.ndarray, reach: np.ndarray, cost: str) -> np.ndarray:
    """Sum over the stages that each query runs of what they take (point, query)."""
    out = np.zeros((len(reach), len(own)))
    for j, paid in enumerate(own.T):
        out += np.where(reach[:, j], _price(paid, reach[:, j], cost), 0.0)
    return out


def _price(own: np.ndarray, ran: np.ndarray, cost: str) -> np.ndarray:
    """Price of one stage: its mean cost, or each query's own where that is known; broadcasts to (point, query)."""
    known = np.isfinite(own)
    mean = own[known].mean() if known.any() else np.nan
    if cost == "mean":
        return np.array(mean)
    if known.all():
        return own
    # a cost that is not known is the mean of those that run
    means = [own[known & here].mean() if (known & here).any() else mean for here in ran]
    return np.where(known, own, np.array(means)[:, None])
