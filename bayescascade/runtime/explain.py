"""A policy in words: what each stage does with a confidence, what was promised, where it all comes from.

Imports NumPy and the standard library only, as all that runs a policy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from bayescascade._common.digits import as_good_range, percent_of_log, show_threshold
from bayescascade._common.messages import counted
from bayescascade.signals.kinds import LOGARITHMS

if TYPE_CHECKING:
    from bayescascade.runtime.policy import Policy


UNKNOWN = (math.nan, math.nan)  # the ends of what does as well, where nobody worked them out


class Rule(NamedTuple):
    """What one stage does."""

    stage: str
    accept_from: float
    abstain_below: float
    rule: str


class Explanation(NamedTuple):
    """A policy in words: a sentence, a table of rules, and facts by name."""

    lead: str
    rules: list[Rule]
    facts: list[tuple[str, str]]

    @property
    def head(self) -> tuple[str, ...]:
        """Titles of the columns of `rows`."""
        return ("Stage", "What it does")

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """A row of texts for each stage."""
        return [(rule.stage, rule.rule) for rule in self.rules]

    def __str__(self) -> str:
        rules = [f"  {stage}: {rule}" for stage, rule in self.rows]
        return "\n".join([self.lead, *rules, *(f"{name}: {text}" for name, text in self.facts)])


def explain(policy: Policy) -> Explanation:
    """Say in words what a policy does, what it promises, and what it was made from.

    Examples
    --------
    >>> from bayescascade.runtime.explain import explain
    >>> from bayescascade.runtime.policy import Policy
    >>> print(explain(Policy(["small", "large"], [0.8, float("-inf")], "probability")))
    Call small first, and large where it is not sure enough.
      small: accepts an answer whose probability is at least 0.80; else it defers to large
      large: answers every query that reaches it

    Parameters
    ----------
    policy : Policy
        Of any version of the file; what it does not say is left out.
    """
    stages, reject = policy.stages, policy.reject or [-math.inf] * len(policy.stages)
    rules = [
        Rule(name, accept, low, _rule(policy, j, accept, low))
        for j, (name, accept, low) in enumerate(zip(stages, policy.thresholds, reject, strict=True))
    ]
    lead = f"Send every query to {stages[0]}."
    if len(stages) > 1:
        lead = f"Call {stages[0]} first, and {stages[1]} where it is not sure enough."
    if len(stages) > 2:
        order = ", then ".join(stages[1:])
        lead = f"Call {stages[0]} first, then {order}, each only where the one before is not sure enough."
    metadata, manifest = policy.metadata, policy.manifest or {}
    facts = [*_promise(metadata, manifest), *_expected(metadata, manifest), *_origin(metadata, manifest)]
    return Explanation(lead, rules, facts)


def _rule(policy: Policy, j: int, accept: float, low: float) -> str:
    last, kind = j == len(policy.stages) - 1, policy.confidence_kind
    abstains = f" below {_threshold(low, kind)} it abstains" if low > -math.inf else ""
    if low == math.inf:
        return "answers no query: it abstains on every one that reaches it"
    if last:
        return f"answers every query that reaches it{';' + abstains if abstains else ''}"
    after = policy.stages[j + 1]
    if accept == math.inf and abstains:
        return f"never answers:{abstains}, else it defers to {after}"
    if accept == math.inf:
        return f"never answers: every query is deferred to {after}"
    if accept == -math.inf:
        return f"accepts every answer, so that no query reaches {after}"
    text = f"accepts an answer whose {kind} is at least {_threshold(accept, kind, ranges(policy)[j])};"
    return f"{text}{abstains}{',' if abstains else ''} else it defers to {after}"


def _threshold(value: float, kind: str, span: tuple[float, float] = UNKNOWN) -> str:
    """A threshold in as few digits as do as well, as a probability, and what else does as well."""
    log = kind in LOGARITHMS and value <= 0.0
    also = [f"a probability of {percent_of_log(value)}"] if log else []
    also += [f"{good} does as well"] if (good := as_good_range(*span)) else []
    return f"{show_threshold(value, *span)}{f' ({"; ".join(also)})' if also else ''}"


def ranges(policy: Policy) -> list[tuple[float, float]]:
    """Between which values each threshold does as well, where the policy's file says so; else NaN.

    Examples
    --------
    >>> from bayescascade.runtime.explain import ranges
    >>> from bayescascade.runtime.policy import Policy
    >>> known = {"as_good": [[0.7, 0.85], ["-inf", "-inf"]]}
    >>> ranges(Policy(["small", "large"], [0.8, float("-inf")], "probability", metadata=known))
    [(0.7, 0.85), (-inf, -inf)]
    """
    found = policy.metadata.get("as_good")
    if not isinstance(found, list) or len(found) != len(policy.stages):
        return [UNKNOWN] * len(policy.stages)
    return [_span(ends, at) for ends, at in zip(found, policy.thresholds, strict=True)]


def _span(ends: Any, threshold: float) -> tuple[float, float]:
    """Two ends on either side of a threshold; a file of another hand may hold anything."""
    if not isinstance(ends, list | tuple) or len(ends) != 2:
        return UNKNOWN
    infinite: dict[Any, Any] = {"-inf": -math.inf, "inf": math.inf}
    low, high = (infinite.get(end, "") if isinstance(end, str) else end for end in ends)
    if any(isinstance(end, bool) or not isinstance(end, int | float) for end in (low, high)):
        return UNKNOWN
    found = float(low), float(high)
    return found if found[0] <= threshold <= found[1] else UNKNOWN


def _promise(metadata: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    goal = metadata.get("goal")
    if not isinstance(goal, Mapping):
        return []
    names = {"max_error": "error", "max_cost": "cost", "max_latency": "latency"}
    limits = [
        f"{what} at most {_amount(what, goal[name])}" for name, what in names.items() if _known(goal.get(name))
    ]
    prices = {
        "error_price": "an error",
        "abstain_price": "an unanswered query",
        "latency_price": "a unit of latency",
    }
    costs = [f"{what} costs {goal[name]:g}" for name, what in prices.items() if _known(goal.get(name))]
    out = []
    if costs:
        out.append(("Goal", f"the least expected loss when {' and '.join(costs)}"))
    if limits:
        sure = f" with probability {100.0 * goal['prob']:.4g}%" if _known(goal.get("prob")) else ""
        batch = f", over {goal['batch']} queries" if _known(goal.get("batch")) else ""
        kept = metadata.get("kept")
        got = f" (achieved: {kept:.1%})" if _known(kept) else ""
        out.append(("Promise", f"{' and '.join(limits)}{sure}{batch}{got}"))
    return out


def _expected(metadata: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = manifest.get("expected")
    out = []
    for name in ("error", "cost", "abstained", "latency"):
        of = found.get(name) if isinstance(found, Mapping) else None
        if isinstance(of, Mapping) and all(_known(of.get(end)) for end in ("mean", "low", "high")):
            low, high = (_amount(name, of[end], unit=False) for end in ("low", "high"))
            out.append((f"Expected {name}", f"{_amount(name, of['mean'])} (90% interval {low} to {high})"))
        elif _known(metadata.get(f"{name}_mean")):
            out.append((f"Expected {name}", _amount(name, metadata[f"{name}_mean"])))
    return out


def _origin(metadata: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    out = []
    n, data = metadata.get("n_queries"), metadata.get("data_hash")
    if _known(n) and n:
        out.append(("Made from", f"a log of {counted(n)}" + (f", {str(data)[:12]}" if data else "")))
    for name, key in (("Task", "task"), ("Copula", "copula")):
        if isinstance(metadata.get(key), str):
            out.append((name, metadata[key]))
    if isinstance(manifest.get("signal"), str):
        out.append(("Confidence", f"made by {manifest['signal']}"))
    prices, models = manifest.get("prices"), manifest.get("models")
    if isinstance(prices, Mapping):
        each = (f"{name} {1000.0 * price:.3g}" for name, price in prices.items() if _known(price))
        out.append(("Prices", f"{', '.join(each)}, per 1,000 calls"))
    if isinstance(models, Mapping) and any(models.values()):
        out.append(("Models", ", ".join(f"{name}: {model}" for name, model in models.items() if model)))
    for name, key in (("Currency", "currency"), ("Prompts", "prompts"), ("Written by", "bayescascade")):
        if isinstance(manifest.get(key), str):
            value = f"bayescascade {manifest[key]}" if key == "bayescascade" else manifest[key]
            out.append((name, value))
    return out


def _known(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _amount(name: str, value: float, unit: bool = True) -> str:
    """Errors in per cent, costs per 1,000 queries, latency per query."""
    if name in ("error", "abstained"):
        return f"{100.0 * value:.3g}%"
    if name == "cost":
        return f"{1000.0 * value:.3g}{' per 1,000 queries' if unit else ''}"
    return f"{value:.4g}{' per query' if unit else ''}"
