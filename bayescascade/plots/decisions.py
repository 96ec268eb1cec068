"""Figures of decisions: thresholds by price, where queries end, what a promise holds, what labels are worth.

Each draws on the Axes it is given as ``ax``, or on new ones, and returns them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from scipy.stats import binom

from bayescascade._common.arrays import tail_probabilities
from bayescascade._common.validation import check_batch
from bayescascade.analysis.label_value import LabelValue
from bayescascade.cascade.forward import forward
from bayescascade.cascade.positions import to_thresholds
from bayescascade.display.frontier import draw_flow
from bayescascade.display.style import (
    BLUE,
    COLOURS,
    DASHES,
    VERMILION,
    ConfidenceAxis,
    bare,
    ink,
    interval_prob,
    money_axis,
    new_axes,
    percent_axis,
    tidy,
    titled,
)
from bayescascade.errors import CascadeError
from bayescascade.induction.backward_induction import induce
from bayescascade.induction.price_sweep import price_range
from bayescascade.posterior.draws import Draws, get_draws
from bayescascade.posterior.kernel import mean_kernel
from bayescascade.signals.kinds import to_signal
from bayescascade.tuning.solution import ThresholdSolution

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_N_PRICES, _N_DRAWS = 80, 100
_SEARCH_DRAWS = 512
_ENOUGH = 1e-3  # an error this near to the least one is as good as it


def plot_thresholds(
    fit_or_frontier: xr.DataTree | xr.Dataset,
    *,
    ax: Axes | None = None,
    ci_prob: float | None = None,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
) -> Axes:
    """Draw the best thresholds against what an error costs.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.plots.decisions import plot_thresholds
    >>> fit = bc.fit(bc.load_example(), random_seed=1, progressbar=False)
    >>> plot_thresholds(fit).get_xlabel()
    'cost of an error (currency of the log)'

    Parameters
    ----------
    fit_or_frontier : DataTree or Dataset
        A fit, which also shows the spread of thresholds that single draws prefer; or what `frontier` returned.
    ax : matplotlib Axes, optional
    ci_prob : float, optional
        Share of the draws whose own best threshold lies in the band. By default 90%, or what ArviZ's
        ``rcParams["stats.ci_prob"]`` was set to.
    title : str, optional
        Over the picture; by default what it shows, nothing where it is empty.
    figsize : tuple of float, optional
        Width and height of a new figure, in inches.

    Returns
    -------
    matplotlib Axes
        One line for each stage but the last, on the raw confidence scale, stretched as the model stretches it.

    Raises
    ------
    CascadeError
        For what is neither a fit nor a frontier.
    """
    ci_prob = interval_prob(ci_prob)
    low = high = None
    if isinstance(fit_or_frontier, xr.DataTree):
        draws = get_draws(fit_or_frontier)
        stages, kind = draws.stages, draws.kind
        price, threshold, low, high = _by_price(draws, ci_prob)
    elif isinstance(fit_or_frontier, xr.Dataset) and {"price", "threshold"} <= set(fit_or_frontier):
        curve = fit_or_frontier.sortby("price")
        inner = (curve["price"].values > 0.0) & np.isfinite(curve["price"].values)
        if not inner.any():
            raise CascadeError("no point of this frontier has a price between 0 and infinity; give more points.")
        curve = curve.isel(point=np.flatnonzero(inner))
        curve = curve.isel(point=_telling(curve["error"].values))
        stages = [str(name) for name in curve["stage"].values]
        kind = str(curve.attrs.get("confidence_kind", "score"))
        price, threshold = curve["price"].values, curve["threshold"].values
    else:
        raise CascadeError(
            f"plot_thresholds wants a fit or what frontier(fit) returns; {type(fit_or_frontier).__name__} came."
        )
    ax = titled(new_axes(ax, (6.6, 4.0), figsize), title, "Best thresholds: a stage keeps answers above its line")
    axis = _threshold_axis(threshold[:, :-1], kind)
    for j, name in enumerate(stages[:-1]):
        style: dict[str, Any] = {"color": COLOURS[j % len(COLOURS)], "ls": DASHES[j % len(DASHES)]}
        if low is not None and high is not None:
            lower, upper = (_placed(axis, values[:, j]) for values in (low, high))
            ax.fill_between(
                price, lower, upper, color=style["color"], alpha=0.15 if len(stages) < 4 else 0.08, lw=0
            )
        ax.plot(price, _placed(axis, threshold[:, j]), lw=2, label=bare(name, among=stages), **style)
    money_axis(ax, float(price.min()), float(price.max()))
    axis.label(ax, "y")
    ax.set(ylabel=f"threshold: {ax.get_ylabel()}", xlabel="cost of an error (currency of the log)")
    ax.legend(frameon=False, fontsize="small")
    return tidy(ax)


def _by_price(draws: Draws, ci_prob: float) -> tuple[np.ndarray, ...]:
    """Prices (price,), thresholds of least expected loss, and ends of the band of single draws' (price, stage)."""
    kernel = mean_kernel(draws.thin(_SEARCH_DRAWS))
    every = price_range(kernel)
    last = every[_telling(forward(kernel, induce(kernel, every)).error[0])]
    price = np.geomspace(last[0], last[-1], _N_PRICES) if len(last) > 1 else last * np.array([0.5, 1.0, 2.0])
    few = draws.thin(_N_DRAWS)
    own = [to_thresholds(induce(mean_kernel(few.take(slice(i, i + 1))), price), draws) for i in range(few.n)]
    # ranks, not differences: a draw may accept all or defer all
    ranked = np.sort(np.array(own), axis=0)
    ends = np.round(np.array(tail_probabilities(ci_prob)) * (few.n - 1)).astype(int)
    return price, to_thresholds(induce(kernel, price), draws), ranked[ends[0]], ranked[ends[1]]


