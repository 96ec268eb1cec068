"""Figures of a fit. Each draws on the axes it is given as ``ax``, or on new ones, and returns what it drew on.

One picture returns its Axes. A picture with a panel for each stage or link returns an array of Axes (panel,).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from bayescascade._common.validation import check_prob
from bayescascade.cascade.empirical import score
from bayescascade.cascade.single_stages import single_stages
from bayescascade.checks.calibration import reliability
from bayescascade.checks.dependence import pair_view
from bayescascade.checks.evidence import gather
from bayescascade.checks.signals import pit_ecdf
from bayescascade.display.frontier import draw_frontier
from bayescascade.display.model import draw_margin, draw_pair, draw_reliability
from bayescascade.display.style import interval_prob, new_axes, panels, titled
from bayescascade.errors import CascadeError
from bayescascade.posterior.draws import get_draws
from bayescascade.posterior.schema import which_log
from bayescascade.tuning.frontier import frontier
from bayescascade.tuning.solution import ThresholdSolution, check_same_fit

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_frontier(
    fit_or_frontier: xr.DataTree | xr.Dataset,
    *,
    ax: Axes | None = None,
    solution: ThresholdSolution | None = None,
    log: xr.Dataset | None = None,
    ci_prob: float | None = None,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
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
        Mark what the frontier's thresholds score on this log, the fit's own or another; it must hold every stage
        that they call. The legend says which of the two it is, where a fit came.
    ci_prob : float, optional
        Probability of the intervals. By default 90%, or what ArviZ's ``rcParams["stats.ci_prob"]`` was set to. A
        frontier that is passed in has its own.
    title : str, optional
        Over the picture; by default what it shows, nothing where it is empty.
    figsize : tuple of float, optional
        Width and height of a new figure, in inches.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    CascadeError
        For what is neither a fit nor a frontier, a log that cannot be scored or is of another cascade, or a
        solution of another fit.
    """
    ci_prob = interval_prob(ci_prob)
    singles = every = None
    whose = "the log"
    if isinstance(fit_or_frontier, xr.DataTree):
        draws = get_draws(fit_or_frontier)
        if solution is not None:
            check_same_fit(fit_or_frontier, solution)
        if log is not None:
            whose = which_log(fit_or_frontier, log)
        singles = single_stages(draws)
        # the posterior's own band, as the bars of stages and of a solution are the posterior's
        curve = frontier(fit_or_frontier, n_points=50, ci_prob=ci_prob, doubt=0.0)
        every = frontier(fit_or_frontier, n_points=50, stages=draws.stages, doubt=0.0)
    elif isinstance(fit_or_frontier, xr.Dataset) and "error_low" in fit_or_frontier:
        curve, ci_prob = fit_or_frontier, float(fit_or_frontier.attrs.get("ci_prob", ci_prob))
    else:
        raise CascadeError(
            f"plot_frontier wants a fit or what frontier(fit) returns; {type(fit_or_frontier).__name__} came."
        )
    scored = None if log is None else score(log, curve["threshold"])
    ax = titled(new_axes(ax, (7.0, 4.4), figsize), title, "Error against cost")
    return draw_frontier(
        ax,
        curve,
        every_stage=every,
        singles=singles,
        solution=solution,
        scored=scored,
        scored_on=whose,
        ci_prob=ci_prob,
    )


def plot_reliability(
    fit: xr.DataTree,
    stage: str | int | None = None,
    *,
    ax: Any = None,
    ci_prob: float | None = None,
    figsize: tuple[float, float] | None = None,
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
    ax : matplotlib Axes or array of them, optional
    ci_prob : float, optional
        Probability of the credible bands. By default 90%, or what ArviZ's ``rcParams["stats.ci_prob"]`` was
        set to.
    figsize : tuple of float, optional
        Width and height of a new figure, in inches.

    Returns
    -------
    ndarray of matplotlib Axes
        One for each stage. A bin's bar is what its own labels say of its accuracy: the Jeffreys interval.

    Raises
    ------
    CascadeError
        For a stage that the fit does not have, or too few axes.
    """
    ci_prob = interval_prob(ci_prob)
    evidence = gather(fit)
    wanted = _wanted(stage, evidence.stages)
    grid = panels(ax, [evidence.stages[j] for j in wanted], figsize=figsize)
    for panel, j in zip(grid, wanted, strict=True):
        draw_reliability(panel, reliability(evidence, j), ci_prob, among=evidence.stages)
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


def plot_margins(
    fit: xr.DataTree,
    stage: str | int | None = None,
    *,
    ax: Any = None,
    ci_prob: float = 0.99,
    figsize: tuple[float, float] | None = None,
) -> np.ndarray:
    """Draw the PIT-ECDF of each stage's signals, less the diagonal, with its simultaneous band.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.plots.fit import plot_margins
    >>> fit = bc.fit(bc.load_example(), random_seed=1, progressbar=False)
    >>> plot_margins(fit).shape
    (3,)

    Parameters
    ----------
    fit : DataTree
    stage : str or int, optional
        One stage, by name or position; by default all.
    ax : matplotlib Axes or array of them, optional
        One for each stage.
    ci_prob : float
        Probability with which a right model stays inside the band all along: a test's, not an interval's.
    figsize : tuple of float, optional
        Width and height of a new figure, in inches.

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
    grid = panels(ax, [evidence.stages[j] for j in wanted], figsize=figsize)
    for panel, j in zip(grid, wanted, strict=True):
        draw_margin(panel, pit_ecdf(evidence, j, ci_prob), evidence.stages)
    return grid


def plot_links(
    fit: xr.DataTree,
    link: str | int | None = None,
    *,
    ax: Any = None,
    ci_prob: float | None = None,
    figsize: tuple[float, float] | None = None,
) -> np.ndarray:
    """Draw each link's pseudo-observations, F of one stage's signal against F of the next one's, and its copula.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.plots.fit import plot_links
    >>> fit = bc.fit(bc.load_example(), random_seed=1, progressbar=False)
    >>> plot_links(fit).shape
    (2,)

    Parameters
    ----------
    fit : DataTree
    link : str or int, optional
        One link, by position or by name, such as ``"small > medium"``; by default all.
    ax : matplotlib Axes or array of them, optional
        One for each link.
    ci_prob : float, optional
        Probability of the interval of Kendall's tau, which stands above each panel. By default 90%, or what
        ArviZ's ``rcParams["stats.ci_prob"]`` was set to.
    figsize : tuple of float, optional
        Width and height of a new figure, in inches.

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
    ci_prob = interval_prob(ci_prob)
    evidence = gather(fit)
    wanted = _wanted(link, evidence.links, "link")
    grid = panels(ax, [evidence.links[i] for i in wanted], figsize=figsize)
    tau = get_draws(fit).tau
    for panel, i in zip(grid, wanted, strict=True):
        draw_pair(panel, pair_view(evidence, i, i + 1, tau[:, i]), ci_prob, evidence.stages)
    return grid
