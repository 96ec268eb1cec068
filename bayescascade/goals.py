"""What the user wants, as numbers: a loss to be least, bounds to be kept, and with what probability.

Everything is a function of a few *amounts* of each draw: error, cost, latency, abstained, and the mean squares of
cost and latency, which tell how a batch of queries scatters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.special import bdtr, ndtr, ndtri
from scipy.stats import binom

from bayescascade.cascade import Kernel, Outcome
from bayescascade.discrepancy import Doubt
from bayescascade.draws import Draws

Amounts = Mapping[str, np.ndarray]
_SQUARES = ("cost", "latency")
# How much less surely than asked an answer may keep its promise on the search draws to go on.
_NEARLY = 0.02
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
        return np.einsum("d...,d...->...", self._worst(loss), loss)

    def risk_gradient(self, amounts: Amounts, slopes: Amounts) -> np.ndarray:
        """Gradient of `risk` from the amounts' (draw, x)."""
        slope = sum(slopes[name] * weight for name, weight in self.weights)
        return np.asarray(self._worst(self.loss(amounts)) @ slope)

    def _worst(self, loss: np.ndarray) -> np.ndarray:
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

    def strain_gradient(self, amounts: Amounts, slopes: Amounts) -> np.ndarray:
        """Gradient of `strain` (draw, x)."""
        which = np.argmax([amounts[name] / bound for name, bound in self.bounds], axis=0)
        return np.choose(which[:, None], [slopes[name] / bound for name, bound in self.bounds])

    def keeps(self, amounts: Amounts) -> np.ndarray:
        """Probability of each draw that the promise holds: 0 or 1 in the long run, between them for a batch."""
        if self.batch is None:
            return (self.strain(amounts) <= 1.0).astype(float)
        return np.prod([self._batch_keeps(name, bound, amounts)[0] for name, bound in self.bounds], axis=0)

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

    def smooth_doubt(self, amounts: Amounts, slopes: Amounts) -> tuple[float, np.ndarray]:
        """`doubt` as a smooth function of one point, and its gradient, from the amounts' (draw,) and (draw, x)."""
        if self.batch is None:
            value, slope = smooth_quantile(self.strain(amounts), self.strain_gradient(amounts, slopes), self.prob)
            return value - 1.0, slope
        parts = [self._batch_keeps(name, bound, amounts, slopes) for name, bound in self.bounds]
        each = np.array([part[0] for part in parts])
        slope = sum(np.prod(np.delete(each, i, axis=0), axis=0)[:, None] * part[1] for i, part in enumerate(parts))
        kept = float(np.clip(np.prod(each, axis=0).mean(), _SURE, 1.0 - _SURE))
        level = ndtri(kept)
        density = np.exp(-0.5 * level**2) / np.sqrt(2.0 * np.pi)
        return float(ndtri(self.prob) - level), -np.mean(slope, axis=0) / density

    def _batch_keeps(
        self, name: str, bound: Any, amounts: Amounts, slopes: Amounts | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Probability that a batch keeps one bound, and its gradient: binomial for errors, normal for sums."""
        m, value = self.batch or 1, amounts[name]
        if name == "error":
            rate = np.clip(value, 0.0, 1.0)
            most = np.minimum(np.floor(m * bound + 1e-9), m) + np.zeros_like(rate)
            keeps = bdtr(most, m, rate)
            if slopes is None:
                return keeps, np.zeros(0)
            density = m * binom.pmf(most, m - 1, rate)
            return keeps, -density[:, None] * slopes[name]
        square = amounts[f"{name}_square"]
        # a cost that is known exactly still needs a scale on which to miss its bound
        sd = np.sqrt(np.maximum(square - value**2, 0.0) / m + (1e-6 * bound) ** 2)
        z = (bound - value) / sd
        if slopes is None:
            return ndtr(z), np.zeros(0)
        density = np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi)
        spread = 0.5 * (slopes[f"{name}_square"] - 2.0 * value[:, None] * slopes[name]) / (m * sd[:, None])
        return ndtr(z), density[:, None] * (-slopes[name] - z[:, None] * spread) / sd[:, None]

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
            kept = np.mean(beside * self._batch_keeps(name, middle, amounts)[0], axis=0)
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


def stage_amount(kernel: Kernel, name: str) -> np.ndarray:
    """What running each stage adds to an amount (draw, stage)."""
    base = name.removesuffix("_square")
    if base != name:
        return stage_square(kernel.draws, base)
    value = kernel.cost if name == "cost" else kernel.draws.latency
    assert value is not None
    return value


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


@lru_cache(maxsize=64)
def _harrell_davis(n: int, prob: float) -> np.ndarray:
    """Weights of the order statistics of ``n`` values in the smooth ``prob``-quantile."""
    from scipy.stats import beta

    edges = beta.cdf(np.arange(n + 1) / n, prob * (n + 1), (1 - prob) * (n + 1))
    return np.diff(edges)


def smooth_quantile(values: np.ndarray, grad: np.ndarray, prob: float) -> tuple[float, np.ndarray]:
    """Harrell-Davis quantile of (draw,) values, and its gradient from theirs (draw, x)."""
    order = np.argsort(values, kind="stable")
    weight = _harrell_davis(len(values), prob)
    return float(weight @ values[order]), weight @ grad[order]


def per_unit(goal: Goal, scales: Mapping[str, float]) -> float:
    """The size of the loss, for optimisers that want numbers near one."""
    return sum(abs(weight) * scales[name] for name, weight in goal.weights) or 1.0
