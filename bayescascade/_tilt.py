"""Another mix of queries: the first stage's signals are weighed anew, and all that follows them stays as it is.

With u = F_1(signal_1) the density ratio of the new mix to the old one is proportional to exp(-delta u): an
exponential tilt, the mix nearest to the old one (in Kullback-Leibler divergence) with a given mean of u.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from bayescascade.cascade import Kernel


def reachable(mass: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest drift that each draw's first margin (draw, segment) allows, both exclusive (draw,)."""
    middle = _middle(mass)
    there = mass > 0.0
    low = np.where(there, middle, np.inf).min(axis=1)
    high = np.where(there, middle, -np.inf).max(axis=1)
    return 1.0 - 2.0 * high, 1.0 - 2.0 * low


def ratios(mass: np.ndarray, amount: float) -> np.ndarray:
    """Density ratio in each segment (draw, segment) under which the mean u falls by a fraction ``amount``.

    Within a segment the ratio is constant. Raises ValueError where a draw cannot reach the amount.
    """
    from scipy.optimize import elementwise

    mass = mass / mass.sum(axis=1, keepdims=True)
    least, most = reachable(mass)
    if not (np.all(least < amount) and np.all(amount < most)):
        raise ValueError(f"a drift of {amount} is beyond {least.max()} and {most.min()}")
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


def tilted(kernel: Kernel, ratio: np.ndarray) -> Kernel:
    """The kernel after the first stage's masses have changed by ``ratio`` (draw, segment).

    What happens after a signal of the first stage is as before: rows of pair masses are rescaled, and the later
    stages' masses are what then arrives. Margins change and so do the copulas, which is why this is not the same
    as new margins under the old copulas.
    """
    mass, correct = kernel.mass.copy(), kernel.correct.copy()
    right = None if kernel.pair_right is None else list(kernel.pair_right)
    mass[:, 0] *= ratio
    mass[:, 0] /= mass[:, 0].sum(axis=1, keepdims=True)
    pair = []
    for j, old in enumerate(kernel.pair):
        change = mass[:, j] * kernel.inverse_mass(j)
        pair.append(old * change[:, :, None])
        mass[:, j + 1] = pair[j].sum(axis=1)
        if right is not None:
            right[j] = right[j] * change[:, :, None]
            total = mass[:, j + 1]
            correct[:, j + 1] = np.divide(right[j].sum(axis=1), total, out=np.zeros_like(total), where=total > 0)
    return replace(kernel, mass=mass, pair=pair, correct=correct, pair_right=right)
