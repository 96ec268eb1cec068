"""Figures of a fit. Each draws on the axes it is given, or on new ones, and returns them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from bayescascade._arrays import tail_probabilities
from bayescascade._axes import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    VERMILION,
    bare,
    confidence_axis,
    money_axis,
    new_axes,
    panels,
    shortened,
    tidy,
)
from bayescascade._checks.evidence import Evidence, gather
from bayescascade._checks.labels import bin_signals
from bayescascade._checks.signals import pit_band, stage_pit
from bayescascade._ranges import check_prob
from bayescascade._singles import single_stages
from bayescascade.draws import Draws, get_draws
from bayescascade.errors import CascadeError
from bayescascade.frontiers import frontier
from bayescascade.scoring import score

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bayescascade.solution import ThresholdSolution

_DRAWS = 500
_CELLS, _FEW = 100, 50  # of the grid and of the draws that show a copula
_REGIONS = (0.25, 0.5, 0.75)


def plot_frontier(
    fit_or_frontier: xr.DataTree | xr.Dataset,
    *,
    ax: Axes | None = None,
    solution: ThresholdSolution | None = None,
    log: xr.Dataset | None = None,
    ci_prob: float = 0.9,
) -> Axes:
    """Draw error against cost along the frontier, with its credible band.

    Examples
    --------
    >>> import bayescascade as bc
    >>> fit = bc.fit(bc.load_example(), random_seed=1, progressbar=False)
    >>> ax = bc.plot_frontier(fit, solution=bc.tune(fit, max_error=0.3))
    >>> ax.get_ylabel()
    'error (share of queries answered wrongly)'

    Parameters
    ----------
    fit_or_frontier : DataTree or Dataset
        A fit, which also shows each stage used alone; or what `frontier` returned.
    ax : matplotlib Axes, optional
    solution : ThresholdSolution, optional
        Mark the thresholds that were chosen.
    log : Dataset, optional
        Mark what the frontier's thresholds score on this log; it must hold every stage that they call.
    ci_prob : float
        Probability of the intervals. A frontier that is passed in has its own.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    CascadeError
        For what is neither a fit nor a frontier, or a log that cannot be scored.
    """
    check_prob("ci_prob", ci_prob)
    draws = None
    if isinstance(fit_or_frontier, xr.DataTree):
        draws = get_draws(fit_or_frontier)
        curve = frontier(fit_or_frontier, n_points=50, ci_prob=ci_prob)
    elif isinstance(fit_or_frontier, xr.Dataset) and "error_low" in fit_or_frontier:
        curve, ci_prob = fit_or_frontier, float(fit_or_frontier.attrs.get("ci_prob", ci_prob))
    else:
        raise CascadeError(
            f"plot_frontier wants a fit or what frontier(fit) returns; {type(fit_or_frontier).__name__} came."
        )
    return draw_frontier(new_axes(ax, (7.0, 4.4)), curve, draws, solution, log, ci_prob)


def draw_frontier(
    ax: Axes,
    curve: xr.Dataset,
    draws: Draws | None,
    solution: ThresholdSolution | None,
    log: xr.Dataset | None,
    ci_prob: float,
    *,
    n_queries: int = 1,
) -> Axes:
    """Draw a frontier that is known already, by the cost of so many queries."""
    cost = n_queries * curve["cost"].values
    band = f"{ci_prob:.0%} credible band"
    ax.fill_between(cost, curve["error_low"], curve["error_high"], color=BLUE, alpha=0.2, lw=0, label=band)
    ax.plot(cost, curve["error"], color=BLUE, lw=2, label="cascade, posterior mean")
    if log is not None:
        found = score(log, curve["threshold"])
        ax.plot(
            n_queries * found["cost"], found["error"], ".", color=GREEN, ms=5, label="cascade, scored on the log"
        )
    if draws is not None:
        error, alone = single_stages(draws)
        alone = n_queries * alone
        _crosses(ax, alone, error, ci_prob, color=VERMILION, marker="s", label="one stage alone")
        for name, x, y in zip(draws.stages, alone.mean(axis=0), error.mean(axis=0), strict=True):
            at: dict[str, Any] = {"xy": (x, y), "xytext": (5, 5), "textcoords": "offset points"}
            ax.annotate(shortened(name, 24), **at, fontsize="small", zorder=6)
    if solution is not None:
        x, y = (np.ravel(getattr(solution, name).values)[:, None] for name in ("cost", "error"))
        x = n_queries * x
        label = "chosen thresholds" if solution.feasible else "nearest thresholds (goal not met)"
        _crosses(ax, x, y, ci_prob, color=ORANGE, marker="D", label=label, markersize=8, zorder=5)
    money_axis(ax, float(np.min(cost)), float(np.max(cost)))
    ax.set_ylim(bottom=0)
    of = "cost per query" if n_queries == 1 else f"cost of {n_queries:,} queries"
    ax.set_xlabel(f"{of} (currency of the log)")
    ax.set_ylabel("error (share of queries answered wrongly)")
    ax.legend(frameon=False, fontsize="small")
    tidy(ax)
    return ax


def _crosses(ax: Axes, x: np.ndarray, y: np.ndarray, ci_prob: float, **style: Any) -> None:
    """Posterior means with intervals both ways, of draws (draw, point)."""
    tails = tail_probabilities(ci_prob)
    bars = [np.abs(np.quantile(values, tails, axis=0) - values.mean(axis=0)) for values in (x, y)]
    ax.errorbar(x.mean(axis=0), y.mean(axis=0), xerr=bars[0], yerr=bars[1], ls="none", lw=1.2, **style)


def plot_reliability(
    fit: xr.DataTree, stage: str | int | None = None, *, axes: Any = None, ci_prob: float = 0.9
) -> np.ndarray:
    """Draw the calibration of each stage beside the accuracy that was observed.

    Examples
    --------
    >>> import bayescascade as bc
    >>> fit = bc.fit(bc.load_example(), random_seed=1, progressbar=False)
    >>> bc.plot_reliability(fit, "small").shape
    (1,)

    Parameters
    ----------
    fit : DataTree
    stage : str or int, optional
        One stage, by name or position; by default all.
    axes : matplotlib Axes or array of them, optional
    ci_prob : float
        Probability of the credible bands.

    Returns
    -------
    ndarray of matplotlib Axes
        One for each stage. A bin's bar is what its own labels say of its accuracy: the Jeffreys interval.

    Raises
    ------
    CascadeError
        For a stage that the fit does not have, or too few axes.
    """
    check_prob("ci_prob", ci_prob)
    evidence = gather(fit)
    wanted = _wanted(stage, evidence.stages)
    grid = panels(axes, [evidence.stages[j] for j in wanted])
    for ax, j in zip(grid, wanted, strict=True):
        draw_reliability(ax, evidence, j, ci_prob)
    return grid


def _wanted(part: str | int | None, names: list[str], what: str = "stage") -> list[int]:
    """Positions of one stage or link, by name or position, or of all."""
    if part is None:
        return list(range(len(names)))
    if isinstance(part, str) and part in names:
        return [names.index(part)]
    if isinstance(part, int | np.integer) and 0 <= part < len(names):
        return [int(part)]
    raise CascadeError(f"there is no {what} {part!r}; give a position or one of {names}.")


def draw_reliability(ax: Axes, evidence: Evidence, j: int, ci_prob: float) -> None:
    """Draw the reliability of one stage."""
    from scipy.stats import beta

    draws = evidence.many.thin(_DRAWS)
    margin = draws.margins[j]
    axis = confidence_axis(margin, draws.kind)
    tails = tail_probabilities(ci_prob)
    free = ~margin.is_atom
    if free.any():
        x = np.linspace(margin.low[free].min(), margin.high[free].max(), 120)
        curve = draws.p_correct(j, x)
        ax.fill_between(axis.place(x), *np.quantile(curve, tails, axis=0), color=BLUE, alpha=0.2, lw=0)
        ax.plot(axis.place(x), curve.mean(axis=0), color=BLUE, lw=2, label="P(correct), model")
    atoms = margin.low[margin.is_atom]
    if len(atoms):
        p = draws.p_correct(j, atoms)
        bars = np.abs(np.quantile(p, tails, axis=0) - p.mean(axis=0))
        diamond: dict[str, Any] = {"fmt": "D", "color": BLUE, "ms": 5, "lw": 1.5}
        ax.errorbar(axis.place(atoms), p.mean(axis=0), yerr=bars, **diamond, label="P(correct) at an atom")
    queries = evidence.labelled(j)
    if len(queries):
        signal, y = evidence.signal[queries, j], evidence.correct[queries, j]
        number = bin_signals(signal, atoms)
        count = np.bincount(number)
        x = np.bincount(number, weights=axis.place(signal)) / count
        right = np.bincount(number, weights=y)
        observed = right / count
        ends = beta.ppf(np.array(tails)[:, None], right + 0.5, count - right + 0.5)
        bars = np.maximum([observed - ends[0], ends[1] - observed], 0.0)
        style: dict[str, Any] = {
            "fmt": "o",
            "mfc": "none",
            "color": VERMILION,
            "mew": 1.4,
            "ms": 5.5,
            "elinewidth": 0.7,
        }
        ax.errorbar(x, observed, yerr=bars, **style, label="observed share right")
    axis.label(ax)
    ax.set_ylim(-0.03, 1.03)
    ax.set_ylabel("share right")
    ax.set_title(f"{shortened(evidence.stages[j])} ({len(queries)} labels)", fontsize="medium")
    ax.legend(frameon=False, fontsize="x-small", loc="best")
    tidy(ax)


def plot_margins(
    fit: xr.DataTree, stage: str | int | None = None, *, axes: Any = None, ci_prob: float = 0.99
) -> np.ndarray:
    """Draw the PIT-ECDF of each stage's signals, less the diagonal, with its simultaneous band.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.plots import plot_margins
    >>> fit = bc.fit(bc.load_example(), random_seed=1, progressbar=False)
    >>> plot_margins(fit).shape
    (3,)

    Parameters
    ----------
    fit : DataTree
    stage : str or int, optional
        One stage, by name or position; by default all.
    axes : matplotlib Axes or array of them, optional
        One for each stage.
    ci_prob : float
        Probability with which a right model stays inside the band all along.

    Returns
    -------
    ndarray of matplotlib Axes
        One for each stage. The band is ArviZ's. A stage that ran for some queries only is judged given the signal
        of the stage before.

    Raises
    ------
    CascadeError
        For a stage that the fit does not have, or too few axes.

    References
    ----------
    Säilynoja, Bürkner & Vehtari (2022), doi:10.1007/s11222-022-10090-6.
    """
    check_prob("ci_prob", ci_prob)
    evidence = gather(fit)
    wanted = _wanted(stage, evidence.stages)
    grid = panels(axes, [evidence.stages[j] for j in wanted])
    for ax, j in zip(grid, wanted, strict=True):
        draw_margin(ax, evidence, j, ci_prob)
    return grid


def draw_margin(ax: Axes, evidence: Evidence, j: int, ci_prob: float) -> None:
    """Draw the PIT-ECDF difference of one stage."""
    values, given = stage_pit(evidence, j, np.random.default_rng(0))
    if len(values) > 1:
        level, ecdf, low, high = pit_band(values, ci_prob, seed=0)
        ax.fill_between(level, low - level, high - level, color=GREY, alpha=0.25, lw=0, step="mid")
        ax.plot(level, ecdf - level, color=BLUE, lw=1.5, drawstyle="steps-mid")
    ax.axhline(0.0, color=GREY, lw=0.8)
    ax.set_title(shortened(evidence.stages[j]), fontsize="medium")
    ax.set_xlabel("PIT" + (f" given {shortened(given)}" if given else ""))
    ax.set_ylabel("ECDF less PIT")
    tidy(ax)


def plot_links(
    fit: xr.DataTree, link: str | int | None = None, *, axes: Any = None, ci_prob: float = 0.9
) -> np.ndarray:
    """Draw each link's pseudo-observations, F of one stage's signal against F of the next one's, and its copula.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.plots import plot_links
    >>> fit = bc.fit(bc.load_example(), random_seed=1, progressbar=False)
    >>> plot_links(fit).shape
    (2,)

    Parameters
    ----------
    fit : DataTree
    link : str or int, optional
        One link, by position or by name, such as ``"small > medium"``; by default all.
    axes : matplotlib Axes or array of them, optional
        One for each link.
    ci_prob : float
        Probability of the interval of Kendall's tau, which stands above each panel.

    Returns
    -------
    ndarray of matplotlib Axes
        Queries at an atom are spread over the atom's share of the axis. The contours are of the copula's posterior
        mean density, around the regions of highest density with 25%, 50% and 75% of the queries.

    Raises
    ------
    CascadeError
        For a link that the fit does not have, or too few axes.
    """
    check_prob("ci_prob", ci_prob)
    evidence = gather(fit)
    wanted = _wanted(link, evidence.links, "link")
    grid = panels(axes, [evidence.links[i] for i in wanted])
    tau = get_draws(fit).tau
    for ax, i in zip(grid, wanted, strict=True):
        draw_link(ax, evidence, i, tau[:, i], ci_prob)
    return grid


def copula_density(draws: Draws, link: int) -> tuple[np.ndarray, np.ndarray]:
    """Posterior mean density of a link's copula in the unit square: middles of cells (cell,), (cell, cell)."""
    middle = (np.arange(_CELLS) + 0.5) / _CELLS
    v, u = np.meshgrid(middle, middle, indexing="ij")
    return middle, draws.thin(_FEW).link(link).pdf(u[None], v[None]).mean(axis=0)


