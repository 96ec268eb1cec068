"""What a report says, as plain data for its template: sentences, tables and figures."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescascade.analysis.label_value import LabelValue, label_value
from bayescascade.analysis.rival_table import shown
from bayescascade.analysis.verdict import Verdict, verdict
from bayescascade.cascade.discrepancy import default_discrepancy
from bayescascade.cascade.empirical import check_followed, score
from bayescascade.cascade.evaluate import evaluate
from bayescascade.cascade.rules import DecisionRule
from bayescascade.checks.evidence import gather
from bayescascade.checks.predictive import check_cascade
from bayescascade.checks.results import CheckResult, rejected
from bayescascade.checks.suite import check
from bayescascade.errors import CascadeError, in_python, option
from bayescascade.posterior.draws import Draws, get_draws
from bayescascade.posterior.schema import data_hash, observed_log
from bayescascade.reporting.explorer import Explorer, bars, make_explorer
from bayescascade.reporting.figures import (
    few_points,
    flow_figure,
    frontier_figure,
    labels_figure,
    panels_of,
    predictive_figures,
    worth_figure,
)
from bayescascade.reporting.tables import check_rows, chosen_sheets, frontier_sheet, provenance, sheet_of
from bayescascade.reporting.text import Choice, caveats, comparison, summary
from bayescascade.runtime.policy import Policy
from bayescascade.tuning.solution import ThresholdSolution
from bayescascade.tuning.solution_text import say_margin
from bayescascade.tuning.tune import solution_at

_STEPS = 1000  # of the price slider
_IDLE = 0.01  # share of queries below which a stage counts as not called


def build_context(
    fit: xr.DataTree,
    *,
    solution: ThresholdSolution | None,
    log: xr.Dataset | None,
    test: xr.Dataset | None,
    thresholds: object,
    labels: bool | LabelValue,
    ci_prob: float,
) -> dict[str, object]:
    """Everything that the template asks for."""
    draws = get_draws(fit)
    if solution is None:
        solution = _tuned_here(fit, thresholds)
    choice = _choice(fit, draws, solution, thresholds)
    chosen = solution if solution is not None else thresholds
    scored = None if test is None or choice is None else _score(test, fit, draws, choice, chosen)
    explorer = make_explorer(fit, ci_prob=ci_prob, own=_over_all(choice, draws))
    worth = None if solution is None or not solution.goal else verdict(fit, solution=solution)
    price, stated = _price(choice, explorer)
    seen = None if choice is None else _score_seen(fit, choice, chosen)
    checks = check(fit, thresholds=chosen)
    evidence = gather(fit)
    curve = explorer.points
    log, remarks = _scorable(log, draws, curve)
    along = check_cascade(evidence, few_points(curve), np.random.default_rng(0))
    n_queries = int(fit.attrs.get("n_queries", 0))
    failed = [result.name for result in checks if result.passed is False]
    idle = [] if choice is None else idle_pairs(checks["dependence"], draws, choice)
    return {
        "title": f"Cascade of {len(draws.stages)} stages",
        "subtitle": f"{', '.join(draws.stages)}; fitted on {n_queries} queries.",
        "answer": summary(choice, draws, scored, worth, ci_prob),
        "care": [
            *_margin_lacks(solution),
            *caveats(failed, idle, tested=scored is not None, chosen=choice is not None),
        ],
        "chosen": None if choice is None else chosen_sheets(choice, draws, scored, seen, ci_prob),
        "flow": None if choice is None else flow_figure(choice, ci_prob),
        "worth": None if choice is None else _worth_told(worth, choice, draws),
        "kind": draws.kind,
        "ci": f"{ci_prob:.0%}",
        "frontier_figure": frontier_figure(curve, draws, solution, log, ci_prob, default_discrepancy(fit)),
        "frontier_table": frontier_sheet(explorer),
        "frontier_caption": f"Points of the frontier: means with {ci_prob:.0%} intervals, and thresholds.",
        "remarks": remarks,
        **_exploring(explorer, choice, price),
        "checks": [check_rows(result) for result in checks],
        **panels_of(evidence, draws, ci_prob),
        "predictive": predictive_figures(along, checks, len(draws.stages)),
        "predictive_text": "" if along.picture is not None else along.text,
        "labels": _labels(fit, labels, price, stated),
        "provenance": provenance(fit, choice, ci_prob),
    }


def _margin_lacks(solution: ThresholdSolution | None) -> list[str]:
    """What a solution's safety margin lacks, if anything."""
    if solution is None:
        return []
    known = None if solution.margin is None else solution.margin.known
    return [text for text in [say_margin(solution.goal, known).strip()] if text]


