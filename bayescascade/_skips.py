"""Pair masses between stages that are not neighbours, composed from the links between them.

The segments are a Markov chain, so what lies between two stages sums out exactly: with M_ab the pair masses of a
and b and p_b the masses of b, M_ac = M_ab diag(1 / p_b) M_bc, and likewise for what is right or spent at c.
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


def restricted_parts(
    kernel: Kernel, keep: tuple[int, ...]
) -> tuple[list[np.ndarray], list[np.ndarray] | None, list[np.ndarray] | None]:
    """``pair``, ``pair_right`` and ``next_cost`` of a kernel of whole stages, for the stages ``keep`` only.

    Where a stage is run after one that follows it in the chain, correctness there is averaged by its own signal:
    the signal that its correctness depends on comes before both.
    """
    pair, right, cost = [], [], []
    for a, c in pairwise(keep):
        if a > c:
            pair.append(np.swapaxes(compose(kernel, c, a), 1, 2))
            right.append(pair[-1] * kernel.correct[:, None, c])
            if kernel.next_cost is not None:
                by_own = pair_cost(kernel, c).sum(axis=1) * kernel.inverse_mass(c)
                cost.append(np.einsum("dac,dc->da", pair[-1], by_own))
            continue
        # what is right or spent at c depends on the stage just before it
        to_before = compose(kernel, a, c - 1) * kernel.inverse_mass(c - 1)[:, None]
        pair.append(compose(kernel, a, c))
        if kernel.pair_right is not None:
            right.append(to_before @ kernel.pair_right[c - 1])
        if kernel.next_cost is not None:
            cost.append(np.einsum("dab,db->da", to_before, kernel.next_cost[c - 1]))
    return pair, None if kernel.pair_right is None else right, None if kernel.next_cost is None else cost


def pair_cost(kernel: Kernel, stage: int) -> np.ndarray:
    """Cost of one stage, summed over the pairs of segments of the stage before and its own (draw, before, own).

    The first stage has no stage before, so that axis has length one. In a kernel of means, the own segments share
    the cost as they do under the mean parameters.
    """
    weight = kernel.mass[:, None, 0] if stage == 0 else kernel.pair[stage - 1]
    total = kernel.cost[:, :1, None] if stage == 0 else None
    if kernel.next_cost is None:
        return weight * kernel.cost[:, stage, None, None]
    weight = weight * kernel.draws.relative_cost(stage)
    if total is None:
        total = kernel.next_cost[stage - 1][:, :, None]
    summed = weight.sum(axis=2, keepdims=True)
    return weight * np.divide(total, summed, out=np.zeros_like(summed), where=summed > 1e-300)
