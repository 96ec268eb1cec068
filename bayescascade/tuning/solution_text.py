"""A tuned cascade in words: what it promises and expects, or what could be promised in place of the goal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from bayescascade._common.arrays import tail_probabilities
from bayescascade.display.format import CI_PROB
from bayescascade.errors import TO_FILL_IN, option
from bayescascade.tuning.objective import Amounts, Objective
from bayescascade.tuning.spec import TuningSpec

_UNKNOWN = 0.02  # share of queries from which on it is said that nothing is known of them

if TYPE_CHECKING:
    from bayescascade.tuning.solution import Solved


def remark_on_idle(stages: list[str], reach: np.ndarray) -> str:
    """Say which stages are run and paid for but answer next to nothing, given mean reach (stage,)."""
    answered = reach - np.append(reach[1:], 0.0)
    idle = [name for name, r, a in zip(stages, reach, answered, strict=True) if r > 0.01 and a < 0.001]
    if not idle:
        return ""
    names = ", ".join(map(repr, idle))
    leave = " would be paid for and answer next to nothing: leave it out, with " + option("stages", [TO_FILL_IN])
    return f" {names}" + leave + "."


def say_margin(goal: Mapping[str, Any], known: float | None) -> str:
    """What comes before all else: that a promise has no safety margin, or how much of it rests on nothing seen.

    ``known`` is the share of queries that are known, see `SafetyMargin`; None where there is no margin.
    """
    if known is None:
        lost = "max_error" in goal
        return "No safety margin: nothing is allowed for what the model misses. " if lost else ""
    if known > 1.0 - _UNKNOWN:
        return ""
    return (
        f"Little to go by: for {1.0 - known:.0%} of the queries neither they nor any like them say whether these "
        "thresholds err. There the safety margin rests on the model alone. Run every stage on some of these "
        "queries and label the answers. "
    )


def describe(spec: TuningSpec, solved: Solved) -> str:
    """Put a solution into a few sentences: what is promised with the safety margin, what the posterior expects."""
    found, kept = solved.outcome, promised(solved.kept, spec.prob)
    expects = f"Expected error {_interval(found.error, '.2%')}, "
    expects += f"expected cost {_interval(found.cost, '.4g', 'per query')}"
    if found.abstained is not None:
        expects += f", share left unanswered {_interval(found.abstained, '.2%')}"
    if spec.max_latency is not None or spec.latency_price is not None:
        assert found.latency is not None
        expects += f", latency {_interval(found.latency, '.4g', 'per query')}"
    expects += "."
    promise = " and ".join(f"{name} <= {bound:.4g}" for name, bound in spec.bounds)
    promise = (
        f"P({promise}{'' if spec.batch is None else f' over the next {spec.batch} queries'}) >= {spec.prob:g}"
    )
    if not solved.feasible:
        return f"Infeasible: no thresholds give {promise}; the best reach {kept}. {solved.reachable} {expects}"
    said = f"Least {_loss(spec)}"
    if spec.bounds:
        said += f" such that {promise}"
    if spec.error_price is None and spec.max_error is not None and not found.cost.any():
        said += "; as these calls are free, with the least error"
    if spec.doubt:
        said += f", with a safety margin for what the model misses (doubt {spec.doubt:g})"
    if not spec.bounds:
        return f"{said}. {expects}"
    said += f"; here that probability is {kept}"
    if spec.doubt:
        said += f", and {promised(solved.kept_without_margin, spec.prob)} by the model alone"
    return f"{said}. {expects} {sure_of(solved.upper_bounds, spec.stated)}"


def promised(kept: float, prob: float = 0.9) -> str:
    """The probability of a promise, rounded down: one that is missed must not look as if it were kept."""
    return "over 99%" if kept > 0.99 >= prob else f"{np.floor(1000.0 * kept + 1e-9) / 10.0:.1f}%"


def sure_of(
    bounds: Mapping[str, float], goal: Mapping[str, Any], show: Callable[[float], str] = "{:.4g} per query".format
) -> str:
    """The one-sided bounds of a promise: what each limited amount stays below; ``show`` says a cost or latency."""
    of = f" of the next {goal['batch']} queries" if "batch" in goal else ""
    below = [
        f"the {name}{of} is at most {f'{value:.1%}' if name == 'error' else show(value)}"
        for name, value in bounds.items()
    ]
    margin = ", safety margin included" if goal.get("doubt") and "error" in bounds else ""
    each = " and, by itself, that ".join(below)
    return f"You can be {100.0 * goal['prob']:.4g}% sure that {each}{margin}."


def _loss(spec: TuningSpec) -> str:
    """What is least, in words."""
    if spec.error_price is not None:
        what = "regret" if spec.risk == "regret" else "loss"
    else:
        what = "error" if spec.max_error is None else "cost"
    how = "expected" if spec.risk == "mean" else f"mean of the worst {spec.alpha:.3g} of draws of the"
    return f"{how} {what}{say_prices(spec.stated)}"


def say_prices(goal: Mapping[str, Any]) -> str:
    """What errors and the like cost, if the goal says so."""
    names = {"error_price": "an error", "abstain_price": "an abstention", "latency_price": "a unit of latency"}
    prices = [f"{what} costs {goal[name]:g}" for name, what in names.items() if name in goal]
    return f" when {' and '.join(prices)}" if prices else ""


def goal_in_words(goal: Mapping[str, Any]) -> str:
    """What `tune` was asked for."""
    prices = say_prices(goal)
    bounds = []
    for name in ("error", "cost", "latency"):
        if f"max_{name}" in goal:
            limit = goal[f"max_{name}"]
            bounds.append(f"{name} at most {f'{100.0 * limit:.4g}%' if name == 'error' else f'{limit:.4g}'}")
    about = f" over the next {goal['batch']} queries" if "batch" in goal else ""
    promise = f"{' and '.join(bounds)}{about} with probability {goal['prob']:g}" if bounds else ""
    if not prices:
        return promise
    loss = "the least regret" if goal.get("risk") == "regret" else "the least expected loss"
    loss = "the least loss in the worst draws" if goal.get("risk") == "cvar" else loss
    return f"{loss}{prices}, and {promise}" if promise else f"{loss}{prices}"


def _interval(values: np.ndarray, form: str, unit: str = "") -> str:
    low, high = np.quantile(values, tail_probabilities(CI_PROB))
    unit = f" {unit}" if unit else ""
    return f"{values.mean():{form}}{unit} ({CI_PROB:.0%} interval {low:{form}} to {high:{form}})"


def say_reachable(objective: Objective, amounts: Amounts) -> str:
    """Say what can be promised at most, given amounts of the points tried (draw, point), and which bound stands in
    the way."""
    sure = f"can be promised with probability {objective.prob:g}"
    sure += "" if objective.batch is None else f" for {objective.batch} queries"
    alone = {name: objective.with_bound(name).lowest_bound(name, amounts) for name, _ in objective.bounds}
    binding = [name for name, bound in objective.bounds if alone[name] > bound]
    if binding or len(objective.bounds) == 1:
        said = " ".join(f"The lowest {name} that {sure} is {alone[name]:.4g}." for name in binding)
        said += " Ask for no less, for a lower probability, or label more queries." if said else ""
        return said if len(objective.bounds) == 1 else f"Out of reach by itself: {' and '.join(binding)}. {said}"
    said = "; ".join(
        f"the lowest {name} beside the rest is {objective.lowest_bound(name, amounts):.4g}" for name in alone
    )
    return f"Each bound alone {sure}, not all at once: {said}."
