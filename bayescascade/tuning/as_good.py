"""How far one threshold may move, all else held, until the loss or the promise suffers."""

from __future__ import annotations

import numpy as np

from bayescascade.cascade.discrepancy import ModelDiscrepancy
from bayescascade.cascade.positions import to_thresholds
from bayescascade.induction.free_positions import round_to_atoms
from bayescascade.posterior.kernel import build_kernels
from bayescascade.tuning.evaluator import Evaluator
from bayescascade.tuning.objective import Objective
from bayescascade.tuning.solution import Solved
from bayescascade.tuning.spec import TuningSpec
from bayescascade.tuning.stage_search import AS_GOOD

_SOME_DRAWS, _SOME_LATENT = 500, 100
_COARSE, _FINE = 64, 16  # positions tried along the axis of a stage, and beside each end of what does as well


def as_good(solved: Solved, spec: TuningSpec, discrepancy: ModelDiscrepancy | None) -> np.ndarray:
    """Ends of the thresholds that do as well as each chosen one, the others held (stage, end).

    A threshold does as well where the risk is at most 0.5% higher and the promise, if any, is still kept. Both are
    judged by some of the draws, with the promise tightened by as much as these see it differently. The last stage
    has no threshold, so that both of its ends are -inf.
    """
    draws, n_stages = solved.draws, len(solved.draws.stages)
    index = draws.spread(_SOME_DRAWS if draws.n_nodes == 1 else _SOME_LATENT)
    some = draws.take(index)
    evaluator = Evaluator(some, build_kernels(some), discrepancy)
    objective = spec.objective(draws).for_draws(index)
    here = evaluator.amounts(solved.row[None], objective.names)
    if objective.bounds:
        objective = objective.tightened(solved.violation - float(objective.violation(here)[0]))
    most = float(objective.risk(here)[0])
    most += AS_GOOD * abs(most) + 1e-15
    out = np.full((n_stages, 2), -np.inf)
    for j in range(n_stages - 1):
        ends = _ends(solved.row, j, objective, most, evaluator)
        at = np.repeat(solved.row[None, :n_stages], 2, axis=0)
        at[:, j] = ends
        out[j] = to_thresholds(at, draws)[:, j]
    return out


def _ends(
    row: np.ndarray, stage: int, objective: Objective, most: float, evaluator: Evaluator
) -> tuple[float, float]:
    """Lowest and highest position of a stage that are reached from the row's without a worse one in between."""
    draws, here = evaluator.draws, float(row[stage])
    top = float(len(draws.margins[stage].low))
    low = 0.0 if len(row) == len(draws.stages) else float(row[len(draws.stages) + stage])

    def fine(positions: np.ndarray) -> np.ndarray:
        rows = np.repeat(row[None], len(positions), axis=0)
        rows[:, stage] = positions
        amounts = evaluator.amounts(round_to_atoms(draws, rows), objective.names)
        kept = objective.violation(amounts) <= 1e-9 if objective.bounds else np.ones(len(rows), bool)
        return kept & (objective.risk(amounts) <= most)

    ends = []
    for limit in (low, top):
        reached, step = here, abs(limit - here)
        for n in (_COARSE, _FINE):
            if step <= 0.0:
                break
            tried = reached + np.sign(limit - here) * step * np.arange(1, n + 1) / n
            good = fine(tried)
            run = n if good.all() else int(np.argmin(good))
            reached = float(tried[run - 1]) if run else reached
            step = 0.0 if run == n else step / n
        ends.append(reached)
    return ends[0], ends[1]
