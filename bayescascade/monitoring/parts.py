"""What may move while a policy runs, each part with its bets: served queries beside the reference of the
manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import betabinom, norm

from bayescascade._common.arrays import tail_probabilities
from bayescascade._common.messages import counted
from bayescascade.cascade.reference import LEAST, Quantiles, classes_of, deferred, to_finite
from bayescascade.cascade.rules import DecisionRule
from bayescascade.display.format import CI_PROB
from bayescascade.errors import CascadeError, call
from bayescascade.monitoring.betting import (
    N_BETS,
    bets_on_dependence,
    bets_on_errors,
    bets_on_ranks,
    error_interval,
    even_prior,
    predictive_rank,
    prior_of_rates,
)
from bayescascade.runtime.policy import Policy

NAMES = ("confidence", "link", "deferral", "price", "latency", "calibration", "promise")
NEED_LABELS = ("calibration", "promise")
_Z = float(norm.ppf(tail_probabilities(CI_PROB)[1]))
_MOST_QUERIES = 10**12  # that a log may say it has
_LOTS = 5  # for each query and stage; two parts may share one, as none is judged by another


@dataclass(frozen=True)
class Part:
    """One part that is watched.

    Attributes
    ----------
    name : str
        One of `NAMES`.
    of : str
        The stage, or the pair of stages; empty for the promise.
    n : int
        Queries that say something of it.
    expected, low, high, seen : float
        What was expected, between what so many queries should show it, and what they show.
    payoff : ndarray (query, bet)
        See `betting`; 1 at queries that say nothing.
    prior : ndarray (bet,)
    remark : str
        Why there is nothing to look at.
    """

    name: str
    of: str
    n: int
    expected: float
    low: float
    high: float
    seen: float
    payoff: np.ndarray
    prior: np.ndarray
    remark: str = ""

    @property
    def title(self) -> str:
        """As a reader calls it."""
        return title_of(self.name, self.of)


def title_of(name: str, of: str) -> str:
    """A part as a reader calls it."""
    return f"{name} of {of}" if of else name


class Served(NamedTuple):
    """Served queries in order, each (query, stage); NaN where a stage was not run or the value is not known."""

    confidence: np.ndarray
    correct: np.ndarray
    cost: np.ndarray
    latency: np.ndarray


def parts_of(policy: Policy, served: Served, level: float, seed: int = 1) -> list[Part]:
    """All parts of a policy's manifest, in the same order for whatever was served."""
    rule = DecisionRule.from_any(policy, policy.stages, policy.confidence_kind)
    route = rule.apply(served.confidence)
    # of calls beyond where the policy ends, made to explore, nothing is used: they are of other queries
    called = route.reach[0].T
    reach = called & np.isfinite(to_finite(served.confidence))
    defers = deferred(served.confidence, rule)
    lots = np.random.default_rng(seed).uniform(size=(len(reach), len(policy.stages), _LOTS))
    parts: list[Part] = []
    for j, known in enumerate(read_reference(policy)):
        stage, at, lot = policy.stages[j], np.flatnonzero(reach[:, j]), lots[:, j].T
        here = _Here(len(reach), at)
        previous = served.confidence[at, j - 1] if j else np.zeros(len(at))
        pair = f"{policy.stages[j - 1]} > {stage}" if j else ""
        parts += _confidence(here, stage, pair, known, served.confidence[at, j], previous, lot[:2, at])
        if j < len(policy.stages) - 1:
            parts.append(_deferral(here, stage, known, defers[at, j], lot[2, at]))
        for name, values, keys in (("price", served.cost, "cost"), ("latency", served.latency, "latency")):
            if known[keys] is not None:
                paid = np.flatnonzero(called[:, j] & np.isfinite(values[:, j]))
                who = _Here(len(reach), paid)
                parts.append(_amount(who, name, stage, known[keys], values[paid, j], lot[2:4, paid]))
        parts.append(_calibration(here, stage, known, served.confidence[at, j], served.correct[at, j], lot[4, at]))
    promise = read_promise(policy)
    if promise is not None:
        parts.append(_promise(promise, policy.reject is not None, route.accepted[0].T, served.correct, level))
    return parts


class Promise(NamedTuple):
    """A limit of the error, and the posterior mean and sd of the error when it was promised."""

    limit: float
    mean: float
    sd: float


def read_promise(policy: Policy) -> Promise | None:
    """The manifest's promise of an error, if it has one."""
    manifest = policy.manifest or {}
    try:
        limit = (manifest.get("promise") or {}).get("max_error")
        if limit is None:
            return None
        error = manifest["expected"]["error"]
        found = Promise(float(limit), float(error["mean"]), float(error["sd"]))
        if not 0.0 < found.limit < 1.0 or not 0.0 <= found.mean <= 1.0 or not 0.0 <= found.sd <= 1.0:
            raise ValueError
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        raise CascadeError("the policy's manifest lacks a part of its promise; tune again") from None
    return found


