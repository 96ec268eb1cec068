"""What a report says, as plain data for its template: sentences, tables and figures."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import xarray as xr

from bayescascade.analysis.label_value import LabelValue, label_value
from bayescascade.analysis.rival_table import shown
from bayescascade.analysis.verdict import Verdict, verdict
from bayescascade.cascade.discrepancy import default_discrepancy
from bayescascade.cascade.empirical import check_followed, score, without_lost
from bayescascade.cascade.predictive import predict
from bayescascade.cascade.rules import DecisionRule
from bayescascade.cascade.single_stages import single_stages
from bayescascade.checks.evidence import gather
from bayescascade.checks.predictive import check_cascade
from bayescascade.checks.results import CheckResult, rejected
from bayescascade.checks.suite import check
from bayescascade.display.format import priced, share
from bayescascade.display.names import short_name
from bayescascade.errors import CascadeError, in_python, option
from bayescascade.posterior.draws import Draws, get_draws
from bayescascade.posterior.schema import OWN_LOG, data_hash, observed_log, which_log
from bayescascade.reporting.answer import stage_rows, tiles, trust
from bayescascade.reporting.choosing import choose, over_all, tuned_here
from bayescascade.reporting.explorer import Explorer, bars, make_explorer
from bayescascade.reporting.figures import (
    NARROW,
    WIDE,
    density_figure,
    few_points,
    labels_figure,
    panels_of,
    predictive_figures,
    worth_figure,
)
from bayescascade.reporting.tables import (
    check_rows,
    evidence_sheet,
    frontier_sheet,
    labels_sheet,
    mixture_note,
    provenance,
    sheet_of,
)
from bayescascade.reporting.text import Choice, compared, headline, lead
from bayescascade.runtime.policy import Policy
from bayescascade.tuning.solution import ThresholdSolution
from bayescascade.tuning.solution_text import say_margin

_RIVALS = {
    "rival": "alternative",
    "p_beats": "P(this cascade has the lower cost)",
    "p_beats_any": "better than all of its kind",
}
_RIVALS |= {"kept": "keeps the limit", "loss": "cost", "loss_low": "from", "loss_high": "to"}
_RIVALS |= {"saving_low": "saving from", "saving_high": "saving to"}
_IDLE = 0.01  # share of queries below which a stage counts as not called
_PHONE, _WIDE = (3.9, 3.9), (9.9, 4.3)  # inches of the frontier
# Which check speaks for which of the diagnostics: these are open where it failed.
_SPEAKS = {
    "reliability": {"calibration"},
    "margins": {"margins"},
    "links": {"dependence"},
    "predictive": {"dependence", "own signal", "cascade"},
}


def build_context(
    fit: xr.DataTree,
    *,
    solution: ThresholdSolution | None,
    log: xr.Dataset | None,
    test: xr.Dataset | None,
    thresholds: object,
    labels: bool | LabelValue,
    ci_prob: float,
    name: str | None,
    currency: str | None,
) -> dict[str, object]:
    """Everything that the template asks for."""
    draws = get_draws(fit)
    if solution is None:
        solution = tuned_here(fit, thresholds)
    if currency is None and isinstance(thresholds, Policy):
        currency = (thresholds.manifest or {}).get("currency")
    choice = choose(fit, draws, solution, thresholds, currency)
    chosen = solution if solution is not None else thresholds
    scored = None if test is None or choice is None else _score(test, fit, draws, choice, chosen)
    prob = 0.9 if choice is None else float(choice.goal.get("prob", 0.9))
    own, as_good = (over_all(choice, draws, what) for what in ("thresholds", "as_good"))
    explorer = make_explorer(fit, ci_prob=ci_prob, prob=prob, own=own, as_good=as_good, currency=currency)
    worth = None if solution is None or not solution.goal else verdict(fit, solution=solution)
    price, stated = _price(choice, explorer)
    seen = None if choice is None else _score_seen(fit, choice, chosen)
    checks = check(fit, thresholds=chosen)
    evidence = gather(fit)
    curve = explorer.points
    whose = "" if log is None else which_log(fit, log)
    log, remarks = _scorable(log, whose, curve)
    along = check_cascade(evidence, few_points(curve), np.random.default_rng(0))
    idle = [] if choice is None else idle_pairs(checks["dependence"], draws, choice)
    lowest = float(curve["kept"].min())
    lines = {} if choice is None else dict(zip(choice.stages, map(float, choice.thresholds), strict=True))
    money = partial(priced, currency=currency)
    failed = {result.name for result in checks if result.passed is False}
    return {
        "title": headline(choice),
        "subtitle": _subtitle(fit, draws, scored, name),
        "lead": lead(choice, draws, worth, lowest),
        "tiles": [] if choice is None else tiles(choice, scored, ci_prob),
        "density": None if choice is None else density_figure(choice, scored, ci_prob),
        "margin": choice is not None and choice.error_with_margin is not None,
        "stages": [] if choice is None else stage_rows(choice, draws.kind),
        "abstains": choice is not None and choice.abstained is not None,
        "tested": scored is not None,
        "trust": trust(list(checks), idle, choice, scored, _margin_lacks(solution)),
        "evidence": None if choice is None else evidence_sheet(choice, scored, seen, ci_prob),
        "worth": None if choice is None else _worth_told(worth, choice, draws),
        "kind": draws.kind,
        "currency": currency,
        "ci": f"{ci_prob:.0%}",
        "frontier_table": frontier_sheet(explorer, money),
        "remarks": remarks,
        **_exploring(explorer, choice, price, money, _beside(fit, draws, curve, solution, log, whose, currency)),
        "checks": [check_rows(result) for result in checks],
        "open": {part: bool(failed & of) for part, of in _SPEAKS.items()},
        **panels_of(evidence, draws, lines, ci_prob),
        "predictive": predictive_figures(along, checks, len(draws.stages)),
        "predictive_text": "" if along.picture is not None else along.text,
        "labels": _labels(fit, labels, choice, price, stated),
        "provenance": provenance(fit, choice, ci_prob),
    }


def _subtitle(fit: xr.DataTree, draws: Draws, scored: xr.Dataset | None, name: str | None) -> str:
    """Which log the page is about."""
    parts = [name] if name else []
    parts.append(f"{len(draws.stages)} models, fitted on {int(fit.attrs.get('n_queries', 0)):,} queries")
    parts.append("not tested yet" if scored is None else f"tested on {scored.attrs['n_queries']:,}")
    return " · ".join([*parts, f"{datetime.now(UTC):%Y-%m-%d}"])


def _beside(
    fit: xr.DataTree,
    draws: Draws,
    curve: xr.Dataset,
    solution: ThresholdSolution | None,
    log: xr.Dataset | None,
    whose: str,
    currency: str | None,
) -> dict[str, Any]:
    """What the frontier's figure shows beside the frontier."""
    alone = default_discrepancy(fit).stages_alone(draws)
    return {
        "singles": single_stages(draws),
        "singles_kept": np.quantile(alone, float(curve.attrs["prob"]), axis=0, method="inverted_cdf"),
        "solution": solution,
        "scored": None if log is None else score(log, curve["threshold"]),
        "scored_on": whose,
        "currency": currency,
    }


