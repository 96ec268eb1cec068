"""Thresholds of given stages: the best point of the frontier, refined where nothing forbids it."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayescascade.cascade.discrepancy import ModelDiscrepancy
from bayescascade.induction.backward_induction import induce
from bayescascade.induction.free_positions import round_to_atoms
from bayescascade.posterior.draws import Draws
from bayescascade.posterior.kernel import build_kernels, mean_kernel, with_latency
from bayescascade.tuning.evaluator import Evaluator
from bayescascade.tuning.frontier_search import best_of_path, frontier_path
from bayescascade.tuning.local_search import search_from
from bayescascade.tuning.objective import Amounts, Objective, amounts_of
from bayescascade.tuning.solution import Solved
from bayescascade.tuning.spec import TuningSpec

# Draws to choose a point of the frontier and to take large steps by, before all decide. Where queries have a
# difficulty, each draw is a sum over nodes: there fewer draws do the search, and all judge what it found.
_SOME_DRAWS = 1000
_SOME_LATENT, SEARCH_LATENT = 250, 500
_TRIALS, _LEAST_TIGHTER = 8, 1e-4


def search_thresholds(draws: Draws, spec: TuningSpec, discrepancy: ModelDiscrepancy | None = None) -> Solved:
    """Best row for the stages of some draws, in their order, by the spec's objective on all draws."""
    spec.check_latency(draws)
    if len(draws.stages) == 1 and spec.abstain_price is None:  # it answers everything: nothing to choose
        return solved_at(np.zeros(1), spec.objective(draws), Evaluator(draws, discrepancy=discrepancy))
    if draws.n_nodes > 1 and draws.n > SEARCH_LATENT:
        found = search_thresholds(draws.thin(SEARCH_LATENT), spec, discrepancy)
        return judged_by_all(found, draws, spec, discrepancy)
    objective, full = spec.objective(draws), Evaluator(draws, build_kernels(draws), discrepancy)
    row, tried = _search(full, spec, objective)
    return solved_at(row, objective, full, tried)


def judged_by_all(
    found: Solved, draws: Draws, spec: TuningSpec, discrepancy: ModelDiscrepancy | None = None
) -> Solved:
    """What was found on some of the draws, evenly spaced, as all of them see it.

    Where these see a promise broken that the some see kept, it is searched for again, and the some are asked for
    as much more as the two differ by.
    """
    if found.draws.n == draws.n:
        return found
    objective, full = spec.objective(draws), Evaluator(draws, build_kernels(draws), discrepancy)
    solved = solved_at(found.row, objective, full, found.tried)
    if solved.feasible or not found.feasible or len(found.row) == 1:
        return solved
    some = Evaluator(found.draws, build_kernels(found.draws), discrepancy)
    by_some = objective.for_draws(draws.spread(found.draws.n))
    for trial in range(_TRIALS - 1):
        amounts = some.amounts(solved.row[None], by_some.names)
        if solved.feasible or not by_some.rank(amounts)[1][0]:
            break
        # more each time: draws are counted, and a count may stand still where the bound moves a little
        apart = solved.violation - float(by_some.violation(amounts)[0])
        by_some = by_some.tightened(max(apart, 0.0) + _LEAST_TIGHTER * 2**trial)
        row, tried = _search(some, spec, by_some)
        solved = solved_at(row, objective, full, tried)
    return solved


def _search(full: Evaluator, spec: TuningSpec, objective: Objective) -> tuple[np.ndarray, Amounts]:
    """Best row by an evaluator's draws (row,), and the amounts of points that were tried, by some of them."""
    draws, discrepancy = full.draws, full.discrepancy
    index = draws.spread(_SOME_DRAWS if draws.n_nodes == 1 else _SOME_LATENT)
    few = draws.take(index)
    some = Evaluator(few, build_kernels(few) if few.n < draws.n else full.kernels, discrepancy)
    best, amounts = best_of_path(frontier_path(draws, few, spec), objective, some, full, index)
    # where the loss is a mean and nothing is promised, backward induction has found the optimum already
    if discrepancy is None and (objective.bounds or objective.tail is not None):
        starts = best[None]
        if objective.tail is not None and spec.error_price is not None:
            by_start = full.amounts(starts, objective.names)
            starts = np.concatenate([starts, _best_for_the_worst(draws, spec, objective, by_start)])
        best = search_from(starts, objective, some, full, index)
        last = some.amounts(best[None], objective.names)
        amounts = {name: np.hstack([values, last[name]]) for name, values in amounts.items()}
    return best, amounts


def _best_for_the_worst(draws: Draws, spec: TuningSpec, objective: Objective, amounts: Amounts) -> np.ndarray:
    """Optimal row under the mean of those draws in which a point loses most, given its amounts (1, row).

    The risk's tail weights are constant near the point, so the optimum for these draws is nearly a fixed point.
    """
    worst = draws.take(np.flatnonzero(objective.tail_weights(objective.loss(amounts))[:, 0]))
    mean = with_latency(mean_kernel(worst), spec.latency_price)
    return round_to_atoms(draws, induce(mean, np.array([spec.error_price]), spec.abstain_price))


def solved_at(row: np.ndarray, objective: Objective, full: Evaluator, tried: Amounts | None = None) -> Solved:
    """What a row comes to under all draws: the model's own account, and the promise with the safety margin.

    ``tried`` are the amounts of other points that a search has seen; by default those of the row alone.
    """
    posterior = full.expected(row[None])
    outcome = full.with_discrepancy(posterior, row[None])
    amounts = amounts_of(outcome, full.draws, objective.names)
    feasible = bool(objective.rank(amounts)[1][0])
    kept: dict[str, Any] = {"kept": float("nan"), "kept_without_margin": float("nan")}
    if objective.bounds:
        by_model = amounts_of(posterior, full.draws, objective.names)
        kept = {
            name: float(objective.promise_probability(x)[0])
            for name, x in zip(kept, (amounts, by_model), strict=True)
        }
    bounds = objective.bounds
    return Solved(
        draws=full.draws,
        row=row,
        outcome=posterior.take(0),
        error_with_margin=None if full.discrepancy is None else outcome.error[:, 0],
        seen=None if full.discrepancy is None else full.discrepancy.seen(row[None], full.draws)[0],
        risk=float(objective.risk(amounts)[0]),
        feasible=feasible,
        violation=float(objective.violation(amounts)[0]),
        **kept,
        upper_bounds={name: objective.with_bound(name).lowest_bound(name, amounts) for name, _ in bounds},
        tried=amounts if tried is None else tried,
    )
