"""The search for thresholds over some posterior draws: where `tune` gets its finalists.

Free positions (see `moves`) go through SLSQP within intervals; across atoms, whose two ends are all that a
threshold can realise, they go by steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from bayescascade._common.pareto import undominated
from bayescascade.cascade.evaluate import forward_all
from bayescascade.cascade.forward import Outcome, forward
from bayescascade.induction.backward_induction import induce
from bayescascade.induction.free_positions import (
    across_atoms,
    inside_atom,
    realisable,
    stages_of,
    to_free,
    to_rows,
    tops,
    whole_atoms,
)
from bayescascade.induction.price_sweep import sweep
from bayescascade.posterior.draws import Draws
from bayescascade.posterior.kernel import Kernel, build_kernels, with_latency
from bayescascade.tuning.gradients import Slopes, amounts_and_slopes
from bayescascade.tuning.objective import Amounts, Goal, amounts_of, per_unit
from bayescascade.tuning.spec import Wish

_N_SWEEP = 40

# Starts of the local search: the best rows of the frontier that differ in which stages answer anything.
_N_STARTS = 2
_MAX_CLIMB = 30
_MAX_SETTLE = 8
_SETTLE_WORK = 120_000  # draws times points
# Answers that go on to the draws not searched, and the shares of the bound to stay clear of it by.
_N_KEPT = 2
_SLACKS = (0.01, 0.0, -0.01)


def measure(kernel: Kernel, rows: np.ndarray, goal: Goal) -> dict[str, np.ndarray]:
    """The goal's amounts of rows under a kernel's draws (draw, point)."""
    return amounts_of(forward(kernel, rows), kernel.draws, goal.names)


def measure_all(draws: Draws, rows: np.ndarray, goal: Goal, kernels: list[Kernel] | None) -> dict[str, np.ndarray]:
    """The goal's amounts of rows under all draws (draw, point)."""
    return amounts_of(doubted(forward_all(draws, rows, kernels), draws, rows, goal), draws, goal.names)


def doubted(outcome: Outcome, draws: Draws, rows: np.ndarray, goal: Goal) -> Outcome:
    """What rows come to, with room for what the model misses where the goal asks for it."""
    return (
        outcome
        if goal.discrepancy is None
        else outcome._replace(error=goal.discrepancy.error(outcome.error, rows, draws))
    )


def starting_rows(draws: Draws, kernel: Kernel, wish: Wish, n_points: int = _N_SWEEP) -> np.ndarray:
    """Rows along the frontier, by backward induction on the posterior mean, for a wish (point, row)."""
    bounded = [name for name, _ in wish.bounds]
    # with only a bound on latency, latency takes the place of cost
    by = ["latency"] if "latency" in bounded else []
    by += ["cost"] if "cost" in bounded or not by else []
    prices = {"abstain_price": wish.abstain_price, "latency_price": wish.latency_price}
    rows = [sweep(draws, n_points, by=name, **prices)[0] for name in by]
    if wish.error_price is not None:
        mean = with_latency(kernel.mean(), wish.latency_price)
        rows.append(induce(mean, np.array([wish.error_price]), wish.abstain_price))
    return np.concatenate(rows)


def candidates(
    draws: Draws, kernel: Kernel, goal: Goal, curve: np.ndarray, kernels: list[Kernel] | None = None
) -> np.ndarray:
    """Finalists (point, row), each of which a threshold vector can realise, for all draws to choose from.

    ``kernel`` holds the draws searched, ``curve`` rows of the frontier to start from; ``goal`` is for all draws.
    """
    whole, goal = goal, goal.of(draws.spread(kernel.draws.n))
    curve = np.unique(realisable(draws, curve), axis=0)
    order, keeps = goal.rank(measure(kernel, curve, goal))
    reach_only = not keeps.any()
    starts = curve[order[:_N_STARTS]]
    n = len(draws.stages)
    found = [x for start in starts for x in solve(kernel, to_free(start, n), goal, reach_only)]
    strict, lenient = _best_first(kernel, found, goal), _best_first(kernel, found, goal.nearly)
    # the search bounds a smooth quantile, so its best answer may miss the promise by a few of the draws
    found = list({tuple(x): x for x in (strict[0], lenient[0], *strict)}.values())[:_N_KEPT]
    if not goal.bounds or reach_only:
        return np.unique(np.concatenate([curve, realisable(draws, to_rows(found, n))]), axis=0)
    found += _aimed_at_all_draws(draws, kernel, found, goal, whole, kernels)
    return np.unique(np.concatenate([starts, realisable(draws, to_rows(found, n))]), axis=0)


