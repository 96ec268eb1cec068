"""The best point of a path along the frontier: thresholds by backward induction, chosen by all posterior draws.

Backward induction on the posterior mean, for a sweep of prices of an error, is a Lagrangian relaxation of the
bounds: some price makes a bound bind. So the path holds a point near the optimum of any objective on expected
amounts, and is one-dimensional, whatever the number of stages.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np

from bayescascade._common.pareto import undominated
from bayescascade.induction.backward_induction import induce
from bayescascade.induction.free_positions import round_to_atoms
from bayescascade.induction.price_sweep import sweep
from bayescascade.posterior.draws import Draws
from bayescascade.posterior.kernel import Kernel, build_kernel, with_latency
from bayescascade.tuning.evaluator import Evaluator
from bayescascade.tuning.objective import Amounts, Objective, amounts_of
from bayescascade.tuning.spec import TuningSpec

_MEAN_DRAWS = 300
# Points of the path: where a price alone decides, its own point is exact and the sweep only stands beside it.
_N_PRICED, _N_BOUNDED = 40, 100
_N_BETWEEN = 8  # points between neighbours of the path


def frontier_path(draws: Draws, some: Draws, spec: TuningSpec) -> np.ndarray:
    """Rows along the frontier of the posterior mean, to choose from (point, row)."""
    mean = build_kernel(some.take(some.spread(_MEAN_DRAWS))).mean()
    if not (spec.bounds or spec.doubt):
        return _sweeps(draws, mean, spec, _N_PRICED)
    path = _sweeps(draws, mean, spec, _N_BOUNDED)
    if spec.abstain_price is None:
        return path
    # where errors may be many, it is best to answer everything, which no price above that of abstaining says
    plain = _sweeps(draws, mean, replace(spec, abstain_price=None), _N_BOUNDED)
    return np.concatenate([path, np.hstack([plain, np.zeros_like(plain)])])


def _sweeps(draws: Draws, mean: Kernel, spec: TuningSpec, n_points: int) -> np.ndarray:
    """Rows by backward induction for a sweep of prices, and for the spec's own price of an error (point, row)."""
    bounded = [name for name, _ in spec.bounds]
    # with a bound on latency, latency takes the place of cost
    by = ["latency"] if "latency" in bounded else []
    # where cost is minimised, the bound on latency may be idle; with a discrepancy that is left as it is
    costs = not spec.doubt and any(name == "cost" for name, _ in spec.weights)
    by += ["cost"] if "cost" in bounded or costs or not by else []
    prices = {"abstain_price": spec.abstain_price, "latency_price": spec.latency_price}
    rows = [sweep(draws, n_points, by=name, **prices)[0] for name in by]
    if spec.error_price is not None:
        priced = with_latency(mean, spec.latency_price)
        rows.append(induce(priced, np.array([spec.error_price]), spec.abstain_price))
    return np.concatenate(rows)


def best_of_path(
    path: np.ndarray, objective: Objective, some: Evaluator, full: Evaluator, index: np.ndarray
) -> tuple[np.ndarray, Amounts]:
    """Best row of a path by all draws (row,), and the amounts of its efficient points by some (draw, point).

    ``index`` (draw,) says which of all draws the some are. They choose a point; all draws choose among points
    between its neighbours.

    With a model discrepancy, the path was found without a look at how the labelled queries fared along it, and
    nothing is searched for beside it: a search that sees the discrepancy ends where these queries were lucky. For
    the same reason their errors count as smoothed along the path, where that is more.
    """
    by_some = objective.for_draws(index)
    path = np.unique(round_to_atoms(some.draws, path), axis=0)
    out = some.expected(path)
    order = np.argsort(out.cost.mean(axis=0), kind="stable")
    path, out = path[order], out.take(order)
    efficient = np.flatnonzero(undominated(out.error, out.cost, out.abstained, out.latency))
    path, out = path[efficient], out.take(efficient)
    expected = out.error.mean(axis=0)
    smoothed = some.smoothed(expected, path)
    full = replace(full, discrepancy=smoothed.discrepancy)
    amounts = amounts_of(smoothed.with_discrepancy(out, path), some.draws, objective.names)
    order = np.argsort(expected, kind="stable")
    at = int(np.flatnonzero(order == by_some.rank(amounts)[0][0])[0])
    near, steps = path[order[max(at - 2, 0) : at + 2]], np.arange(_N_BETWEEN)[:, None] / _N_BETWEEN
    points = np.concatenate([near[-1:], *(left + steps * (right - left) for left, right in pairwise(near))])
    points = np.unique(round_to_atoms(full.draws, points), axis=0)
    order, feasible = objective.rank(full.amounts(points, objective.names))
    if not feasible.any():  # what some draws promise there all draws may not: look further along the path
        points = np.concatenate([points, path])
        order, _ = objective.rank(full.amounts(points, objective.names))
    return points[order[0]], amounts
