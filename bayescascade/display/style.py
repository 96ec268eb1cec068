"""What the figures share: colours, panels, and axes in confidences rather than signals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bayescascade.errors import CascadeError
from bayescascade.model.margins.segments import Margin
from bayescascade.signals.kinds import EPS, KINDS, to_confidence, to_signal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's palette: told apart by readers with any common colour blindness, and on white as on black.
BLUE, ORANGE, GREEN, VERMILION, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"
GREY = "#808080"
COLOURS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE)
DASHES = ("-", "--", "-.", ":")  # with the colours, so that no line is known by its colour alone
EXTREMES = {-np.inf: "accept all", np.inf: "defer all"}

_TITLES = {
    "logprob": "mean log-probability",
    "log_likelihood": "log-likelihood",
    "p_true": "log P(True)",
    "probability": "probability",
    "percent": "percent",
    "margin": "probability margin",
    "logprob_gap": "gap of log-probabilities",
    "votes": "share of votes",
    "score": "score",
}


def panels(axes: Any, titles: list[str], *, size: tuple[float, float] = (3.3, 2.8)) -> np.ndarray:
    """The given axes as a flat array, or a new grid with one panel for each title."""
    if axes is not None:
        flat = np.atleast_1d(np.asarray(axes, dtype=object)).ravel()
        if len(flat) < len(titles):
            raise CascadeError(f"axes holds {len(flat)} Axes, but {len(titles)} panels are needed.")
        return flat[: len(titles)]
    import matplotlib.pyplot as plt

    rows, columns = _rows_and_columns(len(titles))
    figure = plt.figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    return panels_in(figure, len(titles))


def panels_in(figure: Figure, n: int) -> np.ndarray:
    """So many Axes of a figure as a flat array, three in a row."""
    grid = figure.subplots(*_rows_and_columns(n), squeeze=False).ravel()
    for ax in grid[n:]:
        ax.remove()
    return grid[:n]


def _rows_and_columns(n: int) -> tuple[int, int]:
    columns = min(3, n)
    return -(-n // columns), columns


def new_axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """The given Axes, or new ones."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=size, layout="constrained")[1]


def money_axis(ax: Axes, low: float, high: float) -> None:
    """A logarithmic x axis with plain numbers, where amounts of money span much; else a linear one."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if low <= 0 or high <= 4 * low:
        return
    ax.set_xscale("log")
    steps = (1.0, 2.0, 5.0) if high < 200 * low else (1.0,)
    ax.xaxis.set_major_locator(LogLocator(subs=steps))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def tidy(ax: Axes) -> Axes:
    """Leave out the frame's upper and right sides."""
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def plain(text: str) -> str:
    """A name as Matplotlib is to show it: a dollar sign would start a formula."""
    return text.replace("$", r"\$")


def shortened(text: str, length: int = 28) -> str:
    """A name that fits above a panel."""
    return plain(text if len(text) <= length else text[: length - 1] + "…")


def bare(name: str, length: int = 28) -> str:
    """A stage's name where space is short: without the provider before a slash."""
    return shortened(name.rstrip("/").rsplit("/", 1)[-1], length)


@dataclass(frozen=True)
class ConfidenceAxis:
    """Where signals stand on an axis: as they are, with far-away atoms at the ends drawn near.

    Attributes
    ----------
    low, high : float
        Range of the signal that is drawn to scale.
    ends : dict of float to float
        Signal of each atom beyond that range, and where it stands instead.
    """

    kind: str
    low: float
    high: float
    ends: dict[float, float]

    def place(self, signal: np.ndarray) -> np.ndarray:
        """Positions of signals on the axis."""
        out = np.clip(np.asarray(signal, dtype=float), self.low, self.high)
        for atom, position in self.ends.items():
            out = np.where(signal == atom, position, out)
        return out

    def label(self, ax: Axes, side: str = "x") -> None:
        """Ticks at round confidences on the x or the y axis; a dotted line where the scale is broken."""
        lower, upper = (min([self.low, *self.ends.values()]), max([self.high, *self.ends.values()]))
        ticks: dict[float, str] = {}
        for signal in np.linspace(self.low, self.high, 4):
            text = rounded(float(to_confidence(np.array([signal]), self.kind)[0]), self.kind)
            position = float(to_signal(np.array([float(text)]), self.kind)[0])
            position = float(np.clip(position, self.low, self.high))
            far = all(abs(position - other) > 0.15 * (upper - lower) for other in [*ticks, *self.ends.values()])
            if far and text not in ticks.values():
                ticks[position] = text
        line, axis = (ax.axvline, ax.xaxis) if side == "x" else (ax.axhline, ax.yaxis)
        for atom, position in self.ends.items():
            ticks[position] = EXTREMES.get(atom) or rounded(
                float(to_confidence(np.array([atom]), self.kind)[0]), self.kind
            )
            line(0.5 * (position + (self.high if position > self.high else self.low)), color=GREY, lw=0.8, ls=":")
        axis.set_ticks(list(ticks), labels=list(ticks.values()))
        pad = 0.04 * (upper - lower)
        (ax.set_xlim if side == "x" else ax.set_ylim)(lower - pad, upper + pad)
        axis.set_label_text(f"confidence ({_TITLES.get(self.kind, self.kind)})")


def confidence_axis(margin: Margin, kind: str) -> ConfidenceAxis:
    """Choose the axis of one stage."""
    free = ~margin.is_atom
    if not free.any():
        low, high = float(margin.low[0]), float(margin.high[-1])
        pad = 0.05 * (high - low) or 0.5
        return ConfidenceAxis(kind, low - pad, high + pad, {})
    low, high = float(margin.low[free].min()), float(margin.high[free].max())
    span, ends = high - low, {}
    if margin.low[0] < low - 0.2 * span:
        ends[float(margin.low[0])] = low - 0.15 * span
    if margin.high[-1] > high + 0.2 * span:
        ends[float(margin.high[-1])] = high + 0.15 * span
    inner = [a for a in margin.low[margin.is_atom] if float(a) not in ends]
    return ConfidenceAxis(kind, min([low, *inner]), max([high, *inner]), ends)


def rounded(confidence: float, kind: str) -> str:
    """A confidence with the digits that tell it from its neighbours, also close to 1."""
    # the signal cannot tell the end of the scale from what is this near to it
    if abs(confidence) <= 1.01 * EPS:
        return "0"
    top = KINDS[kind].upper
    if 0.5 * top <= confidence and 0.0 < top < np.inf:
        rest = top - confidence
        least = 1 if top == 1.0 else 0
        if rest <= 1.01 * EPS * top:
            return f"{top:g}"
        return f"{confidence:.{max(least, -int(np.floor(np.log10(rest))))}f}"
    return f"{confidence:.2g}" if not 100.0 <= abs(confidence) < 1e6 else f"{float(f'{confidence:.2g}'):.0f}"
