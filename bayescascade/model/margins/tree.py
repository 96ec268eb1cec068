"""The balanced binary tree over a margin's segments, whose splits are the free probabilities of a Polya tree."""

from __future__ import annotations

import numpy as np

DEPTH = 3
N_LEAVES = 2**DEPTH
N_SPLITS = N_LEAVES - 1
# Outermost halves of the tree get a third of their parent's mass, so that tails are resolved more finely.
_TAIL_SHARE = 1 / 3


def tree_paths() -> tuple[np.ndarray, np.ndarray]:
    """Return which splits each leaf descends to the left of, and to the right of, as 0/1 (leaf, split)."""
    left, right = np.zeros((2, N_LEAVES, N_SPLITS))
    for depth in range(DEPTH):
        width = N_LEAVES >> depth
        for position in range(2**depth):
            split, start = 2**depth - 1 + position, position * width
            left[start : start + width // 2, split] = 1
            right[start + width // 2 : start + width, split] = 1
    return left, right


def lay_tree(mass: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Divide consecutive segments among the leaves so that each split is near its target mass."""
    leaf, used = np.zeros(len(mass), dtype=np.int64), np.zeros(N_SPLITS, dtype=bool)

    def descend(first: int, last: int, depth: int, position: int) -> None:
        if depth == DEPTH:
            leaf[first:last] = position
            return
        if last - first <= 1:
            descend(first, last, depth + 1, 2 * position)
            return
        target = 0.5
        if depth > 0 and position == 0:
            target = _TAIL_SHARE
        elif depth > 0 and position == 2**depth - 1:
            target = 1.0 - _TAIL_SHARE
        reached = np.cumsum(mass[first:last])
        cut = first + 1 + int(np.argmin(np.abs(reached[:-1] / reached[-1] - target)))
        used[2**depth - 1 + position] = True
        descend(first, cut, depth + 1, 2 * position)
        descend(cut, last, depth + 1, 2 * position + 1)

    descend(0, len(mass), 0, 0)
    return leaf, used
