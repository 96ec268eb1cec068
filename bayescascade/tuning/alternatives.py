"""What else there was for a goal: each stage alone, and all stages where some were left out."""

from __future__ import annotations

from bayescascade.cascade.discrepancy import ModelDiscrepancy
from bayescascade.posterior.draws import Draws
from bayescascade.tuning.answer import Alternative
from bayescascade.tuning.solution import Solved
from bayescascade.tuning.spec import TuningSpec
from bayescascade.tuning.stage_search import few_of
from bayescascade.tuning.threshold_search import judged_by_all, search_thresholds

_SOME_LATENT = 1000


def alternatives(
    solved: Solved, every: Draws, spec: TuningSpec, discrepancy: ModelDiscrepancy | None
) -> list[Alternative]:
    """Each stage alone, by all of the draws; and, where some stages are left out, all stages.

    Thresholds of all stages are searched for on few of the draws and, where queries have a difficulty, judged by a
    thousand: it is the dearest cascade to judge, and one that is not recommended.
    """
    if spec.risk != "mean":  # losses of tails are compared by all draws or not at all
        return []
    n, run = len(every.stages), len(solved.draws.stages)
    found = [search_thresholds(every.restrict([j]), spec, discrepancy) for j in range(n) if run > 1]
    if run < n:
        whole = solved.whole or search_thresholds(few_of(every), spec, discrepancy)
        judges = every if every.n_nodes == 1 else every.thin(_SOME_LATENT)
        found.append(judged_by_all(whole, judges, spec, discrepancy))
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
