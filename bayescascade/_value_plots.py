"""Figures of what a cascade and further labels are worth. Each draws on the axes it is given, or on new ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from bayescascade._axes import BLUE, COLOURS, GREY, VERMILION, bare, new_axes, plain, tidy

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def draw_label_value(ax: Axes | None, data: xr.Dataset, evpi: float) -> Axes:
    """Worth of labels against their number, with Monte Carlo errors, one line for each choice of stages."""
    ax = new_axes(ax, (6.0, 3.8))
    sizes = data["n_labels"].values
    for i, name in enumerate(data["labelled"].values):
        at = data.isel(labelled=i)
        ax.errorbar(
            sizes,
            at["evsi"].values,
            yerr=at["evsi_mcse"].values,
            color=COLOURS[i % len(COLOURS)],
            marker="o",
            ms=4,
            capsize=3,
            label=plain(str(name)),
        )
    ax.axhline(evpi, color=GREY, ls="--", lw=1, label="knowing everything")
    # room for the legend above the highest line
    ax.set_ylim(0.0, 1.4 * max(evpi, float((data["evsi"] + data["evsi_mcse"]).max())) or None)
    ax.set_xlabel("queries labelled")
    ax.set_ylabel("worth per 1,000 queries served (money)")
    ax.legend(frameon=False, loc="upper left", ncols=2, fontsize="small")
    tidy(ax)
    return ax


def draw_verdict(ax: Axes | None, table: pd.DataFrame) -> Axes:
    """Saving against each rival with its 90% interval, the best of each kind drawn dark."""
    rows = table[table["kind"] != "cascade"]
    ax = new_axes(ax, (6.4, 0.9 + 0.45 * len(rows)))
    place = np.arange(len(rows))[::-1]
    for y, row in zip(place, rows.itertuples(), strict=True):
        colour = BLUE if row.chosen else GREY
        ax.plot([row.saving_low, row.saving_high], [y, y], color=colour, lw=2)
        ax.plot([row.saving], [y], "o", color=colour, ms=6)
    ax.axvline(0.0, color=VERMILION, lw=1, ls="--")
    ax.set_yticks(place, [f"{bare(row.rival, 40)}\n({row.kind})" for row in rows.itertuples()])
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.set_xlabel("saving of the cascade per 1,000 queries")
    tidy(ax)
    return ax
