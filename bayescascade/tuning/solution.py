"""`ThresholdSolution`: what `tune` found, what it promises, and how to put it to work."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from bayescascade._common.arrays import tail_probabilities
from bayescascade._common.html import note, table_of, wrapped
from bayescascade.cascade.forward import Outcome
from bayescascade.cascade.rules import DecisionRule
from bayescascade.display.format import show_reject, show_threshold
from bayescascade.errors import CascadeError
from bayescascade.runtime.policy import Policy
from bayescascade.tuning.spec import Wish


@dataclass(frozen=True)
class ThresholdSolution:
    """Thresholds with the error and cost that every posterior draw expects of them.

    Attributes
    ----------
    thresholds : DataArray (stage,)
        On the raw confidence scale; a stage accepts when confidence >= threshold.
    error, cost : DataArray (chain, draw)
    reach : DataArray (chain, draw, stage)
        Share of queries that run each stage.
    reject : DataArray (stage,), optional
        Rejecting thresholds: below them a stage abstains. -inf where it never does.
    abstained, latency : DataArray (chain, draw), optional
        Share of queries left unanswered; latency per query, where the log has one.
    feasible : bool
        Whether the stated goal is met. If not, the thresholds are those that come nearest.
    goal : dict
        What `tune` was asked for.
    kept : float
        Posterior probability that the constraint holds in the long run; NaN where there is none.
    text : str
        The answer in words.
    """

    thresholds: xr.DataArray
    error: xr.DataArray
    cost: xr.DataArray
    reach: xr.DataArray
    feasible: bool
    goal: dict[str, Any]
    kept: float
    text: str
    confidence_kind: str
    provenance: dict[str, Any] = field(default_factory=dict)
    reject: xr.DataArray | None = None
    abstained: xr.DataArray | None = None
    latency: xr.DataArray | None = None

    @property
    def answered(self) -> xr.DataArray:
        """Share of queries that each stage ends, with an answer or by abstaining (chain, draw, stage)."""
        return self.reach - self.reach.shift(stage=-1, fill_value=0.0)

    @property
    def head(self) -> tuple[str, ...]:
        """Titles of the columns of `table`."""
        ends = "answered" if self.reject is None else "ended"
        rejects = () if self.reject is None else ("abstain below",)
        return ("stage", "threshold", *rejects, "reached", f"{ends} (90% interval)")

    def table(self, ci_prob: float = 0.9) -> list[tuple[str, ...]]:
        """Rows of (stage, threshold, share reached, share answered), as text; see `head`."""
        low, high = tail_probabilities(ci_prob)
        reach, answered = self.reach.mean(("chain", "draw")), self.answered
        rows = []
        for j, name in enumerate(self.thresholds["stage"].values):
            share = answered.isel(stage=j).values
            band = f"{share.mean():.1%} ({np.quantile(share, low):.1%} to {np.quantile(share, high):.1%})"
            rejects = () if self.reject is None else (show_reject(float(self.reject[j])),)
            threshold = show_threshold(float(self.thresholds[j]))
            rows.append((str(name), threshold, *rejects, f"{float(reach[j]):.1%}", band))
        return rows

    def to_policy(self, path: str | os.PathLike[str] | None = None) -> Policy:
        """Make the run-time `Policy`, and write it to ``path`` if one is given.

        Raises
        ------
        CascadeError
            When the goal was not met: a policy file would promise what it cannot keep.
        """
        if not self.feasible:
            raise CascadeError(f"no policy was made: {self.text}")
        stages = [str(s) for s in self.thresholds["stage"].values]
        policy = DecisionRule.from_any(self, stages, self.confidence_kind).to_policy(
            {
                "goal": self.goal,
                "error_mean": float(self.error.mean()),
                "cost_mean": float(self.cost.mean()),
                "kept": None if np.isnan(self.kept) else float(self.kept),
                "text": self.text,
                **self.provenance,
            }
        )
        if path is not None:
            policy.save(path)
        return policy

    def __repr__(self) -> str:
        lines = [self.text, ""]
        rows = [self.head, *self.table()]
        widths = [max(len(row[i]) for row in rows) for i in range(len(self.head))]
        lines += [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        lead = "Goal met." if self.feasible else "Goal not met."
        caption = f"A stage accepts when its {self.confidence_kind} is at or above its threshold, else it defers."
        return wrapped(
            note(self.text, lead=lead, passed=self.feasible), table_of(self.head, self.table(), caption=caption)
        )


def remark_on_idle(stages: list[str], reach: np.ndarray) -> str:
    """Say which stages are run and paid for but answer next to nothing, given mean reach (stage,)."""
    answered = reach - np.append(reach[1:], 0.0)
    idle = [name for name, r, a in zip(stages, reach, answered, strict=True) if r > 0.01 and a < 0.001]
    if not idle:
        return ""
    names = ", ".join(map(repr, idle))
    return f" {names} would be paid for and answer next to nothing: leave it out, with stages=[...]."


def describe(wish: Wish, feasible: bool, kept: float, found: Outcome, reachable: str) -> str:
    """Put a solution into a few sentences; ``found`` holds one value for each draw."""
    expects = f"Expected error {_interval(found.error, '.2%')}, "
    expects += f"expected cost {_interval(found.cost, '.4g', 'per query')}"
    if found.abstained is not None:
        expects += f", share left unanswered {_interval(found.abstained, '.2%')}"
    if wish.max_latency is not None or wish.latency_price is not None:
        assert found.latency is not None
        expects += f", latency {_interval(found.latency, '.4g', 'per query')}"
    expects += "."
    promise = " and ".join(f"{name} <= {bound:.4g}" for name, bound in wish.bounds)
    promise = (
        f"P({promise}{'' if wish.batch is None else f' over the next {wish.batch} queries'}) >= {wish.prob:g}"
    )
    if not feasible:
        return f"Infeasible: no thresholds give {promise}; the best reach {kept:.3f}. {reachable} {expects}"
    said = f"Least {_loss(wish)}"
    if wish.bounds:
        said += f" such that {promise}"
    if wish.doubt:
        said += f", with room for what the model misses (doubt {wish.doubt:g})"
    elif wish.max_error is not None:
        said += ", without room for what the model misses"
    if wish.bounds:
        said += f"; here that probability is {kept:.3f}"
    return f"{said}. {expects}"


def _loss(wish: Wish) -> str:
    """What is least, in words."""
    prices = [
        f"{what} costs {price:g}"
        for what, price in (
            ("an error", wish.error_price),
            ("an abstention", wish.abstain_price),
            ("a unit of latency", wish.latency_price),
        )
        if price is not None
    ]
    if wish.error_price is not None:
        what = "regret" if wish.risk == "regret" else "loss"
    else:
        what = "error" if wish.max_error is None else "cost"
    how = "expected" if wish.risk == "mean" else f"mean of the worst {wish.alpha:.3g} of draws of the"
    return f"{how} {what}" + (f" when {' and '.join(prices)}" if prices else "")


def _interval(values: np.ndarray, form: str, unit: str = "") -> str:
    low, high = np.quantile(values, (0.05, 0.95))
    unit = f" {unit}" if unit else ""
    return f"{values.mean():{form}}{unit} (90% interval {low:{form}} to {high:{form}})"
