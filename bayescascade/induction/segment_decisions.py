"""What one stage should do with each of its segments: accept, defer or abstain, by thresholds or freely.

Arrays are (draw, price, ..., segment), or broadcast to that. The values of the three branches are linear within a
segment; a segment is cut where two of them cross, so that on each of its parts one branch is best throughout.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bayescascade._common.arrays import safe_divide

DEFER, ACCEPT, ABSTAIN = range(3)


class ActionValues(NamedTuple):
    """Values in the middle of each segment, and how much they rise across it; ``refuse`` is the same for all."""

    accept: np.ndarray
    accept_rise: np.ndarray
    wait: np.ndarray
    wait_rise: np.ndarray
    refuse: np.ndarray | None


class Thresholds(NamedTuple):
    """The best positions (draw, price), what they gain less than free choice, and what they make of each segment.

    ``right`` is how often a segment is accepted and right, ``rest`` what the other branches add to its value.
    """

    accept_at: np.ndarray
    reject_at: np.ndarray
    shortfall: np.ndarray
    right: np.ndarray
    rest: np.ndarray


def best_thresholds(lines: ActionValues, mass: np.ndarray) -> Thresholds:
    """Accept from one position on and abstain below another, so that segments of given masses gain most."""
    nodes = _nodes(lines)
    width, accept, wait = _parts(lines, nodes)
    *shape, n, parts = width.shape
    weight = (mass[..., None] * width).reshape(*shape, n * parts)
    flat = [x.reshape(*x.shape[:-2], n * parts) for x in (accept, wait)]
    accept_edge, reject_edge, shortfall = best_edges(flat[0], flat[1], lines.refuse, weight)
    start = (np.arange(n)[:, None] + nodes[..., :-1]).reshape(*shape, n * parts)
    start = np.concatenate([start, np.full((*shape, 1), float(n))], axis=-1)
    accept_at, reject_at = (
        np.take_along_axis(start, edge[..., None], -1)[..., 0] for edge in (accept_edge, reject_edge)
    )
    number = np.arange(n * parts).reshape(n, parts)
    accepts = number >= accept_edge[..., None, None]
    rest = wait
    if lines.refuse is not None:
        rest = np.where(number < reject_edge[..., None, None], lines.refuse[..., None], wait)
    right = np.sum(np.where(accepts, width * accept, 0.0), axis=-1)
    return Thresholds(
        accept_at, reject_at, shortfall, right, np.sum(np.where(accepts, 0.0, width * rest), axis=-1)
    )


def best_split(lines: ActionValues) -> tuple[np.ndarray, np.ndarray]:
    """Where every part does what is best for it: how often each segment is accepted and right, and what else it is
    worth."""
    width, accept, wait = _parts(lines, _nodes(lines))
    rest = wait if lines.refuse is None else np.maximum(wait, lines.refuse[..., None])
    accepts = accept >= rest
    right = np.sum(np.where(accepts, width * accept, 0.0), axis=-1)
    return right, np.sum(np.where(accepts, 0.0, width * rest), axis=-1)


def best_value(lines: ActionValues) -> np.ndarray:
    """What each segment is worth where every part of it does what is best for it."""
    right, rest = best_split(lines)
    return right + rest


def best_actions(accept: np.ndarray, wait: np.ndarray, refuse: np.ndarray | None) -> np.ndarray:
    """The best action for each segment as a whole."""
    action = np.where(accept >= wait, ACCEPT, DEFER)
    return action if refuse is None else np.where(refuse > np.maximum(accept, wait), ABSTAIN, action)


def best_edges(
    accept: np.ndarray, wait: np.ndarray, refuse: np.ndarray | None, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First segment that is accepted, first that is not rejected, and what free choice would gain more."""
    none = np.zeros((*weight.shape[:-1], 1))
    more = weight * (accept - wait)
    free = np.maximum(more, 0.0)
    gain = np.concatenate([np.cumsum(more[..., ::-1], axis=-1)[..., ::-1], none], axis=-1)
    reject_edge = np.zeros(weight.shape[:-1], dtype=int)
    if refuse is not None:
        more = weight * (refuse - wait)
        free = np.maximum(free, more)
        reject = np.concatenate([none, np.cumsum(more, axis=-1)], axis=-1)
        gain = gain + np.maximum.accumulate(reject, axis=-1)
    edge = gain.argmax(axis=-1)
    if refuse is not None:
        below = np.arange(reject.shape[-1]) <= edge[..., None]
        reject_edge = np.where(below, reject, -np.inf).argmax(axis=-1)
    lost = free.sum(axis=-1) - np.take_along_axis(gain, edge[..., None], -1)[..., 0]
    return edge, reject_edge, np.maximum(lost, 0.0)


def _nodes(lines: ActionValues) -> np.ndarray:
    """Where in its segment each part starts and ends (..., segment, part + 1)."""
    ends = [(lines.accept, lines.accept_rise), (lines.wait, lines.wait_rise)]
    pairs = [(ends[0], ends[1])]
    if lines.refuse is not None:
        flat = (lines.refuse, np.zeros_like(lines.refuse))
        pairs += [(ends[0], flat), (ends[1], flat)]
    shape = np.broadcast_shapes(lines.accept.shape, lines.wait.shape)
    nodes = np.zeros((*shape, len(pairs) + 2))
    nodes[..., -1] = 1.0
    for i, ((x, x_rise), (y, y_rise)) in enumerate(pairs):
        gap, rise = x - y, x_rise - y_rise
        # where they do not cross the part is left empty
        inside = np.abs(gap) < 0.5 * np.abs(rise)
        nodes[..., i + 1] = 0.5 - safe_divide(gap, rise, 0.5, where=inside)
    if len(pairs) > 1:
        nodes.sort(axis=-1)
    return nodes


def _parts(lines: ActionValues, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Widths of the parts, and values of accepting and of waiting in their middles (..., segment, part)."""
    middle = 0.5 * (nodes[..., 1:] + nodes[..., :-1]) - 0.5
    accept = lines.accept[..., None] + lines.accept_rise[..., None] * middle
    return np.diff(nodes, axis=-1), accept, lines.wait[..., None] + lines.wait_rise[..., None] * middle
