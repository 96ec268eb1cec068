"""Pair masses between stages that are not neighbours, composed from the links between them.

The segments are a Markov chain, so what lies between two stages sums out exactly: with M_ab the pair masses of a
and b and p_b the masses of b, M_ac = M_ab diag(1 / p_b) M_bc, and likewise for what is right at c.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from bayescascade.cascade import Kernel


def compose(kernel: Kernel, first: int, last: int) -> np.ndarray:
    """Pair masses of stages ``first <= last`` (draw, segment of first, segment of last)."""
    if first == last:
        return kernel.mass[:, first, :, None] * np.eye(kernel.mass.shape[2])
    pair = kernel.pair[first]
    for j in range(first + 1, last):
        pair = (pair * kernel.inverse_mass(j)[:, None]) @ kernel.pair[j]
    return pair


def restricted_parts(kernel: Kernel, keep: tuple[int, ...]) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
    """``pair`` and ``pair_right`` of a kernel of whole stages, for the stages ``keep`` only.

    Where a stage is run after one that follows it in the chain, correctness there is averaged by its own signal:
    the signal that its correctness depends on comes before both.
    """
    pair, right = [], []
    for a, c in pairwise(keep):
        if a > c:
            pair.append(np.swapaxes(compose(kernel, c, a), 1, 2))
            right.append(pair[-1] * kernel.correct[:, None, c])
            continue
        pair.append(compose(kernel, a, c))
        if kernel.pair_right is not None:
            # what is right at c depends on the stage just before it
            to_before = compose(kernel, a, c - 1) * kernel.inverse_mass(c - 1)[:, None]
            right.append(to_before @ kernel.pair_right[c - 1])
    return pair, None if kernel.pair_right is None else right
