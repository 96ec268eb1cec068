"""The first screen of a report: the numbers that count, who answers what, and what failed checks mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from bayescascade._common.arrays import tail_probabilities
from bayescascade._common.digits import as_good_range
from bayescascade._common.messages import sentence
from bayescascade.cascade.predictive import side_of
from bayescascade.checks.results import CONSEQUENCES, OTHERWISE, CheckResult
from bayescascade.display.format import share
from bayescascade.reporting.text import UNIT, Choice, rule_of


def tiles(choice: Choice, scored: xr.Dataset | None, ci_prob: float) -> list[dict[str, str]]:
    """The numbers that count: a label, the number, and what to know of it."""
    note = _ends(choice.error, ci_prob, share)
    if choice.error_of_answers is not None:
        note += f"; of the answers given {share(float(choice.error_of_answers.mean()))}"
    out = [_tile("Expected error", share(float(choice.error.mean())), note)]
    out += _bound(choice)
    out.append(_tested(scored))
    cost = choice.money(float(choice.cost.mean()))
    note = _ends(choice.cost, ci_prob, choice.money)
    if "cost" in choice.sure:
        note += f"; {choice.prob} sure: at most {choice.money(choice.sure['cost'])}"
    if scored is not None:
        note += f"; test log {choice.money(float(scored['cost']))}"
    out.append(_tile(f"Cost {UNIT}", cost, note))
    if choice.abstained is not None:
        left = share(float(choice.abstained.mean()))
        out.append(_tile("Left unanswered", left, _ends(choice.abstained, ci_prob, share)))
    return out


def _tile(label: str, value: str, note: str, css: str = "") -> dict[str, str]:
    return {"label": label, "value": value, "note": note, "css": css}


def _ends(values: np.ndarray, ci_prob: float, show: Callable[[float], str]) -> str:
    low, high = np.quantile(values, tail_probabilities(ci_prob))
    return f"{show(float(low))} to {show(float(high))} ({ci_prob:.0%} interval)"


def _bound(choice: Choice) -> list[dict[str, str]]:
    """What the error stays below with the probability asked for, or 90%."""
    prob, margin = choice.goal.get("prob", 0.9), choice.error_with_margin
    draws = choice.error if margin is None else margin
    bound = choice.sure.get("error", float(np.quantile(draws, prob, method="inverted_cdf")))
    label = "Without safety margin" if margin is None else "With safety margin"
    note = f"{choice.prob} sure"
    if "batch" in choice.goal and "error" in choice.sure:
        note += f" for the next {choice.goal['batch']} queries"
    limit, css = choice.goal.get("max_error"), ""
    if limit is not None:
        css = "good" if choice.feasible else "bad" if bound > limit else ""
        note += f"; your limit: {100.0 * limit:.4g}%"
    if not np.isfinite(bound):
        return []
    return [_tile(label, f"≤ {share(bound)}", note, css)]


def _tested(scored: xr.Dataset | None) -> dict[str, str]:
    """The error on the test log, beside what so many queries should show."""
    if scored is None:
        return _tile("On a test log", "–", "not tested on new queries yet")
    error, n = float(scored["error"]), f"{scored.attrs['n_queries']:,} queries"
    if np.isnan(error):
        return _tile("On the test log", "–", f"no labels on {n}")
    low, high = (float(scored[f"error_{end}"]) for end in ("low", "high"))
    verdict = judged(error, low, high)
    note = f"{verdict} ({share(low)} to {share(high)})"
    return _tile("On the test log", share(error), note, "bad" if verdict == "higher than expected" else "good")


def judged(value: float, low: float, high: float) -> str:
    """How what a log shows compares with what it should show."""
    return ("as expected", "higher than expected", "lower than expected")[side_of(value, low, high)]


def stage_rows(choice: Choice, kind: str) -> list[dict[str, Any]]:
    """For each stage that is run: when it answers, and its shares of the queries."""
    done, called = choice.answered.mean(axis=0), choice.reach.mean(axis=0)
    rows: list[dict[str, Any]] = []
    for j, name in enumerate(choice.stages):
        t = float(choice.thresholds[j])
        if np.isnan(t):
            continue
        reject = -np.inf if choice.reject is None else float(choice.reject[j])
        low, high = (np.nan, np.nan) if choice.as_good is None else map(float, choice.as_good[j])
        rule, probability = rule_of(t, kind, not rows, reject, (low, high))
        if called[j] == 0.0:
            rule, probability = "never called", ""
        elif probability:  # what everybody can read comes first
            rule, probability = probability, rule
        span = as_good_range(low, high) if np.isfinite(t) and called[j] > 0.0 else ""
        also = [text for text in (probability, span and f"{span} does as well") if text]
        row = {"name": name, "rule": rule, "also": "; ".join(also), "called": share(float(called[j]))}
        row |= {"answered": share(float(done[j])), "width": f"{100.0 * float(done[j]):.1f}"}
        rows.append(row)
    return rows


def trust(
    checks: list[CheckResult], idle: list[str], choice: Choice | None, scored: xr.Dataset | None, lacks: list[str]
) -> dict[str, Any]:
    """What the checks say of the numbers above: a title, and sentences; ``css`` is good, care or untested.

    ``idle`` are the pairs of stages that failed, if they lead to stages that the thresholds hardly ever call.
    """
    failed = [result.name for result in checks if result.passed is False]
    n = sum(result.passed is not None for result in checks)
    effects = [(name, sentence(CONSEQUENCES.get(name, OTHERWISE))) for name in failed]
    if idle:
        effects = [
            (name, f"Only {', '.join(idle)} is affected, where these thresholds send next to nothing. Other "
             "thresholds on this page may go there.")
            if name == "dependence" else (name, text)
            for name, text in effects
        ]  # fmt: skip
    title = f"{len(failed)} of {n} model checks failed" if failed else f"All {n} model checks passed"
    said = [*lacks]
    if choice is not None:
        said.append(_so(bool(failed), scored))
    worse = _strange(scored, "higher than expected")
    if worse:  # what speaks against the thresholds comes first
        said.insert(0, f"{title}.")
        title = f"On the test log {' and '.join(worse)}"
    # green is for what was tested
    css = "care" if failed or lacks or worse else "good" if scored is not None else "untested"
    return {"title": title, "effects": effects, "text": [text for text in said if text], "css": css}


def _strange(scored: xr.Dataset | None, verdict: str) -> list[str]:
    """What is ``higher than expected``, or ``lower than expected``, on the test log, in words."""
    out = []
    for name in ("error", "cost"):
        if scored is not None and f"{name}_low" in scored and not np.isnan(float(scored[name])):
            found = judged(float(scored[name]), *(float(scored[f"{name}_{end}"]) for end in ("low", "high")))
            out += [f"the {name} was {verdict}"] if found == verdict else []
    return out


def _so(failed: bool, scored: xr.Dataset | None) -> str:
    """What follows for those who want to use the thresholds."""
    if scored is None or np.isnan(float(scored["error"])):
        return "These numbers have not been tested on new queries. Score the thresholds on a test log first."
    if _strange(scored, "higher than expected"):
        return "Refit with these queries, or find out how they differ, before you rely on the numbers."
    better = _strange(scored, "lower than expected")
    if better:
        return (
            f"On the test log {' and '.join(better)}. This does not speak against them, and one log in "
            "ten differs by chance. Refit with these queries to have closer numbers."
        )
    if failed:
        return (
            "On the test log, error and cost came out as predicted. The thresholds can be used; refit as the "
            "checks advise before you rely on thresholds that were not tested."
        )
    return "On the test log, error and cost came out as predicted."