def along_the_frontier(
    path: np.ndarray, some: Draws, whole: Draws, goal: Goal, kernels: list[Kernel] | None
) -> tuple[np.ndarray, Amounts]:
    """The best row of a path where there is room for what the model misses, and the amounts of its points.

    Nothing is searched for beside the path, which was found without a look at how the labelled queries fared along
    it: a search that sees the discrepancy ends where these queries were lucky. For the same reason their errors
    count as smoothed along the path, where that is more. Some of the draws say where on the path to look, and all
    (``kernels`` are theirs) which point it is.
    """
    assert goal.discrepancy is not None
    path = np.unique(whole_atoms(some, path), axis=0)
    out = forward_all(some, path, kernels if some.n == whole.n else build_kernels(some))
    order = np.argsort(out.cost.mean(axis=0), kind="stable")
    path, out = path[order], take_points(out, order)
    efficient = np.flatnonzero(undominated(out.error, out.cost, out.abstained, out.latency))
    path, out = path[efficient], take_points(out, efficient)
    expected = out.error.mean(axis=0)
    goal = replace(goal, discrepancy=goal.discrepancy.smoothed(expected, path, some))
    amounts = amounts_of(doubted(out, some, path, goal), some, goal.names)
    order = np.argsort(expected, kind="stable")
    at = int(np.flatnonzero(order == goal.rank(amounts)[0][0])[0])
    near, steps = path[order[max(at - 2, 0) : at + 2]], np.arange(8)[:, None] / 8
    points = np.concatenate([near[-1:], *(left + steps * (right - left) for left, right in pairwise(near))])
    points = np.unique(whole_atoms(whole, points), axis=0)
    return points[goal.rank(measure_all(whole, points, goal, kernels))[0][0]], amounts


def take_points(outcome: Outcome, index: np.ndarray) -> Outcome:
    """Some of the points of an outcome."""
    return Outcome._make(None if part is None else part[:, index] for part in outcome)


def between(points: np.ndarray, order: np.ndarray, keeps: np.ndarray, risk: np.ndarray) -> np.ndarray:
    """Points on the way from the best that keeps the promise to nearby better ones that do not, itself first."""
    best = points[order[0]]
    better = np.flatnonzero(~keeps & (risk < risk[order[0]]))
    if not keeps.any() or not len(better):
        return best[None]
    near = better[np.argsort(np.abs(points[better] - best).sum(axis=1), kind="stable")[:3]]
    steps = np.arange(1, 16)[:, None] / 16
    return np.concatenate([best[None], *(best + steps * (points[i] - best) for i in near)])


