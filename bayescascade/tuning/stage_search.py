"""Which stages to run, and in which order: subsets ranked by dynamic programming, the best of them tuned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bayescascade.cascade.discrepancy import ModelDiscrepancy
from bayescascade.induction.free_positions import round_to_atoms
from bayescascade.induction.price_sweep import sweep
from bayescascade.induction.subsets import best_subsets
from bayescascade.posterior.draws import Draws
from bayescascade.posterior.kernel import against_the_chain, mean_kernel
from bayescascade.tuning.evaluator import Evaluator
from bayescascade.tuning.solution import Solved
from bayescascade.tuning.spec import TuningSpec
from bayescascade.tuning.threshold_search import search_thresholds

_SEARCH_DRAWS = 300
_N_SWEEP = 40
# Subsets tuned for each price, how many of them on all draws, and prices about the one at which a bound binds.
_N_SUBSETS, _N_FINAL = 3, 2
_PRICE_FACTORS = (1 / 3, 1.0, 3.0)
_MARKED = 0.01  # by how much of the loss another order must be better than the log's


def search_stages(draws: Draws, spec: TuningSpec, discrepancy: ModelDiscrepancy | None = None) -> Solved:
    """Tune the most promising subsets and orders of the stages on some draws, and the best of these on all."""
    spec.check_latency(draws)
    some = draws.thin(_SEARCH_DRAWS)
    keeps = best_subsets(
        mean_kernel(some),
        _prices(some, spec),
        _N_SUBSETS,
        abstain_price=spec.abstain_price,
        latency_price=spec.latency_price,
    )
    if tuple(range(len(draws.stages))) not in keeps:
        keeps.append(tuple(range(len(draws.stages))))

    def on_all(solved: Solved) -> Solved:
        keep = solved.draws.keep or range(len(draws.stages))
        return search_thresholds(draws.restrict(keep), spec, discrepancy)

    tried = sorted(
        (search_thresholds(some.restrict(keep), spec, discrepancy) for keep in keeps), key=lambda one: one.place
    )
    along = [one for one in tried if not against_the_chain(one.draws)][:_N_FINAL]
    best = min((on_all(one) for one in along), key=lambda one: one.place)
    if against_the_chain(tried[0].draws):
        other = on_all(tried[0])
        # what such an order gains rests on an assumption that the order of the log does not need
        if other.feasible and (not best.feasible or other.risk < best.risk - _MARKED * abs(best.risk)):
            return other
    return best


def _prices(draws: Draws, spec: TuningSpec) -> list[float]:
    """Prices of an error at which subsets are compared: the one given, or those about where the bounds bind.

    A bound has a shadow price, its Lagrange multiplier; that of the best point of the frontier of all stages says
    where other subsets' multipliers may lie.
    """
    if spec.error_price is not None and not spec.bounds:
        return [spec.error_price]
    rows, prices = sweep(draws, _N_SWEEP, abstain_price=spec.abstain_price, latency_price=spec.latency_price)
    objective = replace(spec, risk="mean").objective()
    amounts = Evaluator(draws).amounts(round_to_atoms(draws, rows), objective.names)
    price = float(prices[objective.rank(amounts)[0][0]])
    price = float(np.clip(price, prices[prices > 0].min(), prices[np.isfinite(prices)].max()))
    least = 0.0 if spec.abstain_price is None else 1.001 * spec.abstain_price
    own = [] if spec.error_price is None else [spec.error_price]
    return [*own, *(max(price * factor, least) for factor in _PRICE_FACTORS)]
