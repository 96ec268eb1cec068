"""What a log shows of the queries that a policy sends to each stage: what served queries are compared with later.

Only queries count that the thresholds themselves send to a stage, because a cascade at work sees no others.

An order statistic of n values cuts off a share of the population that does not depend on the distribution: the
shares in the n + 1 spacings between sorted values are uniform over the simplex. So quantiles that are order
statistics, and n, say all about a new value's place and its uncertainty; `Quantiles.spacings` are the parameters
of that Dirichlet distribution. Ties are ordered by lot, for the quantiles here and for new values when they are
placed, so that this holds for values with atoms, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from bayescascade.cascade.rules import DecisionRule
from bayescascade.model.subsample import fair

MOST_BINS = 20
LEAST = 10  # values that are worth comparing with
_QUERIES_PER_CLASS = 60  # of the previous confidence, and at most so many classes
_MOST_CLASSES = 3


@dataclass(frozen=True)
class Quantiles:
    """Order statistics of ``n`` values, and how the lot ordered each among values equal to it.

    Attributes
    ----------
    n : int
    values, ties : ndarray (edge,)
        Ends of bins that hold equal shares of the values. A new value x with lot v is above an edge where x is, or
        where both are equal and v is above the edge's tie.
    mean, sd : float
        Of the finite ones among the n values, to say what was expected.
    """

    n: int
    values: np.ndarray
    ties: np.ndarray
    mean: float
    sd: float

    @classmethod
    def of(cls, values: np.ndarray, rng: np.random.Generator) -> Quantiles:
        """The quantiles of values (query,)."""
        lot = rng.uniform(size=len(values))
        order = np.lexsort((lot, values))
        at = order[_ends(len(values))[1:-1] - 1]
        finite = values[np.isfinite(values)]
        mean, sd = (float(finite.mean()), float(finite.std())) if len(finite) else (float("nan"), float("nan"))
        return cls(len(values), values[at], lot[at], mean, sd)

    @property
    def spacings(self) -> np.ndarray:
        """How many of the n + 1 spacings each bin holds (bin,)."""
        return np.diff(_ends(self.n)).astype(float)

    def place(self, values: np.ndarray, lot: np.ndarray) -> np.ndarray:
        """The bin of each value (query,)."""
        x, v = np.asarray(values)[:, None], np.asarray(lot)[:, None]
        return ((x > self.values) | ((x == self.values) & (v > self.ties))).sum(axis=1)

    def to_json(self) -> dict[str, Any]:
        """As a policy file holds it."""
        return {
            "n": self.n,
            "values": self.values.tolist(),
            "ties": self.ties.tolist(),
            "mean": self.mean,
            "sd": self.sd,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Quantiles:
        """Undo `to_json`; infinities are strings in a file."""
        values, ties = (np.array([float(x) for x in content[name]]) for name in ("values", "ties"))
        return cls(int(content["n"]), values, ties, float(content["mean"]), float(content["sd"]))


def _ends(n: int) -> np.ndarray:
    """Places of the edges among n sorted values, from 0 to n + 1."""
    bins = max(1, min(MOST_BINS, (n + 1) // 5))
    return np.round(np.linspace(0, n + 1, bins + 1)).astype(int)


def reference_of(log: xr.Dataset, rule: DecisionRule) -> list[dict[str, Any]]:
    """What each stage of a rule of one point does on a log, in plain numbers for a policy file.

    For each stage, of the queries that the rule sends there: ``reached`` and ``deferred``, their numbers;
    ``previous``, ends of classes of the confidence of the stage before, and ``confidence``, the quantiles in
    each of these classes; ``cost`` and ``latency``, quantiles, or None where the log does not know enough of
    them; ``graded``, ends of classes of the stage's own confidence, with the labels and the right answers in
    each.
    """
    log = log.sel(stage=rule.stages).transpose("query", "stage", ...)
    confidence, correct, cost = (log[name].values for name in ("confidence", "correct", "cost"))
    waited = log["latency"].values if "latency" in log else np.full(cost.shape, np.nan)
    reach = rule.apply(confidence).reach[0].T & np.isfinite(to_finite(confidence))
    sampled = fair(log)
    defers = deferred(confidence, rule)
    rng = np.random.default_rng(0)  # lots for ties: any will do, and the same file comes out again
    out: list[dict[str, Any]] = []
    for j, stage in enumerate(rule.stages):
        here, labelled = np.flatnonzero(reach[:, j] & sampled), np.flatnonzero(reach[:, j])
        own = confidence[here, j]
        ends = _class_ends(confidence[here, j - 1]) if j else np.empty(0)
        classes = classes_of(confidence[here, j - 1], ends) if j else np.zeros(len(here), dtype=int)
        by_class = [Quantiles.of(own[classes == c], rng).to_json() for c in range(len(ends) + 1)]
        out.append(
            {
                "stage": stage,
                "reached": len(here),
                "deferred": int(defers[here, j].sum()),
                "previous": ends.tolist(),
                "confidence": by_class,
                "cost": _known(cost[here, j], rng),
                "latency": _known(waited[here, j], rng),
                "graded": _graded(confidence[labelled, j], correct[labelled, j], rule.accept[0, j]),
            }
        )
    return out


def to_finite(confidence: np.ndarray) -> np.ndarray:
    """Confidences with a probability of 0, which is one, as a finite number: only NaN is no confidence."""
    return np.where(np.isneginf(confidence), -np.finfo(float).max, confidence)


def deferred(confidence: np.ndarray, rule: DecisionRule) -> np.ndarray:
    """Where a rule of one point defers a confidence (query, stage)."""
    defers = confidence < rule.accept[0]
    return defers if rule.reject is None else defers & ~(confidence < rule.reject[0])


def classes_of(values: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The class of each value: how many ends are below it."""
    return np.searchsorted(ends, values, side="left")


def _class_ends(values: np.ndarray) -> np.ndarray:
    n = int(np.clip(len(values) // _QUERIES_PER_CLASS, 1, _MOST_CLASSES))
    if n < 2:
        return np.empty(0)
    ends = np.unique(np.quantile(values, np.arange(1, n) / n, method="lower"))
    return ends[ends < values.max()]


def _known(values: np.ndarray, rng: np.random.Generator) -> dict[str, Any] | None:
    values = values[np.isfinite(values)]
    return None if len(values) < LEAST else Quantiles.of(values, rng).to_json()


def _graded(own: np.ndarray, correct: np.ndarray, threshold: float) -> dict[str, Any]:
    """Right answers by class of confidence: below the threshold, and two halves above it."""
    graded = np.isfinite(correct)
    own, right = own[graded], correct[graded] > 0.5
    above = own[own >= threshold]
    ends = [] if len(above) < 2 * LEAST else [float(np.quantile(above, 0.5, method="lower"))]
    if (own < threshold).any() and np.isfinite(threshold):
        ends.append(float(np.nextafter(threshold, -np.inf)))
    ends = [end for end in sorted(set(ends)) if np.isfinite(end)]
    classes = classes_of(own, np.array(ends))
    labels = np.bincount(classes, minlength=len(ends) + 1)
    return {
        "ends": ends,
        "labels": labels.tolist(),
        "right": np.bincount(classes[right], minlength=len(ends) + 1).tolist(),
    }
