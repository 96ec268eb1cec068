"""What `tune` found: `Solved` as arrays over draws, and `ThresholdSolution`, labelled, in words, ready for use."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from bayescascade._common.arrays import tail_probabilities
from bayescascade._common.html import note, table_of, wrapped
from bayescascade.cascade.forward import Outcome, split_positions
from bayescascade.cascade.positions import to_thresholds, with_last
from bayescascade.cascade.rules import DecisionRule
from bayescascade.display.format import show_reject, show_threshold
from bayescascade.errors import CascadeError
from bayescascade.posterior.draws import Draws
from bayescascade.runtime.policy import Policy
from bayescascade.tuning.solution_text import describe, remark_on_idle
from bayescascade.tuning.spec import TuningSpec


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
            raise CascadeError("no policy was made: " + self.text)
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


@dataclass(frozen=True)
class Solved:
    """Solution of a tuning problem on posterior draws.

    Attributes
    ----------
    draws : Draws
        Of the stages that the row is for.
    row : ndarray (row,)
        Positions, as `cascade.forward` takes them.
    outcome : Outcome
        Of the row under each draw (draw,), with the discrepancy if any.
    risk : float
        What was minimised.
    feasible : bool
        Whether the promise is kept.
    violation : float
        How far it is not, see `Objective.violation`.
    kept : float
        Posterior probability that all bounds hold; NaN without bounds.
    reachable : str
        Where the promise is not kept, what could be promised, in words.
    """

    draws: Draws
    row: np.ndarray
    outcome: Outcome
    risk: float
    feasible: bool
    violation: float
    kept: float
    reachable: str

    @property
    def place(self) -> tuple[bool, float, float]:
        """What to sort by: feasible ones by risk, the others by the probability of their promise."""
        return not self.feasible, 0.0 if self.feasible else -self.kept, self.risk


def to_solution(solved: Solved, spec: TuningSpec, provenance: dict[str, Any] | None = None) -> ThresholdSolution:
    """Label a solution, and say in words what it is."""
    draws, outcome = solved.draws, solved.outcome
    accept, reject = split_positions(solved.row[None], len(draws.stages))

    def by_draw(values: np.ndarray, *dims: str) -> xr.DataArray:
        coords = {name: {"chain": draws.chains, "stage": draws.stages}[name] for name in ("chain", *dims)}
        folded = values.reshape(len(draws.chains), -1, *values.shape[1:])
        return xr.DataArray(folded, dims=("chain", "draw", *dims), coords=coords)

    def by_stage(values: np.ndarray) -> xr.DataArray:
        return xr.DataArray(values, dims="stage", coords={"stage": draws.stages})

    return ThresholdSolution(
        thresholds=by_stage(with_last(to_thresholds(accept[0], draws))),
        error=by_draw(outcome.error),
        cost=by_draw(outcome.cost),
        reach=by_draw(outcome.reach, "stage"),
        feasible=solved.feasible,
        goal=spec.stated,
        kept=solved.kept,
        text=_text(solved, spec),
        confidence_kind=draws.kind,
        provenance=provenance or {},
        reject=None if reject is None else by_stage(to_thresholds(reject[0], draws)),
        abstained=None if outcome.abstained is None else by_draw(outcome.abstained),
        latency=None if outcome.latency is None else by_draw(outcome.latency),
    )


def _text(solved: Solved, spec: TuningSpec) -> str:
    """Which stages to run, where that is not all of the log's; what is promised and expected; idle stages."""
    draws = solved.draws
    text = "" if draws.parent is None else f"Run {', then '.join(draws.stages)}. "
    text += describe(spec, solved.feasible, solved.kept, solved.outcome, solved.reachable)
    return text + remark_on_idle(draws.stages, solved.outcome.reach.mean(axis=0))
