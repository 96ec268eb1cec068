"""The manifest of a policy file: where thresholds come from, and what is expected while they run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from bayescascade._common.arrays import safe_divide, tail_probabilities
from bayescascade._common.messages import joined
from bayescascade.cascade.reference import reference_of
from bayescascade.cascade.rules import DecisionRule
from bayescascade.display.format import CI_PROB
from bayescascade.errors import CascadeError, bad_value, shown
from bayescascade.posterior.schema import observed_log

if TYPE_CHECKING:
    from bayescascade.tuning.solution import ThresholdSolution


def seen_by(fit: xr.DataTree, solution: ThresholdSolution) -> dict[str, Any]:
    """The price of a call by stage, and what the fit's own log shows at a solution's thresholds (`reference_of`).

    Without the reference where the fit was moved to another mix of queries, of which there is no log.
    """
    rule = rule_of(solution)
    cost = fit["posterior"]["cost"].mean(("chain", "draw"))
    out: dict[str, Any] = {"prices": {stage: float(cost.sel(stage=stage)) for stage in rule.stages}}
    if "drift" not in fit.attrs:
        out["reference"] = reference_of(observed_log(fit), rule)
    return out


def rule_of(solution: ThresholdSolution) -> DecisionRule:
    """The rule of a solution, of the stages that it runs."""
    stages = [str(name) for name in solution.thresholds["stage"].values]
    rule = DecisionRule.from_any(solution, stages, solution.confidence_kind)
    return next(rule.parts())[1]


def manifest_of(
    solution: ThresholdSolution,
    models: Mapping[str, str] | None = None,
    prompts: str | None = None,
    currency: str | None = None,
) -> dict[str, Any]:
    """The manifest of a solution, in plain numbers and texts."""
    stages = rule_of(solution).stages
    models = _check_models(models, stages)
    for name, value in (("prompts", prompts), ("currency", currency)):
        if value is not None and not isinstance(value, str):
            raise bad_value(name, value, "give a text, or leave it out")
    goal = solution.goal
    promise = None
    if any(name in goal for name in ("max_error", "max_cost", "max_latency")):
        names = ("max_error", "max_cost", "max_latency", "prob", "batch")
        promise = {name: goal[name] for name in names if name in goal} | {"kept": float(solution.kept)}
    seen = solution.seen
    return {
        "bayescascade": version("bayescascade"),
        "data_hash": solution.provenance.get("data_hash"),
        "n_queries": solution.provenance.get("n_queries"),
        "models": {stage: models.get(stage) for stage in stages},
        "prompts": None if prompts is None else _digest(prompts),
        "signal": solution.provenance.get("signal"),
        "currency": currency,
        "prices": seen.get("prices"),
        "goal": goal,
        "promise": promise,
        "expected": _expected(solution, stages),
        "reference": seen.get("reference"),
    }


def _digest(prompts: str) -> str:
    """The prompts may be secret; this tells only whether they are the same."""
    return "sha256:" + hashlib.sha256(prompts.encode("utf-8", "surrogatepass")).hexdigest()


def _check_models(models: Mapping[str, str] | None, stages: list[str]) -> Mapping[str, str]:
    if models is None:
        return {}
    if not isinstance(models, Mapping) or not all(isinstance(name, str) for name in models.values()):
        raise bad_value("models", shown(models), "give a dict from stage to the model's name and version")
    unknown = [name for name in models if name not in stages]
    if unknown:
        raise CascadeError(f"models name the stage {shown(unknown[0])}, but the policy runs {joined(stages)}.")
    return models


def _expected(solution: ThresholdSolution, stages: list[str]) -> dict[str, Any]:
    """Posterior means and intervals of what is seen while the policy runs."""
    reach = solution.reach.sel(stage=stages)
    reached = reach.transpose(..., "stage").values.reshape(-1, len(stages))
    deferral = safe_divide(reached[:, 1:], reached[:, :-1], 0.0)  # of those that a stage is asked
    out: dict[str, Any] = {"ci_prob": CI_PROB}
    for name in ("error", "cost", "abstained", "latency"):
        values = getattr(solution, name)
        if values is not None:
            out[name] = _interval(values.values.ravel())
            out[name]["sd"] = float(values.std())
    out["reach"] = {stage: _interval(reached[:, j]) for j, stage in enumerate(stages)}
    out["deferral"] = {stage: _interval(deferral[:, j]) for j, stage in enumerate(stages[:-1])}
    return out


def _interval(draws: np.ndarray) -> dict[str, float]:
    low, high = np.quantile(draws, tail_probabilities(CI_PROB))
    return {"mean": float(draws.mean()), "low": float(low), "high": float(high)}
