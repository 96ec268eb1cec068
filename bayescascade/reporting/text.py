"""The words at the head of a report: what to run, what it promises, and how it compares with simpler ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bayescascade._common.arrays import safe_divide
from bayescascade._common.digits import show_reject, show_threshold
from bayescascade.analysis.rival_table import SURE
from bayescascade.analysis.verdict import Verdict
from bayescascade.cascade.single_stages import beats_singles, rivals, single_stages
from bayescascade.display.format import as_probability, chance, priced, share
from bayescascade.display.names import LETTERS, short_name
from bayescascade.posterior.draws import Draws
from bayescascade.tuning.solution_text import promised
from bayescascade.tuning.spec import TuningSpec

_TITLE, _LEAST = 60, 14  # letters of all names in a title, and of one name at least
_LIKELY = 0.7  # probability from which on something is called probable
UNIT = "per 1,000 queries"


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
    error_with_margin : ndarray (draw,), optional
        The error with the safety margin; None where the goal has none.
    latency : ndarray (draw,), optional
        Per query, in the log's units.
    as_good : ndarray (stage, end), optional
        Between which values each threshold does as well.
    currency : str, optional
        Of the costs.
    among : list of str
        All stages of the log, from which short names tell one.
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
    error_with_margin: np.ndarray | None = None
    latency: np.ndarray | None = None
    as_good: np.ndarray | None = None
    currency: str | None = None
    among: Sequence[str] = ()

    def short(self, name: str, length: int = LETTERS) -> str:
        """A stage's name where space is short."""
        return short_name(name, length, self.among)

    @property
    def answered(self) -> np.ndarray:
        """Share of queries that each stage answers (draw, stage)."""
        left = np.concatenate([self.reach[:, 1:], np.zeros_like(self.reach[:, :1])], axis=1)
        return np.maximum(self.reach - left, 0.0)  # rounding leaves -1e-17 of a stage that defers all

    @property
    def error_of_answers(self) -> np.ndarray | None:
        """Share of wrong ones among the answers that are given (draw,), where some queries are left unanswered."""
        return None if self.abstained is None else safe_divide(self.error, 1.0 - self.abstained)

    @property
    def called(self) -> list[str]:
        """Stages that any query can get to: none stands after one that accepts all."""
        last = int(np.argmax(self.thresholds == -np.inf))
        return [name for name, t in zip(self.stages[: last + 1], self.thresholds, strict=False) if not np.isnan(t)]

    @property
    def prob(self) -> str:
        """The probability of the promise, as a reader wants it."""
        return f"{100.0 * self.goal.get('prob', 0.9):.4g}%"

    def money(self, cost: float) -> str:
        """What so much per query costs per 1,000 queries."""
        return priced(cost, self.currency)


