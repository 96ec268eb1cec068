"""What the user wants, as numbers: a loss to be least, bounds to be kept, and with what probability.

Everything is a function of a few *amounts* of each draw: error, cost, latency, abstained, and the mean squares of
cost and latency, which tell how a batch of queries scatters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import bdtr, ndtr, ndtri

from bayescascade.cascade.discrepancy import Doubt
from bayescascade.cascade.forward import Outcome
from bayescascade.posterior.draws import Draws

Amounts = Mapping[str, np.ndarray]
_SQUARES = ("cost", "latency")
# How much less surely than asked an answer may keep its promise on the search draws to go on.
_NEARLY = 0.02
_SAME = 1e-9  # losses this close, as a share, are the same
_SURE = 1e-12  # probabilities this close to 0 or 1 count as certain, so that their normal quantile is finite


@dataclass(frozen=True)
class Goal:
    """A loss to be least and bounds to be kept with a probability.

    Attributes
    ----------
    weights : tuple of (str, float)
        The loss is the sum of these amounts times their weights.
    bounds : tuple of (str, float)
        The promise: all of these amounts stay at or below their bounds.
    prob : float
        Probability with which the promise must be kept.
    batch : int, optional
        The promise is about the next ``batch`` queries; None is the long run.
    tail : float, optional
        The loss is averaged over this share of the worst draws (CVaR); None is the mean over all.
    reference : ndarray (draw,), optional
        What is taken off each draw's loss: its own optimum, where regret is what counts.
    discrepancy : Doubt, optional
        Room for what the model misses, added to the error where all draws decide.
    """

    weights: tuple[tuple[str, float], ...]
    bounds: tuple[tuple[str, float], ...] = ()
    prob: float = 0.9
    batch: int | None = None
    tail: float | None = None
    reference: np.ndarray | None = None
    discrepancy: Doubt | None = None

    @property
    def names(self) -> list[str]:
        """The amounts that decide."""
        names = [name for name, _ in (*self.weights, *self.bounds)]
        if self.batch is not None:
            names += [f"{name}_square" for name, _ in self.bounds if name in _SQUARES]
        return list(dict.fromkeys(names))

    @property
    def nearly(self) -> Goal:
        """The same goal with a little less certainty."""
        return replace(self, prob=max(self.prob - _NEARLY, 0.5 * self.prob))

    def only(self, name: str) -> Goal:
        """The same goal with one of its bounds."""
        return replace(self, bounds=tuple(b for b in self.bounds if b[0] == name))

    def shifted(self, off: float, slack: float) -> Goal:
        """The same goal, aimed to be kept by ``off`` more in units of `doubt`, and by ``slack`` to be safe."""
        if self.batch is None:
            return replace(self, bounds=tuple((name, bound * (1.0 - slack - off)) for name, bound in self.bounds))
        return replace(self, prob=float(ndtr(ndtri(self.prob) + off + 5.0 * slack)))

    def of(self, draws: np.ndarray | slice) -> Goal:
        """The same goal for some of the draws."""
        return self if self.reference is None else replace(self, reference=self.reference[draws])

    def loss(self, amounts: Amounts) -> np.ndarray:
        """The loss of each draw, less its reference; any shape with draws first."""
        total = sum(amounts[name] * weight for name, weight in self.weights)
        if self.reference is None:
            return np.asarray(total)
        return total - self.reference.reshape(-1, *(1,) * (np.ndim(total) - 1))

    def risk(self, amounts: Amounts) -> np.ndarray:
        """What is minimised: the loss's mean over draws, or over the worst of them."""
        loss = self.loss(amounts)
        return np.einsum("d...,d...->...", self.worst(loss), loss)

    def worst(self, loss: np.ndarray) -> np.ndarray:
        """Weights of the draws in the mean of the worst share, the last one counted in part."""
        n = len(loss)
        if self.tail is None:
            return np.full(loss.shape, 1.0 / n)
        rank = np.argsort(np.argsort(-loss, axis=0, kind="stable"), axis=0, kind="stable")
        share = max(self.tail * n, 1.0)
        return np.clip(share - rank, 0.0, 1.0) / share

    def strain(self, amounts: Amounts) -> np.ndarray:
        """The largest of the bounded amounts over their bounds: the promise holds where it is at most 1."""
        return np.max([amounts[name] / bound for name, bound in self.bounds], axis=0)

    def keeps(self, amounts: Amounts) -> np.ndarray:
        """Probability of each draw that the promise holds: 0 or 1 in the long run, between them for a batch."""
        if self.batch is None:
            return (self.strain(amounts) <= 1.0).astype(float)
        return np.prod([self._batch_keeps(name, bound, amounts) for name, bound in self.bounds], axis=0)

    def kept(self, amounts: Amounts) -> np.ndarray:
        """Posterior probability that the promise holds; 1 without one."""
        return self.keeps(amounts).mean(axis=0) if self.bounds else np.ones(np.shape(self.loss(amounts))[1:])

    def doubt(self, amounts: Amounts) -> np.ndarray:
        """How far the promise is from being kept as surely as asked, at most 0 where it is: what is mended first.

        In the long run the strain's quantile less 1, for a batch the difference of normal quantiles.
        """
        if not self.bounds:
            return np.zeros(np.shape(self.loss(amounts))[1:])
        if self.batch is None:
            return np.quantile(self.strain(amounts), self.prob, axis=0) - 1.0
        return ndtri(self.prob) - ndtri(np.clip(self.kept(amounts), _SURE, 1.0 - _SURE))

    def _batch_keeps(self, name: str, bound: Any, amounts: Amounts) -> np.ndarray:
        """Probability that a batch keeps one bound: binomial for errors, normal for sums."""
        m, value = self.batch or 1, amounts[name]
        if name == "error":
            rate = np.clip(value, 0.0, 1.0)
            return bdtr(np.minimum(np.floor(m * bound + 1e-9), m) + np.zeros_like(rate), m, rate)
        # a cost that is known exactly still needs a scale on which to miss its bound
        sd = np.sqrt(np.maximum(amounts[f"{name}_square"] - value**2, 0.0) / m + (1e-6 * bound) ** 2)
        return ndtr((bound - value) / sd)

    def lowest(self, name: str, amounts: Amounts) -> float:
        """The lowest bound on one amount that some point keeps as surely as asked, the other bounds held."""
        others = replace(self, bounds=tuple(b for b in self.bounds if b[0] != name))
        beside = others.keeps(amounts) if others.bounds else np.ones_like(amounts[name])
        if self.batch is None:
            values = np.where(beside > 0, amounts[name], np.inf)
            order = min(int(np.ceil(self.prob * len(values) - 1e-9)), len(values)) - 1
            return float(np.sort(values, axis=0)[order].min())
        low, high = np.zeros(amounts[name].shape[1]), 4.0 * amounts[name].max(axis=0) + 1.0
        for _ in range(60):
            middle = 0.5 * (low + high)
            kept = np.mean(beside * self._batch_keeps(name, middle, amounts), axis=0)
            low, high = np.where(kept >= self.prob, low, middle), np.where(kept >= self.prob, middle, high)
        # where even the loosest bound is not kept, the others stand in the way
        hopeless = np.mean(beside, axis=0) < self.prob
        return float(np.where(hopeless, np.inf, high).min())

    def rank(self, amounts: Amounts) -> tuple[np.ndarray, np.ndarray]:
        """Order of the points (draw, point), best first; and which keep the promise.

        Points that keep it go by the loss, the others by how nearly they keep it.
        """
        kept = self.kept(amounts)
        keeps = kept >= self.prob if self.bounds else np.ones(len(kept), dtype=bool)
        by = np.where(keeps, self.risk(amounts), self.doubt(amounts))
        return np.lexsort((by, np.where(keeps, 0.0, -kept), ~keeps)), keeps

    def first_best(self, amounts: Amounts) -> int:
        """The first of the points (draw, point) that none is better than by more than rounding could be.

        As `rank`, but for the others going by how nearly they keep the promise alone.
        """
        keeps = self.rank(amounts)[1]
        by = np.where(keeps, self.risk(amounts), np.inf) if keeps.any() else self.doubt(amounts)
        return int(np.argmax(by <= by.min() + _SAME * abs(by.min())))


