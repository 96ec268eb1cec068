"""What else there was for a goal: each stage alone, and all stages where some were left out."""

from __future__ import annotations

from bayescascade.cascade.discrepancy import ModelDiscrepancy
from bayescascade.posterior.draws import Draws
from bayescascade.tuning.answer import Alternative
from bayescascade.tuning.solution import Solved
from bayescascade.tuning.spec import TuningSpec
from bayescascade.tuning.stage_search import few_of
from bayescascade.tuning.threshold_search import judged_by_all, search_thresholds


def alternatives(
    solved: Solved, every: Draws, spec: TuningSpec, discrepancy: ModelDiscrepancy | None
) -> list[Alternative]:
    """Each stage alone and, where some stages are left out, all of them; by all of the draws.

    Thresholds of the whole cascade are searched for on few of the draws.
    """
    if spec.risk != "mean":  # losses of tails are compared by all draws or not at all
        return []
    n, run = len(every.stages), len(solved.draws.stages)
    found = [search_thresholds(every.restrict([j]), spec, discrepancy) for j in range(n) if run > 1]
    if run < n:
        whole = solved.whole or search_thresholds(few_of(every), spec, discrepancy)
        found.append(judged_by_all(whole, every, spec, discrepancy))
    return [
        Alternative(
            stages=one.draws.stages,
            feasible=one.feasible,
            kept=one.kept,
            loss=one.risk,
            error=float(one.outcome.error.mean()),
            cost=float(one.outcome.cost.mean()),
        )
        for one in found
    ]
