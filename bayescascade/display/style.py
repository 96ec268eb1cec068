"""What the figures share: colours, panels, and axes in confidences rather than signals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from bayescascade._common.validation import check_prob
from bayescascade.display.format import CI_PROB
from bayescascade.display.names import LETTERS, cut_name, short_name
from bayescascade.errors import CascadeError
from bayescascade.model.margins.segments import Margin
from bayescascade.signals.kinds import EPS, KINDS, to_confidence, to_signal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's palette: told apart by readers with any common colour blindness, and on white as on black.
BLUE, ORANGE, GREEN, VERMILION, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"
GREY = "#808080"
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE)  # those that stand out on white first
_NARROW = 5.0  # inches
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
# Logarithms, and what the second axis of a picture says of them.
_LOGS = {
    "logprob": "as a token's probability",
    "log_likelihood": "as the answer's probability",
    "p_true": "as P(True)",
}
# The roundest first: where there is no room for all, these stay.
_ROUND = (0.5, 0.9, 0.99, 0.1, 0.999, 0.7, 0.3, 0.95, 0.01, 0.9999, 0.99999)
_ROUND_LOGS = (-1.0, -0.1, -0.01, -10.0, -0.001, -0.3, -0.03, -3.0, -0.003, -1e-4, -1e-5, -100.0, -1000.0)


def panels(
    axes: Any,
    titles: list[str],
    *,
    size: tuple[float, float] = (3.3, 2.8),
    figsize: tuple[float, float] | None = None,
) -> np.ndarray:
    """The given axes as a flat array, or a new grid with one panel of this size for each title."""
    if axes is not None:
        flat = np.atleast_1d(np.asarray(axes, dtype=object)).ravel()
        if len(flat) < len(titles):
            raise CascadeError(f"axes holds {len(flat)} Axes, but {len(titles)} panels are needed.")
        return flat[: len(titles)]
    import matplotlib.pyplot as plt

    rows, columns = _rows_and_columns(len(titles))
    size = (size[0] * columns, size[1] * rows) if figsize is None else figsize
    figure = plt.figure(figsize=size, layout="constrained")
    return panels_in(figure, len(titles))


def panels_in(figure: Figure, n: int, most: int = 3) -> np.ndarray:
    """So many Axes of a figure as a flat array, at most so many in a row."""
    grid = figure.subplots(*_rows_and_columns(n, most), squeeze=False).ravel()
    for ax in grid[n:]:
        ax.remove()
    return grid[:n]


def _rows_and_columns(n: int, most: int = 3) -> tuple[int, int]:
    columns = min(most, n)
    return -(-n // columns), columns


def new_axes(ax: Axes | None, size: tuple[float, float], figsize: tuple[float, float] | None = None) -> Axes:
    """The given Axes, or new ones on a figure of this size, unless ``figsize`` says another."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=size if figsize is None else figsize, layout="constrained")[1]


def titled(ax: Axes, title: str | None, default: str, pad: float | None = None) -> Axes:
    """Write a title over a picture: the given one, by default what it shows, nothing for an empty one."""
    title = default if title is None else title
    if title:
        ax.set_title(title, loc="left", fontsize="medium", weight="bold", pad=pad)
    return ax


def figure_of(ax: Axes) -> Figure:
    """The whole figure that holds the Axes."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    return figure


def is_narrow(ax: Axes) -> bool:
    """Whether a figure is one for a phone, with no room beside or inside its Axes."""
    return bool(figure_of(ax).get_size_inches()[0] < _NARROW)


def ink() -> Any:
    """The colour of the figure's text: what stands out most, on any ground."""
    from matplotlib import rcParams

    return rcParams["text.color"]


