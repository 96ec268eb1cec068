"""The answer of `tune` as a newcomer reads it: what to run, what it brings, what it keeps, what else there was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bayescascade._common.arrays import tail_probabilities
from bayescascade._common.digits import as_good_range, percent_of_log, show_reject, show_threshold
from bayescascade.display.format import CI_PROB, per_thousand, share, with_currency
from bayescascade.signals.kinds import LOGARITHMS
from bayescascade.tuning.solution_text import goal_in_words, promised, remark_on_idle, say_margin, sure_of
from bayescascade.tuning.spec import TuningSpec

if TYPE_CHECKING:
    from bayescascade.tuning.solution import ThresholdSolution


class Line(NamedTuple):
    """One fact of the answer: its name, and what it is."""

    name: str
    text: str


@dataclass(frozen=True)
class Alternative:
    """A simpler or longer cascade for the same goal, beside the one recommended.

    Attributes
    ----------
    stages : list of str
    feasible : bool
        Whether it keeps the goal's limits.
    kept : float
        With which probability; NaN without limits.
    loss, error, cost : float
        Posterior means: what is minimised, the long-run error, and the cost per query.
    """

    stages: list[str]
    feasible: bool
    kept: float
    loss: float
    error: float
    cost: float


_ALL = 1.0 - 1e-9  # of the queries, but for rounding


def headline(solution: ThresholdSolution) -> str:
    """What to run."""
    stages = [str(name) for name in solution.thresholds["stage"].values]
    if solution.abstained is not None and float(solution.abstained.min()) > _ALL:
        return "Recommended: leave every query unanswered"
    return f"Recommended: {f'send every query to {stages[0]}' if len(stages) == 1 else ' > '.join(stages)}"


def notes(solution: ThresholdSolution) -> list[str]:
    """What is said before all numbers: that a margin lacks, or that a stage is idle."""
    stages = [str(name) for name in solution.thresholds["stage"].values]
    known = None if solution.margin is None else solution.margin.known
    reach = solution.reach.mean(("chain", "draw")).values
    said = (say_margin(solution.goal, known).strip(), remark_on_idle(stages, reach))
    return [text for text in said if text]


def facts(solution: ThresholdSolution) -> list[Line]:
    """What was asked for, cost, error, the bound that is kept, and what was given up."""
    goal, currency = solution.goal, solution.currency
    wanted, per = goal_in_words(goal), per_queries(currency)
    lines = [
        *([Line("Goal", wanted)] if wanted else []),
        Line("Cost", _with_interval(solution.cost, per_thousand, per)),
        Line("Error", _with_interval(solution.error, share)),
    ]
    if solution.abstained is not None:
        answered = (1.0 - solution.abstained).where(solution.abstained <= _ALL)
        if answered.notnull().any():
            lines.append(Line("Of answers", f"{_with_interval(solution.error / answered, share)} are wrong"))
        lines.append(Line("Unanswered", _with_interval(solution.abstained, share)))
    if solution.latency is not None:
        lines.append(Line("Latency", _with_interval(solution.latency, "{:.4g}".format) + ", per query"))
    if solution.upper_bounds:
        lines.append(Line("Limit", sure_of(solution.upper_bounds, goal, per)))
    instead = given_up(solution)
    return [*lines, *([Line("Instead", instead)] if instead else [])]


def per_queries(currency: str | None) -> Callable[[float], str]:
    """How a cost is said: per 1,000 queries, with its currency."""
    return lambda value: f"{with_currency(per_thousand(value), currency)} per 1,000 queries"


def _with_interval(draws: Any, show: Any, say: Any = None) -> str:
    low, high = (float(x) for x in draws.quantile(tail_probabilities(CI_PROB)).values)
    return f"{(say or show)(float(draws.mean()))} ({CI_PROB:.0%} interval {show(low)} to {show(high)})"


def given_up(solution: ThresholdSolution) -> str:
    """The nearest simpler way, and the whole cascade where stages were left out, beside what is recommended."""
    if not solution.alternatives or not solution.feasible:
        return ""
    limited, spec = bool(solution.upper_bounds), TuningSpec(**solution.goal)
    own = float(spec.objective().loss(_means(solution)))
    singles = [one for one in solution.alternatives if len(one.stages) == 1]
    words = []
    able = [one for one in singles if one.feasible]
    if able:
        best = min(able, key=lambda one: one.loss)
        keeps = ", the best single stage that keeps this," if limited else ", the best single stage,"
        words.append(f"{best.stages[0]} alone{keeps} {_beside(best, own, spec, solution.currency)}.")
    elif singles:
        best = max(singles, key=lambda one: one.kept)
        words.append(
            f"No single stage keeps this; {best.stages[0]} alone comes nearest, with probability "
            f"{promised(best.kept, spec.prob)}."
        )
    for one in solution.alternatives:
        if len(one.stages) > 1:
            what = f"Running all {len(one.stages)} stages"
            words.append(
                f"{what} {_beside(one, own, spec, solution.currency)}."
                if one.feasible
                else f"{what} would not keep this."
            )
    return " ".join(words)


def _means(solution: ThresholdSolution) -> dict[str, np.ndarray]:
    """Posterior means of what a loss may be made of."""
    amounts = {name: getattr(solution, name) for name in ("error", "cost", "latency", "abstained")}
    return {name: np.array(0.0 if of is None else float(of.mean())) for name, of in amounts.items()}


def _beside(one: Alternative, own: float, spec: TuningSpec, currency: str | None) -> str:
    """What another way costs or errs, and by how much that is more than the recommended one."""
    if dict(spec.weights) == {"error": 1.0}:
        return f"errs {share(one.error)}"
    what = "costs" if spec.cheapest else "loses"
    more = one.loss / own - 1.0 if own > 0.0 else float("nan")
    change = f" ({more:+.0%})" if abs(more) >= 0.005 else " (as much)" if more == more else ""
    return f"{what} {per_queries(currency)(one.loss)}{change}"


def threshold_head(solution: ThresholdSolution) -> tuple[str, ...]:
    """Titles of the columns of `threshold_rows`."""
    logs = ("probability",) if solution.confidence_kind in LOGARITHMS else ()
    rejects = () if solution.reject is None else ("abstain below",)
    ends = "answers" if solution.reject is None else "ends"
    return ("stage", "accept from", *logs, "does as well", *rejects, "called", ends)


def threshold_rows(solution: ThresholdSolution) -> list[tuple[str, ...]]:
    """A row for each stage: its threshold in two digits, what does as well, and the shares it runs and answers."""
    reach, answered = (of.mean(("chain", "draw")).values for of in (solution.reach, solution.answered))
    rows = []
    for j, name in enumerate(solution.thresholds["stage"].values):
        threshold = float(solution.thresholds[j])
        low, high = (np.nan, np.nan) if solution.as_good is None else map(float, solution.as_good.values[j])
        cells = [str(name), show_threshold(threshold, low, high)]
        if solution.confidence_kind in LOGARITHMS:
            cells.append(percent_of_log(threshold) if np.isfinite(threshold) else "")
        cells.append(as_good_range(low, high) if np.isfinite(threshold) else "")
        if solution.reject is not None:
            cells.append(show_reject(float(solution.reject[j])))
        rows.append((*cells, share(float(reach[j])), share(float(answered[j]))))
    return rows
