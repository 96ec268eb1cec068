"""The figure of a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayescascade.display.style import COLOURS, GREY, new_axes, tidy, titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes


MARKS = "osDv^"  # with the colours, so that no size of log is known by its colour alone


def draw_comparison(
    ax: Axes | None,
    table: pd.DataFrame,
    reference: str | None,
    *,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
) -> Axes:
    """Draw difference and interval of each method's area from a reference's, by default the first one's.

    ``table`` over (n, method) is what `Comparison.table` returns for the same reference.
    """
    sizes, names = (list(table.index.unique(level)) for level in ("n", "method"))
    reference = names[0] if reference is None else reference
    shown = [name for name in names if name != reference]
    mean = table["difference"].groupby(level="method").mean()
    shown.sort(key=lambda name: -mean.get(name, np.nan) if np.isfinite(mean.get(name, np.nan)) else -np.inf)
    ax = new_axes(ax, (6.4, 0.9 + 0.3 * len(shown) * max(1, len(sizes) / 2)), figsize)
    for i, n in enumerate(sizes):
        part = table.loc[n].reindex(shown)
        y = np.arange(len(shown)) + 0.18 * ((len(sizes) - 1) / 2 - i)
        bars = np.stack([part["difference"] - part["low"], part["high"] - part["difference"]])
        colour = COLOURS[i % len(COLOURS)]
        style: dict[str, Any] = {"fmt": MARKS[i % len(MARKS)], "ms": 4, "lw": 1.2, "color": colour}
        ax.errorbar(part["difference"], y, xerr=bars, label=f"n = {n}", **style)
    ax.axvline(0.0, color=GREY, lw=1.0, ls="--")
    ax.set_yticks(np.arange(len(shown)), shown)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:+.3g}%" if value else "0")
    ax.set_xlabel(f"error over all costs, against {reference}")
    if len(sizes) > 1:
        ax.legend(frameon=False)
    return titled(tidy(ax), title, "Fewer errors at the same cost: left is better")
