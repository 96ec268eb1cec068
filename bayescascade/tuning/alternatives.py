"""What else there was for a goal: each stage alone, and all stages where some were left out."""

from __future__ import annotations

from bayescascade.cascade.discrepancy import ModelDiscrepancy
from bayescascade.posterior.draws import Draws
from bayescascade.tuning.answer import Alternative
from bayescascade.tuning.solution import Solved
from bayescascade.tuning.spec import TuningSpec
from bayescascade.tuning.stage_search import few_of
from bayescascade.tuning.threshold_search import search_thresholds


def alternatives(
    solved: Solved, every: Draws, spec: TuningSpec, discrepancy: ModelDiscrepancy | None
) -> list[Alternative]:
    """Each stage alone and, where some stages are left out, all of them; by some of the draws."""
    if spec.risk != "mean":  # losses of tails are compared by all draws or not at all
        return []
    few = few_of(every)
    n = len(few.stages)
    ways: list[tuple[int, ...]] = [(j,) for j in range(n)] if len(solved.draws.stages) > 1 else []
    if len(solved.draws.stages) < n:
        ways.append(tuple(range(n)))
    found = (search_thresholds(few.restrict(way), spec, discrepancy) for way in ways)
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