def interval_prob(ci_prob: float | None) -> float:
    """Probability of intervals: the one given, or what ArviZ's ``rcParams["stats.ci_prob"]`` was set to, or 90%.

    ArviZ's own default is not taken: the package says 90% everywhere else.
    """
    if ci_prob is None:
        from arviz_base import rcParams
        from arviz_base.rcparams import defaultParams

        chosen = rcParams["stats.ci_prob"]
        ci_prob = CI_PROB if chosen == defaultParams["stats.ci_prob"][0] else float(chosen)
    check_prob("ci_prob", ci_prob)
    return ci_prob


def percent_axis(axis: Any) -> None:
    """Shares as per cent, on ``ax.xaxis`` or ``ax.yaxis``."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100.0 * value:.4g}%"))


def name_points(ax: Axes, x: np.ndarray, y: np.ndarray, names: list[str], busy: np.ndarray | None = None) -> None:
    """Write a name beside each point (point,), where it covers no other name, no point and nothing ``busy``.

    Of eight places around a point, near it or a little farther off, the first free one is taken, or the one that
    covers least. ``busy`` (place, 2) are further places in data coordinates that should stay free.
    """
    figure_of(ax).draw_without_rendering()  # the layout moves the axes, and with them what is near to what
    points = ax.transData.transform(np.column_stack([x, y]))
    taken = np.empty((0, 2)) if busy is None else ax.transData.transform(busy)
    marker = _MARKER * figure_of(ax).dpi / 72.0
    inside = ax.get_window_extent()
    page = figure_of(ax).bbox
    boxes: list[Any] = []
    for i, name in enumerate(names):
        label = ax.annotate(name, (x[i], y[i]), (0, 0), textcoords="offset points", fontsize="small", zorder=6)
        label.set_in_layout(False)  # a name may not push the axes about, nor spoil where others stand
        best: tuple[float, Any, Any] | None = None
        for off, (right, up) in product(_OFF, _SIDES):
            label.set(ha=_ALONG[right], va=_UP[up])
            label.set_position((off * right, off * up))
            box = label.get_window_extent()
            hidden = sum(_shared(box, other) for other in boxes) / max(box.width * box.height, 1.0)
            over = _within(taken, box, 2.0) + _A_MARKER * _within(points, box, marker)
            out = 20.0 * _leaves(box, inside) + 1000.0 * _leaves(box, page)  # cut off is worse than covered
            # farther off only where that is really better
            cost = 10.0 * hidden + min(over, 10) + out + (0.5 if off > _OFF[0] else 0.0)
            if best is None or cost < best[0] - 1e-9:
                best = cost, (off, right, up), box
            if cost == 0.0:
                break
        assert best is not None
        (off, right, up), box = best[1:]
        label.set(ha=_ALONG[right], va=_UP[up])
        label.set_position((off * right, off * up))
        boxes.append(box)


_SIDES = ((1, 1), (1, -1), (-1, 1), (-1, -1), (1, 0), (0, 1), (0, -1), (-1, 0))
_OFF = (7, 13)  # points from the middle of a marker
_MARKER, _A_MARKER = 4.0, 5  # half a marker in points, and how many busy places one counts for
_ALONG, _UP = {1: "left", 0: "center", -1: "right"}, {1: "bottom", 0: "center", -1: "top"}


def _within(places: np.ndarray, box: Any, margin: float) -> int:
    """How many places (place, 2) a box with a margin covers."""
    low, high = np.array(box.min) - margin, np.array(box.max) + margin
    return int(((places > low) & (places < high)).all(axis=1).sum())


def _leaves(box: Any, frame: Any) -> bool:
    """Whether a box is not all inside a frame."""
    return bool(box.x0 < frame.x0 or box.x1 > frame.x1 or box.y0 < frame.y0 or box.y1 > frame.y1)


def _shared(box: Any, other: Any) -> float:
    """Area that two boxes share."""
    width = min(box.x1, other.x1) - max(box.x0, other.x0)
    height = min(box.y1, other.y1) - max(box.y0, other.y0)
    return max(width, 0.0) * max(height, 0.0)


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


def shortened(text: str, length: int = LETTERS) -> str:
    """A name that fits above a panel."""
    return plain(cut_name(text, length))


def bare(name: str, length: int = LETTERS, among: Sequence[str] = ()) -> str:
    """A stage's name where space is short, told from those it stands ``among``."""
    return plain(short_name(name, length, among))


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

    def _round_ones(self) -> list[float]:
        """Confidences for ticks, the roundest first: as many as may be wanted."""
        low, high = (float(to_confidence(np.array([end]), self.kind)[0]) for end in (self.low, self.high))
        top = KINDS[self.kind].upper
        if self.kind in _LOGS:
            return list(_ROUND_LOGS)
        if 0.0 < top < np.inf:
            found = [p * top for p in _ROUND]
            if sum(low <= value <= high for value in found) >= 3:
                return found
        from matplotlib.ticker import MaxNLocator

        signals = np.linspace(self.low, self.high, 5)
        each = to_confidence(signals, self.kind)
        even = MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(low, high) if np.isfinite(high - low) else []
        return [*map(float, even), *(float(rounded(float(c), self.kind)) for c in each)]

    def label(self, ax: Axes, side: str = "x") -> None:
        """Ticks at round confidences on the x or the y axis; a dotted line where the scale is broken."""
        lower, upper = (min([self.low, *self.ends.values()]), max([self.high, *self.ends.values()]))
        span = upper - lower
        ends = {at: EXTREMES.get(atom) or self._shown(atom) for atom, at in self.ends.items()}
        ticks: dict[float, str] = {}
        for confidence in self._round_ones():
            position, text = self._signal(confidence), _brief(rounded(confidence, self.kind))
            if self.low <= position <= self.high and _has_room(position, text, ticks | ends, span, side):
                ticks[position] = text
        line, axis = (ax.axvline, ax.xaxis) if side == "x" else (ax.axhline, ax.yaxis)
        for position, text in ends.items():
            ticks[position] = text
            line(0.5 * (position + (self.high if position > self.high else self.low)), color=GREY, lw=0.8, ls=":")
        axis.set_ticks(list(ticks), labels=list(ticks.values()))
        pad = 0.04 * (upper - lower)
        (ax.set_xlim if side == "x" else ax.set_ylim)(lower - pad, upper + pad)
        axis.set_label_text(f"confidence ({_TITLES.get(self.kind, self.kind)})")
        if self.kind in _LOGS:
            self._in_probability(ax, side, span)

    def _signal(self, confidence: float) -> float:
        return float(to_signal(np.array([confidence]), self.kind)[0])

    def _shown(self, signal: float) -> str:
        return _brief(rounded(float(to_confidence(np.array([signal]), self.kind)[0]), self.kind))

    def _in_probability(self, ax: Axes, side: str, span: float) -> None:
        """A second axis with the probabilities that logarithms stand for."""
        ticks: dict[float, str] = {}
        for p in _ROUND:
            position, text = self._signal(float(np.log(p))), f"{100.0 * p:g}%"
            if self.low <= position <= self.high and _has_room(position, text, ticks, span, side):
                ticks[position] = text
        if not ticks:  # nothing but what is all but impossible
            return
        second = ax.secondary_xaxis("top") if side == "x" else ax.secondary_yaxis("right")
        axis = second.xaxis if side == "x" else second.yaxis
        axis.set_ticks(list(ticks), labels=list(ticks.values()))
        axis.set_label_text(_LOGS[self.kind])
        axis.label.set_fontsize("small")
        second.tick_params(labelsize="small")


def _brief(number: str) -> str:
    """A number without the zero of a small exponent."""
    return number.replace("e-0", "e-")


def _has_room(position: float, text: str, ticks: dict[float, str], span: float, side: str) -> bool:
    """Whether a tick's number stands clear of those that are there, on a panel of usual size."""
    if side == "y":
        return all(abs(position - other) > 0.13 * span for other in ticks)
    half = 0.02 * span  # of a letter, and of the gap between two numbers
    return all(abs(position - other) > half * (len(text) + len(there) + 2) for other, there in ticks.items())


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
