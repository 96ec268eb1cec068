"""Figures of what a cascade and further labels are worth. Each draws on the axes it is given, or on new ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescascade.display.names import short_name
from bayescascade.display.style import (
    BLUE,
    COLOURS,
    DASHES,
    GREY,
    VERMILION,
    bare,
    figure_of,
    ink,
    is_narrow,
    new_axes,
    plain,
    shortened,
    tidy,
    titled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_label_value(
    ax: Axes | None,
    data: xr.Dataset,
    evpi: float,
    *,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
) -> Axes:
    """Worth of labels against their number, with Monte Carlo errors, one line for each choice of stages."""
    ax = new_axes(ax, (6.0, 3.8), figsize)
    sizes = data["n_labels"].values
    for i, name in enumerate(data["labelled"].values):
        at = data.isel(labelled=i)
        style: dict[str, Any] = {"color": COLOURS[i % len(COLOURS)], "ls": DASHES[i % len(DASHES)]}
        style |= {"marker": "o", "ms": 4, "capsize": 3}
        ax.errorbar(sizes, at["evsi"].values, yerr=at["evsi_mcse"].values, label=plain(str(name)), **style)
    highest = float((data["evsi"] + data["evsi_mcse"]).max())
    if evpi <= 2.0 * highest or highest <= 0.0:
        ax.axhline(evpi, color=GREY, ls="--", lw=1, label="knowing everything")
        highest = max(highest, evpi)
    else:  # a line far above would press all others together
        ax.plot([], [], " ", label=f"knowing everything: {evpi:.3g}")
    # room for the legend above the highest line
    ax.set_ylim(0.0, 1.4 * highest or None)
    ax.set(xlabel="queries labelled", ylabel="worth per 1,000 queries")
    ax.legend(frameon=False, loc="upper left", ncols=1 if is_narrow(ax) else 2, fontsize="small")
    return titled(tidy(ax), title, "What more labels are worth")


def draw_label_limit(
    ax: Axes | None,
    data: xr.Dataset,
    *,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
) -> Axes:
    """The limit that can be promised against the number of labels, one line for each choice of stages.

    The band of the first holds what the labels may show with 90%. Where the limit asked for is not kept today, the
    lines are the lowest limit that is, at whatever cost.
    """
    ax = new_axes(ax, (6.0, 3.8), figsize)
    name = "limit" if data.attrs["feasible_now"] else "lowest"
    sizes, today = data["n_labels"].values, float(data.attrs[f"{name}_now"])
    first = data.isel(labelled=0)
    ax.fill_between(sizes, first[f"{name}_low"], first[f"{name}_high"], color=COLOURS[0], alpha=0.15, lw=0)
    for i, choice in enumerate(data["labelled"].values):
        at = data.isel(labelled=i)
        style: dict[str, Any] = {"color": COLOURS[i % len(COLOURS)], "ls": DASHES[i % len(DASHES)]}
        style |= {"marker": "o", "ms": 4, "capsize": 3, "label": plain(str(choice))}
        ax.errorbar(sizes, at[name].values, yerr=at[f"{name}_mcse"].values, **style)
    ax.axhline(today, color=GREY, ls="--", lw=1, label="today")
    if name == "lowest":
        ax.axhline(data.attrs["max_error"], color=VERMILION, ls=":", lw=1, label="asked for")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.35 * (high - low))  # room for the legend
    ax.yaxis.set_major_formatter(lambda value, _: f"{100.0 * value:.3g}%")
    what = "at today's cost" if name == "limit" else "at any cost"
    ax.set(xlabel="queries labelled", ylabel=f"error you can promise {what}")
    ax.legend(frameon=False, loc="upper left", ncols=1 if is_narrow(ax) else 2, fontsize="small")
    return titled(tidy(ax), title, "What more labels let you promise")


def draw_verdict(
    ax: Axes | None,
    table: pd.DataFrame,
    *,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
) -> Axes:
    """Saving against each rival with its 90% interval, the best of each kind drawn dark.

    Names stand over their intervals, where they have the whole width.
    """
    rows = table[table["kind"] != "cascade"]
    ax = new_axes(ax, (6.4, 1.1 + 0.5 * len(rows)), figsize)
    letters = int(8.5 * figure_of(ax).get_size_inches()[0])  # of a name that fits
    alone = rows.loc[rows["kind"] == "single stage", "rival"].astype(str)
    stages = [name.removesuffix(" alone") for name in alone]
    place = np.arange(len(rows))[::-1]
    for y, row in zip(place, rows.itertuples(), strict=True):
        colour = BLUE if row.chosen else GREY
        ax.plot([row.saving_low, row.saving_high], [y - 0.15, y - 0.15], color=colour, lw=2)
        ax.plot([row.saving], [y - 0.15], "o" if row.chosen else "s", color=colour, ms=6)
        told = f" ({row.kind})"
        name = _rival(str(row.rival), row.kind, letters - len(told), stages) + told
        at: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "fontsize": "small"}
        ax.text(0.0, y + 0.12, name, va="bottom", weight="bold" if row.chosen else "normal", **at)
    ax.axvline(0.0, color=VERMILION, lw=1, ls="--")
    ax.set(ylim=(-0.6, len(rows) - 0.3), yticks=[], xlabel="saving per 1,000 queries")
    ax.spines["left"].set_visible(False)
    return titled(tidy(ax), title, "What the cascade saves, with 90% intervals")


def _rival(name: str, kind: str, letters: int, among: list[str]) -> str:
    """A rival in so many letters: its stages without their providers, each as long as there is room."""
    if kind == "single stage":
        return f"{bare(name.removesuffix(' alone'), letters - 6, among)} alone"
    if kind == "pair":
        pair, _, threshold = name.rpartition(" at ")
        each = max(6, (letters - len(threshold) - 6) // 2)
        return f"{' > '.join(bare(stage, each, among) for stage in pair.split(' > '))} at {threshold}"
    for stage in sorted(among, key=len, reverse=True):
        name = name.replace(stage, short_name(stage, letters // 3, among))
    return shortened(name, letters)


def label(change: str, of: str, by: float) -> str:
    """A change of prices, of the prior's or the likelihood's power, or of the queries, in a few words."""
    if change == "price":
        return f"{bare(of, 22)} costs × {by:g}"
    if change == "drift":
        return f"queries harder by {by:.0%}"
    return f"{'weaker' if by < 1.0 else 'stronger'} {change}, power {by:g}"


def draw_sensitivity(
    ax: Axes | None,
    table: pd.DataFrame,
    goal: dict[str, Any],
    *,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
) -> Axes:
    """How much the loss changes under each change, the largest on top: a bar with thresholds kept, a ring anew.

    ``table`` over (change, of, by) begins with what was tuned. Where the goal's limits are broken with the
    thresholds kept, that is said.
    """
    changes, tuned = table.iloc[1:], table.iloc[0]
    ax = new_axes(ax, (6.8, 1.3 + 0.32 * len(changes)), figsize)
    share = changes["loss"] / tuned["loss"] - 1.0
    anew = changes["new_loss"] / tuned["loss"] - 1.0
    order = np.argsort(np.maximum(share.abs(), anew.abs().fillna(0.0)).to_numpy(), kind="stable")
    changes, share, anew = changes.iloc[order], share.iloc[order], anew.iloc[order]
    place = np.arange(len(changes))
    ax.barh(place, share, height=0.6, color=BLUE, alpha=0.75, label="thresholds kept")
    ring: dict[str, Any] = {"ls": "none", "marker": "o", "ms": 7, "mfc": "none", "color": ink()}
    if anew.notna().any():
        ax.plot(anew, place, **ring, label="tuned again")
    broken = (changes["kept"] < goal.get("prob", 0.0)).to_numpy()
    for y, value in zip(place[broken], share[broken], strict=True):
        at: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": "small", "color": ink()}
        ax.annotate("limit broken", (max(float(value), float(np.nan_to_num(anew.iloc[y])), 0.0), y), (9, 0), **at)
    ax.set_yticks(place, [label(*row) for row in changes.index])
    ax.axvline(0.0, color=GREY, lw=0.8)
    ends = [*share, *anew.dropna(), 0.0]
    pad = max(max(ends) - min(ends), 1e-3)
    ax.set_xlim(min(ends) - 0.08 * pad, max(ends) + (0.32 if broken.any() else 0.08) * pad)
    ax.xaxis.set_major_formatter(lambda value, _: f"{100.0 * value:+.3g}%" if value else "0")
    what = "loss" if "error_price" in goal else "cost" if "max_error" in goal else "error"
    ax.set_xlabel(f"change of the expected {what}")
    ax.legend(frameon=False, fontsize="small", loc="lower right")
    return titled(tidy(ax), title, f"What moves the expected {what}")