def amounts_of(outcome: Outcome, draws: Draws, names: list[str]) -> dict[str, np.ndarray]:
    """The named amounts of some points (draw, point)."""
    out = {}
    for name in names:
        base = name.removesuffix("_square")
        if base != name:
            out[name] = np.einsum("dpj,dj->dp", outcome.reach, stage_square(draws, base))
        else:
            value = getattr(outcome, name)
            out[name] = np.zeros_like(outcome.error) if value is None else value
    return out


def stage_square(draws: Draws, name: str) -> np.ndarray:
    """What running each stage adds to the mean square of a query's cost or latency (draw, stage).

    A query that stops at stage j has spent C_j = c_1 + .. + c_j, so that E[C^2] is the sum over stages of
    P(stage j is run) (C_j^2 - C_{j-1}^2 + var_j).
    """
    mean = draws.cost if name == "cost" else draws.latency
    sd = draws.cost_sd if name == "cost" else draws.latency_sd
    assert mean is not None
    total = np.cumsum(mean, axis=1)
    square = np.diff(total**2, axis=1, prepend=0.0)
    return square if sd is None else square + sd**2


def scattered(outcome: Outcome, draws: Draws, batch: int, seed: int = 0) -> Outcome:
    """What a batch of queries may show, one batch for each draw and point: binomial shares, normal means."""
    rng = np.random.default_rng(seed)

    def share(rate: np.ndarray) -> np.ndarray:
        return rng.binomial(batch, np.clip(rate, 0.0, 1.0)) / batch

    def mean(name: str, value: np.ndarray) -> np.ndarray:
        square = np.einsum("dpj,dj->dp", outcome.reach, stage_square(draws, name))
        return value + rng.normal(size=value.shape) * np.sqrt(np.maximum(square - value**2, 0.0) / batch)

    return outcome._replace(
        error=share(outcome.error),
        cost=mean("cost", outcome.cost),
        abstained=None if outcome.abstained is None else share(outcome.abstained),
        latency=None if outcome.latency is None else mean("latency", outcome.latency),
    )
