"""`ThresholdSolution`: what `tune` found, what it promises, and how to put it to work."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
import xarray as xr

from bayescascade._curves import History, history_of
from bayescascade.errors import CascadeError
from bayescascade.policy import Policy


@dataclass(frozen=True)
class ThresholdSolution:
    """Thresholds with the error and cost that every posterior draw expects of them.

    Attributes
    ----------
    thresholds : DataArray (stage,)
        On the raw confidence scale; a stage accepts when confidence >= threshold. With `history`, P(correct) given
        its confidence and the one before takes the confidence's place.
    error, cost : DataArray (chain, draw)
    reach : DataArray (chain, draw, stage)
        Share of queries that run each stage.
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
    goal: dict[str, float]
    kept: float
    text: str
    confidence_kind: str
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def answered(self) -> xr.DataArray:
        """Share of queries that each stage answers (chain, draw, stage)."""
        return self.reach - self.reach.shift(stage=-1, fill_value=0.0)

    @property
    def history(self) -> History | None:
        """Curves that the thresholds are compared with, where decisions are by history; else None."""
        return history_of(self.thresholds, self.thresholds.sizes["stage"])

    def table(self, ci_prob: float = 0.9) -> list[tuple[str, str, str, str]]:
        """Rows of (stage, threshold, share reached, share answered), as text."""
        low, high = (1 - ci_prob) / 2, (1 + ci_prob) / 2
        reach, answered = self.reach.mean(("chain", "draw")), self.answered
        rows = []
        for j, name in enumerate(self.thresholds["stage"].values):
            share = answered.isel(stage=j).values
            band = f"{share.mean():.1%} ({np.quantile(share, low):.1%} to {np.quantile(share, high):.1%})"
            rows.append((str(name), show_threshold(float(self.thresholds[j])), f"{float(reach[j]):.1%}", band))
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
        policy = Policy(
            stages=[str(s) for s in self.thresholds["stage"].values],
            thresholds=[float(t) for t in self.thresholds.values],
            confidence_kind=self.confidence_kind,
            history=self.history,
            metadata={
                "goal": self.goal,
                "error_mean": float(self.error.mean()),
                "cost_mean": float(self.cost.mean()),
                "kept": None if np.isnan(self.kept) else float(self.kept),
                "text": self.text,
                **self.provenance,
            },
        )
        if path is not None:
            policy.save(path)
        return policy

    @property
    def _heads(self) -> tuple[str, str, str, str]:
        threshold = "threshold" if self.history is None else "threshold on P(correct)"
        return "stage", threshold, "reached", "answered (90% interval)"

    def __repr__(self) -> str:
        lines = [self.text, ""]
        rows = [self._heads, *self.table()]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        lines += [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{h}</th>" for h in self._heads)
        body = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in self.table())
        mark = "goal met" if self.feasible else "goal not met"
        return (
            f"<div><p><strong>{mark}</strong>: {escape(self.text)}</p>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        )


def show_threshold(threshold: float) -> str:
    """A threshold as a reader wants it."""
    if threshold == -np.inf:
        return "accept all"
    if threshold == np.inf:
        return "defer all"
    return f"{threshold:.6g}"


def remark_on_idle(stages: list[str], reach: np.ndarray) -> str:
    """Say which stages are run and paid for but answer next to nothing, given mean reach (stage,)."""
    answered = reach - np.append(reach[1:], 0.0)
    idle = [name for name, r, a in zip(stages, reach, answered, strict=True) if r > 0.01 and a < 0.001]
    if not idle:
        return ""
    names = ", ".join(map(repr, idle))
    return f" {names} would be paid for and answer next to nothing: leave it out with stages=[...] and fit again."


def describe(
    goal: dict[str, float], feasible: bool, kept: float, error: np.ndarray, cost: np.ndarray, best: str
) -> str:
    """Put a solution into two or three sentences."""
    tails = (0.05, 0.95)
    (e_low, e_high), (c_low, c_high) = np.quantile(error, tails), np.quantile(cost, tails)
    expects = (
        f"Expected error {error.mean():.2%} (90% interval {e_low:.2%} to {e_high:.2%}), expected cost "
        f"{cost.mean():.4g} per query (90% interval {c_low:.4g} to {c_high:.4g})."
    )
    if "error_price" in goal:
        return f"Least expected loss when an error costs {goal['error_price']:g}. {expects}"
    name = "error" if "max_error" in goal else "cost"
    bound = f"{goal['max_' + name]:.4g}"
    if feasible:
        other = "cost" if name == "error" else "error"
        return (
            f"Least expected {other} such that P({name} <= {bound}) >= {goal['prob']:g}; "
            f"here that probability is {kept:.3f}. {expects}"
        )
    return (
        f"Infeasible: no thresholds give P({name} <= {bound}) >= {goal['prob']:g}; the best reach {kept:.3f}. "
        f"{best} {expects}"
    )
