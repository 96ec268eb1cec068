"""Decisions by history: accept when P(correct), given a stage's signal and the one before, reaches a threshold.

Backward induction on the posterior mean gives a sweep of prices (see `two_signal_induction`). From its best point
thresholds move by ever smaller steps, on some of the draws and then on all. SLSQP gained less than 0.1% over that,
in twice the time.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, permutations

import numpy as np
import xarray as xr

from bayescascade._curves import ATTRIBUTE, History, to_text
from bayescascade.cascade import build_kernel, build_kernels
from bayescascade.draws import Draws, get_draws
from bayescascade.errors import CascadeError
from bayescascade.frontiers import as_curve, check_prob
from bayescascade.search import Goal
from bayescascade.solution import ThresholdSolution, describe, remark_on_idle
from bayescascade.tuning import _check_goal, _reachable
from bayescascade.two_signal_induction import Scale, induce_history, sweep_history, to_thresholds
from bayescascade.two_signals import curves_of, forward, forward_all

_SEARCH_DRAWS = 200
_N_SWEEP = 40
_N_BEST = 3  # points that go on, each time
_N_LEAPS = 80  # for each step of one threshold, over all others
_MAX_LEAPS = 3
_HEAVY = 0.04  # share of a group that is worth a leap
_ROUNDS = (3, 10)
_SETTLE_WORK = 100_000  # draws times points

Outcomes = tuple[np.ndarray, np.ndarray, np.ndarray]  # error, cost and reach of some points


def history_frontier(fit: xr.DataTree, *, n_points: int = 50, ci_prob: float = 0.9) -> xr.Dataset:
    """The frontier of decisions by history: as `frontier`, with thresholds on P(correct).

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.history import history_frontier
    >>> fit = bc.fit(bc.load_example(), calibration="sequential", random_seed=1, progressbar=False)
    >>> curve = history_frontier(fit, n_points=5)
    >>> float(curve["threshold"][2, 0]) < 1.0
    True

    Parameters
    ----------
    fit : xarray.DataTree
        With ``calibration="sequential"``.
    n_points : int
        Points, evenly spaced in cost, from the cheapest stage alone to every query sent to the last stage.
    ci_prob : float
        Probability of the equal-tailed bands, in (0, 1).

    Returns
    -------
    xarray.Dataset
        As `frontier` returns it. ``threshold`` is on P(correct) given a stage's confidence and the one before, and
        brings along the curves that say it, so `score` and `evaluate` take it as it is.

    Raises
    ------
    CascadeError
        For a fit of another calibration, ``n_points`` below 2 or ``ci_prob`` outside (0, 1).
    """
    if n_points < 2:
        raise CascadeError(f"n_points={n_points} is too few; give at least 2.")
    check_prob("ci_prob", ci_prob)
    draws = get_draws(fit)
    history = _history(draws)
    scales, positions, prices = sweep_history(draws, history, n_points)
    thresholds = to_thresholds(scales, positions)
    curve = as_curve(draws.stages, thresholds, prices, *forward_all(draws, history, thresholds), ci_prob)
    curve["threshold"].attrs[ATTRIBUTE] = to_text(history)
    return curve


def _history(draws: Draws) -> History:
    if draws.previous is None:
        raise CascadeError(
            "decisions by history need to know how correctness depends on the confidence before; fit again with "
            "calibration='sequential'."
        )
    return curves_of(draws)


def tune_history(
    fit: xr.DataTree,
    *,
    error_price: float | None = None,
    max_error: float | None = None,
    max_cost: float | None = None,
    prob: float = 0.9,
) -> ThresholdSolution:
    """Choose thresholds on P(correct) given a stage's confidence and the one before, for one stated goal.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.history import tune_history
    >>> fit = bc.fit(bc.load_example(), calibration="sequential", random_seed=1, progressbar=False)
    >>> policy = tune_history(fit, max_error=0.3, prob=0.9).to_policy()
    >>> policy.run({"small": 0.2})
    'defer'

    Parameters
    ----------
    fit : xarray.DataTree
        With ``calibration="sequential"``.
    error_price, max_error, max_cost, prob
        As for `tune`.

    Returns
    -------
    ThresholdSolution
        With ``history``: the curves that its thresholds are compared with, which its policy carries too.

    Raises
    ------
    CascadeError
        For a fit of another calibration, unless exactly one goal is given, or for one that is out of range.
    """
    stated, goal = _check_goal(error_price, max_error, max_cost, prob)
    draws = get_draws(fit)
    history = _history(draws)
    kernels = build_kernels(draws)
    scales, points = _candidates(draws, history, goal)

    def on_all(points: np.ndarray) -> Outcomes:
        return forward_all(draws, history, to_thresholds(scales, points), kernels)

    error, cost, _ = on_all(points)
    tried = (error, cost)
    n_rounds = int(np.clip(_SETTLE_WORK // (draws.n * len(_moves(len(scales)))), *_ROUNDS))
    best = _settle(points[goal.rank(error, cost)[0][0]], scales, goal, on_all, n_rounds)
    error, cost, reach = on_all(best[None])
    reachable = _reachable(goal, *(np.concatenate(both, axis=1) for both in zip(tried, (error, cost), strict=True)))
    _, keeps, sure = goal.rank(error, cost)
    feasible = goal.error_price is not None or bool(keeps[0])
    kept = float("nan") if goal.error_price is not None else float(sure[0])
    text = describe(stated, feasible, kept, error[:, 0], cost[:, 0], reachable)
    text += remark_on_idle(draws.stages, reach[:, 0].mean(axis=0))
    shape, by_draw = (len(draws.chains), -1), {"chain": draws.chains}
    thresholds = xr.DataArray(
        to_thresholds(scales, best[None])[0],
        dims="stage",
        coords={"stage": draws.stages},
        attrs={ATTRIBUTE: to_text(history)},
    )
    provenance = {
        "data_hash": str(fit.attrs.get("data_hash", "")),
        "copula": str(fit.attrs["copula"]),
        "n_queries": int(fit.attrs.get("n_queries", 0)),
        **({"task": str(fit.attrs["task"])} if "task" in fit.attrs else {}),
    }
    return ThresholdSolution(
        thresholds=thresholds,
        error=xr.DataArray(error.reshape(shape), dims=("chain", "draw"), coords=by_draw),
        cost=xr.DataArray(cost.reshape(shape), dims=("chain", "draw"), coords=by_draw),
        reach=xr.DataArray(
            reach.reshape(*shape, reach.shape[2]),
            dims=("chain", "draw", "stage"),
            coords={**by_draw, "stage": draws.stages},
        ),
        feasible=feasible,
        goal=stated,
        kept=kept,
        text=f"{text} Thresholds are on P(correct) given a stage's confidence and the one before.",
        confidence_kind=draws.kind,
        provenance=provenance,
    )


def _candidates(draws: Draws, history: History, goal: Goal) -> tuple[list[Scale], np.ndarray]:
    """Finalists (point, stage - 1): the best of a sweep of prices, and what a search on some draws makes of it."""
    some = build_kernel(draws.thin(_SEARCH_DRAWS))
    scales, points, _ = sweep_history(draws, history, _N_SWEEP)

    def on_some(points: np.ndarray) -> Outcomes:
        return forward(some, history, to_thresholds(scales, points))

    if goal.error_price is not None:
        exact, _ = induce_history(some.mean(), scales, np.array([goal.error_price]))
        points = np.concatenate([exact, points])
    few = [_best_few(points, goal, on_some)]
    for _ in range(_MAX_LEAPS):
        found = _settle(few[-1][0], scales, goal, on_some, _ROUNDS[1])
        few += [found[None], _best_few(_leaps(found, scales), goal, on_some)]
        if np.all(few[-1][0] == found):
            break
    return scales, np.unique(np.concatenate(few), axis=0)


def _best_few(points: np.ndarray, goal: Goal, run: Callable[[np.ndarray], Outcomes]) -> np.ndarray:
    """The best points on some draws, and those that may turn out to be the best on all, best first."""
    error, cost, _ = run(points)
    order = [x.rank(error, cost)[0][:_N_BEST] for x in (goal, goal.nearly)]
    return points[list(dict.fromkeys(np.concatenate(order)))]


def _moves(n: int) -> np.ndarray:
    """Directions in which to try thresholds: one alone, or one up and another down, as along a bound (move, n)."""
    eye, signs = np.eye(n), (1.0, -1.0)
    against = [r * a - b / r for a, b in combinations(eye, 2) for r in (0.7, 1.0, 1.4)]
    return np.array([sign * move for move in (*eye, *against) for sign in signs])


def _settle(
    best: np.ndarray, scales: list[Scale], goal: Goal, run: Callable[[np.ndarray], Outcomes], n_rounds: int
) -> np.ndarray:
    """Move thresholds by ever smaller steps while that helps (stage - 1,)."""
    top, moves, step = np.array([scale.top for scale in scales]), _moves(len(scales)), 1.0
    for _ in range(n_rounds):
        points = np.concatenate([best[None], np.clip(best + step * moves, 0.0, top)])
        error, cost, _ = run(points)
        first = int(goal.rank(error, cost)[0][0])
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
