"""Stages in any order: exact error, cost and reach, though the signals are a chain in their own order only.

What is asked of an order is always P(some stages defer, and one more is reached, or accepts). Whatever the order
in which they are run, that is one product along the chain, with the deferred share of each segment at the stages
that defer and the accepted share at the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bayescascade.cascade import (
    Kernel,
    Outcome,
    accepted_correct,
    deferred_share,
    lean_cut,
    restrict_kernel,
    split_positions,
)


def evaluate_order(kernel: Kernel, order: Sequence[int], positions: np.ndarray) -> Outcome:
    """Error, cost and reach of stages of a whole kernel run in any order, by O(stages^2) products along the chain.

    ``positions`` (point, row) are of the stages in that order, as `cascade.forward` takes them.
    """
    run = _Run(kernel, tuple(int(j) for j in order), positions)
    steps = range(len(run.order))
    reach = np.stack([run.product(i, "reach") for i in steps], axis=2)
    right = np.sum([run.product(i, "right") for i in steps], axis=0)
    abstained = None if run.reject is None else np.sum([run.product(i, "refused") for i in steps], axis=0)
    cost = np.einsum("dpj,dj->dp", reach, run.part.cost)
    latency = run.part.draws.latency
    slow = None if latency is None else np.einsum("dpj,dj->dp", reach, latency)
    return Outcome(1.0 - right - (0.0 if abstained is None else abstained), cost, reach, abstained, slow)


class _Run:
    """An order of some stages, and positions for them."""

    def __init__(self, kernel: Kernel, order: tuple[int, ...], positions: np.ndarray) -> None:
        self.kernel, self.order = kernel, order
        self.part = restrict_kernel(kernel, order)
        accept, self.reject = split_positions(np.asarray(positions, dtype=float), len(order))
        self.low = np.zeros_like(accept) if self.reject is None else self.reject
        # the last stage defers nothing
        self.accept = np.column_stack([accept[:, :-1], self.low[:, -1]])
        correct = accepted_correct(self.part, positions)
        if kernel.pair_right is not None:
            # how much more often the accepted part of a segment is right than the whole
            own = self.part.own[:, None]
            correct = np.divide(correct, own, out=np.zeros_like(correct), where=own > 0)
        self.correct = correct

    def product(self, i: int, what: str) -> np.ndarray:
        """P(those before the i-th defer, and it is reached, is right, or refuses)."""
        kernel, at = self.kernel, self.order[i]
        deferring = {stage: h for h, stage in enumerate(self.order[:i])}
        by_pair = kernel.pair_right if what == "right" else None
        first, last = min([*deferring, at]), max([*deferring, at])
        if by_pair is not None:
            first = min(first, max(at - 1, 0))
        n_points = len(self.accept)
        flow = np.repeat(kernel.mass[:, None, first], n_points, axis=1)
        if by_pair is not None and at == first:
            flow = np.repeat((kernel.mass[:, 0] * kernel.correct[:, 0])[:, None], n_points, axis=1)
        for j in range(first, last + 1):
            if j in deferring:
                h = deferring[j]
                ratio = self._band(flow, h, self.low[:, h], self.accept[:, h])
            elif j == at and what == "right":
                top = float(len(self.part.draws.margins[i].low))
                ratio = self._band(flow * self.correct[:, :, i], i, self.accept[:, i], np.full(n_points, top))
            elif j == at and what == "refused":
                ratio = self._band(flow, i, np.zeros(n_points), self.low[:, i])
            else:
                ratio = flow * kernel.inverse_mass(j)[:, None]
            if j == last:
                break
            pair = by_pair[j] if by_pair is not None and j + 1 == at else kernel.pair[j]
            flow = np.maximum(ratio @ pair, 0.0)
        return np.einsum("dps,ds->dp", ratio, kernel.mass[:, last])

    def _band(self, flow: np.ndarray, i: int, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """What of a flow lies between two positions of the i-th stage, per unit of mass (draw, point, segment)."""
        n_segments = flow.shape[2]
        share = deferred_share(high, n_segments) - deferred_share(low, n_segments)
        ratio = flow * share * self.part.inverse_mass(i)[:, None]
        rows = np.zeros((len(low), 2 * len(self.order)))
        rows[:, i], rows[:, len(self.order) + i] = high, low
        lean_cut(ratio, self.part, i, rows)
        return ratio
