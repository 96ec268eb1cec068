"""Which stages to run: subsets ranked by dynamic programming, the best of them tuned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bayescascade.cascade.discrepancy import ModelDiscrepancy
from bayescascade.induction.free_positions import round_to_atoms
from bayescascade.induction.price_sweep import sweep
from bayescascade.induction.subsets import best_subsets
from bayescascade.posterior.draws import Draws
from bayescascade.posterior.kernel import mean_kernel, with_free_calls
from bayescascade.tuning.evaluator import Evaluator
from bayescascade.tuning.solution import Solved
from bayescascade.tuning.spec import TuningSpec
from bayescascade.tuning.threshold_search import SEARCH_LATENT, search_thresholds

_SEARCH_DRAWS = 300
_FEW_LATENT = 100  # where queries have a difficulty, each draw is a sum over nodes
_N_SWEEP = 40
# Subsets tuned for each price, how many of them on all draws, and prices about the one at which a bound binds.
_N_SUBSETS, _N_FINAL = 3, 2
_PRICE_FACTORS = (1 / 3, 1.0, 3.0)


def search_stages(draws: Draws, spec: TuningSpec, discrepancy: ModelDiscrepancy | None = None) -> Solved:
    """Tune the most promising subsets of the stages on some draws, and the best of these on all."""
    spec.check_latency(draws)
    some = draws.thin(_SEARCH_DRAWS)
    few = some if draws.n_nodes == 1 else draws.thin(_FEW_LATENT)
    kernel = mean_kernel(some)
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

    final = sorted(tried, key=lambda keep: solve(few, keep).place)[:_N_FINAL]
    if draws.n_nodes == 1:
        return min((solve(draws, keep) for keep in final), key=lambda solved: solved.place)
    # those draws that search choose, and all draws judge what they chose
    some = draws.thin(SEARCH_LATENT)
    return solve(draws, min(final, key=lambda keep: solve(some, keep).place))


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
