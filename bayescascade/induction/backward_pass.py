"""The passes of backward induction over the stages of a kernel: by the optimal policy, and by thresholds.

State: the stage j that a query has run, and its signal there, known by its segment s. Actions: accept, defer to
stage j + 1, abstain. In units of right answers, with p the price of an error, the Bellman equation is

    V_k(s) = max(phi_k(s), abstain),
    V_j(s) = max(phi_j(s), -c_{j+1} / p + sum_t P(t | s) V_{j+1}(t), abstain),

where phi_j(s) = P(correct at j | s), c_{j+1} is the next stage's cost, P(t | s) the probability of the next
stage's segment t and abstain = 1 - abstain_price / p, if stages may. The signals are a Markov chain, so what came
before s tells nothing more. The loss to come, in money, is p (1 - V).

Where queries have a difficulty, the signals are a Markov chain given the ease only, which no stage sees. Then V_j
is a function of the ease's node and the segment, and a stage compares the averages of its actions' values over
the nodes of those who arrive with a signal. These depend on earlier thresholds, so passes are repeated.

All arrays are over states (each draw at each node, see `posterior.kernel`) and prices: (state, price, segment),
with masses P(s) in ``kernel.mass`` (state, stage, segment) and pair masses P(s, t) in ``kernel.pair[j]`` (state,
segment of j, segment of j + 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bayescascade._common.arrays import safe_divide
from bayescascade.cascade.forward import deferred_share
from bayescascade.induction.segment_decisions import (
    ABSTAIN,
    ACCEPT,
    DEFER,
    ActionValues,
    Thresholds,
    best_actions,
    best_edges,
    best_thresholds,
    best_value,
    value_of,
)
from bayescascade.posterior.kernel import Kernel

# P(correct) is taken as linear over so many standard deviations of the signal; the outermost segments are longer.
_STEP, _MAX_PARTS = 0.5, 8
# Weight of the whole margin beside the flow, so that a stage that nothing reaches has sensible thresholds too.
_UNREACHED = 1e-6


@dataclass(frozen=True)
class Grid:
    """Partition of a stage's segments into parts, on which P(correct | signal) is taken as linear.

    Attributes
    ----------
    segment : ndarray (part,)
        The segment that each part lies in.
    low, width : ndarray (part,)
        Where in its segment it starts, and how much of it it takes, as fractions.
    correct, correct_slope : ndarray (draw, 1, part)
        P(correct) at its midpoint, and its rise from end to end; the 1 is for prices.
    """

    segment: np.ndarray
    low: np.ndarray
    width: np.ndarray
    correct: np.ndarray
    correct_slope: np.ndarray

    def values(self, defer: np.ndarray, slope: np.ndarray, abstain: np.ndarray | None) -> ActionValues:
        """Each action's value on the parts, given that of deferring on the segments (draw, price, segment)."""
        return ActionValues(self.correct, self.correct_slope, *self.line(defer, slope), abstain)

    def line(self, middle: np.ndarray, slope: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lines across segments (..., segment), given at their midpoints, as lines across parts (..., part)."""
        slope = slope[..., self.segment]
        return middle[..., self.segment] + slope * (self.low + 0.5 * self.width - 0.5), slope * self.width

    def mean(self, parts: np.ndarray, n_segments: int) -> np.ndarray:
        """Mean over the parts (..., part) of each segment, and 0 in padding (..., segment)."""
        first = np.flatnonzero(self.low == 0.0)
        out = np.zeros((*parts.shape[:-1], n_segments))
        out[..., : len(first)] = np.add.reduceat(parts * self.width, first, axis=-1)
        return out

    def position(self, at: np.ndarray) -> np.ndarray:
        """Positions on the axis of segments, of positions on the axis of parts (...)."""
        ends = np.append(self.segment + self.low, self.segment[-1] + 1.0)
        return np.interp(at, np.arange(len(ends)), ends)


def make_grids(kernel: Kernel) -> list[Grid]:
    """The partition of each stage's segments."""
    out = []
    for j, (margin, scaling) in enumerate(zip(kernel.draws.margins, kernel.draws.scalings, strict=True)):
        long = (scaling.standardise(margin.high) - scaling.standardise(margin.low)) / _STEP
        parts = np.clip(np.ceil(long), 1, _MAX_PARTS).astype(int)
        segment = np.repeat(np.arange(len(parts)), parts)
        number = np.arange(len(segment)) - np.repeat(np.cumsum(parts) - parts, parts)
        low, width = number / parts[segment], 1.0 / parts[segment]
        ends = low[:, None] + width[:, None] * np.array([0.0, 0.5, 1.0])
        at = margin.low[segment, None] + (margin.high - margin.low)[segment, None] * ends
        # two halves of each part give its midpoint value and its slope
        halves = kernel.given.mean_correct(j, at[:, :-1], at[:, 1:])  # (state, part, 2)
        whole = np.add.reduceat(halves.mean(axis=2) * width, np.flatnonzero(number == 0), axis=1)
        # the kernel's own level, which in one of means over draws is not quite that of the mean parameters
        level = kernel.correct[:, j, : len(parts)] / np.maximum(whole, 1e-300)
        halves = (halves * level[:, segment, None])[:, None]
        out.append(Grid(segment, low, width, halves.mean(axis=3), 2.0 * (halves[..., 1] - halves[..., 0])))
    return out


class OptimalPolicy(NamedTuple):
    """The optimal policy, whose acceptance sets need not be half-lines.

    Attributes
    ----------
    loss : ndarray (draw, price)
        Its expected loss per query, in money.
    actions : ndarray (draw, price, stage, segment)
        Its action by a stage's own signal: `DEFER`, `ACCEPT` or `ABSTAIN`.
    shortfall : ndarray (draw, price, stage)
        How many more wrong answers per query the best thresholds of one stage would give, if every query came to
        it and later stages did what is optimal.
    """

    loss: np.ndarray
    actions: np.ndarray
    shortfall: np.ndarray


def best_policy(kernel: Kernel, prices: np.ndarray, abstain_price: float | None = None) -> OptimalPolicy:
    """The optimal policy for each draw and price, by the Bellman recursion (see the module)."""
    draws = kernel.draws
    n_stages, n_segments = len(draws.stages), draws.n_segments
    shape = (draws.n, len(prices))
    actions = np.zeros((*shape, n_stages, n_segments), dtype=np.int8)
    shortfall = np.zeros((*shape, n_stages))
    defer, abstain = _terminal_value(kernel, prices, abstain_price)
    slope, abstain_now, grids = np.zeros_like(defer), None, make_grids(kernel)
    for j in range(n_stages - 1, -1, -1):
        # on entry ``defer`` and ``slope`` are the continuation value of stage j (draw, price, segment)
        grid, n, correct = grids[j], len(draws.margins[j].low), kernel.correct[:, None, j]
        actions[..., j, :] = best_actions(correct, defer, abstain_now)
        whole = np.broadcast_arrays(correct, defer, kernel.mass[:, None, j])
        *_, shortfall[..., j] = best_edges(whole[0][..., :n], whole[1][..., :n], abstain_now, whole[2][..., :n])
        # V_j: the maximum is taken at each signal, then averaged over the segment
        value = grid.mean(best_value(grid.values(defer, slope, abstain_now)), n_segments)
        if j > 0:
            defer, slope, abstain_now = *_deferral_value(kernel, j - 1, prices, value), abstain
    if abstain is not None:
        # at the last stage abstaining took the place of deferring
        actions[..., -1, :] = np.where(actions[..., -1, :] == DEFER, ABSTAIN, ACCEPT)
    return OptimalPolicy(_loss(kernel, prices, value), actions, shortfall)


def threshold_pass(
    kernel: Kernel,
    grids: list[Grid],
    prices: np.ndarray,
    abstain_price: float | None,
    flow: list[np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Optimal thresholds from the last stage to the first: positions, loss and shortfall.

    Positions are (draw, price, row), the loss (draw, price). The same recursion as the optimal policy's, with the
    maximum over actions at each signal replaced by the best pair of cuts; the shortfall (draw, price, stage) is
    what that loses, in wrong answers per query.

    What is best at each signal does not depend on how many queries arrive there, but the best *cuts* do, where the
    acceptance set is not a half-line: they trade errors on both sides by their masses. ``flow`` is the mass that
    arrives at each stage under earlier thresholds, see `arriving_flow`; else every query arrives.
    """
    draws = kernel.draws
    n_stages, n_segments = len(draws.stages), draws.n_segments
    shape = (draws.n, len(prices))
    positions = np.zeros((*shape, n_stages if abstain_price is None else 2 * n_stages))
    shortfall = np.zeros((*shape, n_stages))
    defer, abstain = _terminal_value(kernel, prices, abstain_price)
    slope, abstain_now = np.zeros_like(defer), None
    flow = flow or [kernel.mass[:, None, j] for j in range(n_stages)]
    for j in range(n_stages - 1, -1, -1):
        grid = grids[j]
        values = grid.values(defer, slope, abstain_now)
        chosen = best_thresholds(*over_nodes(kernel, values, flow[j][..., grid.segment] * grid.width))
        positions[..., j], shortfall[..., j] = grid.position(chosen.accept_at), chosen.shortfall
        if abstain is not None:
            # at the last stage the cut between accepting and "deferring" is the rejecting threshold
            positions[..., n_stages + j] = grid.position(
                chosen.accept_at if abstain_now is None else chosen.reject_at
            )
        value = grid.mean(value_of(Thresholds(*map(kernel.by_state, chosen)), values), n_segments)
        if j > 0:
            defer, slope, abstain_now = *_deferral_value(kernel, j - 1, prices, value), abstain
    return positions, _loss(kernel, prices, value), shortfall


def arriving_flow(kernel: Kernel, positions: np.ndarray) -> list[np.ndarray]:
    """P(arrives, segment) at each stage under positions (draw, price, row): (state, price, segment) each."""
    draws = kernel.draws
    n_stages, n_segments = len(draws.stages), draws.n_segments
    positions = kernel.by_state(positions)
    arriving = np.broadcast_to(kernel.mass[:, None, 0], (*positions.shape[:2], n_segments))
    out = []
    for j in range(n_stages):
        out.append(arriving + _UNREACHED * kernel.mass[:, None, j])
        if j == n_stages - 1:
            break
        deferred = deferred_share(positions[..., j], n_segments)
        if positions.shape[2] > n_stages:
            deferred = deferred - deferred_share(positions[..., n_stages + j], n_segments)
        arriving = (arriving * deferred * kernel.inverse_mass(j)[:, None]) @ kernel.pair[j]
    return out


def over_nodes(kernel: Kernel, values: ActionValues, mass: np.ndarray) -> tuple[ActionValues, np.ndarray]:
    """Each draw's means over its nodes, weighed by what arrives there, and the mass that arrives.

    A stage sees its signal and not the ease: what an action is worth at a signal is an average over the queries
    that arrive with it. ``mass`` (state, price, part).
    """
    if kernel.draws.n_nodes == 1:
        return values, mass
    total = kernel.over_nodes(mass)

    def mean(value: np.ndarray) -> np.ndarray:
        return safe_divide(kernel.over_nodes(value * mass), total)

    accept, accept_slope, defer, defer_slope = map(mean, values[:4])
    return ActionValues(accept, accept_slope, defer, defer_slope, values.abstain), total


def _terminal_value(
    kernel: Kernel, prices: np.ndarray, abstain_price: float | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Terminal value of not accepting at the last stage (state, price, segment), and of abstaining (price, 1).

    Not to accept there is to abstain, or to give no answer, worth 0 right answers, which is never better than one.
    """
    shape = (len(kernel.mass), len(prices), kernel.draws.n_segments)
    if abstain_price is None:
        return np.zeros(shape), None
    abstain = (1.0 - abstain_price / prices)[:, None]
    return np.broadcast_to(abstain, shape), abstain


def _deferral_value(
    kernel: Kernel, stage: int, prices: np.ndarray, value: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Continuation value of deferring at each segment's midpoint, and its slope across the segment.

    Both (state, price, segment): -c_{j+1} / p + sum_t P(t | s) V_{j+1}(t), with ``value`` the V_{j+1}. The slope
    is that of the chord between the neighbouring segments' midpoints in u, as in `cascade.forward`; 0 at atoms,
    within which nothing varies.
    """
    mass, inverse = kernel.mass[:, stage], kernel.inverse_mass(stage)[:, None]
    cost = kernel.by_state(kernel.cost)[:, stage + 1, None] * mass
    defer = (value @ np.swapaxes(kernel.pair[stage], 1, 2) - cost[:, None] / prices[:, None]) * inverse
    margin = kernel.draws.margins[stage]
    n = len(margin.low)
    above, below = np.minimum(np.arange(n) + 1, n - 1), np.maximum(np.arange(n) - 1, 0)
    middle = np.cumsum(mass, axis=1) - 0.5 * mass
    share = np.where(margin.is_atom, 0.0, mass[:, :n] / np.maximum(middle[:, above] - middle[:, below], 1e-300))
    slope = np.zeros_like(defer)
    slope[..., :n] = (defer[..., above] - defer[..., below]) * share[:, None]
    return defer, slope


def _loss(kernel: Kernel, prices: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Expected loss in money, p (1 - E[V_1]) + c_1, of values by the first stage's segment (draw, price)."""
    right = kernel.over_nodes(np.einsum("dps,ds->dp", value, kernel.mass[:, 0]))
    return prices * (1.0 - right) + kernel.cost[:, :1]