def _margin_lacks(solution: ThresholdSolution | None) -> list[str]:
    """What a solution's safety margin lacks, if anything."""
    if solution is None:
        return []
    known = None if solution.margin is None else solution.margin.known
    return [text for text in [say_margin(solution.goal, known).strip()] if text]


def _score(test: xr.Dataset, fit: xr.DataTree, draws: Draws, choice: Choice, chosen: object) -> xr.Dataset:
    kind = test.attrs.get("confidence_kind") if isinstance(test, xr.Dataset) else None
    if kind is not None and kind != draws.kind:
        raise CascadeError(f"the test log's confidences are {kind!r}, but the fit's are {draws.kind!r}.")
    stages = (
        [str(s) for s in test["stage"].values] if isinstance(test, xr.Dataset) and "stage" in test.coords else []
    )
    if stages != draws.stages and stages != choice.stages:
        raise CascadeError(
            f"the test log has stages {stages}, but the fit has {draws.stages}; read it with "
            + option("stages", draws.stages)
            + "."
        )
    if data_hash(test) == fit.attrs.get("data_hash"):
        raise CascadeError(
            "the test log is the very log that the fit has seen, on which the page scores the thresholds anyway; "
            "give queries that it has not seen, or leave " + option("test") + " out."
        )
    # a solution or a policy says itself what to expect, in the words of `score`, which tells the same log's error
    told = predict(chosen, DecisionRule.from_any(chosen, choice.stages, draws.kind), 1)
    return score(test.sel(stage=choice.stages), chosen, fit=None if told else fit)


def _score_seen(fit: xr.DataTree, choice: Choice, chosen: object) -> xr.Dataset | None:
    """What the thresholds did on the fit's own log, if that can be told."""
    try:
        return score(without_lost(observed_log(fit).sel(stage=choice.stages), chosen), chosen)
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