def _over_all(choice: Choice | None, draws: Draws) -> np.ndarray | None:
    """Chosen thresholds over all of the fit's stages, NaN at those not run (stage,); None where they abstain."""
    if choice is None or choice.reject is not None:
        return None
    out = np.full(len(draws.stages), np.nan)
    out[[draws.stages.index(name) for name in choice.stages]] = choice.thresholds
    return out


def _choice(
    fit: xr.DataTree, draws: Draws, solution: ThresholdSolution | None, thresholds: object
) -> Choice | None:
    found: Any = solution
    if solution is not None:
        stages = [str(s) for s in solution.thresholds["stage"].values]
        if not set(stages) <= set(draws.stages):
            raise CascadeError(f"the solution is for stages {stages}, but the fit has {draws.stages}.")
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
    left = None if abstained is None else np.ravel(abstained.values)
    return Choice(stages, accept, error, cost, reach, goal, feasible, kept, sure, reject, left)


def _tuned_here(fit: xr.DataTree, thresholds: object) -> ThresholdSolution | None:
    """A policy that was tuned on this very log, as the solution that it came from; else None."""
    if not isinstance(thresholds, Policy):
        return None
    known, goal = thresholds.metadata.get("data_hash"), thresholds.metadata.get("goal")
    if not known or known != fit.attrs.get("data_hash") or not isinstance(goal, dict):
        return None
    return solution_at(fit, thresholds, goal)


def _score(test: xr.Dataset, fit: xr.DataTree, draws: Draws, choice: Choice, chosen: object) -> xr.Dataset:
    kind = test.attrs.get("confidence_kind") if isinstance(test, xr.Dataset) else None
    if kind is not None and kind != draws.kind:
        raise CascadeError(f"the test log's confidences are {kind!r}, but the fit's are {draws.kind!r}.")
    stages = (
        [str(s) for s in test["stage"].values] if isinstance(test, xr.Dataset) and "stage" in test.coords else []
    )
    if stages != draws.stages and stages != choice.stages:
        raise CascadeError(f"the test log has stages {stages}, but the fit has {draws.stages}.")
    if data_hash(test) == fit.attrs.get("data_hash"):
        raise CascadeError(
            "the test log is the very log that the fit has seen, on which the page scores the thresholds anyway; "
            "give queries that it has not seen, or leave " + option("test") + " out."
        )
    return score(test.sel(stage=choice.stages), chosen, fit=fit)


def _score_seen(fit: xr.DataTree, choice: Choice, chosen: object) -> xr.Dataset | None:
    """What the thresholds did on the fit's own log, if that can be told."""
    try:
        log = observed_log(fit).sel(stage=choice.stages)
        check_followed(log, chosen)
        return score(log, chosen)
    except CascadeError:
        return None  # where a stage was not run, or an answer has no label


def idle_pairs(result: CheckResult, draws: Draws, choice: Choice) -> list[str]:
    """The pairs of stages that failed, if all of them lead to stages that the choice hardly ever calls."""
    if result.passed is not False:
        return []
    names = {f"{a} > {b}": b for a, b in combinations(draws.stages, 2)}
    called = dict(zip(choice.stages, choice.reach.mean(axis=0), strict=True))
    failed = list(dict.fromkeys(pair for pair, _ in rejected(result.table)))
    return failed if all(called.get(names[pair], 0.0) < _IDLE for pair in failed) else []


def _scorable(log: xr.Dataset | None, draws: Draws, curve: xr.Dataset) -> tuple[xr.Dataset | None, list[str]]:
    """The log if the whole frontier can be scored on it, else a remark that says why not."""
    if log is None:
        return None, []
    try:
        check_followed(log, curve["threshold"])
        score(log, curve["threshold"])
    except CascadeError as error:
        return None, [f"The log was not scored along the frontier: {error}"]
    return log, []


