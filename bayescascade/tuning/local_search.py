"""Thresholds over posterior draws: the best point of a path along the frontier, and small steps from there.

A row of thresholds is a vector of positions on the axes of segments (see `moves`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from bayescascade._common.arrays import safe_divide
from bayescascade._common.pareto import undominated
from bayescascade.cascade.evaluate import forward_all
from bayescascade.cascade.forward import Outcome
from bayescascade.induction.backward_induction import induce
from bayescascade.induction.free_positions import realisable, to_free, to_rows, tops, whole_atoms
from bayescascade.induction.price_sweep import sweep
from bayescascade.posterior.draws import Draws
from bayescascade.posterior.kernel import Kernel, with_latency
from bayescascade.tuning.objective import Amounts, Goal, amounts_of
from bayescascade.tuning.spec import Wish

# Steps of thresholds, in segments: from the first down to the least, in so many rounds at most.
_FIRST_STEP, _LEAST_STEP, _MAX_ROUNDS = 1.0, 1 / 32, 30
_STEP_ON_ALL = 1 / 8
_N_EXCHANGES = 8  # pairs of thresholds that are moved against each other, each time
_FURTHEST = 4.0  # how many steps the second of a pair may go


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


def starting_rows(draws: Draws, mean: Kernel, wish: Wish, n_points: int) -> np.ndarray:
    """Rows along the frontier, by backward induction on the posterior mean, for a wish (point, row)."""
    bounded = [name for name, _ in wish.bounds]
    # with a bound on latency, latency takes the place of cost
    by = ["latency"] if "latency" in bounded else []
    # where cost is minimised, the bound on latency may be idle; with doubt that is left as it is
    costs = not wish.doubt and any(name == "cost" for name, _ in wish.weights)
    by += ["cost"] if "cost" in bounded or costs or not by else []
    prices = {"abstain_price": wish.abstain_price, "latency_price": wish.latency_price}
    rows = [sweep(draws, n_points, by=name, **prices)[0] for name in by]
    if wish.error_price is not None:
        priced = with_latency(mean, wish.latency_price)
        rows.append(induce(priced, np.array([wish.error_price]), wish.abstain_price))
    return np.concatenate(rows)


@dataclass(frozen=True)
class Evaluator:
    """A goal put to some draws: its amounts of rows of positions, as the model expects and with a discrepancy.

    ``kernels`` are those of the draws, where they are kept.
    """

    draws: Draws
    goal: Goal
    kernels: list[Kernel] | None = None

    def outcome(self, rows: np.ndarray) -> Outcome:
        """What rows come to (draw, point), as the model expects."""
        return forward_all(self.draws, rows, self.kernels)

    def amounts(self, rows: np.ndarray) -> Amounts:
        """The goal's amounts of rows (draw, point), as the model expects them."""
        return amounts_of(self.outcome(rows), self.draws, self.goal.names)

    def doubted_amounts(self, rows: np.ndarray, outcome: Outcome) -> Amounts:
        """The goal's amounts of rows (draw, point), with its discrepancy, if any, added to what is expected."""
        return amounts_of(doubted(outcome, self.draws, rows, self.goal), self.draws, self.goal.names)


def along_the_frontier(path: np.ndarray, some: Evaluator, whole: Evaluator) -> tuple[np.ndarray, Amounts]:
    """The best row of a path by all draws, and the amounts of its points by some.

    Where there is room for what the model misses, the path was found without a look at how the labelled queries
    fared along it, and nothing is searched for beside it: a search that sees the discrepancy ends where these
    queries were lucky. For the same reason their errors count as smoothed along the path, where that is more.
    """
    path = np.unique(whole_atoms(some.draws, path), axis=0)
    out = some.outcome(path)
    order = np.argsort(out.cost.mean(axis=0), kind="stable")
    path, out = path[order], out.take(order)
    efficient = np.flatnonzero(undominated(out.error, out.cost, out.abstained, out.latency))
    path, out = path[efficient], out.take(efficient)
    expected = out.error.mean(axis=0)
    if some.goal.discrepancy is not None:
        smoothed = some.goal.discrepancy.smoothed(expected, path, some.draws)
        some, whole = (replace(one, goal=replace(one.goal, discrepancy=smoothed)) for one in (some, whole))
    amounts = some.doubted_amounts(path, out)
    order = np.argsort(expected, kind="stable")
    at = int(np.flatnonzero(order == some.goal.rank(amounts)[0][0])[0])
    near, steps = path[order[max(at - 2, 0) : at + 2]], np.arange(8)[:, None] / 8
    points = np.concatenate([near[-1:], *(left + steps * (right - left) for left, right in pairwise(near))])
    points = np.unique(whole_atoms(whole.draws, points), axis=0)
    amounts_here = whole.doubted_amounts(points, whole.outcome(points))
    return points[whole.goal.rank(amounts_here)[0][0]], amounts


