"""The figure of several signals side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bayescascade.display.style import BLUE, GREY, bare, panels, plain, tidy

LABELS = {
    "auroc": "AUROC: how often a right answer\nis surer than a wrong one",
    "auarc": "AUARC: accuracy of the surest share,\naveraged over all shares",
}


def draw_signals(
    axes: Any, table: pd.DataFrame, measure: str, figsize: tuple[float, float] | None = None
) -> np.ndarray:
    """Draw one panel for each stage, the best signal on top; a dashed line for a signal that says nothing."""
    stages = list(dict.fromkeys(table.index.get_level_values("stage")))
    most = table.groupby(level="stage").size().max()
    grid = panels(axes, stages, size=(4.2, 1.2 + 0.3 * most), figsize=figsize)
    for ax, stage in zip(grid, stages, strict=True):
        part = table.loc[[stage]]
        y = np.arange(len(part))
        bars = np.stack([part[measure] - part[f"{measure}_low"], part[f"{measure}_high"] - part[measure]])
        ax.errorbar(part[measure], y, xerr=np.maximum(bars, 0.0), fmt="o", ms=4, lw=1.2, color=BLUE)
        nothing = 0.5 if measure == "auroc" else float(part["accuracy"].iloc[0])
        ax.axvline(nothing, color=GREY, lw=1.0, ls="--")
        ax.set_yticks(y, [plain(name) for name in part.index.get_level_values("signal")])
        ax.set_ylim(len(part) - 0.5, -0.5)
        ax.set_title(bare(stage, among=stages))
        ax.set_xlabel(LABELS[measure])
        tidy(ax)
    return grid
