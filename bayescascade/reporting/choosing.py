"""Which thresholds a report is about: a solution's, a policy's, or the user's own, as a `Choice`."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from bayescascade.cascade.discrepancy import evaluate_with_discrepancy, promise_spread
from bayescascade.cascade.evaluate import evaluate
from bayescascade.cascade.rules import DecisionRule
from bayescascade.errors import CascadeError
from bayescascade.posterior.draws import Draws
from bayescascade.reporting.text import Choice
from bayescascade.runtime.policy import Policy
from bayescascade.tuning.solution import ThresholdSolution, check_same_fit
from bayescascade.tuning.tune import solution_at


def over_all(choice: Choice | None, draws: Draws, what: str = "thresholds") -> np.ndarray | None:
    """Chosen thresholds, or what else there is of each, over all of the fit's stages (stage, ...).

    NaN at those not run; None where they abstain.
    """
    values = None if choice is None or choice.reject is not None else getattr(choice, what)
    if choice is None or values is None:
        return None
    out = np.full((len(draws.stages), *values.shape[1:]), np.nan)
    out[[draws.stages.index(name) for name in choice.stages]] = values
    return out


def choose(
    fit: xr.DataTree,
    draws: Draws,
    solution: ThresholdSolution | None,
    thresholds: object,
    currency: str | None,
) -> Choice | None:
    """The thresholds that a page is about, with what the draws say of them; None where there are none."""
    found: Any = solution
    if solution is not None:
        check_same_fit(fit, solution)
        stages = [str(s) for s in solution.thresholds["stage"].values]
        accept, abstained = solution.thresholds.values, solution.abstained
        reject = None if solution.reject is None else solution.reject.values
        goal, feasible, kept, sure = solution.goal, solution.feasible, solution.kept, solution.upper_bounds
    elif thresholds is None:
        return None
    else:
        rule = DecisionRule.from_any(thresholds, draws.stages, draws.kind)
        if len(rule.accept) != 1:
            raise CascadeError(
                f"a report is about one threshold vector, but {len(rule.accept)} came; give (stage,)."
            )
        found = evaluate(fit, rule)
        stages, accept, abstained = rule.stages, rule.accept[0], found["abstained"] if rule.abstains else None
        reject = rule.reject[0] if rule.reject is not None and rule.abstains else None
        goal, feasible, kept, sure = {}, True, float("nan"), {}
    error, cost = np.ravel(found.error.values), np.ravel(found.cost.values)
    reach = found.reach.transpose("chain", "draw", ..., "stage").values.reshape(len(error), -1)
    latency = found.get("latency") if isinstance(found, xr.Dataset) else found.latency
    return Choice(
        stages,
        accept,
        error,
        cost,
        reach,
        goal,
        feasible,
        kept,
        sure,
        reject=reject,
        abstained=None if abstained is None else np.ravel(abstained.values),
        error_with_margin=_with_margin(fit, solution, thresholds),
        as_good=None if solution is None or solution.as_good is None else solution.as_good.values,
        latency=None if latency is None or np.isnan(latency.values).any() else np.ravel(latency.values),
        currency=currency,
        among=draws.stages,
    )


def _with_margin(fit: xr.DataTree, solution: ThresholdSolution | None, thresholds: object) -> np.ndarray | None:
    """Draws of the error with the safety margin that promises have; None where the user asked for none."""
    if solution is not None and solution.margin is not None:
        return np.ravel(solution.margin.error.values)
    if solution is not None and "max_error" in solution.goal:
        return None
    of = solution if solution is not None else thresholds
    return np.ravel(evaluate_with_discrepancy(fit, of, spread=promise_spread(fit), one_sided=True)["error"].values)


def tuned_here(fit: xr.DataTree, thresholds: object) -> ThresholdSolution | None:
    """A policy that was tuned on this very log, as the solution that it came from; else None."""
    if not isinstance(thresholds, Policy):
        return None
    known, goal = thresholds.metadata.get("data_hash"), thresholds.metadata.get("goal")
    if not known or known != fit.attrs.get("data_hash") or not isinstance(goal, dict):
        return None
    return solution_at(fit, thresholds, goal)
