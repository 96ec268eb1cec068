"""Another mix of queries: the first stage's signals are weighed anew, and all that follows them stays as it is.

With u = F_1(signal_1) the density ratio of the new mix to the old one is proportional to exp(-delta u): an
exponential tilt, the mix nearest to the old one (in Kullback-Leibler divergence) with a given mean of u.
"""

from __future__ import annotations

import numpy as np

from bayescascade.errors import CascadeError


def drift_bounds(mass: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest drift that each draw's first margin (draw, segment) allows, both exclusive (draw,)."""
    middle = _middle(mass)
    there = mass > 0.0
    low = np.where(there, middle, np.inf).min(axis=1)
    high = np.where(there, middle, -np.inf).max(axis=1)
    return 1.0 - 2.0 * high, 1.0 - 2.0 * low


def density_ratios(mass: np.ndarray, amount: float) -> np.ndarray:
    """Density ratio in each segment (draw, segment) under which the mean u falls by a fraction ``amount``.

    Within a segment the ratio is constant. Raises `CascadeError` where a draw cannot reach the amount.
    """
    from scipy.optimize import elementwise

    mass = mass / mass.sum(axis=1, keepdims=True)
    least, most = drift_bounds(mass)
    if not (np.all(least < amount) and np.all(amount < most)):
        raise CascadeError(
            f"a drift of {amount:g} is out of reach; give one above {least.max():.3g} and below {most.min():.3g}."
        )
    middle = _middle(mass)

    def excess(delta: np.ndarray, draw: np.ndarray) -> np.ndarray:
        weight = mass[draw] * _tilt(delta, middle[draw])
        return np.einsum("ds,ds->d", weight, middle[draw]) / weight.sum(axis=1) - 0.5 * (1.0 - amount)

    draw = np.arange(len(mass))
    bracket = elementwise.bracket_root(excess, np.full(len(mass), -1.0), np.ones(len(mass)), args=(draw,))
    delta = elementwise.find_root(excess, bracket.bracket, args=(draw,)).x
    ratio = _tilt(delta, middle)
    return ratio / np.einsum("ds,ds->d", mass, ratio)[:, None]


def _middle(mass: np.ndarray) -> np.ndarray:
    """Mean u of each segment; weighed by mass, these average to one half."""
    return np.cumsum(mass, axis=1) - 0.5 * mass


def _tilt(delta: np.ndarray, middle: np.ndarray) -> np.ndarray:
    exponent = -delta[:, None] * (middle - 0.5)
    return np.exp(exponent - exponent.max(axis=1, keepdims=True))
