"""What the next queries show, beside the long-run rates: posterior predictive draws of a batch of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from scipy.special import ndtri
from scipy.stats import betabinom, binom

from bayescascade._common.arrays import tail_probabilities
from bayescascade._common.messages import counted
from bayescascade.cascade.evaluate import outcome_of
from bayescascade.cascade.forward import Outcome
from bayescascade.cascade.rules import DecisionRule
from bayescascade.display.format import CI_PROB, per_thousand, share
from bayescascade.errors import CascadeError
from bayescascade.posterior.draws import Draws, get_draws

# what a policy file says, which is enough to tell what so many queries should show
MOMENTS = ("error_mean", "error_sd", "cost_mean", "cost_sd", "cost_of_query_sd")


def stage_square(draws: Draws, name: str) -> np.ndarray:
    """What running each stage adds to the mean square of a query's cost or latency (draw, stage).

    A query that stops at stage j has spent C_j = c_1 + .. + c_j, so that E[C^2] is the sum over stages of
    P(stage j is run) (C_j^2 - C_{j-1}^2 + var_j).
    """
    mean = draws.cost if name == "cost" else draws.latency
    sd = draws.cost_sd if name == "cost" else draws.latency_sd
    assert mean is not None
    total = np.cumsum(mean, axis=1)
    square = np.diff(total**2, axis=1, prepend=0.0)
    return square if sd is None else square + sd**2


def batch_predictive(outcome: Outcome, draws: Draws, batch: int, seed: int = 0) -> Outcome:
    """Posterior predictive draws of what the next ``batch`` queries show, one batch for each draw and point.

    Given the draw, shares are binomial and means of costs and latencies normal.
    """
    rng = np.random.default_rng(seed)

    def share(rate: np.ndarray) -> np.ndarray:
        return rng.binomial(batch, np.clip(rate, 0.0, 1.0)) / batch

    def mean(name: str, value: np.ndarray) -> np.ndarray:
        square = np.einsum("dpj,dj->dp", outcome.reach, stage_square(draws, name))
        return value + rng.normal(size=value.shape) * np.sqrt(np.maximum(square - value**2, 0.0) / batch)

    return outcome._replace(
        error=share(outcome.error),
        cost=mean("cost", outcome.cost),
        abstained=None if outcome.abstained is None else share(outcome.abstained),
        latency=None if outcome.latency is None else mean("latency", outcome.latency),
    )


class Prediction(NamedTuple):
    """What is expected of an amount in the long run, and between what so many queries should show it (point,)."""

    expected: np.ndarray
    low: np.ndarray
    high: np.ndarray


def predict(
    source: Any, rule: DecisionRule, n: int, n_labelled: int | None = None, ci_prob: float = CI_PROB
) -> dict[str, Prediction]:
    """Error and cost of a rule on ``n`` queries that its source has not seen; empty where the source cannot tell.

    Parameters
    ----------
    source : DataTree, or what a rule comes from
        A fit; a solution; or a policy, whose metadata may hold what a solution's ``expected`` does.
    rule : DecisionRule
        The thresholds; those of a solution or a policy are its own.
    n : int
        Queries of the log.
    n_labelled : int, optional
        Those whose answer has a label, of which alone the error is known; by default all.
    """
    counts = {"error": n_labelled or n, "cost": n}
    if isinstance(source, xr.DataTree):
        draws = get_draws(source)
        if not set(rule.stages) <= set(draws.stages) or rule.kind != draws.kind:
            raise CascadeError(
                f"the log has stages {rule.stages} and confidences of kind {rule.kind!r}, but the fit has "
                f"{draws.stages} and {draws.kind!r}; give the fit that these thresholds come from."
            )
        draws = rule.restrict(draws)
        outcome = outcome_of(draws, rule)
        seen = {of: batch_predictive(outcome, draws, of) for of in set(counts.values())}
        ends = {
            name: np.quantile(getattr(seen[of], name), tail_probabilities(ci_prob), axis=0)
            for name, of in counts.items()
        }
        return {name: Prediction(getattr(outcome, name).mean(axis=0), *of) for name, of in ends.items()}
    moments = getattr(source, "expected", getattr(source, "metadata", None))
    try:
        error, error_sd, cost, cost_sd, of_query = (float(moments[name]) for name in MOMENTS)  # type: ignore[index]
    except (TypeError, KeyError, ValueError):
        return {}
    low_high = beta_binomial_ends(error, error_sd, counts["error"], ci_prob)
    half = float(ndtri(tail_probabilities(ci_prob)[1])) * np.hypot(cost_sd, of_query / np.sqrt(n))
    found = {"error": (error, *low_high), "cost": (cost, cost - half, cost + half)}
    return {name: Prediction(*(np.array([x]) for x in values)) for name, values in found.items()}


def beta_binomial_ends(mean: float, sd: float, n: int, ci_prob: float) -> tuple[float, float]:
    """Ends of the interval of a share of ``n`` queries whose rate has a posterior of this mean and sd."""
    mean = min(max(mean, 1e-9), 1.0 - 1e-9)
    # of the beta distribution of these moments; beyond the largest it is a point
    total = np.clip(mean * (1.0 - mean) / max(sd, 1e-9) ** 2 - 1.0, 1e-3, 1e9)
    low, high = betabinom.ppf(tail_probabilities(ci_prob), n, mean * total, (1.0 - mean) * total) / n
    return float(low), float(high)


def side_of(value: float, low: float, high: float) -> int:
    """0 for a value within an interval, 1 above it, -1 below."""
    slack = 1e-9 * abs(value)  # a cost that is known exactly has an interval of no width
    return int(value > high + slack) - int(value < low - slack)


def compared(found: xr.Dataset) -> list[tuple[str, str]]:
    """Error and cost by name: what so many queries show, what was expected, and between what they should lie."""
    ci, lines = f"{found.attrs['ci_prob']:.0%}", []
    for name, show, unit in (("error", share, ""), ("cost", per_thousand, " per 1,000 queries")):
        value, low, high = (float(found[f"{name}{end}"]) for end in ("", "_low", "_high"))
        n = _count(found, name)
        expected = show(float(found[f"{name}_expected"]))
        if np.isnan(value):  # of the error, where no answer has a label
            lines.append((name.capitalize(), f"not known, since no answer has a label. Expected: {expected}."))
            continue
        few = n == 1 or (name == "error" and low <= 0.0 and high >= 1.0)  # anything would be as expected
        if not np.isfinite([low, high]).all():
            lines.append((name.capitalize(), f"{show(value)}{unit}. Expected: {expected}."))
            continue
        judged = ("too few queries to tell" if few else "as expected", "more than expected", "less than expected")[
            side_of(value, low, high)
        ]
        said = f"Expected: {expected}. {counted(n)} should show {show(low)} to {show(high)} ({ci} interval)."
        lines.append((name.capitalize(), f"{show(value)}{unit}, {judged}. {said}"))
    return lines


def _count(found: xr.Dataset, name: str) -> int:
    """Of how many queries a log shows an amount: the error of those alone whose answer has a label."""
    n = int(found.attrs["n_queries"])
    return int(found.attrs.get("n_labelled", n)) if name == "error" else n


def in_words(found: xr.Dataset) -> str:
    """`compared` in one text."""
    return " ".join(f"{name}: {text}" for name, text in compared(found))


def promise_in_words(found: xr.Dataset, goal: Any) -> str | None:
    """Whether a log showed what was promised, and whether luck explains it where not; None without a promise.

    So few queries that even nothing but wrong answers would be luck say neither.

    Examples
    --------
    >>> found = xr.Dataset({"error": 0.26, "cost": 0.001}, attrs={"n_queries": 1000})
    >>> print(promise_in_words(found, {"max_error": 0.25}))
    Error at most 25.0%: missed here with 26.0%, but a true rate of 25.0% shows up to 27.3% in 1,000 queries.
    """
    if not isinstance(goal, Mapping):
        return None
    said = []
    for name, show in (("error", share), ("cost", lambda cost: f"{per_thousand(cost)} per 1,000 queries")):
        limit = goal.get(f"max_{name}")
        value = float(found[name])
        if isinstance(limit, bool) or not isinstance(limit, int | float):
            continue
        n, lead = _count(found, name), f"{name.capitalize()} at most {show(limit)}:"
        most = float(binom.ppf(tail_probabilities(CI_PROB)[1], n, limit)) / n if 0.0 < limit < 1.0 else 0.0
        if np.isnan(value):
            said.append(f"{lead} cannot be told without labels.")
        elif n == 1 or (name == "error" and most >= 1.0):
            said.append(f"{lead} {counted(n)} cannot tell ({show(value)} here).")
        elif value <= limit * (1.0 + 1e-9):
            said.append(f"{lead} kept here, with {show(value)}.")
        elif name == "error" and 0.0 < limit < 1.0:
            of = f"a true rate of {show(limit)} shows up to {show(most)} in {n:,} queries"
            missed = f"{lead} missed here with {show(value)}"
            said.append(
                f"{missed}, but {of}." if value <= most else f"{missed}, and luck does not explain it: {of}."
            )
        else:
            said.append(f"{lead} missed here with {show(value)}.")
    return " ".join(said) or None