def _telling(error: np.ndarray) -> slice:
    """Points, by rising price, between which the error falls: outside of them hardly anything changes (point,)."""
    last = int(np.flatnonzero(error <= error.min() + _ENOUGH)[0])
    first = int(np.flatnonzero(error >= error.max() - _ENOUGH)[-1])
    return slice(min(first, last), last + 1)


def _threshold_axis(threshold: np.ndarray, kind: str) -> ConfidenceAxis:
    finite = threshold[np.isfinite(threshold)]
    signal = to_signal(finite, kind) if len(finite) else np.zeros(1)
    low, high = float(signal.min()), float(signal.max())
    pad = 0.05 * (high - low) or 0.5
    low, high = low - pad, high + pad
    ends, room = {}, 0.15 * (high - low)
    if (threshold == -np.inf).any():
        ends[-np.inf] = low - room
    if (threshold == np.inf).any():
        ends[np.inf] = high + room
    return ConfidenceAxis(kind, low, high, ends)


def _placed(axis: ConfidenceAxis, threshold: np.ndarray) -> np.ndarray:
    """Where thresholds stand on an axis; at its ends where they accept or defer all."""
    signal = np.array(threshold, dtype=float)
    finite = np.isfinite(signal)
    signal[finite] = to_signal(signal[finite], axis.kind)
    return axis.place(signal)


def plot_flow(
    solution: ThresholdSolution | xr.Dataset,
    *,
    ax: Axes | None = None,
    ci_prob: float | None = None,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
) -> Axes:
    """Draw which share of the queries each stage runs for, and which it answers.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.plots.decisions import plot_flow
    >>> fit = bc.fit(bc.load_example(), random_seed=1, progressbar=False)
    >>> plot_flow(bc.tune(fit, max_error=0.3)).get_xlabel()
    'share of all queries'

    Parameters
    ----------
    solution : ThresholdSolution or Dataset
        What `tune` returned, or what `evaluate` returned for one threshold vector.
    ax : matplotlib Axes, optional
    ci_prob : float, optional
        Probability of the intervals of the shares answered. By default 90%, or what ArviZ's
        ``rcParams["stats.ci_prob"]`` was set to.
    title : str, optional
        Over the picture; by default what it shows, nothing where it is empty.
    figsize : tuple of float, optional
        Width and height of a new figure, in inches.

    Returns
    -------
    matplotlib Axes
        One row for each stage, cheapest first. What a stage does not answer is run by the next one.

    Raises
    ------
    CascadeError
        For what is neither, or several threshold vectors.
    """
    ci_prob = interval_prob(ci_prob)
    reach = getattr(solution, "reach", None)
    if not isinstance(reach, xr.DataArray) or not {"chain", "draw", "stage"} <= set(reach.dims):
        raise CascadeError(
            f"plot_flow wants what tune or evaluate returns; {type(solution).__name__} came, without reach "
            "over draws."
        )
    if "point" in reach.dims:
        raise CascadeError(
            f"plot_flow draws one threshold vector, but {reach.sizes['point']} came; choose one with "
            "isel(point=...)."
        )
    stages = [str(name) for name in reach["stage"].values]
    values = reach.transpose("chain", "draw", "stage").values.reshape(-1, len(stages))
    abstained = solution.get("abstained") if isinstance(solution, xr.Dataset) else solution.abstained
    ax = titled(new_axes(ax, (6.6, 1.2 + 0.5 * len(stages)), figsize), title, "Where queries are answered", pad=22)
    return draw_flow(ax, stages, values, abstained is not None, ci_prob)


