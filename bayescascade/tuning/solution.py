"""What `tune` found: `Solved` as arrays over draws, and `ThresholdSolution`, labelled, in words, ready for use."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr

from bayescascade._common.html import note, table_of, wrapped
from bayescascade._common.validation import check_prob
from bayescascade.cascade.forward import Outcome, split_positions
from bayescascade.cascade.labelled import Seen
from bayescascade.cascade.positions import to_thresholds, with_last
from bayescascade.cascade.predictive import stage_square
from bayescascade.cascade.rules import DecisionRule
from bayescascade.errors import CascadeError
from bayescascade.posterior.draws import Draws
from bayescascade.runtime.policy import Policy
from bayescascade.tuning.answer import Alternative, facts, headline, notes, threshold_head, threshold_rows
from bayescascade.tuning.manifest import manifest_of
from bayescascade.tuning.objective import Amounts
from bayescascade.tuning.reachable import Reachable
from bayescascade.tuning.solution_text import describe, remark_on_idle, say_margin
from bayescascade.tuning.spec import TuningSpec

# What makes another fit of one, beside its log, and how it goes into a file.
CHANGES: dict[str, Callable[[Any], Any]] = {"task": str, "signal": str, "repriced": str, "drift": float}


@dataclass(frozen=True)
class SafetyMargin:
    """The error with room for what the model misses, by which `tune` judges a promise; no expectation of anything.

    Examples
    --------
    >>> import bayescascade as bc
    >>> fit = bc.fit(bc.load_example(), random_seed=1, progressbar=False)
    >>> solution = bc.tune(fit, max_error=0.3)
    >>> bool(solution.margin.bound(0.9) > solution.error.quantile(0.9))
    True

    Attributes
    ----------
    error : DataArray (chain, draw)
        `ThresholdSolution.error` and the model discrepancy: wider, and higher where the labelled queries did worse
        than the model expects.
    doubt : float
        Prior standard deviation of the discrepancy, as a share of the expected error.
    known : float
        Share of the queries of which the log says whether these thresholds err on them, or that have queries like
        them of which it does.
    n_queries : float
        How many queries, run and labelled as far as these thresholds take them, the known ones are worth.
    """

    error: xr.DataArray
    doubt: float
    known: float = 1.0
    n_queries: float = float("nan")

    def bound(self, prob: float = 0.9) -> float:
        """The long-run error that is not exceeded with this probability, the margin included."""
        check_prob("prob", prob)
        # of draws that do not keep a limit none counts in part
        return float(np.quantile(self.error.values, prob, method="inverted_cdf"))


@dataclass(frozen=True)
class ThresholdSolution:
    """Thresholds with the error and cost that every posterior draw expects of them.

    Attributes
    ----------
    thresholds : DataArray (stage,)
        On the raw confidence scale; a stage accepts when confidence >= threshold.
    error, cost : DataArray (chain, draw)
        Posterior draws of the long-run rates, as `evaluate` gives them, without any safety margin.
    cost_sd : DataArray (chain, draw), optional
        Standard deviation of what single queries cost, given the draw.
    reach : DataArray (chain, draw, stage)
        Share of queries that run each stage.
    reject : DataArray (stage,), optional
        Rejecting thresholds: below them a stage abstains. -inf where it never does.
    abstained, latency : DataArray (chain, draw), optional
        Share of queries left unanswered; latency per query, if the log has latencies.
    feasible : bool
        Whether the goal is met. If not, the thresholds come as near to it as possible.
    goal : dict
        What `tune` was asked for.
    kept : float
        Probability that all limits hold, which decides ``feasible``; with the safety margin if there is one. NaN
        without limits.
    kept_without_margin : float
        The same by the model alone.
    upper_bounds : dict
        For each amount that has a limit, the value that it stays below with the goal's probability, in the long
        run or over the goal's batch; that of the error includes the safety margin.
    lowest_limits : dict
        If the goal is not met, the lowest limits that could be promised, for each amount whose limit is too low.
    margin : SafetyMargin, optional
        The error with the safety margin, see ``doubt`` of `tune`; None without a margin.
    text : str
        The answer in words.
    seen : dict
        What the fit's log shows at these thresholds, for the manifest of a policy.
    as_good : DataArray (stage, end), optional
        The range in which each threshold does as well, with all others unchanged: the loss is at most 0.5% higher,
        and the promise is kept.
    alternatives : list of Alternative
        Each stage alone and, if some were left out, all stages, for the same goal.
    currency : str, optional
        Of the log's costs.
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
    kept_without_margin: float = float("nan")
    upper_bounds: dict[str, float] = field(default_factory=dict)
    cost_sd: xr.DataArray | None = None
    margin: SafetyMargin | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    reject: xr.DataArray | None = None
    abstained: xr.DataArray | None = None
    latency: xr.DataArray | None = None
    seen: dict[str, Any] = field(default_factory=dict, repr=False)
    as_good: xr.DataArray | None = None
    alternatives: list[Alternative] = field(default_factory=list, repr=False)
    currency: str | None = None
    lowest_limits: dict[str, float] = field(default_factory=dict)

    @property
    def signal(self) -> str | None:
        """Name of the signal that made the log's confidences, where the log says so."""
        return self.provenance.get("signal")

    @property
    def answered(self) -> xr.DataArray:
        """Share of queries that each stage ends, with an answer or by abstaining (chain, draw, stage)."""
        return self.reach - self.reach.shift(stage=-1, fill_value=0.0)

    @property
    def head(self) -> tuple[str, ...]:
        """Titles of the columns of `table`."""
        return threshold_head(self)

    def table(self) -> list[tuple[str, ...]]:
        """A row of texts for each stage: threshold, what does as well, shares of queries; see `head`."""
        return threshold_rows(self)

    def to_policy(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        models: Mapping[str, str] | None = None,
        prompts: str | None = None,
        currency: str | None = None,
    ) -> Policy:
        """Make the run-time `Policy`, and write it to ``path`` if one is given.

        Examples
        --------
        >>> import bayescascade as bc
        >>> fit = bc.fit(bc.load_example(), random_seed=1, progressbar=False)
        >>> policy = bc.tune(fit, max_error=0.35).to_policy(currency="USD")
        >>> policy.manifest["currency"], policy.manifest["promise"]["max_error"]
        ('USD', 0.35)

        Parameters
        ----------
        path : path, optional
        models : dict, optional
            For each stage the model behind it, with its version: ``{"small": "small-1b 2026-10-01"}``.
        prompts : str, optional
            The prompts' template. The file holds its digest only.
        currency : str, optional
            Of the log's costs; by default that named to `tune`.

        Raises
        ------
        CascadeError
            When the goal was not met: a policy file would promise what it cannot keep. When ``models`` names
            another stage.

        Notes
        -----
        The policy's ``manifest`` says where the thresholds come from, what was promised, what is expected of
        error, cost and deferral, and what the log showed at these thresholds, with which `monitor` compares served
        queries.
        """
        if not self.feasible:
            raise CascadeError("no policy was made: " + self.text)
        stages = [str(s) for s in self.thresholds["stage"].values]
        policy = DecisionRule.from_any(self, stages, self.confidence_kind).to_policy(
            {
                "goal": self.goal,
                **self.expected,
                "kept": None if np.isnan(self.kept) else float(self.kept),
                "kept_without_margin": None if np.isnan(self.kept) else float(self.kept_without_margin),
                "upper_bounds": self.upper_bounds,
                "text": str(self.text),
                **({} if self.as_good is None else {"as_good": self.as_good.values.tolist()}),
                **self.provenance,
            }
        )
        policy = replace(policy, manifest=manifest_of(self, models, prompts, currency or self.currency))
        if path is not None:
            policy.save(path)
        return policy

    @property
    def expected(self) -> dict[str, float]:
        """Posterior means and standard deviations of error and cost, and the sd of a query's cost given the rates.

        A policy file says as much, which is enough to tell what so many queries should show.
        """
        out: dict[str, float] = {}
        for name in ("error", "cost"):
            draws = getattr(self, name)
            out |= {f"{name}_mean": float(draws.mean()), f"{name}_sd": float(draws.std())}
        if self.cost_sd is not None:
            out["cost_of_query_sd"] = float(np.sqrt((self.cost_sd**2).mean()))
        return out

    def __repr__(self) -> str:
        rows = [self.head, *self.table()]
        widths = [max(len(row[i]) for row in rows) for i in range(len(self.head))]
        table = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        ]
        if not self.feasible:
            return "\n".join([self.text, "", *table])
        lines = [*notes(self), headline(self), "", *table, ""]
        return "\n".join([*lines, *(f"{line.name}: {line.text}" for line in facts(self))])

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
        Of the row under each draw (draw,), as the model has it.
    error_with_margin : ndarray (draw,), optional
        The error with the discrepancy added, by which promises are judged; None where the model is believed.
    seen : Seen, optional
        What the labelled queries did under the row, of which the discrepancy was learnt.
    risk : float
        What was minimised, with the discrepancy.
    feasible : bool
        Whether the promise is kept.
    violation : float
        How far it is not, see `Objective.violation`.
    kept : float
        Probability that all bounds hold, with the discrepancy; NaN without bounds.
    kept_without_margin : float
        The same without.
    upper_bounds : dict
        For each bounded amount, what it stays below with the probability asked for.
    tried : mapping of str to ndarray (draw, point)
        Amounts of points that the search has seen, by some of the draws.
    whole : Solved, optional
        All stages by few of the draws, where some may have been left out.
    reachable : Reachable, optional
        Where the promise is not kept, what could be promised.
    """

    draws: Draws
    row: np.ndarray
    outcome: Outcome
    error_with_margin: np.ndarray | None
    seen: Seen | None
    risk: float
    feasible: bool
    violation: float
    kept: float
    kept_without_margin: float
    upper_bounds: dict[str, float]
    tried: Amounts
    whole: Solved | None = None
    reachable: Reachable | None = None

    @property
    def place(self) -> tuple[bool, float, float, float]:
        """What to sort by: feasible ones by risk, the others by how far they are from the promise.

        Of equal ones by error, then by calls: where all stages are free, the cost is the same everywhere.
        """
        error = self.outcome.error if self.error_with_margin is None else self.error_with_margin
        by = self.risk if self.feasible else self.violation
        return not self.feasible, by, float(error.mean()), float(self.outcome.reach.sum(axis=1).mean())


def to_solution(
    solved: Solved, spec: TuningSpec, provenance: dict[str, Any] | None = None, currency: str | None = None
) -> ThresholdSolution:
    """Label a solution, and say in words what it is."""
    draws, outcome = solved.draws, solved.outcome
    accept, reject = split_positions(solved.row[None], len(draws.stages))

    def by_draw(values: np.ndarray, *dims: str) -> xr.DataArray:
        coords = {name: {"chain": draws.chains, "stage": draws.stages}[name] for name in ("chain", *dims)}
        folded = values.reshape(len(draws.chains), -1, *values.shape[1:])
        return xr.DataArray(folded, dims=("chain", "draw", *dims), coords=coords)

    def by_stage(values: np.ndarray) -> xr.DataArray:
        return xr.DataArray(values, dims="stage", coords={"stage": draws.stages})

    square = np.einsum("dj,dj->d", outcome.reach, stage_square(draws, "cost"))
    shown, seen, margin = solved.error_with_margin, solved.seen, None
    if shown is not None and seen is not None:
        margin = SafetyMargin(by_draw(shown), spec.doubt, float(seen.known[0]), float(seen.n[0]))
    return ThresholdSolution(
        thresholds=by_stage(with_last(to_thresholds(accept[0], draws))),
        error=by_draw(outcome.error),
        cost=by_draw(outcome.cost),
        reach=by_draw(outcome.reach, "stage"),
        feasible=solved.feasible,
        goal=spec.stated,
        kept=solved.kept,
        text=_text(solved, spec, currency),
        confidence_kind=draws.kind,
        kept_without_margin=solved.kept_without_margin,
        upper_bounds=solved.upper_bounds,
        cost_sd=by_draw(np.sqrt(np.maximum(square - outcome.cost**2, 0.0))),
        margin=margin,
        provenance=provenance or {},
        reject=None if reject is None else by_stage(to_thresholds(reject[0], draws)),
        abstained=None if outcome.abstained is None else by_draw(outcome.abstained),
        latency=None if outcome.latency is None else by_draw(outcome.latency),
        currency=currency,
        lowest_limits={} if solved.reachable is None else solved.reachable.limits,
    )


def _text(solved: Solved, spec: TuningSpec, currency: str | None) -> str:
    """What the margin lacks; which stages to run, if not all of the log's; what is promised; idle stages."""
    draws = solved.draws
    text = say_margin(spec.stated, None if solved.seen is None else float(solved.seen.known[0]))
    text += "" if draws.parent is None else f"Run {', then '.join(draws.stages)}. "
    return (
        text + describe(spec, solved, currency) + remark_on_idle(draws.stages, solved.outcome.reach.mean(axis=0))
    )


def check_same_fit(fit: xr.DataTree, solution: ThresholdSolution) -> None:
    """Raise `CascadeError` for a solution that was not tuned on this fit: its error and cost are of another."""
    stages = [str(name) for name in solution.thresholds["stage"].values]
    own = [str(name) for name in fit["posterior"].coords["stage"].values]
    if not set(stages) <= set(own):
        raise CascadeError(f"the solution is for stages {stages}, but the fit has {own}; tune this fit.")
    known = str(fit.attrs.get("data_hash", "")), str(solution.provenance.get("data_hash", ""))
    sizes = fit["posterior"].sizes
    other = solution.error.size != sizes["chain"] * sizes["draw"] or (all(known) and known[0] != known[1])
    if all(known) and not other:
        other = any(fit.attrs.get(name) != solution.provenance.get(name) for name in CHANGES)
    if other:
        raise CascadeError(
            "the solution was tuned on another fit than the one that came with it; tune this fit and pass that."
        )