def refine(starts: np.ndarray, some: Evaluator, whole: Evaluator) -> np.ndarray:
    """The best row that comes of moving thresholds from some starts, by some draws and then by all (row,)."""
    if some.draws.n < whole.draws.n and whole.goal.bounds:
        # some of the draws misjudge the promise: aim it as all of them see it
        off = whole.goal.doubt(whole.amounts(starts[:1])) - some.goal.doubt(some.amounts(starts[:1]))
        some = replace(some, goal=some.goal.shifted(float(off[0]), 0.0))
    rows = np.stack([settle(row, some, _FIRST_STEP) for row in starts])
    best = rows[some.goal.first_best(some.amounts(rows))]
    return best if some.draws.n == whole.draws.n else settle(best, whole, _STEP_ON_ALL)


def settle(row: np.ndarray, evaluator: Evaluator, step: float) -> np.ndarray:
    """Move one threshold, or two against each other along a bound, by ever smaller steps (row,)."""
    draws, goal, n = evaluator.draws, evaluator.goal, len(evaluator.draws.stages)
    x = to_free(row, n)
    top, unit = tops(draws, len(x)), np.eye(len(x))
    for _ in range(_MAX_ROUNDS):
        moved = np.clip(x + step * np.concatenate([unit, -unit]), 0.0, top)
        rows = whole_atoms(draws, to_rows(np.concatenate([x[None], moved]), n))
        amounts = evaluator.amounts(rows)
        if goal.bounds:
            more = np.clip(exchanges(to_free(rows, n), amounts, goal), 0.0, top)
            more = realisable(draws, to_rows(more, n))
            amounts = {
                name: np.hstack([values, of_more])
                for (name, values), of_more in zip(amounts.items(), evaluator.amounts(more).values(), strict=True)
            }
            rows = np.concatenate([rows, more])
        best = goal.first_best(amounts)
        x = to_free(rows[best], n)
        step = step if best else 0.5 * step
        if step < _LEAST_STEP:
            break
    return to_rows(x, n)[0]


def exchanges(points: np.ndarray, amounts: Amounts, goal: Goal) -> np.ndarray:
    """Where one threshold moves and another makes up for it, so that the promise is just kept (point, free).

    ``points`` are the point itself, and those at which each threshold is moved up, and then down; their amounts
    say how fast risk and doubt change. The pairs are those that promise to gain most.
    """
    here, n = points[0], points.shape[1]
    risk, doubt = goal.risk(amounts), goal.doubt(amounts)
    up, down = points[1 : n + 1], points[n + 1 :]
    width = np.diag(up - down)
    risk_slope, doubt_slope = (safe_divide(v[1 : n + 1] - v[n + 1 :], width) for v in (risk, doubt))
    by = np.concatenate([np.diag(up - here), np.diag(down - here)])  # (move,)
    flat = np.abs(doubt_slope) < 1e-12
    back = np.where(flat, np.inf, -doubt[1:, None] / np.where(flat, 1.0, doubt_slope))  # (move, other)
    change = risk[1:, None] - risk[0] + np.where(flat, 0.0, back) * risk_slope
    one = np.arange(2 * n) % n
    out = (by == 0.0)[:, None] | (one[:, None] == np.arange(n)) | (np.abs(back) > _FURTHEST * np.abs(by).max())
    change = np.where(out, np.inf, change)
    best = np.argsort(change, axis=None, kind="stable")[:_N_EXCHANGES]
    best = best[np.isfinite(change.ravel()[best])]
    move, other = np.unravel_index(best, change.shape)
    found = points[1 + move]
    found[np.arange(len(best)), other] += back[move, other]
    return found
