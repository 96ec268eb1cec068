"""Pareto-smoothed importance sampling: weights of draws, resampling, and the draws taken."""

from __future__ import annotations

import numpy as np
import xarray as xr


def psis(log_ratio: np.ndarray) -> tuple[np.ndarray, float]:
    """Pareto-smoothed weights (draw,), which sum to one, and k-hat."""
    from arviz_stats.base import array_stats

    if np.ptp(log_ratio) == 0.0:  # there is no tail to smooth
        return np.full(len(log_ratio), 1.0 / len(log_ratio)), 0.0
    # ArviZ's function takes the log-likelihood of what is left out, so it turns the sign itself
    log_weight, k = array_stats.psislw(-log_ratio)
    weight = np.exp(log_weight - log_weight.max())
    return weight / weight.sum(), float(k)


def resample(weight: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Systematic resampling; copies of a draw stay side by side, so that effective sample sizes see them."""
    n = len(weight)
    return np.minimum(np.searchsorted(np.cumsum(weight), (rng.uniform() + np.arange(n)) / n), n - 1)


def take_draws(group: xr.Dataset, index: np.ndarray) -> xr.Dataset:
    chain, draw = np.divmod(index, group.sizes["draw"])
    shape = (group.sizes["chain"], group.sizes["draw"])
    pick = {"chain": chain.reshape(shape), "draw": draw.reshape(shape)}
    out = group.drop_vars(["chain", "draw"]).isel({dim: (("c", "d"), at) for dim, at in pick.items()})
    out = out.rename(c="chain", d="draw").assign_coords(chain=group["chain"], draw=group["draw"])
    return out.transpose("chain", "draw", ...)