def read_reference(policy: Policy) -> list[dict[str, Any]]:
    """The manifest's reference with its quantiles; `CascadeError` where there is none, or it is not whole."""
    found = None if policy.manifest is None else policy.manifest.get("reference")
    if found is None:
        raise CascadeError(
            "the policy does not say what the log showed at its thresholds, so there is nothing to compare served "
            "queries with; tune again, and write the policy with " + call("ThresholdSolution.to_policy")
        )
    try:
        out = [_stage_of(stage) for stage in found]
        if [stage["stage"] for stage in out] != policy.stages:
            raise ValueError
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        raise CascadeError("the policy's manifest lacks a part of its reference; tune again") from None
    return out


def _stage_of(known: Mapping[str, Any]) -> dict[str, Any]:
    of = {name: None if known[name] is None else _quantiles(known[name]) for name in ("cost", "latency")}
    by_class = [_quantiles(item) for item in known["confidence"]]
    previous = _ends(known["previous"])
    ends = _ends(known["graded"]["ends"])
    labels, right = (
        np.array([_count(x) for x in known["graded"][name]], dtype=int) for name in ("labels", "right")
    )
    reached, before = _count(known["reached"]), _count(known["deferred"])
    whole = len(by_class) == len(previous) + 1 and len(labels) == len(right) == len(ends) + 1
    if not whole or before > reached or (right > labels).any():
        raise ValueError
    counts = {"reached": reached, "deferred": before}
    graded = {"ends": ends, "labels": labels, "right": right}
    return {
        "stage": known["stage"],
        **counts,
        **of,
        "confidence": by_class,
        "previous": previous,
        "graded": graded,
    }


def _quantiles(content: Mapping[str, Any]) -> Quantiles:
    found = Quantiles.from_json({**content, "n": _count(content["n"])})
    if not len(found.values) == len(found.ties) == len(found.spacings) - 1:
        raise ValueError
    return found


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST_QUERIES:
        raise ValueError
    return value


def _ends(values: Any) -> np.ndarray:
    out = np.array([float(x) for x in values])
    if np.isnan(out).any() or (np.diff(out) <= 0.0).any():
        raise ValueError
    return out


class _Here(NamedTuple):
    """Which of ``total`` queries a part looks at."""

    total: int
    at: np.ndarray

    def spread(self, values: np.ndarray, which: np.ndarray | None = None) -> np.ndarray:
        """Values of some of these queries as one for each query, NaN at the others."""
        out = np.full(self.total, np.nan)
        out[self.at if which is None else self.at[which]] = values
        return out


def _nothing(name: str, of: str, total: int, remark: str, n: int = 0) -> Part:
    nan = float("nan")
    return Part(name, of, n, nan, nan, nan, nan, np.ones((total, N_BETS)), even_prior(), remark)


def _confidence(
    here: _Here,
    stage: str,
    pair: str,
    known: Mapping[str, Any],
    own: np.ndarray,
    previous: np.ndarray,
    lot: np.ndarray,
) -> list[Part]:
    """The stage's confidences given the class of the previous one; and whether they move with that class
    otherwise.

    Given the previous confidence, so that another stage's shift is not taken for this one's.
    """
    table: list[Quantiles] = known["confidence"]
    of_class = classes_of(previous, known["previous"])
    rank, plain = np.full(len(own), np.nan), np.full(len(own), np.nan)
    for c, quantiles in enumerate(table):
        which = of_class == c
        place = quantiles.place(own[which], lot[0, which])
        rank[which] = predictive_rank(quantiles.spacings, place, lot[1, which])
        edges = np.concatenate([[0.0], np.cumsum(quantiles.spacings)]) / (quantiles.n + 1)
        plain[which] = 0.5 * (edges[place] + edges[place + 1])
    n, n_log = len(own), known["reached"]
    score = np.linspace(-1.0, 1.0, len(table))[of_class] if len(table) > 1 else np.zeros(n)
    parts = []
    if n == 0 or n_log < LEAST:
        parts.append(_nothing("confidence", stage, here.total, _why(n, n_log)))
    else:
        half = _Z * np.sqrt((1.0 / n + 1.0 / n_log) / 12.0)
        payoff = bets_on_ranks(here.spread(rank))
        seen = float(plain.mean())
        parts.append(Part("confidence", stage, n, 0.5, 0.5 - half, 0.5 + half, seen, payoff, even_prior()))
    if not pair:
        return parts
    if n == 0 or len(table) < 2:
        few = f"the policy's log has {counted(n_log)} here, too few to see what moves together"
        return [*parts, _nothing("link", pair, here.total, _why(n, n_log) if n == 0 else few)]
    spread = float((score**2).mean())
    half = _Z * np.sqrt((1.0 / n + 1.0 / n_log) / 3.0 * spread)
    payoff = bets_on_dependence(here.spread(rank), np.nan_to_num(here.spread(score)))
    seen = float(((2.0 * plain - 1.0) * score).mean())
    return [*parts, Part("link", pair, n, 0.0, -half, half, seen, payoff, even_prior())]