def plot_promise(
    solution: ThresholdSolution,
    *,
    ax: Axes | None = None,
    batch: int | None = None,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
) -> Axes:
    """Draw P(error <= x) of a solution's thresholds, against x.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.plots.decisions import plot_promise
    >>> fit = bc.fit(bc.load_example(), random_seed=1, progressbar=False)
    >>> plot_promise(bc.tune(fit, max_error=0.3), batch=500).get_xlabel()
    'error x (share of queries answered wrongly)'

    Parameters
    ----------
    solution : ThresholdSolution
        Its own promise, if it made one about the error, is marked. With a safety margin there are two curves: by
        the posterior alone, and with the margin that the promise is judged by.
    ax : matplotlib Axes, optional
    batch : int, optional
        Also draw the curve for the share of wrong answers among the next ``batch`` queries, whose binomial scatter
        comes on top of what is not known of the long-run rate. By default the solution's own batch, if it has one.
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
        For what is not a solution, or a batch below 1.
    """
    if not isinstance(solution, ThresholdSolution):
        raise CascadeError(f"plot_promise wants what tune returns; {type(solution).__name__} came.")
    check_batch(batch)
    batch = solution.goal.get("batch") if batch is None else batch
    accounts = [("", solution.error, 2.0)]
    if solution.margin is not None:  # what the promise is judged by is drawn strong, the model's account thin
        accounts = [
            (" by the model alone", solution.error, 1.0),
            (", with safety margin", solution.margin.error, 2.0),
        ]
    each = [(how, np.sort(np.clip(np.ravel(draws.values), 0.0, 1.0)), lw) for how, draws, lw in accounts]
    bound, prob = solution.goal.get("max_error"), solution.goal.get("prob")
    x = _promise_range(np.sort(np.concatenate([wrong for _, wrong, _ in each])), bound, batch)
    ax = titled(new_axes(ax, (6.0, 3.8), figsize), title, "How sure is an error limit?")
    for how, wrong, lw in each:
        ax.plot(
            x,
            np.searchsorted(wrong, x, side="right") / len(wrong),
            color=BLUE,
            lw=lw,
            label=f"long-run error{how}",
        )
        if batch is not None:
            counts = np.floor(x * batch + 1e-9)
            within = binom.cdf(counts[:, None], batch, wrong[None]).mean(axis=1)
            label = f"share wrong of the next {batch}{how}"
            ax.plot(x, within, color=VERMILION, lw=lw, ls="--", label=label, drawstyle="steps-post")
    if bound is not None and prob is not None:
        promise = f"asked for: at most {100.0 * bound:.4g}% with probability {prob:g}"
        ax.plot([bound, bound], [0.0, prob], color=ink(), lw=1.2, ls=":")
        ax.plot([x[0], bound], [prob, prob], color=ink(), lw=1.2, ls=":")
        ax.plot([bound], [prob], "D", color=ink(), ms=7, label=promise)
    ax.set(xlim=(x[0], x[-1]), ylim=(0.0, 1.02), xlabel="error x (share of queries answered wrongly)")
    ax.set_ylabel("probability that error ≤ x")
    percent_axis(ax.xaxis)
    percent_axis(ax.yaxis)
    ax.legend(fontsize="small", loc="lower right", edgecolor="none", framealpha=0.85)
    return tidy(ax)


def _promise_range(wrong: np.ndarray, bound: float | None, batch: int | None) -> np.ndarray:
    """Errors at which the curve is drawn."""
    low, high = float(wrong[0]), float(wrong[-1])
    if batch is not None:
        scatter = 3.0 * np.sqrt(max(high * (1.0 - high), 1e-6) / batch)
        low, high = low - scatter, high + scatter
    marks = [low, high] if bound is None else [low, high, bound]
    low, high = min(marks), max(marks)
    pad = 0.05 * (high - low) or 0.01
    return np.linspace(max(0.0, low - pad), min(1.0, high + pad), 600)


def plot_label_value(
    value: LabelValue,
    *,
    ax: Axes | None = None,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
) -> Axes:
    """Draw what labels are worth against their number.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.plots.decisions import plot_label_value
    >>> fit = bc.fit(bc.load_example(), random_seed=1, progressbar=False)
    >>> worth = bc.label_value(fit, error_price=0.02, n_labels=(25, 50), n_simulations=8, random_seed=1)
    >>> plot_label_value(worth).get_xlabel()
    'queries labelled'

    Parameters
    ----------
    value : LabelValue
        What `label_value` returned.
    ax : matplotlib Axes, optional
    title : str, optional
        Over the picture; by default what it shows, nothing where it is empty.
    figsize : tuple of float, optional
        Width and height of a new figure, in inches.

    Returns
    -------
    matplotlib Axes
        One line with Monte Carlo errors for each choice of stages, and what knowing everything would be worth.

    Raises
    ------
    CascadeError
        For anything else.
    """
    if not isinstance(value, LabelValue):
        raise CascadeError(f"plot_label_value wants what label_value returns; {type(value).__name__} came.")
    return value.plot(ax, title=title, figsize=figsize)