def _scorable(log: xr.Dataset | None, whose: str, curve: xr.Dataset) -> tuple[xr.Dataset | None, list[str]]:
    """The log if the whole frontier can be scored on it, and a remark: which log it is, or why it cannot."""
    if log is None:
        return None, []
    try:
        check_followed(log, curve["threshold"])
        score(log, curve["threshold"])
    except CascadeError as error:
        return None, [f"The log was not scored along the frontier: {error}"]
    seen = whose == OWN_LOG
    what = f"{whose}, which the fit has seen" if seen else f"{whose}, of {log.sizes['query']:,} queries"
    return log, [f"Each dot is what the thresholds of a point did on {what}."]


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
    beside = [compared(choice, draws), mixture_note(choice, draws)]
    if worth is None:
        return {"text": beside, "figure": None, "table": None}
    table = shown(worth.table).drop(columns="chosen")
    decision = f"{worth.decision[0].upper()}{worth.decision[1:]}."
    text = [decision] if choice.goal.get("error_price") is not None else [decision, *beside]
    return {"text": text, "figure": worth_figure(worth), "table": sheet_of(table.rename(columns=_RIVALS), 3)}


def _labels(
    fit: xr.DataTree, labels: bool | LabelValue, choice: Choice | None, price: float | None, stated: bool
) -> dict[str, object] | None:
    """The worth of further labels, where it was asked for: for the limit of the error, else at a price of one."""
    if labels is False:
        return None
    remark = ""
    if labels is True:
        limit = _limit(choice)
        if limit:
            labels = label_value(fit, **limit, random_seed=0)
        elif price is None:
            raise CascadeError(
                "{} needs to know what an error costs; give {}a policy that was tuned on this log{}.",
                (option("labels", True), in_python("a solution, "), in_python(", or what label_value returns")),
                parameter="labels",
                value=True,
            )
        else:
            labels = label_value(fit, error_price=price, random_seed=0)
            if not stated:
                best = f"{price:.3g} is about what the chosen thresholds are best for"
                remark = f"No price of an error was given; {best}."
    return {
        "text": labels.text,
        "remark": remark,
        "figure": labels_figure(labels),
        "table": labels_sheet(labels.table),
    }


def _limit(choice: Choice | None) -> dict[str, Any]:
    """The limit of the error as `label_value` takes it, where that alone is the goal; else empty."""
    if choice is None or "max_error" not in choice.goal or not set(choice.goal) <= {"max_error", "prob", "doubt"}:
        return {}
    return dict(choice.goal)


# ---- explorer


def _exploring(
    explorer: Explorer,
    choice: Choice | None,
    price: float | None,
    money: Callable[[float], str],
    beside: dict[str, Any],
) -> dict[str, object]:
    """The explorer's figures, its first point, and what its script reads."""
    from markupsafe import Markup

    drawn = [
        explorer.figure(f"figure-explorer-{css}", size, css, **beside)
        for css, size in ((WIDE, _WIDE), (NARROW, _PHONE))
    ]
    origin = {"origin": "a point of a report's frontier", "data_hash": explorer.points.attrs["data_hash"]}
    points = [
        {
            "error": float(at["error"]),
            "cost": float(at["cost"]),
            "kept": float(at["kept"]),
            "price": float(about) if np.isfinite(about) else None,
            "rows": [cells[1:] for cells in explorer.rows(i)],
            "errorText": explorer.band("error", i),
            "costText": explorer.band("cost", i),
            "short": f"error {share(float(at['error']))}, cost {money(float(at['cost']))}",
            "sentence": explorer.sentence(i),
            "policy": explorer.policy(i, origin),
            "places": [
                {"x": round(float(places[i, 0]), 1), "y": round(float(places[i, 1]), 1), "bars": bars(places[i])}
                for _, places in drawn
            ],
        }
        for i, about in enumerate(explorer.prices())
        for at in [explorer.points.isel(point=i)]
    ]
    low, high = explorer.price_range
    own = int(explorer.points.attrs["own"])
    start = own
    if own < 0:
        # where nothing was chosen, the middle of what prices pick
        start = explorer.for_price(float(np.sqrt(low * high) if price is None else np.clip(price, low, high)))
    least, most = explorer.target_range
    payload: dict[str, Any] = {"points": points, "own": own, "start": start, "least": least, "most": most}
    first, last = points[0], points[-1]
    return {
        "explorer": payload,
        # drawn by us, with their labels escaped
        "explorer_figures": [Markup(svg) for svg, _ in drawn],
        "explorer_last": len(points) - 1,
        "explorer_start": start,
        "explorer_ends": (first["short"], last["short"]),
        "explorer_target": {
            "least": f"{100.0 * least:.1f}",
            "most": f"{100.0 * most:.1f}",
            "value": f"{100.0 * float(explorer.points['kept'][start]):.1f}",
        },
        "explorer_prob": f"{explorer.prob:.0%}",
        "explorer_stages": [(name, short_name(name, 16, explorer.stages)) for name in explorer.stages],
    }
