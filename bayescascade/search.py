"""The search for thresholds over some posterior draws: where `tune` gets its finalists.

Positions are those of `draws.to_positions`. They move freely within intervals; at an atom only its two ends can be
realised by a threshold
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from bayescascade.cascade import Kernel, deferred_share, forward, forward_all
from bayescascade.draws import Draws, cut_of
from bayescascade.frontiers import induce, mean_kernel, sweep

_N_SWEEP = 40
# Starts of the local search: neighbours on the frontier. More found nothing better on the logs tried.
_N_STARTS = 2
_MAX_CLIMB = 30
_MAX_SETTLE = 8
_SETTLE_WORK = 120_000  # draws times points
# Answers that go on to the draws not searched, and the shares of the bound to stay clear of it by.
_N_KEPT = 2
_SLACKS = (0.01, 0.0, -0.01)
# How much less surely than asked an answer may keep its promise on the search draws to go on.
_NEARLY = 0.02


@dataclass(frozen=True)
class Losses:
    """Error and cost of one position vector, and their gradients (draw,) and (draw, stage - 1)."""

    error: np.ndarray
    cost: np.ndarray
    error_grad: np.ndarray
    cost_grad: np.ndarray


@dataclass(frozen=True)
class Goal:
    """What is asked for: a price of errors, or a bound on error or cost with a probability."""

    error_price: float | None = None
    max_error: float | None = None
    max_cost: float | None = None
    prob: float = 0.9

    @property
    def bounds_error(self) -> bool:
        """Whether the error is what is bounded."""
        return self.max_error is not None

    @property
    def bound(self) -> float:
        """The bound on error or cost; infinite where a price is given."""
        given = self.max_error if self.bounds_error else self.max_cost
        return np.inf if given is None else given

    def with_bound(self, bound: float) -> Goal:
        """The same goal with another bound."""
        return replace(self, **{"max_error" if self.bounds_error else "max_cost": bound})

    @property
    def nearly(self) -> Goal:
        """The same goal with a little less certainty."""
        return replace(self, prob=self.prob - _NEARLY)

    def wanted(self, error: np.ndarray, cost: np.ndarray) -> np.ndarray:
        """What is minimised on average over the draws (first axis)."""
        if self.error_price is not None:
            return error * self.error_price + cost
        return cost if self.bounds_error else error

    def bounded(self, error: np.ndarray, cost: np.ndarray) -> np.ndarray:
        """What has to stay below `bound`."""
        if self.error_price is not None:
            return np.zeros_like(error)
        return error if self.bounds_error else cost

    def rank(self, error: np.ndarray, cost: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Order of the points (draw, point), best first; which keep the promise; and how surely each does.

        Points that keep it go by what is minimised, the others by how nearly they keep it.
        """
        bounded = self.bounded(error, cost)
        kept = np.mean(bounded <= self.bound, axis=0)
        keeps = kept >= self.prob
        level = np.quantile(bounded, self.prob, axis=0)
        by = np.where(keeps, self.wanted(error, cost).mean(axis=0), level)
        return np.lexsort((by, np.where(keeps, 0.0, -kept), ~keeps)), keeps, kept


