"""Figures of error against cost, and of where queries end, from what is known already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from bayescascade._common.arrays import tail_probabilities
from bayescascade.display.format import PER
from bayescascade.display.style import (
    BLUE,
    GREEN,
    GREY,
    VERMILION,
    bare,
    ink,
    is_narrow,
    money_axis,
    name_points,
    percent_axis,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bayescascade.tuning.solution import ThresholdSolution


_N_BUSY = 9  # places along an interval that a name should not cover


def draw_frontier(
    ax: Axes,
    curve: xr.Dataset,
    *,
    every_stage: xr.Dataset | None = None,
    singles: tuple[np.ndarray, np.ndarray] | None = None,
    singles_kept: np.ndarray | None = None,
    solution: ThresholdSolution | None = None,
    scored: xr.Dataset | None = None,
    scored_on: str = "the log",
    ci_prob: float,
    n_queries: int = PER,
    currency: str | None = None,
) -> Axes:
    """Draw error against the cost of so many queries along a frontier.

    Parameters
    ----------
    ax : matplotlib Axes
    curve : Dataset
        What `frontier` returns.
    every_stage : Dataset, optional
        The frontier of the cascade that runs every stage, where ``curve`` may leave some out.
    singles : tuple of ndarray (draw, stage), optional
        Error and cost per query of each stage used alone.
    singles_kept : ndarray (stage,), optional
        The error of each stage alone with the safety margin, as ``kept`` of the curve is the cascade's.
    solution : ThresholdSolution, optional
        The thresholds that were chosen, with their limit and, apart from what is expected, their safety margin.
    scored : Dataset (point,), optional
        Error and cost per query of the frontier's thresholds on a log, as `score` returns them.
    scored_on : str
        Which log that is.
    ci_prob : float
        Probability of the intervals; the band is the curve's own.
    n_queries : int
        Queries whose cost is on the axis.
    currency : str, optional
        Of the costs.
    """
    cost = n_queries * curve["cost"].values
    band = f"{ci_prob:.0%} interval"
    ax.fill_between(cost, curve["error_low"], curve["error_high"], color=BLUE, alpha=0.2, lw=0, label=band)
    ax.plot(cost, curve["error"], color=BLUE, lw=2, label="cascade, expected error")
    if every_stage is not None:
        style: dict[str, Any] = {"color": GREY, "lw": 1.0, "zorder": 1, "label": "every stage in the cascade"}
        ax.plot(n_queries * every_stage["cost"], every_stage["error"], **style)
    sure = ""
    if curve.attrs.get("margin"):
        sure = f"{curve.attrs['prob']:.0%} sure below, with margin"
        ax.plot(cost, curve["kept"], color=BLUE, lw=1.2, ls="--", label=sure)
    if scored is not None:
        label = f"cascade, scored on {scored_on}"
        ax.plot(n_queries * scored["cost"], scored["error"], ".", color=GREEN, ms=5, label=label)
    if singles is not None:
        error, alone = singles[0], n_queries * singles[1]
        _crosses(ax, alone, error, ci_prob, color=VERMILION, marker="s", ms=5, label="single stage")
        if singles_kept is not None:
            ax.plot(alone.mean(axis=0), singles_kept, "_", color=VERMILION, ms=9, mew=1.5)
    if solution is not None:
        x, y = (np.ravel(getattr(solution, name).values)[:, None] for name in ("cost", "error"))
        x = n_queries * x
        label = "chosen thresholds" if solution.feasible else "nearest thresholds (goal not met)"
        _crosses(ax, x, y, ci_prob, color=ink(), marker="D", label=label, markersize=8, zorder=5)
        _promise(ax, float(x.mean()), float(y.mean()), solution, sure)
    money_axis(ax, float(np.min(cost)), float(np.max(cost)))
    percent_axis(ax.yaxis)
    ax.set_ylim(bottom=0)
    of = "cost per query" if n_queries == 1 else f"cost of {n_queries:,} queries"
    narrow = is_narrow(ax)
    spent = f"{of}, {currency}" if currency else of if narrow else f"{of} (currency of the log)"
    ax.set(xlabel=spent, ylabel="error" if narrow else "error (share of queries answered wrongly)")
    where: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0)} if narrow else {"loc": "best"}
    ax.legend(frameon=False, fontsize="small", **where)
    tidy(ax)
    if singles is not None:
        x, y = alone.mean(axis=0), error.mean(axis=0)
        lines = [curve["error"].values, *([curve["kept"].values] if sure else [])]
        busy = [_along(cost, line, n_queries) for line in lines]
        low, high = np.quantile(error, tail_probabilities(ci_prob), axis=0)
        high = high if singles_kept is None else np.maximum(high, singles_kept)
        busy += [np.column_stack([x, low + at * (high - low)]) for at in np.linspace(0.0, 1.0, _N_BUSY)]
        if solution is not None:
            busy += _cross_of(solution, n_queries, ci_prob)
        names = [str(name) for name in curve["stage"].values]
        name_points(
            ax,
            x,
            y,
            [bare(name, 14 if narrow or len(names) > 3 else 20, names) for name in names],
            np.concatenate(busy),
        )
    return ax


def _cross_of(solution: ThresholdSolution, scale: float, ci_prob: float) -> list[np.ndarray]:
    """Places all along the intervals of a solution, and up to its promise."""
    spent, wrong = scale * np.ravel(solution.cost.values), np.ravel(solution.error.values)
    tails = tail_probabilities(ci_prob)
    (left, right), (low, high) = (np.quantile(values, tails) for values in (spent, wrong))
    sure = solution.upper_bounds.get("error", high)
    across = np.linspace(float(left), float(right), _N_BUSY)
    up = np.linspace(float(low), float(max(high, sure)) if np.isfinite(sure) else float(high), _N_BUSY)
    middle = np.full(_N_BUSY, spent.mean()), np.full(_N_BUSY, wrong.mean())
    return [np.column_stack([across, middle[1]]), np.column_stack([middle[0], up])]


def _along(x: np.ndarray, y: np.ndarray, scale: float) -> np.ndarray:
    """Places all along a line, about evenly spread on a logarithmic axis (place, 2)."""
    at = np.geomspace(max(x[0], 1e-9 * scale), x[-1], 150) if x[-1] > 0 else x
    return np.column_stack([at, np.interp(at, x, y)])


def _crosses(ax: Axes, x: np.ndarray, y: np.ndarray, ci_prob: float, **style: Any) -> None:
    """Posterior means with intervals both ways, of draws (draw, point)."""
    tails = tail_probabilities(ci_prob)
    bars = [np.abs(np.quantile(values, tails, axis=0) - values.mean(axis=0)) for values in (x, y)]
    marker = {name: style.pop(name) for name in ("marker", "label", "ms", "markersize") if name in style}
    at = x.mean(axis=0), y.mean(axis=0)
    ax.errorbar(*at, xerr=bars[0], yerr=bars[1], ls="none", lw=1.2, **style)
    # apart, so that the legend shows the marker without bars
    ax.plot(*at, ls="none", **marker, **style)


def _promise(ax: Axes, x: float, y: float, solution: ThresholdSolution, said: str) -> None:
    """The limit of the error, if there is one, and what the chosen thresholds stay below, margin included.

    ``said`` is in the legend already.
    """
    limit = solution.goal.get("max_error")
    if limit is None:
        return
    ax.axhline(limit, color=GREY, lw=1.0, ls=":", zorder=1, label=f"limit, {100.0 * limit:.4g}%")
    sure = solution.upper_bounds.get("error", np.inf)
    if not np.isfinite(sure):  # where another limit stands in the way
        return
    ax.plot([x, x], [y, sure], color=ink(), lw=1.0, ls=":", zorder=4)
    margin = "" if solution.margin is None else ", with margin"
    about = f" (next {solution.goal['batch']} queries)" if "batch" in solution.goal else ""
    label = f"{100.0 * solution.goal['prob']:.4g}% sure below{margin}{about}"
    label = "_nolegend_" if label == said else label
    ax.plot([x], [sure], marker=7, ls="none", color=ink(), ms=9, zorder=5, label=label)


def draw_flow(ax: Axes, stages: list[str], reach: np.ndarray, abstaining: bool, ci_prob: float) -> Axes:
    """Draw the flow of reach (draw, stage)."""
    ended = np.maximum(reach - np.concatenate([reach[:, 1:], np.zeros_like(reach[:, :1])], axis=1), 0.0)
    place = np.arange(len(stages))[::-1]
    ran, done = reach.mean(axis=0), ended.mean(axis=0)
    # a bar begins where the one above ended, so that what is answered lies end to end
    start = 1.0 - ran
    end = "answered, or left unanswered" if abstaining else "answered"
    ax.barh(place, ran - done, left=start + done, height=0.6, color=GREY, alpha=0.3, label="deferred")
    ax.barh(place, done, left=start, height=0.6, color=BLUE, alpha=0.85, label=f"{end} here")
    # where one stage's bar ends the next one's begins, and one thing is uncertain: what has been answered so far
    so_far = 1.0 - reach[:, 1:]
    joint = so_far.mean(axis=0)
    spread = np.abs(np.quantile(so_far, tail_probabilities(ci_prob), axis=0) - joint)
    shown = (joint > 0.0005) & (joint < 0.9995)
    style: dict[str, Any] = {"ls": "none", "color": ink(), "lw": 1.8, "capsize": 4}
    label = f"{ci_prob:.0%} interval of all {end} so far"
    ax.errorbar(joint[shown], place[:-1][shown], xerr=spread[:, shown], label=label, **style)
    for y, r, d in zip(place, ran, done, strict=True):
        ax.annotate(f"{d:.1%} of {r:.1%}", (1.07, y), va="center", fontsize="small")
    ax.set_yticks(place, [bare(name, 24, stages) for name in stages])
    ax.set(ylim=(-0.5, len(stages) - 0.5), xlim=(0.0, 1.35))
    ax.spines["bottom"].set_bounds(0.0, 1.0)
    ax.set_xticks(np.linspace(0.0, 1.0, 6), [f"{x:.0%}" for x in np.linspace(0.0, 1.0, 6)])
    ax.set_xlabel("share of all queries", x=0.5 / 1.35)
    ax.legend(frameon=False, fontsize="x-small", ncols=3, loc="lower left", bbox_to_anchor=(0.0, 1.0))
    return tidy(ax)
