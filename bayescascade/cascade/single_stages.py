"""Single stages, each used alone: what a cascade has to beat."""

from __future__ import annotations

import numpy as np

from bayescascade._common.arrays import safe_divide
from bayescascade._common.parallel import map_blocks
from bayescascade.posterior.draws import Draws
from bayescascade.posterior.kernel import build_kernel, stages_alone

# Thresholds that come down to one stage must not beat it by rounding in the forward recursion.
ROUNDING = 1e-5


def single_stages(draws: Draws) -> tuple[np.ndarray, np.ndarray]:
    """Error and cost of sending every query to one stage only (draw, stage) each."""
    if draws.tilt is None:
        return stages_alone(draws), draws.cost

    def error(block: slice) -> np.ndarray:
        kernel = build_kernel(draws.take(block))
        return 1.0 - kernel.over_nodes(np.sum(kernel.mass * kernel.correct, axis=2))

    return np.concatenate(map_blocks(error, draws.blocks())), draws.cost


def beats_singles(
    error: np.ndarray, cost: np.ndarray, singles: tuple[np.ndarray, np.ndarray], price: float | None = None
) -> np.ndarray:
    """Whether thresholds beat every single stage, draw by draw (draw,).

    With a price of an error: by expected loss. Without: no stage is as good in both error and cost.
    """
    if price is not None:
        loss = singles[0] * price + singles[1]
        return error * price + cost < loss.min(axis=1) - ROUNDING * price
    return ~rivals(error, cost, singles).any(axis=1)


def rivals(error: np.ndarray, cost: np.ndarray, singles: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Which stages, used alone, are at least as good in both error and cost (draw, stage)."""
    as_good = singles[0] <= error[:, None] + ROUNDING
    return as_good & (singles[1] <= cost[:, None] * (1.0 + ROUNDING))


def beats_mixtures(error: np.ndarray, cost: np.ndarray, singles: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Whether thresholds err less than any random mix of two stages of the same mean cost (draw,)."""
    best = np.full(len(error), np.inf)
    n = singles[0].shape[1]
    for i in range(n):
        # a stage alone, for what costs less than the thresholds do
        best = np.minimum(best, np.where(singles[1][:, i] <= cost * (1.0 + ROUNDING), singles[0][:, i], np.inf))
        for j in range(n):
            low, high = singles[1][:, i], singles[1][:, j]
            between = (low < cost) & (cost < high)
            share = safe_divide(cost - low, high - low, where=between)
            mixed = (1.0 - share) * singles[0][:, i] + share * singles[0][:, j]
            best = np.minimum(best, np.where(between, mixed, np.inf))
    return error < best - ROUNDING
