"""Backward induction for a sweep of error prices: thresholds along the frontier of the posterior mean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bayescascade.cascade.forward import forward
from bayescascade.induction.backward_induction import induce
from bayescascade.posterior.draws import Draws
from bayescascade.posterior.kernel import Kernel, mean_kernel, with_latency

_N_PRICES = 400
_SEARCH_DRAWS = 512


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
    prices, n = price_range(kernel), len(draws.stages)
    if abstain_price is not None:
        # where an error is hardly worse than none, nothing would be answered
        prices = np.maximum(prices, abstain_price * (1.0 + 1e-6))
    rows = induce(kernel, prices, abstain_price)
    ends = np.zeros((2, rows.shape[1]))
    ends[1, : n - 1] = [len(m.low) for m in draws.margins[:-1]]
    rows = np.concatenate([ends[:1], rows, ends[1:]])
    prices = np.concatenate([[0.0], prices, [np.inf]])
    return _spread(forward(kernel, rows).cost[0], rows, prices, n_points)


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
