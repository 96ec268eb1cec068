"""One interface for everyone who decides: learn from a training log, then say who answers each query of another.

A *method* has a name and ``fit(train, random_seed=...)``, which returns *decisions*: a frontier of ways to run the
cascade. ``decisions.decide(log)`` plays all of them on a log, whose labels it must not look at; `measure` then
counts errors and cost, the same way for everyone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import xarray as xr

from bayescascade._common.pareto import spread_evenly
from bayescascade.cascade.rules import DecisionRule, Route, route
from bayescascade.errors import CascadeError
from bayescascade.logs.complete import ran_all
from bayescascade.logs.validate import validate_log
from bayescascade.signals.kinds import to_signal


class Decisions(Protocol):
    """A frontier of ways to run the cascade, one for each point."""

    def decide(self, log: xr.Dataset) -> Route:
        """Play every point on a log's queries, in their order; labels are not to be looked at."""
        ...


class Method(Protocol):
    """How someone chooses. ``needs_text`` where prompts are read, ``sees_test`` for an oracle."""

    name: str
    needs_text: bool
    sees_test: bool

    def fit(self, train: xr.Dataset, *, random_seed: int = 0) -> Decisions:
        """Learn from a log of labelled queries that ran every stage."""
        ...


@dataclass(frozen=True)
class LogArrays:
    """A log as arrays: ``confidence``, ``signal`` and ``wrong`` (query, stage), mean ``cost`` (stage,)."""

    confidence: np.ndarray
    signal: np.ndarray
    wrong: np.ndarray
    cost: np.ndarray
    kind: str


def complete_arrays(log: xr.Dataset) -> LogArrays:
    """Arrays of the queries that ran every stage and have every label.

    Raises
    ------
    CascadeError
        If no query has all of them: rivals have no use for parts.
    """
    log = validate_log(log)
    kind = str(log.attrs["confidence_kind"])
    confidence, correct, cost = (
        log[name].transpose("query", "stage").values for name in ("confidence", "correct", "cost")
    )
    whole = ran_all(log)
    if not whole.any():
        raise CascadeError(
            f"none of the {len(whole)} queries has every stage run and labelled, which rivals have to learn from; "
            "fit and tune do with less."
        )
    confidence = confidence[whole]
    return LogArrays(confidence, to_signal(confidence, kind), 1.0 - correct[whole], np.nanmean(cost, axis=0), kind)


@dataclass(frozen=True)
class ThresholdDecisions:
    """Accept from a raw confidence on: ``thresholds`` (point, stage), the last stage's -inf."""

    thresholds: np.ndarray

    def decide(self, log: xr.Dataset) -> Route:
        """Run the cascade; a query goes on where the confidence is below the threshold."""
        stages, kind = [str(name) for name in log["stage"].values], str(log.attrs["confidence_kind"])
        confidence = log["confidence"].transpose("query", "stage").values
        return DecisionRule.from_any(np.asarray(self.thresholds), stages, kind).apply(confidence)


@dataclass(frozen=True)
class SubsetDecisions:
    """Each point calls some stages only, in its own order, and pays for no other.

    Attributes
    ----------
    stages : sequence of tuple of int
        For each point, numbers of the stages in the order in which they are called.
    thresholds : sequence of ndarray (stage,)
        A raw confidence for each of them; the last one's is -inf.
    """

    stages: Sequence[tuple[int, ...]]
    thresholds: Sequence[np.ndarray]

    def decide(self, log: xr.Dataset) -> Route:
        """Run the stages of each point as a cascade."""
        return route_subsets(log["confidence"].transpose("query", "stage").values, self.stages, self.thresholds)


def route_subsets(
    scores: np.ndarray, stages: Sequence[tuple[int, ...]], thresholds: Sequence[np.ndarray]
) -> Route:
    """`route` of cascades that call some stages only, each in its own order, on scores (query, stage)."""
    reach, accepted = np.zeros((2, len(stages), *scores.T.shape), dtype=bool)
    for i, (order, row) in enumerate(zip(stages, thresholds, strict=True)):
        part = route(scores[:, order], np.asarray(row)[None])
        reach[i, order], accepted[i, order] = part.reach[0], part.accepted[0]
    return Route(reach, accepted)


@dataclass(frozen=True)
class StageDecisions:
    """Each point sends every query to one stage and calls no other: ``stages`` (point,) are their numbers."""

    stages: np.ndarray

    def decide(self, log: xr.Dataset) -> Route:
        """The same stage for every query."""
        reach = np.zeros((len(self.stages), log.sizes["stage"], log.sizes["query"]), dtype=bool)
        reach[np.arange(len(self.stages)), self.stages] = True
        return Route(reach, reach)


def measure(played: Route, log: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Error and cost (point,) on a log: share answered wrongly; share that runs each stage times its mean cost."""
    wrong = 1.0 - log["correct"].transpose("query", "stage").values
    cost = log["cost"].mean("query").transpose("stage").values
    return played.loss(wrong).mean(axis=1), played.reach.mean(axis=2) @ cost


def area_of(played: Route, log: xr.Dataset) -> float:
    """`area_under` what decisions do to a log."""
    return area_under(*measure(played, log), **stages_alone(log))


def stages_alone(log: xr.Dataset) -> dict[str, np.ndarray]:
    """What `area_under` asks of a log: the mean cost and the error of each stage alone."""
    return {
        "mean": log["cost"].mean("query").transpose("stage").values,
        "alone": 1.0 - log["correct"].mean("query").transpose("stage").values,
    }


def area_under(error: np.ndarray, cost: np.ndarray, *, mean: np.ndarray, alone: np.ndarray) -> float:
    """Area under error against cost, over the cost range: lower is better.

    Added are the two policies that everyone has: stop at the first stage, and always go to the last. Points are
    sorted by cost, those of equal cost averaged, and joined linearly; the cost range goes from the first stage's
    mean cost to the sum of all.

    Parameters
    ----------
    error, cost : ndarray (point,)
    mean, alone : ndarray (stage,)
        Mean cost of each stage, and the error of each stage alone.

    References
    ----------
    Zellinger & Thomson (2025), Rational Tuning of LLM Cascades via Probabilistic Modeling, arXiv:2501.09345.
    """
    ends = float(mean[0]), float(mean.sum())
    return mean_height(np.append(cost, ends), np.append(error, [alone[0], alone[-1]]), ends)


def mean_height(x: np.ndarray, y: np.ndarray, ends: tuple[float, float]) -> float:
    """Area under points (point,) between two ends, over their distance.

    Points are sorted, those of equal ``x`` averaged, and joined linearly; what lies beyond the ends is cut off.
    """
    levels, inverse = np.unique(x, return_inverse=True)
    heights = np.bincount(inverse, weights=y) / np.bincount(inverse)
    grid = np.unique(np.clip(levels, *ends))
    return float(np.trapezoid(np.interp(grid, levels, heights), grid) / (ends[1] - ends[0]))


def spread(keep: np.ndarray, cost: np.ndarray, n_points: int) -> np.ndarray:
    """At most ``n_points`` of some points, about evenly spaced in cost, the ends among them."""
    return keep[spread_evenly(cost[keep], n_points)]
