"""The figure of a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bayescascade.display.style import COLOURS, GREY, new_axes, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_comparison(ax: Axes | None, table: pd.DataFrame, reference: str | None) -> Axes:
    """Draw difference and interval of each method's area from a reference's, by default the first one's.

    ``table`` over (n, method) is what `Comparison.table` returns for the same reference.
    """
    sizes, names = (list(table.index.unique(level)) for level in ("n", "method"))
    reference = names[0] if reference is None else reference
    shown = [name for name in names if name != reference]
    mean = table["difference"].groupby(level="method").mean()
    shown.sort(key=lambda name: -mean.get(name, np.nan) if np.isfinite(mean.get(name, np.nan)) else -np.inf)
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
    return tidy(ax)