def losses(kernel: Kernel, position: np.ndarray) -> Losses:
    """Error and cost of positions (stage - 1,) with gradients, by one forward and one backward pass."""
    draws = kernel.draws
    n = len(draws.stages)
    deferred = deferred_share(np.append(position, 0.0), draws.n_segments)
    at, accepted, at_threshold = _cuts(kernel, position)
    own = kernel.own
    arriving, flow, edge = kernel.mass[:, 0], [], at_threshold.copy()
    if kernel.pair_right is not None and n > 1:
        # the first stage of a restricted cascade may have a stage before it that is not run
        edge[:, 0] *= kernel.correct[:, 0, at[0]] / np.maximum(own[:, 0, at[0]], 1e-300)
    for j in range(n - 1):
        flow.append(arriving)
        ratio = arriving * deferred[j] * kernel.inverse_mass(j)
        arriving = np.matmul(ratio[:, None], kernel.pair[j])[:, 0]
        if kernel.pair_right is not None and j < n - 2:
            # how much more often what arrives is right than the segment with the previous signal at its mean
            s = at[j + 1]
            right = np.einsum("db,db->d", ratio, kernel.pair_right[j][:, :, s])
            edge[:, j + 1] *= right / np.maximum(arriving[:, s] * own[:, j + 1, s], 1e-300)
    # Expected error and cost still to come, from each segment of a stage at which a query has just arrived. What
    # is right is taken off a step earlier, since it may depend on the segment before.
    error_to_go, cost_to_go = np.ones_like(kernel.mass[:, -1]), np.zeros_like(kernel.mass[:, -1])
    counts = np.ones_like(error_to_go)
    error_grad, cost_grad = np.zeros((draws.n, n - 1)), np.zeros((draws.n, n - 1))
    for j in range(n - 2, -1, -1):
        inverse = kernel.inverse_mass(j)
        right = 0.0 if kernel.pair_right is not None else counts * kernel.correct[:, j + 1]
        both = np.stack([error_to_go - right, cost_to_go], axis=2)
        wait = np.matmul(kernel.pair[j], both) * inverse[..., None]
        if kernel.pair_right is not None:
            wait[..., 0] -= np.matmul(kernel.pair_right[j], counts[..., None])[..., 0] * inverse
        wait[..., 1] += kernel.cost[:, j + 1, None] if kernel.next_cost is None else kernel.next_cost[j] * inverse
        density = flow[j][:, at[j]]
        error_grad[:, j] = density * (wait[:, at[j], 0] - (1.0 - edge[:, j]))
        cost_grad[:, j] = density * wait[:, at[j], 1]
        error_to_go = deferred[j] * wait[..., 0] + (1.0 - deferred[j])
        cost_to_go = deferred[j] * wait[..., 1]
        counts = np.broadcast_to(1.0 - deferred[j], error_to_go.shape).copy()
        # the accepted part of the segment that is cut is right more often than the segment
        whole = own[:, j, at[j]]
        counts[:, at[j]] *= np.divide(accepted[:, j], whole, out=np.ones_like(whole), where=whole > 0)
    first = kernel.mass[:, 0]
    error = np.einsum("ds,ds->d", first, error_to_go - counts * kernel.correct[:, 0])
    cost = np.einsum("ds,ds->d", first, cost_to_go) + kernel.cost[:, 0]
    return Losses(error, cost, error_grad, cost_grad)


