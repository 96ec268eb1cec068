"""A tuned cascade in words: what it promises and expects, or what could be promised in place of the goal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from bayescascade._common.arrays import tail_probabilities
from bayescascade._common.messages import joined
from bayescascade.display.format import CI_PROB, per_thousand, share, with_currency
from bayescascade.errors import TO_FILL_IN, option
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
    names, it = joined(idle), "them" if len(idle) > 1 else "it"
    add, answer = ("add", "answer") if len(idle) > 1 else ("adds", "answers")
    what = f" {names} {add} cost but {answer} almost nothing; drop {it} with "
    return what + option("stages", [TO_FILL_IN]) + "."


def say_margin(goal: Mapping[str, Any], known: float | None) -> str:
    """What comes before all else: that a promise has no safety margin, or how much of it rests on nothing seen.

    ``known`` is the share of queries that are known, see `SafetyMargin`; None where there is no margin.
    """
    if known is None:
        lost = "max_error" in goal
        return "No safety margin: nothing is allowed for model error. " if lost else ""
    if known > 1.0 - _UNKNOWN:
        return ""
    return (
        f"Little to go by: for {1.0 - known:.0%} of the queries neither they nor any like them say whether these "
        "thresholds err. There the safety margin rests on the model alone. Run every stage on some of these "
        "queries and label the answers. "
    )


def describe(spec: TuningSpec, solved: Solved, currency: str | None = None) -> str:
    """Put a solution into a few sentences: what is promised with the safety margin, what the posterior expects."""
    found = solved.outcome
    amounts = {name: values for name, values in found._asdict().items() if values is not None and name != "reach"}
    if spec.max_latency is None and spec.latency_price is None:
        amounts.pop("latency", None)
    outlook = expected(amounts, currency)
    promise = chance_constraint(spec)
    if not solved.feasible:
        reached = f"P({_bounds(spec)}) = {promised(solved.kept, spec.prob)}"
        told = _say_reachable(spec, solved)
        lead = f"Not possible: the best thresholds reach {reached}. "
        return lead + told + f"{' ' if told else ''}The nearest have {outlook}."
    said = f"{lead_of(spec)} thresholds" if spec.cheapest else f"Thresholds of least {_loss(spec)}"
    if spec.bounds:
        said += f" with {promise} (achieved: {achieved(solved.kept, solved.kept_without_margin, spec)})"
    if spec.error_price is None and spec.max_error is not None and not found.cost.any():
        said += "; as these calls are free, with the least error"
    return f"{said}. Expect {outlook}." + (f" {sure_of(solved.upper_bounds, spec.stated)}" if spec.bounds else "")


def lead_of(spec: TuningSpec) -> str:
    """The first word on thresholds whose loss is what calls cost."""
    return "Cheapest" if spec.risk == "mean" else "In the worst draws cheapest"


def achieved(kept: float, alone: float, spec: TuningSpec) -> str:
    """With which probability a promise is kept, with the safety margin and without."""
    if not spec.doubt:
        return promised(kept, spec.prob)
    return f"{promised(kept, spec.prob)} with the safety margin, {promised(alone, spec.prob)} by the model alone"


def _bounds(spec: TuningSpec) -> str:
    each = (f"{name} <= {limit_of(name, bound)}" for name, bound in spec.bounds)
    return " and ".join(each) + ("" if spec.batch is None else f" over the next {spec.batch} queries")


def limit_of(name: str, bound: float) -> str:
    """A limit as it is said: errors in per cent, costs per 1,000 queries, latency per query."""
    if name == "error":
        return f"{100.0 * bound:.4g}%"
    return f"{per_thousand(bound)} per 1,000 queries" if name == "cost" else f"{bound:.4g} per query"


def chance_constraint(spec: TuningSpec) -> str:
    """The promise as a formula."""
    return f"P({_bounds(spec)}) >= {100.0 * spec.prob:.4g}%"


def expected(amounts: Mapping[str, np.ndarray], currency: str | None = None) -> str:
    """Posterior means and 90% intervals of error, cost and the like (draw,), in one unit each."""
    words: list[str] = []
    for name, values in amounts.items():
        low, high = np.quantile(values, tail_probabilities(CI_PROB))
        show = per_thousand if name == "cost" else share if name in ("error", "abstained") else "{:.4g}".format
        band = f"({'90% interval ' if not words else ''}{show(float(low))} to {show(float(high))})"
        mean = show(float(values.mean()))
        if name == "cost":
            mean, band = f"a cost of {with_currency(mean, currency)}", f"per 1,000 queries {band}"
        elif name == "latency":
            mean, band = f"a latency of {mean}", f"per query {band}"
        else:
            mean += " wrong answers" if name == "error" else " left unanswered"
        words.append(f"{mean} {band}")
    return f"{', '.join(words[:-1])} and {words[-1]}"


def promised(kept: float, prob: float = 0.9) -> str:
    """The probability of a promise, rounded down: one that is missed must not look as if it were kept."""
    return "over 99%" if kept > 0.99 >= prob else f"{np.floor(1000.0 * kept + 1e-9) / 10.0:.1f}%"


def sure_of(
    bounds: Mapping[str, float], goal: Mapping[str, Any], show: Callable[[float], str] | None = None
) -> str:
    """The one-sided bounds of a promise: what each limited amount stays below; ``show`` says a cost."""
    of = f" of the next {goal['batch']} queries" if "batch" in goal else ""

    def shown(name: str, value: float) -> str:
        if name == "error":
            return f"{value:.1%}"
        return show(value) if show is not None and name == "cost" else limit_of(name, value)

    below = [f"the {name}{of} is at most {shown(name, value)}" for name, value in bounds.items()]
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
            bounds.append(f"{name} at most {limit_of(name, goal[f'max_{name}'])}")
    about = f" over the next {goal['batch']} queries" if "batch" in goal else ""
    promise = f"{' and '.join(bounds)}{about} with probability {100.0 * goal['prob']:.4g}%" if bounds else ""
    if not prices:
        return promise
    loss = "the least regret" if goal.get("risk") == "regret" else "the least expected loss"
    loss = "the least loss in the worst draws" if goal.get("risk") == "cvar" else loss
    return f"{loss}{prices}, and {promise}" if promise else f"{loss}{prices}"


_BETTER = {"cost": "cheaper", "latency": "faster"}


def _say_reachable(spec: TuningSpec, solved: Solved) -> str:
    """What can be promised at most, which limit stands in the way, and what to do about it."""
    found = solved.reachable
    if found is None:
        return ""
    sure = f"at {100.0 * spec.prob:.4g}%"
    sure += "" if spec.batch is None else f" for {spec.batch} queries"
    is_ = "is" if found.sure else "is about"
    if not found.alone:
        said = "; ".join(
            f"the lowest {name} beside the rest {is_} {_at_least(name, limit)}"
            for name, limit in found.limits.items()
        )
        return f"You can promise each limit alone {sure}, but not all at once: {said}."
    said = " ".join(
        f"The lowest {name} you can promise {sure} {is_} {_at_least(name, limit)}."
        for name, limit in found.limits.items()
    )
    lead = "" if len(spec.bounds) == 1 else f"Out of reach by itself: {' and '.join(found.limits)}. "
    return lead + said + " " + _advice(spec, solved, list(found.limits))


def _advice(spec: TuningSpec, solved: Solved, binding: list[str]) -> str:
    """What helps: certainty, where the limits are kept on average, and else other models."""
    limits = dict(spec.bounds)
    if len(limits) == 1:
        least = {name: float(getattr(solved.outcome, name).mean()) for name in binding}
    else:  # the nearest thresholds are those of least excess over all limits
        least = {name: float(solved.tried[name].mean(axis=0).min()) for name in binding}
    name = next((name for name in binding if least[name] > limits[name]), None)
    if name is None:
        return "Relax the limit or the probability, or label more queries."
    expected = share(least[name]) if name == "error" else limit_of(name, least[name])
    if name != "error":
        what = f"No thresholds come near: even the least {name} is expected to be {expected}."
        return f"{what} Relax the limit, or use a {_BETTER[name]} model."
    what = f"No thresholds come near: {expected} of answers are expected to be wrong even at the best."
    if spec.abstain_price is not None:
        return f"{what} Relax the limit, or use a better model."
    return (
        f"{what} Relax the limit, use a better model, or leave queries unanswered ("
        + option("abstain_price")
        + ")."
    )


def _at_least(name: str, limit: float) -> str:
    """A limit that can be had."""
    return limit_of(name, limit) if np.isfinite(limit) else "out of reach"
