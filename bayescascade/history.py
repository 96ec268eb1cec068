"""Decisions by history: accept when P(correct), given a stage's signal and the one before, reaches a threshold.

Backward induction on the posterior mean gives a sweep of prices (see `two_signal_induction`). From its best point
thresholds move by ever smaller steps, on some of the draws and then on all. SLSQP gained less than 0.1% over that,
in twice the time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations, pairwise, permutations

import numpy as np
import xarray as xr

from bayescascade._curves import ATTRIBUTE, History, to_text
from bayescascade._ranges import check_batch, check_prob
from bayescascade.cascade import Kernel, Outcome, build_kernel, build_kernels
from bayescascade.discrepancy import read_doubt
from bayescascade.draws import Draws, get_draws
from bayescascade.errors import CascadeError
from bayescascade.frontiers import as_curve
from bayescascade.goals import Amounts, Goal, amounts_of
from bayescascade.induction import mean_kernel, with_latency
from bayescascade.scoring import Rules
from bayescascade.search import Judge, along_the_frontier
from bayescascade.solution import ThresholdSolution
from bayescascade.tuning import Solved, as_solution, own_optimum, what_is_reachable
from bayescascade.two_signal_induction import Scale, build_scale, induce_history, sweep_history, to_thresholds
from bayescascade.two_signals import curves_of, forward_all
from bayescascade.wishes import Wish

_MEAN_DRAWS = 512
_SEARCH_DRAWS = 200
_N_SWEEP = 40
_N_PATH = 100  # points of the frontier to choose from where there is doubt
_N_BEST = 3  # points that go on, each time
_N_LEAPS = 80  # for each step of one threshold, over all others
_MAX_LEAPS = 3
_HEAVY = 0.04  # share of a group that is worth a leap
_ROUNDS = (3, 10)
_SETTLE_WORK = 200_000  # draws times points
_SLACKS = (0.01, 0.0, -0.01)  # shares of the bound to stay clear of it by


def history_frontier(
    fit: xr.DataTree,
    *,
    n_points: int = 50,
    ci_prob: float = 0.9,
    batch: int | None = None,
    doubt: float = 0.0,
) -> xr.Dataset:
    """The frontier of decisions by history: as `frontier`, with thresholds on P(correct).

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.history import history_frontier
    >>> fit = bc.fit(bc.load_example(), calibration="sequential", random_seed=1, progressbar=False)
    >>> curve = history_frontier(fit, n_points=5)
    >>> bool(0.0 < curve["threshold"][2, 0] < 1.0)
    True

    Parameters
    ----------
    fit : xarray.DataTree
        With ``calibration="sequential"``.
    n_points, ci_prob, batch, doubt
        As for `frontier`.

    Returns
    -------
    xarray.Dataset
        As `frontier` returns it. ``threshold`` is on P(correct) given a stage's confidence and the one before, and
        brings along the curves that say it, so `score` and `evaluate` take it as it is.

    Raises
    ------
    CascadeError
        For a fit of another calibration, ``n_points`` below 2, ``ci_prob`` outside (0, 1), or a ``batch`` below 1.
    """
    if n_points < 2:
        raise CascadeError(f"n_points={n_points} is too few; give at least 2.")
    check_prob("ci_prob", ci_prob)
    check_batch(batch)
    draws = get_draws(fit)
    history = _history(draws)
    kernel = mean_kernel(draws.thin(_MEAN_DRAWS))
    scales = _scales(draws, history, kernel)
    positions, prices = sweep_history(kernel, history, scales, n_points)
    thresholds = to_thresholds(scales, positions)
    outcome = forward_all(draws, history, thresholds)
    believed, rules = read_doubt(fit, doubt), Rules(thresholds, None, history)
    if believed is not None:
        outcome = outcome._replace(
            error=believed.error_of_rules(outcome.error, rules, draws),
            cost=believed.cost_of_rules(outcome.cost, rules, draws),
        )
    curve = as_curve(draws, thresholds, None, prices, outcome, ci_prob=ci_prob, batch=batch)
    curve["threshold"].attrs[ATTRIBUTE] = to_text(history)
    return curve


def _history(draws: Draws) -> History:
    if draws.previous is None:
        raise CascadeError(
            "decisions by history need to know how correctness depends on the confidence before; fit again with "
            "calibration='sequential'."
        )
    return curves_of(draws)


def _scales(draws: Draws, history: History, kernel: Kernel) -> list[Scale]:
    return [build_scale(draws, history, kernel, j) for j in range(len(draws.stages) - 1)]


def solve_history(fit: xr.DataTree, wish: Wish) -> ThresholdSolution:
    """What `tune` does with ``policy="history"``: thresholds on P(correct) given a confidence and the one before.

    With doubt they are a point of the frontier, as in `tuning.solve_draws`.
    """
    draws = get_draws(fit)
    wish.check_latency(draws)
    history = _history(draws)
    mean = mean_kernel(draws.thin(_MEAN_DRAWS))
    believed = read_doubt(fit, wish.doubt, one_sided=True)
    goal = replace(wish.goal(own_optimum(draws, wish)), discrepancy=believed)
    scales = _scales(draws, history, mean)
    whole = _Question(draws, build_kernels(draws), history, scales, goal)
    index = draws.spread(_SEARCH_DRAWS)
    part = draws.take(index)
    some = replace(whole, draws=part, kernels=[build_kernel(part)], goal=goal.of(index))
    if believed is None:
        points = _candidates(some, _starts(mean, history, scales, wish, _N_SWEEP))
        tried = whole.amounts(points)
        best = points[goal.rank(tried)[0][0]]
        n_rounds = int(np.clip(_SETTLE_WORK // (draws.n * len(_moves(len(scales)))), *_ROUNDS))
        best = _settle(_aimed(best, some, whole), whole, n_rounds, step=0.25)
    else:
        path = _starts(mean, history, scales, wish, _N_PATH)
        first, second = (Judge(asked.draws, asked.believed, asked.rules) for asked in (some, whole))
        best, tried = along_the_frontier(path, (first, second), goal, lambda points: points)
    outcome = whole.outcome(best[None])
    amounts = amounts_of(outcome, draws, goal.names)
    feasible = bool(goal.rank(amounts)[1][0])
    solved = Solved(
        draws,
        best,
        Outcome._make(None if value is None else value[:, 0] for value in outcome),
        float(goal.risk(amounts)[0]),
        feasible,
        float(goal.kept(amounts)[0]) if goal.bounds else float("nan"),
        "" if feasible else what_is_reachable(goal, tried),
    )
    solution = as_solution(solved, wish, fit, to_thresholds(scales, best[None])[0])
    solution.thresholds.attrs[ATTRIBUTE] = to_text(history)
    text = f"{solution.text} Thresholds are on P(correct) given a stage's confidence and the one before."
    return replace(solution, text=text)


@dataclass(frozen=True)
class _Question:
    """A goal put to some draws, about positions (point, stage - 1)."""

    draws: Draws
    kernels: list[Kernel] | None
    history: History
    scales: list[Scale]
    goal: Goal

    def outcome(self, points: np.ndarray) -> Outcome:
        out, doubt = self.believed(points), self.goal.discrepancy
        if doubt is None:
            return out
        return out._replace(error=doubt.error_of_rules(out.error, self.rules(points), self.draws))

    def believed(self, points: np.ndarray) -> Outcome:
        """What points come to as the model expects."""
        return forward_all(self.draws, self.history, to_thresholds(self.scales, points), self.kernels)

    def rules(self, points: np.ndarray) -> Rules:
        """The thresholds of points."""
        return Rules(to_thresholds(self.scales, points), None, self.history)

    def amounts(self, points: np.ndarray) -> Amounts:
        return amounts_of(self.outcome(points), self.draws, self.goal.names)

    def best_of(self, points: np.ndarray) -> int:
        return int(self.goal.rank(self.amounts(points))[0][0])

    def best_few(self, points: np.ndarray) -> np.ndarray:
        """The best points, and those that may turn out to be the best on all draws, best first."""
        amounts = self.amounts(points)
        order = [goal.rank(amounts)[0][:_N_BEST] for goal in (self.goal, self.goal.nearly)]
        return points[list(dict.fromkeys(np.concatenate(order)))]


def _starts(mean: Kernel, history: History, scales: list[Scale], wish: Wish, n_points: int) -> np.ndarray:
    """Points along the frontier for a wish (point, stage - 1); see `search.starting_rows`."""
    bounded = [name for name, _ in wish.bounds]
    points = []
    if "latency" in bounded:
        assert mean.draws.latency is not None
        by_latency = replace(mean, cost=mean.draws.latency)
        points.append(sweep_history(by_latency, history, scales, n_points)[0])
    priced = with_latency(mean, wish.latency_price)
    if "cost" in bounded or not points:
        points.append(sweep_history(priced, history, scales, n_points)[0])
    if wish.error_price is not None:
        points.append(induce_history(priced, scales, np.array([wish.error_price])))
    return np.concatenate(points)


def _candidates(some: _Question, starts: np.ndarray) -> np.ndarray:
    """Finalists (point, stage - 1): the best of a sweep of prices, and what a search on some draws makes of it."""
    few = [some.best_few(starts)]
    for _ in range(_MAX_LEAPS):
        found = _settle(few[-1][0], some, _ROUNDS[1])
        few += [found[None], some.best_few(_leaps(found, some.scales))]
        if np.all(few[-1][0] == found):
            break
    return np.unique(np.concatenate(few), axis=0)


def _aimed(best: np.ndarray, some: _Question, whole: _Question) -> np.ndarray:
    """Search again with the bounds moved by as much as the search draws misjudge the promise (stage - 1,)."""
    if not whole.goal.bounds:
        return best
    one = best[None]
    off = float((whole.goal.doubt(whole.amounts(one)) - some.goal.doubt(some.amounts(one)))[0])
    path = [
        _settle(best, replace(some, goal=some.goal.shifted(off, slack)), _ROUNDS[1], step=0.5) for slack in _SLACKS
    ]
    steps = np.arange(9)[:, None] / 8
    points = np.concatenate([one, *(left + steps * (right - left) for left, right in pairwise(path))])
    return points[whole.best_of(points)]


def _moves(n: int) -> np.ndarray:
    """Directions in which to try thresholds: one alone, or one up and another down, as along a bound (move, n)."""
    eye, signs = np.eye(n), (1.0, -1.0)
    against = [r * a - b / r for a, b in combinations(eye, 2) for r in (0.7, 1.0, 1.4)]
    return np.array([sign * move for move in (*eye, *against) for sign in signs])


def _settle(best: np.ndarray, asked: _Question, n_rounds: int, step: float = 1.0) -> np.ndarray:
    """Move thresholds by ever smaller steps while that helps (stage - 1,)."""
    top, moves = np.array([scale.top for scale in asked.scales]), _moves(len(asked.scales))
    for _ in range(n_rounds):
        points = np.concatenate([best[None], np.clip(best + step * moves, 0.0, top)])
        first = asked.best_of(points)
        step = step if first else 0.5 * step
        best = points[first]
    return best


def _leaps(best: np.ndarray, scales: list[Scale]) -> np.ndarray:
    """Points at which one threshold passes an atom and another makes up for it, and the best so far itself."""
    points, pairs = [best[None]], list(permutations(range(len(scales)), 2))
    for i, j in pairs:
        n = min(int(scales[j].top) + 1, max(8, _N_LEAPS // len(pairs)))
        for by in (-2.0, -1.0, 1.0, 2.0):
            if scales[i].heaviest(best[i], best[i] + by) > _HEAVY:
                moved = np.tile(best, (n, 1))
                moved[:, i] = np.clip(best[i] + by, 0.0, scales[i].top)
                moved[:, j] = np.linspace(0.0, scales[j].top, n)
                points.append(moved)
    return np.concatenate(points)
