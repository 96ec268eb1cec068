"""The figure at the head of a report: what is believed of an amount, its limit, and what a test log showed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import gaussian_kde

from bayescascade.display.style import BLUE, VERMILION, ink

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

_GRID = 300
_ROWS = 0.42  # height of the test log's two rows, as a share of the curves' height
_EDGE = 0.2  # share of the width within which a name is put beside its mark, not centred on it


def density(draws: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Kernel density of draws of an amount that is not negative, at places (place,)."""
    spread = draws.std()
    if spread < 1e-12 * max(1.0, abs(draws.mean())):  # known exactly
        return np.zeros(len(x))
    kernel = gaussian_kde(draws)
    # what would spill below zero is folded back
    return np.where(x >= 0.0, kernel(x) + kernel(-x), 0.0)


def draw_density(
    ax: Axes,
    draws: np.ndarray,
    with_margin: np.ndarray | None,
    *,
    limit: float | None,
    test: tuple[float, float, float] | None,
    show: Callable[[float], str],
) -> Axes:
    """Draw what the model believes of an amount, what it is with the safety margin, a limit, and the test log.

    Parameters
    ----------
    ax : matplotlib Axes
    draws : ndarray (draw,)
    with_margin : ndarray (draw,), optional
    limit : float, optional
    test : tuple of float, optional
        What the test log showed, and the ends of its interval.
    show : callable
        An amount as text.
    """
    both = draws if with_margin is None else np.concatenate([draws, with_margin])
    marks = [*np.quantile(both, [0.001, 0.999]), *([] if limit is None else [limit]), *(test or ())]
    span = max(marks) - min(marks) or 1.0
    x = np.linspace(max(0.0, min(marks) - 0.08 * span), max(marks) + 0.12 * span, _GRID)
    top = 0.0
    if with_margin is not None:
        y = density(with_margin, x)
        top = max(top, float(y.max()))
        ax.fill_between(x, y, color=BLUE, alpha=0.25, lw=0, label="with safety margin")
        ax.plot(x, y, color=BLUE, lw=1.0, ls="--")
    y = density(draws, x)
    top = max(top, float(y.max())) or 1.0
    ax.fill_between(x, y, color=BLUE, alpha=0.5, lw=0, label="model")
    ax.plot(x, y, color=BLUE, lw=1.5)
    # the test log has a row of its own below the curves, and its name another, so that no line runs through it
    bottom = 0.0 if test is None else -_ROWS * top
    if limit is not None:
        ax.plot([limit, limit], [0.5 * bottom, 1.3 * top], color=VERMILION, lw=2.2)
        _beside(ax, limit, 1.3 * top, f"your limit: {show(limit)}", x)
    if test is not None:
        value, low, high = test
        ax.axhline(0.0, color=ink(), lw=0.8)
        ax.plot([low, high], [0.3 * bottom] * 2, color=ink(), lw=2.2, solid_capstyle="butt")
        ax.plot([value], [0.3 * bottom], "o", color=ink(), ms=9)
        place = (value - x[0]) / (x[-1] - x[0])
        side = "left" if place < _EDGE else "right" if place > 1.0 - _EDGE else "center"
        ax.annotate(f"test log: {show(value)}", (value, 0.77 * bottom), ha=side, va="center")
    ax.set(xlim=(x[0], x[-1]), ylim=(bottom, 1.42 * top), yticks=[])
    ax.spines[["left", "right", "top"]].set_visible(False)
    return ax


def _beside(ax: Axes, at: float, y: float, text: str, x: np.ndarray) -> None:
    """A label beside a line, on the side that has more room."""
    left = at - x[0] > 0.72 * (x[-1] - x[0])
    side = "right" if left else "left"
    ax.annotate(
        text, (at, y), (-6 if left else 6, -2), textcoords="offset points", ha=side, va="top", weight="bold"
    )  # fmt: skip
