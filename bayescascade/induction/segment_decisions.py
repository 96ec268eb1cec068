"""What one stage should do with each of its segments: accept, defer or abstain, by thresholds or pointwise.

Arrays are (draw, price, ..., segment), or broadcast to that. Values are in right answers per query, so that money
is divided by the price of an error. The value of each action is linear in u = F(signal) within a segment: its
value at the segment's midpoint, and its slope, the rise from the segment's lower end to its upper. A segment is
cut where two actions' values cross, so that on each of its parts one action is best throughout and sums over parts
are exact.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bayescascade._common.arrays import safe_divide

DEFER, ACCEPT, ABSTAIN = range(3)


class ActionValues(NamedTuple):
    """Value of each action at each segment's midpoint, and its slope across the segment (..., segment).

    ``accept`` is P(correct | signal); ``defer`` the continuation value, E[V_{j+1} | signal] less the next stage's
    cost; ``abstain`` the constant 1 - abstain_price / price (..., 1), None where a stage may not abstain.
    """

    accept: np.ndarray
    accept_slope: np.ndarray
    defer: np.ndarray
    defer_slope: np.ndarray
    abstain: np.ndarray | None


class Thresholds(NamedTuple):
    """Optimal thresholds of one stage given what follows.

    ``accept_at``, ``reject_at`` (draw, price) are positions; ``shortfall`` (draw, price) is what they gain less
    than the pointwise-optimal action.
    """

    accept_at: np.ndarray
    reject_at: np.ndarray
    shortfall: np.ndarray


def best_thresholds(values: ActionValues, mass: np.ndarray) -> Thresholds:
    """Optimal pair of thresholds: accept from one position on, abstain below another, defer between.

    ``mass`` (..., segment) weighs the segments. All cuts between parts are tried, by cumulative sums.
    """
    nodes = _nodes(values)
    width, accept, defer = _parts(values, nodes)
    *shape, n, parts = width.shape
    # parts of all segments in one row, from the lowest signal to the highest: thresholds are cuts of this row
    weight = (mass[..., None] * width).reshape(*shape, n * parts)
    flat = [x.reshape(*x.shape[:-2], n * parts) for x in (accept, defer)]
    accept_edge, reject_edge, shortfall = best_edges(flat[0], flat[1], values.abstain, weight)
    start = (np.arange(n)[:, None] + nodes[..., :-1]).reshape(*shape, n * parts)
    start = np.concatenate([start, np.full((*shape, 1), float(n))], axis=-1)
    accept_at, reject_at = (
        np.take_along_axis(start, edge[..., None], -1)[..., 0] for edge in (accept_edge, reject_edge)
    )
    return Thresholds(accept_at, reject_at, shortfall)


def value_of(chosen: Thresholds, values: ActionValues) -> np.ndarray:
    """What each segment is worth under given thresholds (..., segment): a mean over the segment's parts."""
    number = np.arange(values.accept.shape[-1])
    deferred = np.clip(chosen.accept_at[..., None] - number, 0.0, 1.0)  # of the segment, from its lower end
    rejected = np.zeros_like(deferred)
    if values.abstain is not None:
        rejected = np.clip(chosen.reject_at[..., None] - number, 0.0, 1.0)
    # each part's mean is the value in its middle
    value = (1.0 - deferred) * (values.accept + 0.5 * deferred * values.accept_slope)
    value += (deferred - rejected) * (values.defer + 0.5 * (deferred + rejected - 1.0) * values.defer_slope)
    return value if values.abstain is None else value + rejected * values.abstain


def best_value(values: ActionValues) -> np.ndarray:
    """Value of each segment under the pointwise-optimal action, E[max of the actions' values | segment]."""
    width, accept, defer = _parts(values, _nodes(values))
    best = np.maximum(accept, defer)
    if values.abstain is not None:
        best = np.maximum(best, values.abstain[..., None])
    return np.sum(width * best, axis=-1)


def best_actions(accept: np.ndarray, defer: np.ndarray, abstain: np.ndarray | None) -> np.ndarray:
    """Optimal action for each segment as a whole, by the values at its midpoint."""
    action = np.where(accept >= defer, ACCEPT, DEFER)
    return action if abstain is None else np.where(abstain > np.maximum(accept, defer), ABSTAIN, action)


def best_edges(
    accept: np.ndarray, defer: np.ndarray, abstain: np.ndarray | None, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Optimal cuts of a row of cells (..., cell), and their shortfall: first accepted cell, first not rejected.

    Relative to deferring everything, accepting from cell e on gains A(e) = sum_{i >= e} w_i (accept_i - defer_i),
    and rejecting below cell r gains R(r) = sum_{i < r} w_i (abstain - defer_i). The best pair with r <= e
    maximises A(e) + max_{r <= e} R(r): one running maximum in place of all pairs. The shortfall is what the
    pointwise-optimal action would gain more; it is 0 where the acceptance set is a half-line.
    """
    none = np.zeros((*weight.shape[:-1], 1))
    more = weight * (accept - defer)
    free = np.maximum(more, 0.0)
    gain = np.concatenate([np.cumsum(more[..., ::-1], axis=-1)[..., ::-1], none], axis=-1)
    reject_edge = np.zeros(weight.shape[:-1], dtype=int)
    if abstain is not None:
        more = weight * (abstain - defer)
        free = np.maximum(free, more)
        reject = np.concatenate([none, np.cumsum(more, axis=-1)], axis=-1)
        gain = gain + np.maximum.accumulate(reject, axis=-1)
    edge = gain.argmax(axis=-1)
    if abstain is not None:
        below = np.arange(reject.shape[-1]) <= edge[..., None]
        reject_edge = np.where(below, reject, -np.inf).argmax(axis=-1)
    lost = free.sum(axis=-1) - np.take_along_axis(gain, edge[..., None], -1)[..., 0]
    return edge, reject_edge, np.maximum(lost, 0.0)


def _nodes(values: ActionValues) -> np.ndarray:
    """Where in its segment each part starts and ends (..., segment, part + 1)."""
    ends = [(values.accept, values.accept_slope), (values.defer, values.defer_slope)]
    pairs = [(ends[0], ends[1])]
    if values.abstain is not None:
        flat = (values.abstain, np.zeros_like(values.abstain))
        pairs += [(ends[0], flat), (ends[1], flat)]
    shape = np.broadcast_shapes(values.accept.shape, values.defer.shape)
    nodes = np.zeros((*shape, len(pairs) + 2))
    nodes[..., -1] = 1.0
    for i, ((x, x_slope), (y, y_slope)) in enumerate(pairs):
        gap, rise = x - y, x_slope - y_slope
        # where they do not cross the part is left empty
        inside = np.abs(gap) < 0.5 * np.abs(rise)
        nodes[..., i + 1] = 0.5 - safe_divide(gap, rise, 0.5, where=inside)
    if len(pairs) > 1:
        nodes.sort(axis=-1)
    return nodes


def _parts(values: ActionValues, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Widths of the parts, and values of accepting and of waiting in their middles (..., segment, part)."""
    middle = 0.5 * (nodes[..., 1:] + nodes[..., :-1]) - 0.5
    accept = values.accept[..., None] + values.accept_slope[..., None] * middle
    return np.diff(nodes, axis=-1), accept, values.defer[..., None] + values.defer_slope[..., None] * middle
