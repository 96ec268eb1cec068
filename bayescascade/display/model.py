"""Figures of the model's parts beside the log: calibration, margins, links. Each draws one panel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import beta

from bayescascade._common.arrays import tail_probabilities
from bayescascade.display.style import (
    BLUE,
    GREY,
    VERMILION,
    bare,
    confidence_axis,
    ink,
    percent_axis,
    tidy,
)
from bayescascade.signals.kinds import to_signal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bayescascade.checks.calibration import Reliability
    from bayescascade.checks.dependence import PairView
    from bayescascade.checks.signals import PitEcdf

_REGIONS = (0.25, 0.5, 0.75)


def draw_reliability(
    ax: Axes, shown: Reliability, ci_prob: float, threshold: float | None = None, among: Sequence[str] = ()
) -> None:
    """Draw the reliability of one stage: P(correct) of the model, and shares right in bins of the signal.

    A finite ``threshold``, on the scale of the confidences, is a line. The stage is named ``among`` others.
    """
    axis = confidence_axis(shown.margin, shown.kind)
    tails = tail_probabilities(ci_prob)
    if len(shown.signal):
        x, p = axis.place(shown.signal), shown.p_correct
        ax.fill_between(x, *np.quantile(p, tails, axis=0), color=BLUE, alpha=0.2, lw=0)
        ax.plot(x, p.mean(axis=0), color=BLUE, lw=2, label="P(correct), model")
    if len(shown.atoms):
        p = shown.p_at_atoms
        bars = np.abs(np.quantile(p, tails, axis=0) - p.mean(axis=0))
        diamond: dict[str, Any] = {"fmt": "D", "color": BLUE, "ms": 5, "lw": 1.5}
        ax.errorbar(axis.place(shown.atoms), p.mean(axis=0), yerr=bars, **diamond, label="P(correct) at an atom")
    if len(shown.labelled):
        count = np.bincount(shown.bins)
        x = np.bincount(shown.bins, weights=axis.place(shown.labelled)) / count
        right = np.bincount(shown.bins, weights=shown.correct)
        observed = right / count
        ends = beta.ppf(np.array(tails)[:, None], right + 0.5, count - right + 0.5)
        bars = np.maximum([observed - ends[0], ends[1] - observed], 0.0)
        style: dict[str, Any] = {"fmt": "o", "mfc": "none", "color": VERMILION, "mew": 1.4, "ms": 5.5}
        ax.errorbar(x, observed, yerr=bars, **style, elinewidth=0.7, label="observed share right")
    if threshold is not None and np.isfinite(threshold):
        at = float(np.clip(to_signal(np.array([threshold]), shown.kind)[0], axis.low, axis.high))
        ax.axvline(at, color=ink(), lw=1.2, ls="--", label="threshold")
    axis.label(ax)
    percent_axis(ax.yaxis)
    ax.set(ylim=(-0.03, 1.03), ylabel="share right")
    ax.set_title(f"{bare(shown.stage, 20, among)} ({len(shown.labelled)} labels)", fontsize="small")
    ax.legend(frameon=False, fontsize="x-small", loc="best")
    tidy(ax)


def draw_margin(ax: Axes, shown: PitEcdf, among: Sequence[str] = ()) -> None:
    """Draw the PIT-ECDF of one stage less the diagonal, with its band."""
    level = shown.level
    if len(level):
        ax.fill_between(level, shown.low - level, shown.high - level, color=GREY, alpha=0.25, lw=0, step="mid")
        ax.plot(level, shown.ecdf - level, color=BLUE, lw=1.5, drawstyle="steps-mid")
    ax.axhline(0.0, color=GREY, lw=0.8)
    ax.set_title(bare(shown.stage, 24, among), fontsize="small")
    ax.set(
        xlabel="rank by the model" + (f", given {bare(shown.given, 16, among)}" if shown.given else ""),
        ylabel="observed − fitted share",
    )
    tidy(ax)


def region_levels(density: np.ndarray, shares: tuple[float, ...]) -> np.ndarray:
    """Densities above which given shares of the mass lie, of cells of equal size; rising."""
    falling = np.sort(density.ravel())[::-1]
    mass = np.cumsum(falling) / falling.sum()
    return np.unique(falling[np.searchsorted(mass, np.asarray(shares))])


def draw_pair(ax: Axes, shown: PairView, ci_prob: float, among: Sequence[str] = ()) -> None:
    """Draw the pseudo-observations of two stages and their copula's contours, with their link's tau above."""
    ax.plot(*shown.points, ".", color=BLUE, ms=4, alpha=0.6, mew=0)
    if shown.density is None:
        text = "independent"
    else:
        middle, density = shown.density
        levels = region_levels(density, _REGIONS)
        ax.contour(middle, middle, density, levels=levels, colors=[VERMILION], linewidths=1.2)
        low, high = np.quantile(shown.tau, tail_probabilities(ci_prob))
        given = " given the difficulty" if shown.given_ease else ""
        text = f"τ{given} = {shown.tau.mean():.2f} ({low:.2f} to {high:.2f})"
    ax.set_title(text, fontsize="medium")
    x, y = (f"rank of {bare(stage, 15, among or shown.stages)}" for stage in shown.stages)
    ax.set(xlabel=x, ylabel=y)
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    percent_axis(ax.xaxis)
    percent_axis(ax.yaxis)
    tidy(ax)