def settle(draws: Draws, best: np.ndarray, goal: Goal, kernels: list[Kernel] | None) -> np.ndarray:
    """Move one threshold, or two at once, by ever smaller steps while all draws find that better (row).

    The quantile of few draws has steps, which its smooth stand-in does not see. With many draws that gains less
    than 0.1%, so the rounds are as many as `_SETTLE_WORK` pays for.
    """
    n, step = len(draws.stages), 1.0
    x = to_free(best, n)
    unit, top = np.eye(len(x)), tops(draws, len(x))
    moves = [sign * e for e in unit for sign in (1.0, -1.0)]
    # along a bound one threshold rises and another falls
    moves += [
        sign * (r * a - b / r) for a, b in combinations(unit, 2) for r in (0.7, 1.0, 1.4) for sign in (1.0, -1.0)
    ]
    for _ in range(min(_MAX_SETTLE, _SETTLE_WORK // (len(moves) * draws.n))):
        points = realisable(draws, to_rows(np.clip(x + step * np.array(moves), 0.0, top), n))
        points = np.concatenate([to_rows(x, n), points])
        first = int(goal.rank(measure_all(draws, points, goal, kernels))[0][0])
        step = step if first else 0.5 * step
        x = to_free(points[first], n)
    return to_rows(x, n)[0]


def _aimed_at_all_draws(
    draws: Draws, kernel: Kernel, found: list[np.ndarray], goal: Goal, whole: Goal, kernels: list[Kernel] | None
) -> list[np.ndarray]:
    """Solve again with the bounds moved by as much as the search draws misjudge the promise on all draws."""
    rows = to_rows(found, len(draws.stages))
    shift = whole.doubt(measure_all(draws, rows, whole, kernels)) - goal.doubt(measure(kernel, rows, goal))
    out = []
    for x, off in zip(found, shift, strict=True):
        path = []
        for slack in _SLACKS:
            moved = goal.shifted(off, slack)
            path.append(_best_first(kernel, _nearby(kernel, x, moved), moved.nearly)[0])
        for left, right in pairwise(path):
            out += [left + share * (right - left) for share in np.arange(8) / 8]
        out.append(path[-1])
    return out


def _nearby(kernel: Kernel, x: np.ndarray, goal: Goal) -> list[np.ndarray]:
    """Answers near one that is good already: thresholds beside atoms stay there but for steps across."""
    stages = stages_of(len(x), len(kernel.draws.stages))
    beside = np.array([bool(across_atoms(kernel.draws, j, at)) for j, at in zip(stages, x, strict=True)])
    held = _minimise(kernel, x, goal, beside, False)
    return [held, climb(kernel, held, goal)]


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
    n = len(kernel.draws.stages)
    rows = realisable(kernel.draws, to_rows(found, n))
    return list(to_free(rows[goal.rank(measure(kernel, rows, goal))[0]], n))


def polish(kernel: Kernel, start: np.ndarray, goal: Goal, *, reach_only: bool = False) -> list[np.ndarray]:
    """Improve free positions with SLSQP; several answers where atoms have to be rounded."""
    draws = kernel.draws
    x = _minimise(kernel, start, goal, np.zeros(len(start), dtype=bool), reach_only)
    stages = stages_of(len(x), len(draws.stages))
    inside = np.array([bool(inside_atom(draws, j, at)) for j, at in zip(stages, x, strict=True)])
    if not inside.any():
        return [x]
    answers = []
    for rounded in (np.floor(x), np.ceil(x), np.round(x)):
        fixed = np.where(inside, rounded, x)
        answers.append(_minimise(kernel, fixed, goal, inside, reach_only))
    return [start, *answers]


def _minimise(kernel: Kernel, start: np.ndarray, goal: Goal, fixed: np.ndarray, reach_only: bool) -> np.ndarray:
    from scipy.optimize import minimize

    draws = kernel.draws
    top = tops(draws, len(start))
    memo: dict[bytes, Slopes] = {}
    size = per_unit(goal, _scales(kernel))

    def at(x: np.ndarray) -> Slopes:
        key = x.tobytes()
        if key not in memo:
            memo.clear()
            memo[key] = amounts_and_slopes(kernel, np.clip(x, 0.0, top), goal.names)
        return memo[key]

    def risk(x: np.ndarray) -> tuple[float, np.ndarray]:
        here = at(x)
        gradient = goal.risk_gradient(here.amounts, here.slopes)
        return float(goal.risk(here.amounts)) / size, gradient / size

    def doubt(x: np.ndarray) -> tuple[float, np.ndarray]:
        here = at(x)
        return goal.smooth_doubt(here.amounts, here.slopes)

    constraints: list[dict[str, Any]] = []
    if goal.bounds and not reach_only:
        constraints.append({"type": "ineq", "fun": lambda x: -doubt(x)[0], "jac": lambda x: -doubt(x)[1]})
    n_links = len(draws.stages) - 1
    if len(start) > n_links:  # no stage rejects what it accepts
        order = np.hstack([np.eye(n_links), -np.eye(n_links), np.zeros((n_links, 1))])
        constraints.append({"type": "ineq", "fun": lambda x: order @ x, "jac": lambda x: order})
    inner = np.clip(start, 1e-6, top - 1e-6)
    target: Callable[[np.ndarray], tuple[float, np.ndarray]] = doubt if reach_only else risk
    result = minimize(
        target,
        np.where(fixed, start, inner),
        jac=True,
        method="SLSQP",
        bounds=[(s, s) if f else (0.0, t) for s, f, t in zip(start, fixed, top, strict=True)],
        constraints=constraints,
        options={"maxiter": 30, "ftol": 1e-7},
    )
    x = result.x if np.all(np.isfinite(result.x)) else start
    return np.clip(np.where(fixed, start, x), 0.0, top)


def _scales(kernel: Kernel) -> dict[str, float]:
    """Typical sizes of the amounts."""
    latency = kernel.draws.latency
    return {
        "error": 1.0,
        "abstained": 1.0,
        "cost": float(kernel.cost.mean(axis=0).sum()) or 1.0,
        "latency": 1.0 if latency is None else float(latency.mean(axis=0).sum()) or 1.0,
    }


def climb(kernel: Kernel, x: np.ndarray, goal: Goal) -> np.ndarray:
    """Move one threshold, or two at once, across an atom while that helps on the search draws."""
    draws = kernel.draws
    n = len(draws.stages)
    stages = stages_of(len(x), n)
    x = to_free(realisable(draws, to_rows(x, n))[0], n)
    for _ in range(_MAX_CLIMB):
        single = [(i, to) for i, j in enumerate(stages) for to in across_atoms(draws, j, x[i])]
        if not single:
            break
        moves: list[tuple[tuple[int, float], ...]] = [(), *((m,) for m in single)]
        moves += [(a, b) for a, b in combinations(single, 2) if a[0] != b[0]]
        points = np.tile(x, (len(moves), 1))
        for i, move in enumerate(moves):
            for j, to in move:
                points[i, j] = to
        best = int(goal.rank(measure(kernel, to_rows(points, n), goal))[0][0])
        if best == 0:
            break
        x = points[best]
    return x
