"""The passes of backward induction over the stages of a kernel: freely, and by thresholds.

All arrays are over draws and prices; see `induction` for what is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from bayescascade._branches import (
    ABSTAIN,
    ACCEPT,
    DEFER,
    Lines,
    best_actions,
    best_edges,
    best_thresholds,
    best_value,
)
from bayescascade.cascade import Kernel, deferred_share

# P(correct) is taken as linear over so many standard deviations of the signal; the outermost segments are longer.
_STEP, _MAX_PARTS = 0.5, 8
# Weight of the whole margin beside the flow, so that a stage that nothing reaches has sensible thresholds too.
_UNREACHED = 1e-6
_MAX_CELLS = 2**20


@dataclass(frozen=True)
class Grid:
    """The parts that a stage's segments are cut into, where P(correct) is followed more closely.

    ``segment`` (part,) holds the segment of each, ``low`` and ``width`` its place there; ``curve`` and ``rise``
    (draw, part) P(correct) in its middle over that of the segment, and how much of it is gained from end to end.
    """

    segment: np.ndarray
    low: np.ndarray
    width: np.ndarray
    curve: np.ndarray
    rise: np.ndarray

    def accept(self, correct: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """P(correct) in the middle of each part, and its rise, from that of segments (draw, ..., segment)."""
        shape = (len(self.curve), *(1,) * (correct.ndim - 2), -1)
        correct = correct[..., self.segment]
        return correct * self.curve.reshape(shape), correct * self.rise.reshape(shape)

    def line(self, middle: np.ndarray, rise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A line across each segment (..., segment) as lines across its parts."""
        rise = rise[..., self.segment]
        return middle[..., self.segment] + rise * (self.low + 0.5 * self.width - 0.5), rise * self.width

    def mean(self, parts: np.ndarray, n_segments: int) -> np.ndarray:
        """Means over the parts of each segment, and 0 in padding (..., segment)."""
        first = np.flatnonzero(self.low == 0.0)
        out = np.zeros((*parts.shape[:-1], n_segments))
        out[..., : len(first)] = np.add.reduceat(parts * self.width, first, axis=-1)
        return out

    def position(self, at: np.ndarray) -> np.ndarray:
        """Positions on the axis of segments, of positions on the axis of parts."""
        ends = np.append(self.segment + self.low, self.segment[-1] + 1.0)
        return np.interp(at, np.arange(len(ends)), ends)


def make_grids(kernel: Kernel) -> list[Grid]:
    """The parts of each stage's segments."""
    out = []
    for j, (margin, scaling) in enumerate(zip(kernel.draws.margins, kernel.draws.scalings, strict=True)):
        long = (scaling.standardise(margin.high) - scaling.standardise(margin.low)) / _STEP
        parts = np.clip(np.ceil(long), 1, _MAX_PARTS).astype(int)
        segment = np.repeat(np.arange(len(parts)), parts)
        number = np.arange(len(segment)) - np.repeat(np.cumsum(parts) - parts, parts)
        low, width = number / parts[segment], 1.0 / parts[segment]
        ends = low[:, None] + width[:, None] * np.array([0.0, 0.5, 1.0])
        at = margin.low[segment, None] + (margin.high - margin.low)[segment, None] * ends
        halves = kernel.draws.mean_correct(j, at[:, :-1], at[:, 1:])
        whole = np.add.reduceat(halves.mean(axis=2) * width, np.flatnonzero(number == 0), axis=1)
        halves /= np.maximum(whole, 1e-300)[:, segment, None]
        out.append(Grid(segment, low, width, halves.mean(axis=2), 2.0 * (halves[..., 1] - halves[..., 0])))
    return out


class Free(NamedTuple):
    """The best policy of any kind: its ``loss`` (draw, price), and its actions by a stage's own signal.

    ``actions`` (draw, price, stage, segment); ``shortfall`` (draw, price, stage): how many more wrong answers per
    query the best thresholds of one stage would give than these, if every query came to it.
    """

    loss: np.ndarray
    actions: np.ndarray
    shortfall: np.ndarray


