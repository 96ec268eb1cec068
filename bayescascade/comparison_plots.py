"""The picture of a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayescascade._axes import COLOURS, GREY, new_axes, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bayescascade.comparison import Comparison


def plot_comparison(
    comparison: Comparison, *, reference: str | None = None, ci_prob: float = 0.95, ax: Axes | None = None
) -> Axes:
    """Each method's area less a reference's, in percent, with paired intervals; left of zero is better.

    Examples
    --------
    >>> import bayescascade as bc
    >>> log = bc.load_example()
    >>> found = bc.compare(log, methods=["ascent_raw", "ascent_calibrated", "oracle"], progressbar=False)
    >>> ax = bc.plot_comparison(found)
    >>> ax.get_xlabel()
    'area under error against cost, less that of ascent_raw [%]'

    Parameters
    ----------
    comparison : Comparison
        As `compare` returns it.
    reference : str, optional
        Name of a method; by default the first.
    ci_prob : float
        Probability of the intervals, in (0, 1).
    ax : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    CascadeError
        For a reference that was not run, or ``ci_prob`` outside (0, 1).
    """
    table = comparison.table(reference, ci_prob=ci_prob)
    names = [str(m) for m in comparison.data["rival"].values]
    reference = names[0] if reference is None else reference
    shown = [name for name in names if name != reference]
    mean = table["difference"].groupby(level="method").mean()
    shown.sort(key=lambda name: -mean.get(name, np.nan) if np.isfinite(mean.get(name, np.nan)) else -np.inf)
    sizes = [str(n) for n in comparison.data["n"].values]
    ax = new_axes(ax, (6.4, 0.6 + 0.3 * len(shown) * max(1, len(sizes) / 2)))
    for i, n in enumerate(sizes):
        part = table.loc[n].reindex(shown)
        y = np.arange(len(shown)) + 0.18 * ((len(sizes) - 1) / 2 - i)
        bars = np.stack([part["difference"] - part["low"], part["high"] - part["difference"]])
        colour = COLOURS[i % len(COLOURS)]
        ax.errorbar(part["difference"], y, xerr=bars, fmt="o", ms=4, lw=1.2, color=colour, label=f"n = {n}")
    ax.axvline(0.0, color=GREY, lw=1.0, ls="--")
    ax.set_yticks(np.arange(len(shown)), shown)
    ax.set_xlabel(f"area under error against cost, less that of {reference} [%]")
    if len(sizes) > 1:
        ax.legend(frameon=False)
    tidy(ax)
    return ax