def headline(choice: Choice | None) -> str:
    """The answer in one line."""
    if choice is None:
        return "No thresholds chosen yet"
    cost = f"{choice.money(float(choice.cost.mean()))} {UNIT}"
    letters = max(_LEAST, min(LETTERS, _TITLE // max(len(choice.called), 1)))
    called = [choice.short(name, letters) for name in choice.called]
    if not choice.feasible:
        return f"These models cannot keep {limits(choice)}"
    if len(called) == 1:
        return f"Send every query to {called[0]}, for {cost}"
    return f"Run {' → '.join(called)} for {cost}"


def limits(choice: Choice) -> str:
    """The limits of a goal, as part of a sentence."""
    parts = []
    for name in ("error", "cost", "latency"):
        if f"max_{name}" in choice.goal:
            limit = choice.goal[f"max_{name}"]
            shown = {"error": lambda x: f"{100.0 * x:.4g}%", "cost": choice.money, "latency": "{:.4g}".format}
            parts.append(f"{name} at or below {shown[name](limit)}{f' {UNIT}' if name == 'cost' else ''}")
    return " and ".join(parts)


def lead(choice: Choice | None, draws: Draws, worth: Verdict | None, lowest: float) -> list[str]:
    """What is promised, and how it compares with simpler ways; a sentence or two each.

    ``lowest`` is the lowest error that some point of the frontier stays below, with 90% and a safety margin.
    """
    if choice is None:
        return [
            f"Pick a point of the curve below. You can be 90% sure of an error as low as {share(lowest)}.",
            "To let bayescascade choose, tune to a goal of yours, and write the report with what comes out.",
        ]
    return [*_promise(choice, lowest), compared(choice, draws) if worth is None else judgement(worth, choice)]


def _promise(choice: Choice, lowest: float) -> list[str]:
    goal, prob = choice.goal, choice.prob
    of = f" of the next {goal['batch']} queries" if "batch" in goal else " in the long run"
    if not choice.feasible:
        chance_of = "under 1%" if choice.kept < 0.01 else promised(choice.kept)
        said = f"The nearest thresholds, shown here, do so with probability {chance_of}; you asked for {prob}."
        if set(_limited(goal)) == {"error"} and goal["prob"] == 0.9 and "batch" not in goal:
            said += f" The lowest error you can be 90% sure of is about {share(lowest)}."
        return [said + " Allow more errors, ask for less certainty, or label more queries."]
    out = []
    if "max_error" in goal:
        most = f"{100.0 * goal['max_error']:.4g}%"
        out.append(f"You can be {prob} sure that at most {most} of queries{of} get a wrong answer, as you asked.")
    if "max_cost" in goal:
        most = f"{choice.money(goal['max_cost'])} {UNIT}"
        out.append(f"You can be {prob} sure that the cost{of} is at most {most}, as you asked.")
    if "max_latency" in goal:
        out.append(f"You can be {prob} sure that latency{of} is at most {goal['max_latency']:.4g} on average.")
    prices = [
        f"{what} costs {choice.money(goal[name] / 1000.0)}"  # `money` is of 1,000 queries
        for name, what in (
            ("error_price", "a wrong answer"),
            ("abstain_price", "an unanswered query"),
            ("latency_price", "a unit of latency"),
        )
        if name in goal
    ]
    if prices:
        least = {"regret": "the least regret", "cvar": "the least loss if things go badly"}
        loss = least.get(goal.get("risk", "mean"), "the lowest expected total")
        out.append(f"Where {' and '.join(prices)}, these thresholds give {loss} of errors and calls.")
    return [" ".join(out)] if out else ["These are thresholds of your own. No goal was stated for them."]


def _limited(goal: dict[str, Any]) -> list[str]:
    return [name for name in ("error", "cost", "latency") if f"max_{name}" in goal]


def judgement(worth: Verdict, choice: Choice) -> str:
    """Whether to run the cascade: beside the simpler way that matters most."""
    table, limited = worth.table, "kept" in worth.table
    best = table[table["chosen"] & table["kind"].isin(["single stage", "pair"])]
    if limited:
        return _beside_limit(worth, choice, best)
    single = best[best["kind"] == "single stage"].iloc[0]
    # where the pair is the cascade but for its idle stages, what counts is what both save against a stage alone
    row = single if worth.shorter else best.loc[best["loss"].idxmin()]
    name, kind = _named(row, choice)
    saved = _saved(row, choice)
    sure = f" (that it is the cheaper one: {chance(float(row['p_beats']))})"
    if worth.decision.startswith("do not"):
        return f"But {_named(single, choice)[0]} alone does better: it saves {_saved(single, choice)} in all."
    if worth.shorter:
        pair = best[best["kind"] == "pair"].iloc[0]
        return (
            f"You could run less: {_named(pair, choice)[0]} does as well. It saves {saved} against {name}{sure}."
        )
    if row["saving"] < 0.0:
        return f"The best {kind}, {name}, is expected to cost {saved} less{sure}."
    if row["p_beats"] < _LIKELY:
        return f"It is a toss-up against the best {kind}, {name}: it saves {saved}{sure}."
    likely = "" if row["p_beats"] >= SURE else "probably "
    return f"It {likely}beats the best {kind}, {name}: it saves {saved} in errors and calls{sure}."


def _beside_limit(worth: Verdict, choice: Choice, best: pd.DataFrame) -> str:
    """What keeps the same limit more simply, and what it costs."""
    errors = dict(TuningSpec(**worth.solution.goal).weights) == {"error": 1.0}
    if not worth.solution.feasible:
        if best.empty:
            return "No single model keeps the limit, and no pair of models does."
        row = best.loc[best["loss"].idxmin()]
        return f"But {_named(row, choice)[0]} keeps it, with probability {promised(float(row['kept']))}."
    singles = best[best["kind"] == "single stage"]
    if len(choice.called) == 1:
        return "No cascade of these models keeps the same limit for less." if not errors else ""
    if singles.empty:
        alone = "No single model keeps this limit."
        pairs = best[best["kind"] == "pair"]
        if pairs.empty:
            return f"{alone[:-1]}, and no other pair of models does." if len(choice.called) == 2 else alone
        return f"{alone} {_costs(pairs.iloc[0], worth, choice, errors)}"
    return _costs(best.loc[best["loss"].idxmin()], worth, choice, errors)


def _costs(row: pd.Series, worth: Verdict, choice: Choice, errors: bool) -> str:
    """What one simpler way that keeps the limit brings, against the cascade."""
    name, kind = _named(row, choice)
    own, other = float(worth.table["loss"].iloc[0]), float(row["loss"])
    which = f"The best {kind} that keeps the limit, {name},"
    if errors:
        gap = abs(other - own) / 1000.0
        if gap < 5e-4:
            return f"{which} errs as often."
        return f"{which} makes {100.0 * gap:.1f} percentage points {'more' if other > own else 'fewer'} errors."
    change = abs(other / own - 1.0) if own > 0.0 else 0.0
    if change < 5e-3:
        return f"{which} costs the same."
    much = f"{1.0 + change:.1f} times as much" if other > 2.0 * own else f"{change:.0%} more"
    beside = choice.money(other / 1000.0)
    if choice.abstained is not None:  # the title has the cost of calls alone
        beside += f" beside {choice.money(own / 1000.0)}, unanswered queries included"
    return f"{which} costs {much if other > own else f'{change:.0%} less'} ({beside})."


def _named(row: Any, choice: Choice) -> tuple[str, str]:
    """A rival as a reader wants it, and its kind."""
    name = str(row["rival"]).removesuffix(" alone")
    if row["kind"] == "pair":
        return " → ".join(map(choice.short, name.rpartition(" at ")[0].split(" > "))), "pair of models"
    return choice.short(name), "single model"


def _saved(row: Any, choice: Choice) -> str:
    return f"{choice.money(abs(row['saving']) / 1000.0)} {UNIT}"


def compared(choice: Choice, draws: Draws) -> str:
    """How thresholds fare against single stages where an error has no price."""
    singles = single_stages(draws)
    p = float(np.mean(beats_singles(choice.error, choice.cost, singles)))
    text = f"The probability that no single model is both as accurate and as cheap is {chance(p)}."
    if p >= 0.5:
        return text
    rival = int(np.argmax(rivals(choice.error, choice.cost, singles).mean(axis=0)))
    wrong, spent = (float(values[:, rival].mean()) for values in singles)
    return (
        f"Look at {choice.short(draws.stages[rival])} alone first: it errs on {share(wrong)} of queries and costs "
        f"{choice.money(spent)} {UNIT}. {text}"
    )


def rule_of(
    threshold: float,
    kind: str,
    first: bool,
    reject: float = -np.inf,
    as_good: tuple[float, float] = (np.nan, np.nan),
) -> tuple[str, str]:
    """When a stage answers: the rule, and the threshold as a probability where the kind has one.

    In two digits where it is known between which values it does ``as_good``, or as many as keep it there.
    """
    also = "" if reject == -np.inf else f"; gives no answer below {show_reject(reject)}"
    if np.isnan(threshold):
        return "not run", ""
    if threshold == -np.inf:
        return f"answers {'everything' if first else 'the rest'}{also}", ""
    if threshold == np.inf:
        return f"escalates everything{also}", ""
    return f"confidence ≥ {show_threshold(threshold, *as_good)}{also}", as_probability(threshold, kind)


def spelled(stages: list[str], thresholds: np.ndarray, kind: str, spans: np.ndarray) -> list[str]:
    """What each stage does at thresholds (stage,) on confidences of a kind, of those that are run.

    Between ``spans`` (stage, end) the thresholds do as well, NaN where that is not known.
    """
    run = [(name, t, span) for name, t, span in zip(stages, thresholds, spans, strict=True) if not np.isnan(t)]
    last = next(i for i, (_, t, _) in enumerate(run) if t == -np.inf)
    rules = [
        f"{name} escalates everything"
        if t == np.inf
        else f"{name} answers at {as_probability(t, kind) or f'confidence ≥ {show_threshold(t, *span)}'}"
        for name, t, span in run[:last]
    ]
    rules.append(f"{run[last][0]} answers {'the rest' if last else 'everything'}")
    return rules
