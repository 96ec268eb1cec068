"""The chance-constrained objective: a risk of the loss to be minimised, and bounds to be kept with a probability.

Everything is a function of a few *amounts* of each posterior draw: error, cost, latency, abstained, and the mean
squares of cost and latency, which tell how a batch of queries scatters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import bdtr, ndtr, ndtri

from bayescascade.cascade.forward import Outcome
from bayescascade.cascade.predictive import stage_square
from bayescascade.posterior.draws import Draws

Amounts = Mapping[str, np.ndarray]
_SQUARES = ("cost", "latency")
_SAME = 1e-9  # losses this close, as a share, are the same
_SURE = 1e-12  # probabilities this close to 0 or 1 count as certain, so that their normal quantile is finite


@dataclass(frozen=True)
class Objective:
    """Chance-constrained objective: minimise the risk of ``loss`` subject to P(all amounts <= bounds) >= ``prob``.

    Attributes
    ----------
    weights : tuple of (str, float)
        The loss is the sum of these amounts times their weights.
    bounds : tuple of (str, float)
        The promise: all of these amounts stay at or below their bounds. The probability is over posterior draws
        and, with ``batch``, over the batch's queries given the draw.
    prob : float
        Probability with which the promise must be kept.
    batch : int, optional
        The promise is about the next ``batch`` queries; None is the long run.
    tail : float, optional
        The risk is the loss's mean over this share of the worst draws (CVaR); None is the mean over all.
    reference : ndarray (draw,), optional
        Subtracted from each draw's loss: its own optimum, where regret is what counts.
    """

    weights: tuple[tuple[str, float], ...]
    bounds: tuple[tuple[str, float], ...] = ()
    prob: float = 0.9
    batch: int | None = None
    tail: float | None = None
    reference: np.ndarray | None = None

    @property
    def names(self) -> list[str]:
        """Names of the amounts that loss and bounds are functions of."""
        names = [name for name, _ in (*self.weights, *self.bounds)]
        if self.batch is not None:
            names += [f"{name}_square" for name, _ in self.bounds if name in _SQUARES]
        return list(dict.fromkeys(names))

    def with_bound(self, name: str) -> Objective:
        """The same objective with one of its bounds."""
        return replace(self, bounds=tuple(b for b in self.bounds if b[0] == name))

    def tightened(self, by: float) -> Objective:
        """The same objective, its chance constraint tightened by so much in units of `violation`."""
        if self.batch is None:
            return replace(self, bounds=tuple((name, bound * (1.0 - by)) for name, bound in self.bounds))
        return replace(self, prob=float(ndtr(ndtri(self.prob) + by)))

    def for_draws(self, index: np.ndarray | slice) -> Objective:
        """The same objective for some of the draws."""
        return self if self.reference is None else replace(self, reference=self.reference[index])

    def loss(self, amounts: Amounts) -> np.ndarray:
        """Loss of each draw, less its reference (draw, ...)."""
        total = sum(amounts[name] * weight for name, weight in self.weights)
        if self.reference is None:
            return np.asarray(total)
        return total - self.reference.reshape(-1, *(1,) * (np.ndim(total) - 1))

    def risk(self, amounts: Amounts) -> np.ndarray:
        """What is minimised: the loss's mean over draws, or its conditional value at risk (...)."""
        loss = self.loss(amounts)
        return np.einsum("d...,d...->...", self.tail_weights(loss), loss)

    def tail_weights(self, loss: np.ndarray) -> np.ndarray:
        """Weights of the draws in the risk (draw, ...): equal over the worst share ``tail``, of sum 1.

        The draw on the border of the tail counts in part, so that the risk is continuous in ``tail``.
        """
        n = len(loss)
        if self.tail is None:
            return np.full(loss.shape, 1.0 / n)
        rank = np.argsort(np.argsort(-loss, axis=0, kind="stable"), axis=0, kind="stable")
        # a tail of less than one draw is the worst draw: minimax
        share = max(self.tail * n, 1.0)
        return np.clip(share - rank, 0.0, 1.0) / share

    def bound_ratio(self, amounts: Amounts) -> np.ndarray:
        """Largest ratio of an amount to its bound (draw, ...): the long-run promise holds where it is <= 1."""
        return np.max([amounts[name] / bound for name, bound in self.bounds], axis=0)

    def conditional_probability(self, amounts: Amounts) -> np.ndarray:
        """P(all bounds hold | draw) (draw, ...): 0 or 1 in the long run, between them for a batch."""
        if self.batch is None:
            return (self.bound_ratio(amounts) <= 1.0).astype(float)
        # given the rates, errors, costs and latencies of a batch are taken as independent
        return np.prod([self._batch_probability(name, bound, amounts) for name, bound in self.bounds], axis=0)

    def promise_probability(self, amounts: Amounts) -> np.ndarray:
        """Posterior probability that all bounds hold (...); 1 without bounds."""
        if not self.bounds:
            return np.ones(np.shape(self.loss(amounts))[1:])
        return self.conditional_probability(amounts).mean(axis=0)

    def violation(self, amounts: Amounts) -> np.ndarray:
        """How far the chance constraint P(all bounds hold) >= prob is violated (...); it holds at 0 and below.

        In the long run the ``prob`` quantile over draws of `bound_ratio`, less 1: unlike the probability, which is
        a step function of the thresholds, it says how far away the constraint is. For a batch, where the
        probability is smooth, the distance of the two probabilities on the normal scale.
        """
        if not self.bounds:
            return np.zeros(np.shape(self.loss(amounts))[1:])
        if self.batch is None:
            return np.quantile(self.bound_ratio(amounts), self.prob, axis=0) - 1.0
        return ndtri(self.prob) - ndtri(np.clip(self.promise_probability(amounts), _SURE, 1.0 - _SURE))

    def _batch_probability(self, name: str, bound: Any, amounts: Amounts) -> np.ndarray:
        """P(a batch keeps one bound | draw) (draw, ...): binomial for errors, by the normal limit for sums."""
        m, value = self.batch or 1, amounts[name]
        if name == "error":
            rate = np.clip(value, 0.0, 1.0)
            # a bound of 0.3 on 10 queries allows 3 errors, though 10 * 0.3 may be a last bit below 3
            return bdtr(np.minimum(np.floor(m * bound + 1e-9), m) + np.zeros_like(rate), m, rate)
        # a cost that is known exactly still needs a scale on which to miss its bound
        sd = np.sqrt(np.maximum(amounts[f"{name}_square"] - value**2, 0.0) / m + (1e-6 * bound) ** 2)
        return ndtr((bound - value) / sd)

    def lowest_bound(self, name: str, amounts: Amounts) -> float:
        """Lowest bound on one amount that some point (draw, point) keeps with ``prob``, the other bounds held."""
        others = replace(self, bounds=tuple(b for b in self.bounds if b[0] != name))
        beside = others.conditional_probability(amounts) if others.bounds else np.ones_like(amounts[name])
        if self.batch is None:
            # draws that break another bound keep none on this one: they count as infinite in the quantile
            values = np.where(beside > 0, amounts[name], np.inf)
            order = min(int(np.ceil(self.prob * len(values) - 1e-9)), len(values)) - 1
            return float(np.sort(values, axis=0)[order].min())
        low, high = np.zeros(amounts[name].shape[1]), 4.0 * amounts[name].max(axis=0) + 1.0
        for _ in range(60):  # bisection down to the last bit
            middle = 0.5 * (low + high)
            kept = np.mean(beside * self._batch_probability(name, middle, amounts), axis=0)
            low, high = np.where(kept >= self.prob, low, middle), np.where(kept >= self.prob, middle, high)
        # where even the loosest bound is not kept, the others stand in the way
        hopeless = np.mean(beside, axis=0) < self.prob
        return float(np.where(hopeless, np.inf, high).min())

    def rank(self, amounts: Amounts) -> tuple[np.ndarray, np.ndarray]:
        """Order of points (draw, point), best first, and which of them are feasible (point,).

        Feasible points go by risk, the others by promise probability and, among equal ones, by violation; points
        that are still equal by error.
        """
        kept = self.promise_probability(amounts)
        feasible = kept >= self.prob if self.bounds else np.ones(len(kept), dtype=bool)
        by = np.where(feasible, self.risk(amounts), self.violation(amounts))
        # where all calls are free, all that keep a limit of the error cost the same
        ties = amounts["error"].mean(axis=0) if "error" in amounts else np.zeros(len(by))
        return np.lexsort((ties, by, np.where(feasible, 0.0, -kept), ~feasible)), feasible

    def first_best(self, amounts: Amounts) -> int:
        """First of the points (draw, point) that none improves on by more than rounding could.

        As `rank`, but for infeasible points going by violation alone. Of points equal to within rounding the first
        counts, so that the last bits of a sum, which differ between machines, decide nothing.
        """
        feasible = self.rank(amounts)[1]
        by = np.where(feasible, self.risk(amounts), np.inf) if feasible.any() else self.violation(amounts)
        return int(np.argmax(by <= by.min() + _SAME * abs(by.min())))


def amounts_of(outcome: Outcome, draws: Draws, names: list[str]) -> dict[str, np.ndarray]:
    """The named amounts of an outcome, each (draw, point); an amount that the outcome lacks is 0."""
    out = {}
    for name in names:
        base = name.removesuffix("_square")
        if base != name:
            out[name] = np.einsum("dpj,dj->dp", outcome.reach, stage_square(draws, base))
        else:
            value = getattr(outcome, name)
            out[name] = np.zeros_like(outcome.error) if value is None else value
    return out
