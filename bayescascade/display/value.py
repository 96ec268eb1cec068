"""Figures of what a cascade and further labels are worth. Each draws on the axes it is given, or on new ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescascade.display.style import BLUE, COLOURS, GREEN, GREY, ORANGE, VERMILION, bare, new_axes, plain, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OF_CHANGE = {"price": ORANGE, "prior": GREEN, "likelihood": BLUE, "drift": VERMILION}


def draw_label_value(ax: Axes | None, data: xr.Dataset, evpi: float) -> Axes:
    """Worth of labels against their number, with Monte Carlo errors, one line for each choice of stages."""
    ax = new_axes(ax, (6.0, 3.8))
    sizes = data["n_labels"].values
    for i, name in enumerate(data["labelled"].values):
        at = data.isel(labelled=i)
        style: dict[str, Any] = {"color": COLOURS[i % len(COLOURS)], "marker": "o", "ms": 4, "capsize": 3}
        ax.errorbar(sizes, at["evsi"].values, yerr=at["evsi_mcse"].values, label=plain(str(name)), **style)
    ax.axhline(evpi, color=GREY, ls="--", lw=1, label="knowing everything")
    # room for the legend above the highest line
    ax.set_ylim(0.0, 1.4 * max(evpi, float((data["evsi"] + data["evsi_mcse"]).max())) or None)
    ax.set(xlabel="queries labelled", ylabel="worth per 1,000 queries served (money)")
    ax.legend(frameon=False, loc="upper left", ncols=2, fontsize="small")
    return tidy(ax)


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
    ax.set(ylim=(-0.6, len(rows) - 0.4), xlabel="saving of the cascade per 1,000 queries")
    return tidy(ax)


def label(change: str, of: str, by: float) -> str:
    """A change of prices, of the prior's or the likelihood's power, or of the queries, in a few letters."""
    return f"{bare(of)} x{by:g}" if change == "price" else f"{change} {by:g}"


def draw_sensitivity(ax: Axes | None, table: pd.DataFrame, goal: dict[str, Any]) -> Axes:
    """Error against cost under each change: a dot where thresholds are kept, a ring where they are tuned anew.

    ``table`` over (change, of, by) begins with what was tuned; the goal's bounds are lines.
    """
    ax = new_axes(ax, (6.4, 4.4))
    for (change, of, by), row in table.iloc[1:].iterrows():  # type: ignore[misc]
        colour = _OF_CHANGE[change]
        ax.plot([row["cost"], row["new_cost"]], [row["error"], row["new_error"]], color=colour, lw=0.8)
        ax.plot(row["cost"], row["error"], "o", color=colour, ms=5)
        ax.plot(row["new_cost"], row["new_error"], "o", color=colour, ms=7, mfc="none")
        if change not in ("prior", "likelihood"):  # these lie close to the solution
            style: dict[str, Any] = {"fontsize": 7, "rotation": 45 if change == "price" else 0}
            at = row["cost"], row["error"]
            ax.annotate(label(change, of, by), at, (3, 4), textcoords="offset points", **style)
    first = table.iloc[0]
    ax.plot(first["cost"], first["error"], "*", color="black", ms=11, label="as tuned")
    for change in dict.fromkeys(table.index.get_level_values("change")[1:]):
        ax.plot([], [], "o", color=_OF_CHANGE[change], label=change)
    ax.plot([], [], "o", color="black", ms=7, mfc="none", label="tuned anew")
    if "max_error" in goal:
        ax.axhline(goal["max_error"], color="0.5", lw=0.8, ls="--")
    if "max_cost" in goal:
        ax.axvline(goal["max_cost"], color="0.5", lw=0.8, ls="--")
    ax.set(xlabel="expected cost per query", ylabel="expected error")
    ax.legend(frameon=False, fontsize=8)
    return tidy(ax)
