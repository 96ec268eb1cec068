"""Which stages to run: subsets ranked by dynamic programming, the best of them tuned."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from bayescascade._common.messages import say_if_long
from bayescascade.cascade.discrepancy import ModelDiscrepancy
from bayescascade.induction.free_positions import round_to_atoms
from bayescascade.induction.price_sweep import sweep
from bayescascade.induction.subsets import best_subsets
from bayescascade.posterior.draws import Draws
from bayescascade.posterior.kernel import mean_kernel, with_free_calls
from bayescascade.tuning.evaluator import Evaluator
from bayescascade.tuning.solution import Solved
from bayescascade.tuning.spec import TuningSpec
from bayescascade.tuning.threshold_search import SEARCH_LATENT, judged_by_all, search_thresholds

_SEARCH_DRAWS = 300
_FEW_LATENT = 100  # where queries have a difficulty, each draw is a sum over nodes
_N_SWEEP = 40
_ALL_BY_FEW = 6.0  # time on all draws by that on few: 4 to 8 for 4,000 draws of 3 and 5 stages
AS_GOOD = 0.005  # share of the risk that nobody would move a threshold for, or run a longer cascade
_EQUAL = 1e-6  # where every bit of the risk is money: of equal ways the fewest calls, as of free ones
# Subsets tuned for each price, how many of them on all draws, and prices about the one at which a bound binds.
_N_SUBSETS, _N_FINAL = 3, 2
_PRICE_FACTORS = (1 / 3, 1.0, 3.0)


def search_stages(draws: Draws, spec: TuningSpec, discrepancy: ModelDiscrepancy | None = None) -> Solved:
    """Tune the most promising subsets of the stages on some draws, and the best of these on all."""
    spec.check_latency(draws)
    few, kernel = few_of(draws), mean_kernel(draws.thin(_SEARCH_DRAWS))
    if spec.bounds or spec.error_price is None:  # else the price is money, beside which a free call is free
        kernel = with_free_calls(kernel)
    keeps = best_subsets(
        kernel,
        _prices(few, spec, discrepancy),
        _N_SUBSETS,
        abstain_price=spec.abstain_price,
        latency_price=spec.latency_price,
    )
    tried = dict.fromkeys([*keeps, tuple(range(len(draws.stages)))])

    def solve(given: Draws, keep: tuple[int, ...]) -> Solved:
        return search_thresholds(given.restrict(keep), spec, discrepancy)

    start = time.monotonic()
    ranked = sorted(((keep, solve(few, keep)) for keep in tried), key=lambda one: one[1].place)
    each = (time.monotonic() - start) / len(tried)
    final = dict.fromkeys([keep for keep, _ in ranked[:_N_FINAL]])
    within = AS_GOOD if spec.bounds else _EQUAL
    final |= dict.fromkeys(_shorter(ranked, 2.0 * within)[:1])
    say_if_long("Tuning", _ALL_BY_FEW * each * len(final), "Name the stages to run, or fit with fewer draws.")
    # where queries have a difficulty, those draws that search choose, and all draws judge what they chose
    given = draws if draws.n_nodes == 1 else draws.thin(SEARCH_LATENT)
    solved = sorted(((keep, solve(given, keep)) for keep in final), key=lambda one: one[1].place)
    found, simpler = dict(solved), _shorter(solved, within)
    in_order = {keep: found[keep] for keep in [*simpler[:1], *found]}
    best = _first_kept(in_order, draws, spec, discrepancy)
    return replace(best, whole=dict(ranked)[tuple(range(len(draws.stages)))])


def _first_kept(
    found: dict[tuple[int, ...], Solved], draws: Draws, spec: TuningSpec, discrepancy: ModelDiscrepancy | None
) -> Solved:
    """The first of what some draws found that keeps the goal by all draws, too; else what comes nearest."""
    judged: list[Solved] = []
    for keep, one in found.items():
        if judged and not one.feasible:
            break
        judged.append(judged_by_all(one, draws.restrict(keep), spec, discrepancy))
        if judged[-1].feasible:
            break
    return min(judged, key=lambda one: one.place)


def few_of(draws: Draws) -> Draws:
    """So many draws as rank subsets of the stages."""
    return draws.thin(_SEARCH_DRAWS if draws.n_nodes == 1 else _FEW_LATENT)


def _shorter(ranked: list[tuple[tuple[int, ...], Solved]], within: float) -> list[tuple[int, ...]]:
    """Subsets of fewer stages than the first that keep the goal, too, at nearly its risk; the shortest first."""
    best, first = ranked[0]
    if not first.feasible or first.risk <= 0.0:  # where all calls are free, the error decides
        return []
    most = first.risk + within * abs(first.risk)
    able = [keep for keep, one in ranked[1:] if one.feasible and one.risk <= most and len(keep) < len(best)]
    return sorted(able, key=len)


def _prices(draws: Draws, spec: TuningSpec, discrepancy: ModelDiscrepancy | None) -> list[float]:
    """Prices of an error at which subsets are compared: the one given, or those about where the bounds bind.

    A bound has a shadow price, its Lagrange multiplier; that of the best point of the frontier of all stages, with
    the safety margin if any, says where other subsets' multipliers may lie.
    """
    if spec.error_price is not None and not spec.bounds:
        return [spec.error_price]
    rows, prices = sweep(draws, _N_SWEEP, abstain_price=spec.abstain_price, latency_price=spec.latency_price)
    objective = replace(spec, risk="mean").objective()
    evaluator = Evaluator(draws, discrepancy=discrepancy)
    amounts = evaluator.amounts(round_to_atoms(draws, rows), objective.names)
    price = float(prices[objective.rank(amounts)[0][0]])
    between = prices[(prices > 0) & np.isfinite(prices)]
    if not between.size:  # no call of a second stage lowers the error, at whatever price
        between = np.ones(1)
    price = float(np.clip(price, between.min(), between.max()))
    least = 0.0 if spec.abstain_price is None else 1.001 * spec.abstain_price
    own = [] if spec.error_price is None else [spec.error_price]
    return [*own, *(max(price * factor, least) for factor in _PRICE_FACTORS)]
