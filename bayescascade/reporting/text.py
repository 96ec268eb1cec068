"""The words of a report: what to set, what it brings, whether to run the cascade at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from bayescascade.analysis.verdict import Verdict
from bayescascade.cascade.single_stages import beats_singles, rivals, single_stages
from bayescascade.display.format import band, chance, money, per_thousand, share, short, show_threshold
from bayescascade.posterior.draws import Draws
from bayescascade.tuning.solution_text import goal_in_words, promised, sure_of
from bayescascade.tuning.spec import TuningSpec


@dataclass(frozen=True)
class Choice:
    """Thresholds with what the draws say of them; from a solution, or the user's own.

    Attributes
    ----------
    stages : list of str
    thresholds : ndarray (stage,)
    reject : ndarray (stage,), optional
        Below these a stage abstains.
    error, cost : ndarray (draw,)
    reach : ndarray (draw, stage)
        All of these are the posterior's, without a safety margin.
    kept : float
        Probability of the goal's limits, safety margin included.
    sure : dict
        What each limited amount stays below with the goal's probability, see `ThresholdSolution.upper_bounds`.
    """

    stages: list[str]
    thresholds: np.ndarray
    error: np.ndarray
    cost: np.ndarray
    reach: np.ndarray
    goal: dict[str, Any]
    feasible: bool
    kept: float
    sure: dict[str, float]
    reject: np.ndarray | None = None
    abstained: np.ndarray | None = None

    @property
    def answered(self) -> np.ndarray:
        """Share of queries that each stage answers (draw, stage)."""
        left = np.concatenate([self.reach[:, 1:], np.zeros_like(self.reach[:, :1])], axis=1)
        return np.maximum(self.reach - left, 0.0)  # rounding leaves -1e-17 of a stage that defers all


def summary(
    choice: Choice | None,
    draws: Draws,
    scored: xr.Dataset | None,
    worth: Verdict | None,
    ci_prob: float,
) -> list[str]:
    """What to set, what it brings, and whether to run the cascade at all; a sentence each."""
    if choice is None:
        return [
            "No thresholds were chosen for this report. The table of the frontier shows what can be had: pick the "
            "row whose error and cost suit you, and set its thresholds, or ask tune for a goal and pass what it "
            "returns as solution."
        ]
    rule = f"{'; '.join(_rules(choice))}."
    lead = f"To have {goal_in_words(choice.goal)}, set" if choice.goal else "Set"
    if not choice.feasible:
        lead = (
            f"No thresholds give {goal_in_words(choice.goal)}; nearest come, with probability "
            f"{promised(choice.kept, choice.goal['prob'])},"
        )
    wrong = band(choice.error, ci_prob, share)
    expected = f"Of the answers {wrong} are expected to be wrong"
    if choice.abstained is not None:
        left = band(choice.abstained, ci_prob, share)
        expected = f"Of the queries {wrong} are expected to be answered wrongly and {left} not at all"
    expected += f", at a cost of {band(choice.cost, ci_prob, per_thousand)} per 1,000 queries"
    judged = comparison(choice, draws) if worth is None else judgement(worth)
    tested = [] if scored is None else [f"On the test log. {scored.attrs['text']}"]
    promise = [] if not choice.sure else [sure_of(choice.sure, choice.goal, per_thousand_queries)]
    return [f"{lead}: {rule}", f"{expected}.", *promise, *tested, judged]


def per_thousand_queries(value: float) -> str:
    """A cost or latency per query, as that of a thousand, with its unit."""
    return f"{per_thousand(value)} per 1,000 queries"


def judgement(worth: Verdict) -> str:
    """Whether to run the cascade: the decision, and how it fares against the rival that matters most."""
    decision, limited = f"{worth.decision[0].upper()}{worth.decision[1:]}", "kept" in worth.table
    best = worth.table[worth.table["chosen"] & worth.table["kind"].isin(["single stage", "pair"])]
    if limited and best.empty and not worth.solution.feasible:
        return f"{decision}."
    if limited and best.empty:
        return f"{decision}: no single stage and no pair of stages keeps this limit."
    # where the pair is the cascade but for its idle stages, what counts is what both save against a stage alone
    alone = best[best["kind"] == "single stage"]
    row = alone.iloc[0] if worth.shorter and not limited else best.loc[best["loss"].idxmin()]
    if limited and not worth.solution.feasible:
        return f"{decision}, which keeps this limit with probability {promised(float(row['kept']))}."
    verb, against, sign = ("saves", "against", 1.0) if row["saving"] >= 0.0 else ("costs", "more than", -1.0)
    ends = sorted(sign * row[f"saving_{end}"] for end in ("low", "high"))
    price = "" if worth.error_price is None else f" where an error costs {worth.error_price:.3g}"
    keeps = " that keeps this limit" if limited else ""
    rival = f"the best {row['kind']}{keeps}, {str(row['rival']).removesuffix(' alone')}"
    of_errors = limited and dict(TuningSpec(**worth.solution.goal).weights) == {"error": 1.0}
    unit, better = (" wrong answers", "errs less") if of_errors else ("", "is the cheaper of the two")
    if of_errors and verb == "costs":
        verb = "gives"
    lead = f"{decision};{price}{',' if price else ''} it {verb} {money(abs(row['saving']))}{unit}"
    if worth.shorter:
        lead = (
            f"{decision}, which does as well or better{price}. The whole cascade {verb} "
            f"{money(abs(row['saving']))}{unit}"
        )
    return (
        f"{lead} ({money(ends[0])} to {money(ends[1])}) per 1,000 queries {against} {rival}, and {better} with "
        f"probability {chance(float(row['p_beats']))}."
    )


def comparison(choice: Choice, draws: Draws) -> str:
    """How thresholds fare against single stages where an error has no price."""
    singles = single_stages(draws)
    p = float(np.mean(beats_singles(choice.error, choice.cost, singles)))
    text = f"With probability {chance(p)}, no stage used alone errs as little for as little money"
    if p >= 0.5:
        return f"{text}."
    rival = int(np.argmax(rivals(choice.error, choice.cost, singles).mean(axis=0)))
    wrong, spent = (float(values[:, rival].mean()) for values in singles)
    return (
        f"Do not run this cascade before you have looked at {draws.stages[rival]} alone, whose error is "
        f"{share(wrong)} at a cost of {per_thousand(spent)} per 1,000 queries. {text}."
    )


def caveats(failed: list[str], idle_pairs: list[str], *, tested: bool, chosen: bool) -> list[str]:
    """Warnings where checks failed, and where nothing new was looked at.

    ``idle_pairs`` are the pairs of stages that failed, if they lead to stages that the thresholds hardly ever
    call.
    """
    out = []
    if failed:
        out.append(f"Read this with care: the fit failed the check of {', '.join(failed)}.")
    if idle_pairs:
        out[-1] += (
            f" The pair that failed is {', '.join(idle_pairs)}: these thresholds hardly ever go there, so it does "
            "not touch their error and cost, but other thresholds on this page do go there."
        )
    if chosen and not tested:
        out.append(
            "Nothing here was measured on queries that the fit has not seen: score the thresholds on a test log "
            "before you rely on them."
        )
    return out


def _rules(choice: Choice) -> list[str]:
    """What each stage does, in words; nothing is left for the stages after one that accepts all."""
    rules = spelled(choice.stages, choice.thresholds)
    if choice.reject is not None:
        last = int(np.argmax(choice.thresholds == -np.inf))
        for j in np.flatnonzero(choice.reject[: last + 1] > -np.inf):
            rules[j] += f" and leaves unanswered what is below {short(float(choice.reject[j]))}"
    return rules


def spelled(stages: list[str], thresholds: np.ndarray) -> list[str]:
    """What each stage does at thresholds (stage,), of those that are run."""
    run = [(name, t) for name, t in zip(stages, thresholds, strict=True) if not np.isnan(t)]
    last = next(i for i, (_, t) in enumerate(run) if t == -np.inf)
    rules = [
        f"{name} defers everything" if t == np.inf else f"{name} answers from confidence {show_threshold(t)} up"
        for name, t in run[:last]
    ]
    rules.append(f"{run[last][0]} answers {'what is left' if last else 'everything'}")
    idle = [name for name, _ in run[last + 1 :]]
    if idle:
        rules.append(f"{', '.join(idle)} {'is' if len(idle) == 1 else 'are'} never called")
    return rules
