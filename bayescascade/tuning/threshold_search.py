"""Thresholds of given stages: the best point of the frontier, refined where nothing forbids it."""

from __future__ import annotations

from collections.abc import Callable

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
from bayescascade.tuning.solution_text import say_reachable
from bayescascade.tuning.spec import TuningSpec

# Draws to choose a point of the frontier and to take large steps by, before all decide. Where queries have a
# difficulty, each draw is a sum over nodes: there fewer draws do the search, and all judge what it found.
_SOME_DRAWS = 1000
_SOME_LATENT, SEARCH_LATENT = 250, 500
_TRIALS, _LEAST_TIGHTER = 6, 1e-4


def search_thresholds(draws: Draws, spec: TuningSpec, discrepancy: ModelDiscrepancy | None = None) -> Solved:
    """Best row for the stages of some draws, in their order, by the spec's objective on all draws."""
    spec.check_latency(draws)
    latent, objective = draws.n_nodes > 1, spec.objective(draws)
    if not latent or draws.n <= SEARCH_LATENT:
        full = Evaluator(draws, build_kernels(draws), discrepancy)
        return _solved(*_search(full, spec, objective), objective, full)
    index, full = draws.spread(SEARCH_LATENT), Evaluator(draws, build_kernels(draws), discrepancy)
    few, by_few = draws.take(index), objective.for_draws(index)
    search = Evaluator(few, build_kernels(few), discrepancy)
    tighter = by_few
    for _ in range(_TRIALS):
        row, tried = _search(search, spec, tighter)
        solved = _solved(row, tried, objective, full)
        amounts = search.amounts(row[None], by_few.names)
        if solved.feasible or not tighter.rank(amounts)[1][0]:
            break
        # the few see a promise kept that all of them do not: ask them for as much more as the two differ by
        tighter = tighter.tightened(solved.violation - float(tighter.violation(amounts)[0]) + _LEAST_TIGHTER)
    return solved


def _search(full: Evaluator, spec: TuningSpec, objective: Objective) -> tuple[np.ndarray, Amounts]:
    """Best row by an evaluator's draws (row,), and the amounts of points that were tried, by some of them."""
    draws, discrepancy = full.draws, full.discrepancy
    if len(draws.stages) == 1 and spec.abstain_price is None:
        row = np.zeros(1)  # one stage that answers everything: nothing to choose
        return row, full.amounts(row[None], objective.names)
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


def _solved(row: np.ndarray, tried: Amounts, objective: Objective, full: Evaluator) -> Solved:
    """A row with its outcome on all draws; where it breaks the promise, ``tried`` tells what can be promised."""
    return solved_at(row, objective, full, lambda: say_reachable(objective, tried))


def solved_at(
    row: np.ndarray, objective: Objective, full: Evaluator, reachable: Callable[[], str] = str
) -> Solved:
    """What a row comes to under all draws: the model's own account, and the promise with the safety margin."""
    posterior = full.expected(row[None])
    outcome = full.with_discrepancy(posterior, row[None])
    amounts = amounts_of(outcome, full.draws, objective.names)
    feasible = bool(objective.rank(amounts)[1][0])
    kept = {"kept": float("nan"), "kept_without_margin": float("nan")}
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
        reachable="" if feasible else reachable(),
    )
