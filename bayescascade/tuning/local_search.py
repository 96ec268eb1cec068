"""Local search about a row of thresholds: compass steps of one threshold, and exchanges of two along a bound.

A compass (pattern) search needs no gradients, which the promise, a quantile over draws, has only in pieces. It
compares values on fixed draws beyond rounding, so that the last bits of a matrix product, which differ between
machines, decide nothing. A row is a vector of positions on the axes of segments (see `induction.free_positions`).
"""

from __future__ import annotations

import numpy as np

from bayescascade._common.arrays import safe_divide
from bayescascade.induction.free_positions import round_to_atoms, split_at_atoms, to_free, to_rows, upper_bounds
from bayescascade.tuning.evaluator import Evaluator
from bayescascade.tuning.objective import Amounts, Objective

# Steps of thresholds, in segments: from the first down to the least, in so many rounds at most.
_FIRST_STEP, _LEAST_STEP, _MAX_ROUNDS = 1.0, 1 / 32, 30
# On all draws, where a round of five stages and 4,000 draws takes 0.15 s of a core: what some of them found
# is nearly right, and more rounds were at most 0.1% better. While the promise is broken they go on.
_STEP_ON_ALL, _ROUNDS_ON_ALL, _MAX_ON_ALL = 1 / 8, 4, 12
_N_EXCHANGES = 8  # pairs of thresholds that are moved against each other, each time
_FURTHEST = 4.0  # how many steps the second of a pair may go


def search_from(
    starts: np.ndarray, objective: Objective, some: Evaluator, full: Evaluator, index: np.ndarray
) -> np.ndarray:
    """Best row found by local search from some starts (start, row), on some draws and then on all (row,).

    ``index`` (draw,) says which of all draws the some are.
    """
    by_some = objective.for_draws(index)
    fewer = some.draws.n < full.draws.n
    if fewer and objective.bounds:
        # some of the draws misjudge the promise: tighten it to be kept as all of them see it
        first = starts[:1]
        on_all = objective.violation(full.amounts(first, objective.names))
        on_some = by_some.violation(some.amounts(first, objective.names))
        by_some = by_some.tightened(float((on_all - on_some)[0]))
    rows = np.stack([refine(row, by_some, some, _FIRST_STEP, _MAX_ROUNDS, _MAX_ROUNDS) for row in starts])
    best = rows[by_some.first_best(some.amounts(rows, objective.names))]
    return refine(best, objective, full, _STEP_ON_ALL, _ROUNDS_ON_ALL, _MAX_ON_ALL) if fewer else best


def refine(
    row: np.ndarray, objective: Objective, evaluator: Evaluator, step: float, rounds: int, max_rounds: int
) -> np.ndarray:
    """Compass search from a row (row,): the best step or exchange each time, and half the step at a minimum.

    Ends after so many rounds, or ``max_rounds`` where the promise is still broken, or when steps are least.
    """
    draws, names, n = evaluator.draws, objective.names, len(evaluator.draws.stages)
    x = to_free(row, n)
    top, unit = upper_bounds(draws, len(x)), np.eye(len(x))
    for done in range(max_rounds):
        moved = np.clip(x + step * np.concatenate([unit, -unit]), 0.0, top)
        rows = round_to_atoms(draws, to_rows(np.concatenate([x[None], moved]), n))
        amounts = evaluator.amounts(rows, names)
        if objective.bounds:
            # at a bound every single step that lowers the risk breaks the promise: only pairs get on
            pairs = np.clip(exchanges(to_free(rows, n), amounts, objective), 0.0, top)
            pairs = split_at_atoms(draws, to_rows(pairs, n))
            of_pairs = evaluator.amounts(pairs, names)
            amounts = {name: np.hstack([amounts[name], of_pairs[name]]) for name in names}
            rows = np.concatenate([rows, pairs])
        best = objective.first_best(amounts)
        x = to_free(rows[best], n)
        step = step if best else 0.5 * step
        enough = done + 1 >= rounds and bool(objective.rank(amounts)[1][best])
        if step < _LEAST_STEP or enough:
            break
    return to_rows(x, n)[0]


def exchanges(points: np.ndarray, amounts: Amounts, objective: Objective) -> np.ndarray:
    """Points where one threshold moves and another makes up for it: the promise is just kept (point, free).

    ``points`` (1 + 2 free, free) are the point itself, and those at which each threshold is moved up, and then
    down; their amounts give central differences of risk and violation. To first order, after a move i the other
    threshold j must go back by -violation_i / (d violation / d x_j), and the risk changes by

        risk_i - risk_0 + back (d risk / d x_j).

    The pairs (i, j) are those that promise to gain most.
    """
    here, n = points[0], points.shape[1]
    risk, violation = objective.risk(amounts), objective.violation(amounts)
    up, down = points[1 : n + 1], points[n + 1 :]
    # at an end of its axis or beside an atom a threshold moves less than a step, or not at all: width 0, slope 0
    width = np.diag(up - down)
    risk_slope, violation_slope = (safe_divide(v[1 : n + 1] - v[n + 1 :], width) for v in (risk, violation))
    by = np.concatenate([np.diag(up - here), np.diag(down - here)])  # (move,)
    flat = np.abs(violation_slope) < 1e-12
    back = np.where(flat, np.inf, -violation[1:, None] / np.where(flat, 1.0, violation_slope))  # (move, other)
    change = risk[1:, None] - risk[0] + np.where(flat, 0.0, back) * risk_slope
    one = np.arange(2 * n) % n
    # beyond a few steps the slopes say little
    far = np.abs(back) > _FURTHEST * np.abs(by).max()
    out = (by == 0.0)[:, None] | (one[:, None] == np.arange(n)) | far
    change = np.where(out, np.inf, change)
    best = np.argsort(change, axis=None, kind="stable")[:_N_EXCHANGES]
    best = best[np.isfinite(change.ravel()[best])]
    move, other = np.unravel_index(best, change.shape)
    found = points[1 + move]
    found[np.arange(len(best)), other] += back[move, other]
    return found
