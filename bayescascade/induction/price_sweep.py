"""Backward induction for a sweep of error prices: thresholds along the frontier of the posterior mean.

The frontier of given stages, or of all subsets of the stages.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from bayescascade._common.pareto import efficient, spread_evenly
from bayescascade.cascade.forward import Outcome, forward
from bayescascade.induction.backward_induction import induce
from bayescascade.induction.free_positions import round_to_atoms
from bayescascade.induction.subsets import best_subsets
from bayescascade.posterior.draws import Draws
from bayescascade.posterior.kernel import Kernel, mean_kernel, restrict_kernel, with_free_calls, with_latency

_N_PRICES = 400
_SEARCH_DRAWS = 512
# Prices at which subsets are compared, and points of each subset that are compared for the frontier.
_N_RANKED, _N_OF_SUBSET = 20, 100


def sweep(
    draws: Draws,
    n_points: int,
    *,
    abstain_price: float | None = None,
    latency_price: float | None = None,
    by: str = "cost",
) -> tuple[np.ndarray, np.ndarray]:
    """Rows along the frontier, evenly spaced in expected cost, and their prices (point,).

    ``by="latency"`` takes latency in the place of cost.
    """
    kernel = with_latency(mean_kernel(draws.thin(_SEARCH_DRAWS)), latency_price)
    if by == "latency":
        assert kernel.draws.latency is not None
        kernel = replace(kernel, cost=kernel.draws.latency)
    return _sweep(with_free_calls(kernel), n_points, abstain_price)


def _sweep(kernel: Kernel, n_points: int, abstain_price: float | None) -> tuple[np.ndarray, np.ndarray]:
    """`sweep` on a one-draw kernel."""
    prices, n = _prices(kernel, abstain_price), len(kernel.draws.stages)
    rows = induce(kernel, prices, abstain_price)
    ends = np.zeros((2, rows.shape[1]))
    ends[1, : n - 1] = [len(m.low) for m in kernel.draws.margins[:-1]]
    rows = np.concatenate([ends[:1], rows, ends[1:]])
    prices = np.concatenate([[0.0], prices, [np.inf]])
    return _spread(forward(kernel, rows).cost[0], rows, prices, n_points)


class Path(NamedTuple):
    """Points of the frontier that run the same stages: their numbers (stage,), and positions (point, row)."""

    keep: tuple[int, ...]
    rows: np.ndarray


def sweep_subsets(draws: Draws, n_points: int, *, abstain_price: float | None = None) -> list[Path]:
    """The frontier over subsets of the stages: points that none beats in error and cost, by the posterior mean.

    At most ``n_points``, about evenly spaced in cost. The subsets are those that are best for some price.
    """
    kernel = with_free_calls(mean_kernel(draws.thin(_SEARCH_DRAWS)))
    ranked = _prices(kernel, abstain_price)[:: _N_PRICES // _N_RANKED]
    keeps = best_subsets(kernel, ranked, 1, abstain_price=abstain_price)
    parts = [restrict_kernel(kernel, keep) for keep in keeps]
    rows = [_sweep(part, _N_OF_SUBSET, abstain_price)[0] for part in parts]
    rows = [round_to_atoms(part.draws, some) for part, some in zip(parts, rows, strict=True)]
    expected = [forward(part, some) for part, some in zip(parts, rows, strict=True)]
    error = np.concatenate([out.error[0] for out in expected])
    spent = np.concatenate([_spent(out, abstain_price) for out in expected])
    best = efficient(error, spent)
    chosen = best[spread_evenly(spent[best], n_points)]
    first = np.cumsum([0, *(len(some) for some in rows)])
    at = [chosen[(a <= chosen) & (chosen < b)] - a for a, b in pairwise(first)]
    return [Path(k, some[own]) for k, some, own in zip(keeps, rows, at, strict=True) if len(own)]


def _spent(outcome: Outcome, abstain_price: float | None) -> np.ndarray:
    """Cost of calls and of abstaining, of an outcome under one draw (point,)."""
    if outcome.abstained is None or abstain_price is None:
        return outcome.cost[0]
    return outcome.cost[0] + abstain_price * outcome.abstained[0]


def _prices(kernel: Kernel, abstain_price: float | None) -> np.ndarray:
    """`price_range`, above the price of abstaining: where an error is hardly worse, nothing would be answered."""
    prices = price_range(kernel)
    return prices if abstain_price is None else np.maximum(prices, abstain_price * (1.0 + 1e-6))


def price_range(kernel: Kernel) -> np.ndarray:
    """Prices from one at which no error is worth the second stage to one at which every error is (price,)."""
    cost = kernel.cost[0]
    return np.geomspace(1e-3 * cost[cost > 0].min(), 1e6 * cost.sum(), _N_PRICES) if cost.any() else np.ones(1)


def _spread(
    expected: np.ndarray, rows: np.ndarray, prices: np.ndarray, n_points: int
) -> tuple[np.ndarray, np.ndarray]:
    """Points of a sweep, given what each costs, that are evenly spaced in cost: rows and prices."""
    order = np.argsort(expected, kind="stable")
    target = np.linspace(expected.min(), expected.max(), n_points)
    nearest = np.abs(expected[order] - target[:, None]).argmin(axis=1)
    # where the sweep jumps, walk between its neighbours rather than repeat a point
    return _fill(expected[order], rows[order], target), prices[order][nearest]


def _fill(cost: np.ndarray, positions: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Interpolate positions (price, row) at the target costs."""
    cost, first = np.unique(cost, return_index=True)
    return np.stack([np.interp(target, cost, positions[first, j]) for j in range(positions.shape[1])], axis=1)