def _why(n: int, n_log: int) -> str:
    return (
        "no query came here" if n == 0 else f"the policy's log has {counted(n_log)} here, too few to compare with"
    )


def _deferral(here: _Here, stage: str, known: Mapping[str, Any], defers: np.ndarray, lot: np.ndarray) -> Part:
    n, before, reached = len(defers), known["deferred"], known["reached"]
    if n == 0 or reached < LEAST:
        return _nothing("deferral", stage, here.total, _why(n, reached))
    rank = predictive_rank(np.array([reached - before, before]), defers.astype(int), lot, own=1.0)
    ends = betabinom.ppf(tail_probabilities(CI_PROB), n, before + 0.5, reached - before + 0.5) / n
    payoff = bets_on_ranks(here.spread(rank))
    share = float(defers.mean())
    return Part(
        "deferral", stage, n, before / reached, float(ends[0]), float(ends[1]), share, payoff, even_prior()
    )


def _amount(here: _Here, name: str, stage: str, known: Quantiles, values: np.ndarray, lot: np.ndarray) -> Part:
    n = len(values)
    if n == 0:
        return _nothing(name, stage, here.total, f"no {'cost' if name == 'price' else name} is known")
    if known.sd <= 1e-9 * abs(known.mean) and np.ptp(values) > 1e-9 * abs(known.mean):
        return _nothing(name, stage, here.total, "the log has one price for all calls, and these differ", n)
    rank = predictive_rank(known.spacings, known.place(_rounded(values, known), lot[0]), lot[1])
    half = _Z * known.sd * np.sqrt(1.0 / n + 1.0 / known.n)
    payoff, low, high = bets_on_ranks(here.spread(rank)), known.mean - half, known.mean + half
    return Part(name, stage, n, known.mean, low, high, float(values.mean()), payoff, even_prior())


def _rounded(values: np.ndarray, known: Quantiles) -> np.ndarray:
    """One price that two programs added up in another order is the same price."""
    if len(known.values) == 0 or known.sd > 1e-9 * abs(known.mean):
        return values
    return np.where(np.isclose(values, known.values[0], rtol=1e-9, atol=0.0), known.values[0], values)


def _calibration(
    here: _Here, stage: str, known: Mapping[str, Any], own: np.ndarray, correct: np.ndarray, lot: np.ndarray
) -> Part:
    """Whether answers are right as often as those of the log with a confidence like theirs."""
    which, table = np.isfinite(correct), known["graded"]
    n, n_log = int(which.sum()), int(table["labels"].sum())
    if n == 0 or n_log < LEAST:
        why = "no label" if n == 0 else f"the policy's log has {n_log} labels here, too few to compare with"
        return _nothing("calibration", stage, here.total, why, n)
    right, lot = correct[which] > 0.5, lot[which]
    of_class = classes_of(own[which], table["ends"])
    rank = np.full(n, np.nan)
    for c, (labels, good) in enumerate(zip(table["labels"], table["right"], strict=True)):
        mine = of_class == c
        counts = np.array([labels - good, good])
        rank[mine] = predictive_rank(counts, right[mine].astype(int), lot[mine], own=1.0)
    rate = (table["right"] + 0.5) / (table["labels"] + 1.0)
    of_log = rate * (1.0 - rate) / (table["labels"] + 1.0)
    counted = np.bincount(of_class, minlength=len(rate))
    expected = float(rate[of_class].mean())
    half = _Z * float(np.sqrt((counted**2 * of_log + counted * rate * (1.0 - rate)).sum())) / n
    payoff = bets_on_ranks(here.spread(rank, which))
    ends = max(expected - half, 0.0), min(expected + half, 1.0)
    return Part("calibration", stage, n, expected, *ends, float(right.mean()), payoff, even_prior())


def _promise(promise: Promise, abstains: bool, accepted: np.ndarray, correct: np.ndarray, level: float) -> Part:
    """Whether answers are wrong more often than promised; the interval is of the rate, after whatever label."""
    graded = accepted & np.isfinite(correct)
    wrong = np.where(graded.any(axis=1), (graded & (correct < 0.5)).any(axis=1), np.nan)
    n, errors = int(np.isfinite(wrong).sum()), int(np.nansum(wrong))
    if abstains:
        why = "some queries get no answer, of which no label tells; verify the policy on labelled queries"
        return _nothing("promise", "", len(wrong), why, n)
    if n == 0:
        return _nothing("promise", "", len(wrong), "no label")
    limit, mean, sd = promise
    low, high = error_interval(errors, n, mean, sd, 1.0 - level)
    payoff, prior = bets_on_errors(wrong, limit), prior_of_rates(limit, mean, sd)
    return Part("promise", "", n, mean, low, high, errors / n, payoff, prior)
