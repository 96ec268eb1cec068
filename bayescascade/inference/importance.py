"""Pareto-smoothed importance sampling: weights of draws, resampling, and the draws taken."""

from __future__ import annotations

import numpy as np
import xarray as xr

_TAIL = 0.2  # share of the draws that make up the tail, at most
_FEWEST = 25  # draws whose tail are the five that ArviZ wants


def psis(log_ratio: np.ndarray) -> tuple[np.ndarray, float]:
    """Pareto-smoothed weights (draw,), which sum to one, and k-hat.

    Where the largest of them are all the same there is no tail: they stay as they are, and k-hat is 0. Fewer draws
    than `_FEWEST` do not show a tail: k-hat is NaN.
    """
    from arviz_stats.base import array_stats

    raw = np.exp(log_ratio - log_ratio.max())
    largest = np.mean(log_ratio == log_ratio.max())
    if largest == 1.0 or (largest >= _TAIL and len(raw) >= _FEWEST):
        return raw / raw.sum(), 0.0
    if len(raw) < _FEWEST:
        return raw / raw.sum(), np.nan
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
