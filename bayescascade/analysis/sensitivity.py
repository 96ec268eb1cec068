"""How far a solution depends on what may change: prices, the prior's weight, and the mix of queries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescascade._common.html import frame_of, note, wrapped
from bayescascade._common.parallel import map_blocks
from bayescascade._common.validation import check_positive
from bayescascade.analysis.sensitivity_text import told, told_limits
from bayescascade.cascade.discrepancy import read_discrepancy
from bayescascade.cascade.rules import DecisionRule
from bayescascade.display.value import draw_sensitivity
from bayescascade.errors import CascadeError, bad_value, call
from bayescascade.inference.power_scaling import powered, thinned, why_not
from bayescascade.posterior.draws import get_draws
from bayescascade.posterior.kernel import Kernel, build_kernel, restrict_kernel, tilted
from bayescascade.posterior.scenarios import drift, drift_range, no_drift, reprice
from bayescascade.posterior.tilt import density_ratios
from bayescascade.tuning.evaluator import Evaluator
from bayescascade.tuning.objective import Objective, amounts_of
from bayescascade.tuning.solution import ThresholdSolution, check_same_fit
from bayescascade.tuning.spec import TuningSpec
from bayescascade.tuning.tune import tune

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MAX_K = 0.7
_N_DRIFT_DRAWS = 1000
_N_DRIFTS = 20
_N_HALVINGS = 8
_MEASURES = ("error", "cost", "kept", "loss")
_POWERED = ("prior", "likelihood")


@dataclass(frozen=True)
class Sensitivity:
    """What becomes of a solution when something changes.

    Attributes
    ----------
    table : pandas.DataFrame
        One row for each change, by (``change``, ``of``, ``by``); the first row is the solution as tuned.
        Posterior means ``error`` and ``cost``, ``kept`` (probability that the promise holds, safety margin
        included) and ``loss`` (what is minimised) with
        the thresholds kept; ``new_error`` and so on with thresholds tuned again; ``lost``: by how much the loss is
        higher with the thresholds kept, NaN where they break the promise; ``moved``: the largest move of a
        threshold, as a share of the stage's queries.
    thresholds : pandas.DataFrame
        The new thresholds, one row for each change, one column for each stage.
    breaks, even : float
        The least drift at which the promise no longer holds with the probability asked for, and at which it is as
        likely broken as kept; infinite where no drift does that, NaN where nothing is promised.
    goal : dict
        What the solution was asked for.
    text : str
        The findings in words.
    """

    table: pd.DataFrame
    thresholds: pd.DataFrame
    breaks: float
    even: float
    goal: dict[str, Any]
    text: str = field(repr=False)

    def plot(
        self, ax: Axes | None = None, *, title: str | None = None, figsize: tuple[float, float] | None = None
    ) -> Axes:
        """Draw how much what is minimised changes, as a tornado: the change that moves it most on top.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            To draw on; by default a new figure is made.
        title : str, optional
            Over the picture; by default what it shows, nothing where it is empty.
        figsize : tuple of float, optional
            Of a new figure, in inches.

        Returns
        -------
        matplotlib Axes
        """
        return draw_sensitivity(ax, self.table, self.goal, title=title, figsize=figsize)

    def __repr__(self) -> str:
        return f"{self.text}\n\n{self.table.to_string(float_format='{:.4g}'.format, na_rep='')}"

    def _repr_html_(self) -> str:
        return wrapped(note(self.text), frame_of(self.table, digits=4))


def sensitivity(
    fit: xr.DataTree,
    solution: ThresholdSolution,
    *,
    price_factors: Sequence[float] = (0.5, 2.0),
    powers: Sequence[float] = (0.8, 1.25),
    drifts: Sequence[float] = (0.1, 0.25, 0.5),
    retune: bool = True,
) -> Sensitivity:
    """Say how error, cost and thresholds of a solution move when prices, prior or queries change.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.analysis.sensitivity import sensitivity
    >>> fit = bc.fit(bc.load_example(), random_seed=1, progressbar=False)
    >>> solution = bc.tune(fit, error_price=0.01)
    >>> found = sensitivity(fit, solution, price_factors=(), powers=(), drifts=(0.25,))
    >>> bool(found.table.loc[("drift", "queries", 0.25), "lost"] >= 0)
    True

    Parameters
    ----------
    fit : xarray.DataTree
    solution : ThresholdSolution
        As `tune` returned it for this fit.
    price_factors : sequence of float
        Factors by which the cost of each stage in turn is multiplied.
    powers : sequence of float
        Powers to which the prior, and then the likelihood, is raised (power scaling); below 1 is weaker. Draws are
        reweighted by PSIS and resampled.
    drifts : sequence of float
        Fractions, in (0, 1), by which the mean rank of the first stage's confidence falls, see `drift`.
    retune : bool
        Tune again under each change. Without it, the columns on new thresholds are NaN.

    Returns
    -------
    Sensitivity

    Raises
    ------
    CascadeError
        If the solution is not one, or belongs to another fit, or if numbers are out of range.

    References
    ----------
    Kallioinen et al. (2024), power scaling, doi:10.1007/s11222-023-10366-5; Vehtari et al. (2024), PSIS,
    arXiv:1507.02646.
    """
    if not isinstance(solution, ThresholdSolution):
        raise CascadeError(
            "give a solution, as " + call("tune", "fit, ...") + f" returns it; {type(solution).__name__} came."
        )
    for name, values in (("price_factors", price_factors), ("powers", powers), ("drifts", drifts)):
        for value in values:
            check_positive(f"a number in {name}", value)
    if any(amount >= 1.0 for amount in drifts):
        raise bad_value("drifts", list(drifts), "give fractions below 1, such as 0.25", "are not allowed")
    check_same_fit(fit, solution)
    tuned = _AsTuned(fit, solution)
    rows = [tuned.row(fit, retune=False)]
    index: list[tuple[str, str, float]] = [("as tuned", "", 1.0)]
    thresholds = [solution.thresholds.values]
    remarks = []
    for change, of, by, changed, why in _changes(fit, tuned.stages, price_factors, powers, drifts):
        if changed is None:
            remarks.append(why)
            continue
        row = tuned.row(changed, retune)
        index.append((change, of, float(by)))
        thresholds.append(row.pop("thresholds"))
        rows.append(row)
    rows[0].pop("thresholds")
    names = pd.MultiIndex.from_tuples(index, names=["change", "of", "by"])
    table = pd.DataFrame(rows, index=names)
    breaks, even = tuned.limits()
    frame = pd.DataFrame(thresholds, index=names, columns=tuned.stages)
    found = [*told(table, tuned.objective, tuned.what), *told_limits(breaks, even, tuned.objective)]
    text = " ".join([*found, *dict.fromkeys(remarks)])
    return Sensitivity(table, frame, breaks, even, dict(solution.goal), text)


def _changes(
    fit: xr.DataTree,
    stages: list[str],
    price_factors: Sequence[float],
    powers: Sequence[float],
    drifts: Sequence[float],
) -> Iterator[tuple[str, str, float, xr.DataTree | None, str]]:
    """What changes, of what, by how much; the changed fit, or why there is none."""
    for stage in stages:
        for factor in price_factors:
            yield "price", stage, factor, reprice(fit, factor={stage: factor}), ""
    nothing = why_not(fit) if len(powers) else ""
    if nothing:
        yield "prior", "", 1.0, None, nothing
    every = fit["posterior"].sizes["chain"] * fit["posterior"].sizes["draw"]
    tree = thinned(fit, every) if len(powers) and not nothing else None
    for group in _POWERED:
        for power in powers if tree is not None else ():
            assert tree is not None
            changed, k = powered(fit, tree, group, power)
            why = f"Draws cannot be reweighted to a {group} of power {power:g} (Pareto k-hat {k:.2f})."
            yield group, "", power, changed if k <= _MAX_K else None, why
    draws = get_draws(fit)
    _, most = drift_range(draws.mass)
    for amount in drifts:
        if most <= 0.0:
            why = f"No drift was looked at: {no_drift(draws.stages[0])}"
            yield "drift", "queries", amount, None, why
            continue
        why = f"A drift of {amount:g} is out of reach: the mix of queries can drift by less than {most:.2g}."
        yield "drift", "queries", amount, drift(fit, amount) if amount < most else None, why


class _AsTuned:
    """A solution as tuned on a fit, and what its thresholds come to under changed fits by the same objective."""

    def __init__(self, fit: xr.DataTree, solution: ThresholdSolution) -> None:
        self.solution = solution
        self.all_draws = get_draws(fit)
        self.rule = DecisionRule.from_any(solution, self.all_draws.stages, self.all_draws.kind)
        self.draws = self.rule.restrict(self.all_draws)
        self.stages = self.draws.stages
        self.spec = TuningSpec(**solution.goal)
        self.discrepancy = read_discrepancy(fit, self.spec.doubt, one_sided=True)
        self.objective = self.spec.objective()

    @property
    def what(self) -> str:
        """What is minimised, in a word."""
        if self.spec.error_price is not None:
            return "loss"
        return "error" if self.spec.max_error is None else "cost"

    def row(self, fit: xr.DataTree, retune: bool) -> dict[str, Any]:
        """A row of the table, with the new thresholds beside it."""
        draws = self.rule.restrict(get_draws(fit))
        objective = self.spec.objective(draws)
        evaluator = Evaluator(draws, discrepancy=self.discrepancy)
        old = _measured(evaluator, objective, self.rule)
        nothing = dict.fromkeys(_MEASURES, np.nan)
        new, moved, thresholds = nothing, np.nan, np.full(len(self.stages), np.nan)
        if retune:
            found = tune(fit, **self.solution.goal, stages=self.stages)
            rule = DecisionRule.from_any(found, self.stages, self.all_draws.kind)
            new = _measured(evaluator, objective, rule)
            thresholds, moved = rule.accept[0], self._moved(rule)
            # a search may end a hair above where it could have stayed
            if old["holds"] and not (found.feasible and new["loss"] < old["loss"]):
                new, thresholds, moved = old, self.rule.accept[0], 0.0
        return {
            **{name: old[name] for name in _MEASURES},
            **{f"new_{name}": new[name] for name in _MEASURES},
            "lost": old["loss"] - new["loss"] if old["holds"] else np.nan,
            "moved": moved,
            "thresholds": thresholds,
        }

    def _moved(self, rule: DecisionRule) -> float:
        """The largest move of a threshold, as a share of its stage's queries."""
        return float(np.abs(self._levels(rule) - self._levels(self.rule)).max())

    def _levels(self, rule: DecisionRule) -> np.ndarray:
        """Posterior mean of F at each accepting and rejecting threshold (row,)."""
        edges = self.draws.edges().mean(axis=0)
        rows = rule.positions(self.draws)[0]
        segments = np.arange(edges.shape[1])
        return np.array([np.interp(x, segments, edges[i % len(edges)]) for i, x in enumerate(rows)])

    def limits(self) -> tuple[float, float]:
        """Least drifts at which the promise breaks, and at which it is as likely broken as kept."""
        if not self.objective.bounds:
            return np.nan, np.nan
        some = self.all_draws.take(self.all_draws.spread(_N_DRIFT_DRAWS))
        kernels = map_blocks(lambda block: build_kernel(some.take(block)), some.blocks())
        rows = self.rule.positions(self.draws)
        # the labelled queries were not drifted: their residual is taken on their own mix
        expected = None if self.discrepancy is None else self.discrepancy.expected(rows, self.draws)
        _, most = drift_range(some.mass)
        if most <= 0.0:  # of a first stage whose confidence is constant
            return np.nan, np.nan

        def kept(amount: float) -> float:
            evaluator = Evaluator(
                self.rule.restrict(some), [self._drifted(kernel, amount) for kernel in kernels], self.discrepancy
            )
            outcome = evaluator.with_discrepancy(evaluator.expected(rows), rows, expected)
            amounts = amounts_of(outcome, evaluator.draws, self.objective.names)
            return float(self.objective.promise_probability(amounts)[0])

        amounts = np.linspace(0.0, most, _N_DRIFTS + 2)[:-1]
        at = [kept(amount) for amount in amounts]
        return _first(kept, amounts, at, self.objective.prob), _first(kept, amounts, at, 0.5)

    def _drifted(self, kernel: Kernel, amount: float) -> Kernel:
        """A kernel of the fit's stages under drift, for the solution's stages."""
        changed = tilted(kernel, density_ratios(kernel.draws.mass[:, 0], amount))
        return changed if self.draws.parent is None else restrict_kernel(changed, self.draws.keep)


def _measured(evaluator: Evaluator, objective: Objective, rule: DecisionRule) -> dict[str, Any]:
    """Posterior means of error and cost, and, with the safety margin, promise probability and risk of a rule."""
    rows = rule.positions(evaluator.draws)
    outcome = evaluator.expected(rows)
    amounts = amounts_of(evaluator.with_discrepancy(outcome, rows), evaluator.draws, objective.names)
    kept = float(objective.promise_probability(amounts)[0]) if objective.bounds else np.nan
    return {
        "error": float(outcome.error.mean()),
        "cost": float(outcome.cost.mean()),
        "kept": kept,
        "loss": float(objective.risk(amounts)[0]),
        "holds": not objective.bounds or kept >= objective.prob,
    }


def _first(kept: Any, amounts: np.ndarray, at: list[float], prob: float) -> float:
    """Where a probability first falls below a level, by bisection within the step in which it does."""
    below = np.flatnonzero(np.array(at) < prob)
    if not len(below):
        return np.inf
    if below[0] == 0:
        return 0.0
    low, high = amounts[below[0] - 1], amounts[below[0]]
    for _ in range(_N_HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if kept(middle) < prob else (middle, high)
    return float(high)