def _cuts(kernel: Kernel, position: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Segment that each threshold cuts, P(correct) of its accepted part, and P(correct) at the threshold."""
    draws = kernel.draws
    at = np.minimum(np.floor(position).astype(int), sizes(draws) - 1)
    accepted, at_threshold = np.empty((2, draws.n, len(position)))
    for j, (segment, x) in enumerate(zip(at, position, strict=True)):
        low, high = draws.margins[j].low[segment], draws.margins[j].high[segment]
        t = low + min(x - segment, 1.0) * (high - low)
        accepted[:, j] = draws.mean_correct(j, np.array(t), np.array(high))
        at_threshold[:, j] = draws.p_correct(j, np.array(t))
    return at, accepted, at_threshold


def sizes(draws: Draws) -> np.ndarray:
    """Number of segments of each stage that has a threshold (stage - 1,)."""
    return np.array([len(m.low) for m in draws.margins[:-1]])


@lru_cache(maxsize=64)
def _harrell_davis(n: int, prob: float) -> np.ndarray:
    """Weights of the order statistics of ``n`` values in the smooth ``prob``-quantile."""
    from scipy.stats import beta

    edges = beta.cdf(np.arange(n + 1) / n, prob * (n + 1), (1 - prob) * (n + 1))
    return np.diff(edges)


def smooth_quantile(values: np.ndarray, grad: np.ndarray, prob: float) -> tuple[float, np.ndarray]:
    """Harrell-Davis quantile of (draw,) values, and its gradient from theirs (draw, x)."""
    order = np.argsort(values, kind="stable")
    weight = _harrell_davis(len(values), prob)
    return float(weight @ values[order]), weight @ grad[order]


def candidates(draws: Draws, kernel: Kernel, goal: Goal, kernels: list[Kernel] | None = None) -> np.ndarray:
    """Finalists (point, stage), each of which a threshold vector can realise, for all draws to choose from."""
    curve, _ = sweep(draws, _N_SWEEP)
    if goal.error_price is not None:
        curve = np.concatenate([induce(mean_kernel(kernel.draws), np.array([goal.error_price])), curve])
    curve = np.unique(realisable(draws, curve), axis=0)
    error, cost, _ = forward(kernel, curve)
    order, keeps, _ = goal.rank(error, cost)
    reach_only = not keeps.any()
    found = [x for start in curve[order[:_N_STARTS], :-1] for x in solve(kernel, start, goal, reach_only)]
    strict, lenient = _best_first(kernel, found, goal), _best_first(kernel, found, goal.nearly)
    # the search bounds a smooth quantile, so its best answer may miss the promise by a few of the draws
    found = list({tuple(x): x for x in (strict[0], lenient[0], *strict)}.values())[:_N_KEPT]
    if goal.error_price is not None or reach_only:
        return np.unique(np.concatenate([curve, realisable(draws, _with_last(found))]), axis=0)
    safe = curve[order[:_N_STARTS]]
    found += _aimed_at_all_draws(draws, kernel, found, goal, kernels)
    return np.unique(np.concatenate([safe, realisable(draws, _with_last(found))]), axis=0)


def between(
    draws: Draws, points: np.ndarray, order: np.ndarray, keeps: np.ndarray, wanted: np.ndarray
) -> np.ndarray:
    """Points on the way from the best that keeps the promise to nearby better ones that do not."""
    best = points[order[0]]
    better = np.flatnonzero(~keeps & (wanted < wanted[order[0]]))
    if not keeps.any() or not len(better):
        return best[None]
    near = better[np.argsort(np.abs(points[better] - best).sum(axis=1), kind="stable")[:3]]
    steps = np.arange(1, 16)[:, None] / 16
    return realisable(draws, np.concatenate([best + steps * (points[i] - best) for i in near]))


def settle(draws: Draws, best: np.ndarray, goal: Goal, kernels: list[Kernel] | None) -> np.ndarray:
    """Move one threshold, or two at once, by ever smaller steps while all draws find that better (stage,).

    The quantile of few draws has steps, which its smooth stand-in does not see. With many draws that gains less
    than 0.1%, so the rounds are as many as `_SETTLE_WORK` pays for.
    """
    step, unit = 1.0, np.eye(len(best) - 1, len(best))
    moves = [sign * e for e in unit for sign in (1.0, -1.0)]
    # along a bound one threshold rises and another falls
    moves += [
        sign * (r * a - b / r) for a, b in combinations(unit, 2) for r in (0.7, 1.0, 1.4) for sign in (1.0, -1.0)
    ]
    top = np.append(sizes(draws), 0.0)
    for _ in range(min(_MAX_SETTLE, _SETTLE_WORK // (len(moves) * draws.n))):
        points = realisable(draws, np.clip(best + step * np.array(moves), 0.0, top))
        points = np.concatenate([best[None], points])
        error, cost, _ = forward_all(draws, points, kernels)
        first = int(goal.rank(error, cost)[0][0])
        step = step if first else 0.5 * step
        best = points[first]
    return best


def _aimed_at_all_draws(
    draws: Draws, kernel: Kernel, found: list[np.ndarray], goal: Goal, kernels: list[Kernel] | None
) -> list[np.ndarray]:
    """Solve again with the bound moved by as much as the search draws misjudge the quantile of all draws."""
    error, cost, _ = forward_all(draws, _with_last(found), kernels)
    all_draws = np.quantile(goal.bounded(error, cost), goal.prob, axis=0)
    error, cost, _ = forward(kernel, _with_last(found))
    some_draws = np.quantile(goal.bounded(error, cost), goal.prob, axis=0)
    out = []
    for x, shift in zip(found, all_draws - some_draws, strict=True):
        path = []
        for slack in _SLACKS:
            moved = goal.with_bound(goal.bound * (1.0 - slack) - shift)
            path.append(_best_first(kernel, solve(kernel, x, moved), moved.nearly)[0])
        for left, right in pairwise(path):
            out += [left + share * (right - left) for share in np.arange(8) / 8]
        out.append(path[-1])
    return out


def solve(kernel: Kernel, start: np.ndarray, goal: Goal, reach_only: bool = False) -> list[np.ndarray]:
    """Local answers on the search draws: SLSQP, then steps across atoms, then SLSQP with the atoms held."""
    out = []
    for x in polish(kernel, start, goal, reach_only=reach_only):
        climbed = climb(kernel, x, goal)
        if np.any(climbed != x):
            climbed = polish(kernel, climbed, goal, reach_only=reach_only)[0]
        out.append(climbed)
    return out


def _best_first(kernel: Kernel, found: list[np.ndarray], goal: Goal) -> list[np.ndarray]:
    points = realisable(kernel.draws, _with_last(found))
    error, cost, _ = forward(kernel, points)
    return list(points[goal.rank(error, cost)[0], :-1])


def _with_last(found: list[np.ndarray] | np.ndarray) -> np.ndarray:
    array = np.atleast_2d(np.asarray(found))
    return np.column_stack([array, np.zeros(len(array))])


def realisable(draws: Draws, positions: np.ndarray) -> np.ndarray:
    """Replace positions (point, stage) inside an atom, which no threshold can realise, by both of its ends."""
    positions = positions.copy()
    for j in range(positions.shape[1] - 1):
        inside = _inside_atom(draws, j, positions[:, j])
        upper = positions[inside].copy()
        upper[:, j] = np.ceil(upper[:, j])
        positions[inside, j] = np.floor(positions[inside, j])
        positions = np.concatenate([positions, upper])
    positions[:, -1] = 0.0
    return positions


def _inside_atom(draws: Draws, stage: int, position: np.ndarray) -> np.ndarray:
    margin = draws.margins[stage]
    segment, fraction = cut_of(margin, position)
    return margin.is_atom[segment] & (fraction > 0) & (fraction < 1)


def polish(kernel: Kernel, start: np.ndarray, goal: Goal, *, reach_only: bool = False) -> list[np.ndarray]:
    """Improve positions (stage - 1,) with SLSQP; several answers where atoms have to be rounded."""
    x = _minimise(kernel, start, goal, np.zeros(len(start), dtype=bool), reach_only)
    inside = np.array([bool(_inside_atom(kernel.draws, j, x[j])) for j in range(len(x))])
    if not inside.any():
        return [x]
    answers = []
    for rounded in (np.floor(x), np.ceil(x), np.round(x)):
        fixed = np.where(inside, rounded, x)
        answers.append(_minimise(kernel, fixed, goal, inside, reach_only))
    return [start, *answers]


def _minimise(kernel: Kernel, start: np.ndarray, goal: Goal, fixed: np.ndarray, reach_only: bool) -> np.ndarray:
    from scipy.optimize import minimize

    top = sizes(kernel.draws).astype(float)
    scale = float(kernel.cost.mean(axis=0).sum()) or 1.0
    memo: dict[bytes, Losses] = {}

    def at(x: np.ndarray) -> Losses:
        key = x.tobytes()
        if key not in memo:
            memo.clear()
            memo[key] = losses(kernel, np.clip(x, 0.0, top))
        return memo[key]

    def unit(x: np.ndarray, which: Callable[[Any, Any], Any]) -> tuple[np.ndarray, np.ndarray]:
        # costs are measured in units of the whole cascade's, so that SLSQP sees numbers near one
        out = at(x)
        return which(out.error, out.cost / scale), which(out.error_grad, out.cost_grad / scale)

    unitless = Goal(
        None if goal.error_price is None else goal.error_price / scale,
        goal.max_error,
        None if goal.max_cost is None else goal.max_cost / scale,
        goal.prob,
    )

    def mean(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, grad = unit(x, unitless.wanted)
        size = 1.0 + (unitless.error_price or 0.0)
        return float(value.mean()) / size, grad.mean(axis=0) / size

    def quantile(x: np.ndarray) -> tuple[float, np.ndarray]:
        return smooth_quantile(*unit(x, unitless.bounded), goal.prob)

    constraints = []
    if goal.error_price is None and not reach_only:
        constraints = [
            {"type": "ineq", "fun": lambda x: unitless.bound - quantile(x)[0], "jac": lambda x: -quantile(x)[1]}
        ]
    inner = np.clip(start, 1e-6, top - 1e-6)
    result = minimize(
        quantile if reach_only else mean,
        np.where(fixed, start, inner),
        jac=True,
        method="SLSQP",
        bounds=[(s, s) if f else (0.0, t) for s, f, t in zip(start, fixed, top, strict=True)],
        constraints=constraints,
        options={"maxiter": 30, "ftol": 1e-7},
    )
    x = result.x if np.all(np.isfinite(result.x)) else start
    return np.clip(np.where(fixed, start, x), 0.0, top)


def climb(kernel: Kernel, x: np.ndarray, goal: Goal) -> np.ndarray:
    """Move one threshold, or two at once, across an atom while that helps on the search draws."""
    draws = kernel.draws
    x = realisable(draws, np.append(x, 0.0)[None])[0, :-1]
    for _ in range(_MAX_CLIMB):
        single = [(j, to) for j in range(len(x)) for to in _across_atoms(draws, j, x[j])]
        if not single:
            break
        moves: list[tuple[tuple[int, float], ...]] = [(), *((m,) for m in single)]
        moves += [(a, b) for a, b in combinations(single, 2) if a[0] != b[0]]
        points = np.tile(np.append(x, 0.0), (len(moves), 1))
        for i, move in enumerate(moves):
            for j, to in move:
                points[i, j] = to
        error, cost, _ = forward(kernel, points)
        best = int(goal.rank(error, cost)[0][0])
        if best == 0:
            break
        x = points[best, :-1]
    return x


def _across_atoms(draws: Draws, stage: int, x: float) -> list[float]:
    """Where a position beside an atom can go by crossing it."""
    is_atom = draws.margins[stage].is_atom
    out = []
    if x == round(x):
        here = int(x)
        if here > 0 and is_atom[here - 1]:
            out.append(here - 1.0)
        if here < len(is_atom) and is_atom[here]:
            out.append(here + 1.0)
    return out