def region_levels(density: np.ndarray, shares: tuple[float, ...]) -> np.ndarray:
    """Densities above which given shares of the mass lie, of cells of equal size; rising."""
    falling = np.sort(density.ravel())[::-1]
    mass = np.cumsum(falling) / falling.sum()
    return np.unique(falling[np.searchsorted(mass, np.asarray(shares))])


def draw_link(ax: Axes, evidence: Evidence, link: int, tau: np.ndarray, ci_prob: float) -> None:
    """Draw the pseudo-observations of one link, with the draws of its tau (draw,) above."""
    rng = np.random.default_rng(0)
    rows = evidence.rows(rng, link, link + 1)
    points = []
    for j in (link, link + 1):
        low, high = evidence.few.cdf(j, evidence.signal[rows, j])
        points.append((low + rng.uniform(size=len(rows)) * (high - low)).mean(axis=0))
    ax.plot(*points, ".", color=BLUE, ms=4, alpha=0.6, mew=0)
    ends = np.quantile(tau, tail_probabilities(ci_prob))
    # the tau of independence is a free parameter that the data do not touch
    known = evidence.few.link(link).names != ["independence"]
    if known:
        middle, density = copula_density(evidence.few, link)
        ax.contour(
            middle, middle, density, levels=region_levels(density, _REGIONS), colors=[VERMILION], linewidths=1.2
        )
    text = f"τ = {tau.mean():.2f} ({ends[0]:.2f} to {ends[1]:.2f})" if known else "independent"
    ax.set_title(text, fontsize="medium")
    ax.set_xlabel(f"F of {bare(evidence.stages[link], 22)}")
    ax.set_ylabel(f"F of {bare(evidence.stages[link + 1], 22)}")
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    tidy(ax)
