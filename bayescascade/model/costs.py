"""Mean cost of each stage: sufficient statistics of a log's costs, and the posterior of the means."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayescascade._common.arrays import safe_divide
from bayescascade.errors import CascadeError
from bayescascade.model.copulas.namespace import NUMPY


def cost_statistics(cost: np.ndarray) -> np.ndarray:
    """`mean_statistics` of costs, which each stage needs."""
    known = mean_statistics(cost)
    if np.isnan(known[0]).any():
        raise CascadeError(
            "a stage has no known cost for one of the tasks; log it, or give the price of a call to each stage."
        )
    return known


def mean_statistics(values: np.ndarray) -> np.ndarray:
    """Mean of each stage's known values, its relative standard error, and degrees of freedom (3, stage).

    A stage with a single known value borrows the spread of the others, with three degrees of freedom; where none
    is known, the mean is NaN.
    """
    n = np.sum(np.isfinite(values), axis=0)
    mean = np.array([np.mean(x[np.isfinite(x)]) if m else np.nan for x, m in zip(values.T, n, strict=True)])
    relative = safe_divide(spread_of(values), mean)
    lone = n < 2
    relative[lone] = np.mean(relative[~lone]) if (~lone).any() else 0.0
    return np.stack([mean, relative / np.sqrt(np.maximum(n, 1)), np.maximum(n - 1.0, 3.0)])


def spread_of(values: np.ndarray) -> np.ndarray:
    """Standard deviation over queries of each stage's known values (stage,); 0 where fewer than two are known."""
    return np.array([np.nanstd(x, ddof=1) if np.isfinite(x).sum() > 1 else 0.0 for x in values.T])


def mean_of(known: Any, t: Any, xp: Any = NUMPY) -> Any:
    """The mean that a Student t stands for, given the rows of `mean_statistics`: it is a t on the log scale."""
    return known[0] * xp.exp(known[1] * t)


def add_costs(known: Any, dims: tuple[str, ...]) -> Any:
    """Mean costs over a column's ``dims``, inside a `pm.Model`, given `cost_statistics` (3, column)."""
    import pymc as pm
    import pytensor.tensor as pt

    known = known.reshape((3, *(len(pm.modelcontext(None).coords[dim]) for dim in dims)))
    t = pm.StudentT("cost_t", nu=known[2], mu=0.0, sigma=1.0, dims=dims)
    return pm.Deterministic("cost", mean_of(known, t, pt), dims=dims)


def draw_means(known: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw means from their posterior, given `mean_statistics` (draw, column)."""
    return mean_of(known, rng.standard_t(known[2], size=(n, known.shape[1])))