def best_policy(kernel: Kernel, prices: np.ndarray, abstain_price: float | None = None) -> Free:
    """The best policy of any kind for each draw and price."""
    prices = np.asarray(prices, dtype=float)
    cells = kernel.draws.n * kernel.draws.n_segments**2 * 4
    at_once = len(prices) if kernel.pair_right is None else max(1, _MAX_CELLS // cells)
    pieces = [prices[i : i + at_once] for i in range(0, len(prices), at_once)]
    found = [_best_policy(kernel, piece, abstain_price) for piece in pieces]
    return Free._make(np.concatenate(part, axis=1) for part in zip(*found, strict=True))


def _best_policy(kernel: Kernel, prices: np.ndarray, abstain_price: float | None) -> Free:
    draws = kernel.draws
    n_stages, n_segments = len(draws.stages), draws.n_segments
    shape = (draws.n, len(prices))
    actions = np.zeros((*shape, n_stages, n_segments), dtype=np.int8)
    shortfall = np.zeros((*shape, n_stages))
    wait, refuse = _at_the_end(kernel, prices, abstain_price)
    rise, third, grids = np.zeros_like(wait), None, make_grids(kernel)
    for j in range(n_stages - 1, -1, -1):
        grid, n, correct = grids[j], len(draws.margins[j].low), kernel.correct[:, None, j]
        actions[..., j, :] = best_actions(correct, wait, third)
        whole = np.broadcast_arrays(correct, wait, kernel.mass[:, None, j])
        *_, shortfall[..., j] = best_edges(whole[0][..., :n], whole[1][..., :n], third, whole[2][..., :n])
        lines_third = third
        if kernel.pair_right is not None and j > 0:
            # by the segment before, too: (draw, price, before, segment)
            correct = (kernel.pair_right[j - 1] * _inverse(kernel.pair[j - 1]))[:, None]
            wait, rise = wait[:, :, None], rise[:, :, None]
            lines_third = None if third is None else third[..., None]
        lines = Lines(*grid.accept(correct), *grid.line(wait, rise), lines_third)
        value = grid.mean(best_value(lines), n_segments)
        if j > 0:
            pair = kernel.pair[j - 1]
            ahead = value @ np.swapaxes(pair, 1, 2) if value.ndim == 3 else np.einsum("dpas,das->dpa", value, pair)
            wait, rise, third = *_wait(kernel, j - 1, prices, ahead), refuse
    if refuse is not None:
        actions[..., -1, :] = np.where(actions[..., -1, :] == DEFER, ABSTAIN, ACCEPT)
    return Free(_loss(kernel, prices, value), actions, shortfall)


def threshold_pass(
    kernel: Kernel,
    grids: list[Grid],
    prices: np.ndarray,
    abstain_price: float | None,
    flow: list[tuple[Any, Any]] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions (draw, price, row), their loss (draw, price), and what each loses by not being free to choose.

    The last is (draw, price, stage), in wrong answers per query. ``flow`` is what arrives at each stage and what
    of that is right (draw, price, segment); without it, every query arrives.
    """
    draws = kernel.draws
    n_stages, n_segments = len(draws.stages), draws.n_segments
    shape = (draws.n, len(prices))
    positions = np.zeros((*shape, n_stages if abstain_price is None else 2 * n_stages))
    shortfall = np.zeros((*shape, n_stages))
    wait, refuse = _at_the_end(kernel, prices, abstain_price)
    rise, third = np.zeros_like(wait), None
    for j in range(n_stages - 1, -1, -1):
        grid, mass, correct = grids[j], kernel.mass[:, None, j], kernel.correct[:, None, j]
        if flow is not None:
            arriving, arriving_right = flow[j]
            weight = _UNREACHED * mass
            if arriving_right is not None:
                correct = (arriving_right + weight * correct) / np.maximum(arriving + weight, 1e-300)
            mass = arriving + weight
        lines = Lines(*grid.accept(correct), *grid.line(wait, rise), third)
        chosen = best_thresholds(lines, mass[..., grid.segment] * grid.width)
        positions[..., j], shortfall[..., j] = grid.position(chosen.accept_at), chosen.shortfall
        if refuse is not None:
            positions[..., n_stages + j] = grid.position(chosen.accept_at if third is None else chosen.reject_at)
        right, rest = (grid.mean(x, n_segments) for x in (chosen.right, chosen.rest))
        if j > 0:
            pair = np.swapaxes(kernel.pair[j - 1], 1, 2)
            if kernel.pair_right is None:
                ahead = (right + rest) @ pair
            else:
                # what is accepted is right more or less often than the average, by the segment before
                share = right * _inverse(np.broadcast_to(correct, right.shape))
                ahead = rest @ pair + share @ np.swapaxes(kernel.pair_right[j - 1], 1, 2)
            wait, rise, third = *_wait(kernel, j - 1, prices, ahead), refuse
    return positions, _loss(kernel, prices, right + rest), shortfall


def arriving_flow(kernel: Kernel, positions: np.ndarray) -> list[tuple[Any, Any]]:
    """What arrives at each stage under positions (draw, price, row), and what of that is right there."""
    draws = kernel.draws
    n_stages, n_segments = len(draws.stages), draws.n_segments
    arriving = np.broadcast_to(kernel.mass[:, None, 0], (*positions.shape[:2], n_segments))
    right = (
        None
        if kernel.pair_right is None
        else np.broadcast_to((kernel.mass * kernel.correct)[:, None, 0], arriving.shape)
    )
    out = [(arriving, right)]
    for j in range(n_stages - 1):
        deferred = deferred_share(positions[..., j], n_segments)
        if positions.shape[2] > n_stages:
            deferred = deferred - deferred_share(positions[..., n_stages + j], n_segments)
        ratio = arriving * deferred * kernel.inverse_mass(j)[:, None]
        arriving = ratio @ kernel.pair[j]
        right = None if kernel.pair_right is None else ratio @ kernel.pair_right[j]
        out.append((arriving, right))
    return out


def _at_the_end(
    kernel: Kernel, prices: np.ndarray, abstain_price: float | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """What the last stage has in place of waiting (draw, price, segment), and the value of abstaining (price, 1).

    At the last stage not to accept is to abstain, or to give no answer at all, which is never better than one.
    """
    shape = (kernel.draws.n, len(prices), kernel.draws.n_segments)
    if abstain_price is None:
        return np.zeros(shape), None
    refuse = (1.0 - abstain_price / prices)[:, None]
    return np.broadcast_to(refuse, shape), refuse


def _wait(kernel: Kernel, stage: int, prices: np.ndarray, ahead: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What waiting is worth in the middle of each segment, and how much it rises across it (draw, price, segment).

    ``ahead`` is what it gains, summed over the pairs of each segment. The rise is that between the segments on
    either side, as in `cascade.forward`; 0 at atoms.
    """
    mass, inverse = kernel.mass[:, stage], kernel.inverse_mass(stage)[:, None]
    cost = kernel.cost[:, stage + 1, None] * mass
    wait = (ahead - cost[:, None] / prices[:, None]) * inverse
    margin = kernel.draws.margins[stage]
    n = len(margin.low)
    above, below = np.minimum(np.arange(n) + 1, n - 1), np.maximum(np.arange(n) - 1, 0)
    middle = np.cumsum(mass, axis=1) - 0.5 * mass
    share = np.where(margin.is_atom, 0.0, mass[:, :n] / np.maximum(middle[:, above] - middle[:, below], 1e-300))
    rise = np.zeros_like(wait)
    rise[..., :n] = (wait[..., above] - wait[..., below]) * share[:, None]
    return wait, rise


def _loss(kernel: Kernel, prices: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Loss in money of what a query is worth by its first segment (draw, price)."""
    return prices * (1.0 - np.einsum("dps,ds->dp", value, kernel.mass[:, 0])) + kernel.cost[:, :1]


def _inverse(x: np.ndarray) -> np.ndarray:
    return np.divide(1.0, x, out=np.zeros_like(x), where=x > 1e-300)