# ---- is it worth it


def _price(choice: Choice | None, explorer: Explorer) -> tuple[float | None, bool]:
    """A price of an error for what cannot do without one, and whether it is the user's own."""
    if choice is None:
        return None, False
    given = choice.goal.get("error_price")
    if given is not None:
        return float(given), True
    if not choice.goal:
        return None, False  # thresholds of one's own need not be best at any price
    return _price_about(explorer, float(choice.cost.mean())), False


def _price_about(explorer: Explorer, cost: float) -> float:
    """The price of an error at which thresholds that cost so much are about best."""
    prices = explorer.prices()
    best = np.isfinite(prices)
    return float(np.interp(cost, explorer.points["cost"].values[best], prices[best]))


def _worth_told(worth: Verdict | None, choice: Choice, draws: Draws) -> dict[str, object]:
    """The whole verdict, for those who open it."""
    beside = comparison(choice, draws)
    if worth is None:
        return {"text": [beside], "figure": None, "table": None}
    table = shown(worth.table).drop(columns="chosen")
    text = [worth.text] if choice.goal.get("error_price") is not None else [worth.text, beside]
    return {"text": text, "figure": worth_figure(worth), "table": sheet_of(table, 4)}


def _labels(
    fit: xr.DataTree, labels: bool | LabelValue, price: float | None, stated: bool
) -> dict[str, object] | None:
    """The worth of further labels, where it was asked for."""
    if labels is False:
        return None
    remark = ""
    if labels is True:
        if price is None:
            raise CascadeError(
                "{} needs to know what an error costs; give {}a policy that was tuned on this log{}.",
                (option("labels", True), in_python("a solution, "), in_python(", or what label_value returns")),
                parameter="labels",
                value=True,
            )
        labels = label_value(fit, error_price=price, random_seed=0)
        if not stated:
            remark = (
                f"No price of an error was given; {price:.3g} is about what the chosen thresholds are best for."
            )
    return {
        "text": labels.text,
        "remark": remark,
        "figure": labels_figure(labels),
        "table": sheet_of(_told(labels.table), 4),
    }


def _told(table: pd.DataFrame) -> pd.DataFrame:
    """The columns of a table of labels that say something: without a price of a label nothing is paid."""
    if "label_cost" in table and not (table["label_cost"] > 0.0).any():
        table = table.drop(columns=["label_cost", "net", "pays_from"])
    return table.rename(columns={"n_labels": "queries"})


# ---- explorer


def _exploring(explorer: Explorer, choice: Choice | None, price: float | None) -> dict[str, object]:
    """The explorer's figure, its first point, and what its script reads."""
    from markupsafe import Markup

    svg, places = explorer.figure("figure-explorer")
    points = [
        {
            "error": float(at["error"]),
            "cost": float(at["cost"]),
            "kept": float(at["kept"]),
            "price": float(about) if np.isfinite(about) else None,
            "rows": [cells[1:] for cells in explorer.rows(i)],
            "errorText": explorer.band("error", i),
            "costText": explorer.band("cost", i),
            "sentence": explorer.sentence(i),
            "x": round(float(places[i, 0]), 1),
            "y": round(float(places[i, 1]), 1),
            "bars": bars(places[i]),
        }
        for i, about in enumerate(explorer.prices())
        for at in [explorer.points.isel(point=i)]
    ]
    low, high = explorer.price_range
    start = float(np.clip(np.sqrt(low * high) if price is None else price, low, high))
    if price is None and choice is not None:
        start = _price_about(explorer, float(choice.cost.mean()))
    least, most = explorer.target_range
    payload: dict[str, Any] = {
        "points": points,
        "price": {"low": low, "high": high, "steps": _STEPS},
        "prob": explorer.prob,
        "own": int(explorer.points.attrs["own"]),
    }
    return {
        "explorer": payload,
        "explorer_figure": Markup(svg),  # drawn by us, with its label escaped
        "explorer_start": round(_STEPS * np.log(start / low) / np.log(high / low)),
        "explorer_steps": _STEPS,
        "explorer_target": {"least": f"{least:.3f}", "most": f"{most:.3f}"},
        "explorer_prob": f"{explorer.prob:.0%}",
        "explorer_stages": explorer.stages,
    }
