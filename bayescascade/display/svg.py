"""Figures as inline SVG that follow the page's colours and never share an id."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np

from bayescascade.display.style import BLUE, panels_in

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Stands for the page's ink while Matplotlib draws; nothing else uses this colour.
_INK = "#010203"
_POINTS = 72.0  # to the inch: the unit of Matplotlib's SVG


def inline_svg(draw: Callable[[Any], object], **options: Any) -> str:
    """Draw on fresh axes, and return an ``<svg>`` element to put into a page.

    Parameters
    ----------
    draw : callable
        Draws on the Axes that it is given.
    name : str
        Prefix of every id: letters, digits, hyphens; once on a page.
    label : str
        What a reader who does not see the figure is told.
    size : tuple of float
        Width and height in inches at full size.
    n_panels : int, optional
        Without it ``draw`` gets one Axes, else an array of as many.
    most : int
        Panels in a row.
    css : str, optional
        Class of the element.
    """
    return _drawn(draw, **options)[0]


def svg_with_marker(
    draw: Callable[[Axes], object],
    points: np.ndarray,
    *,
    name: str,
    label: str,
    size: tuple[float, float],
    css: str = "",
) -> tuple[str, np.ndarray]:
    """An inline figure with a marker that a script can move, and where in it points (n, 2) of its axes stand.

    The marker, an element of class ``marker`` with a ``path`` for intervals and a ``circle``, is still hidden.
    """
    svg, figure = _drawn(draw, name=name, label=label, size=size, css=css)
    ax = figure.axes[0]
    share = figure.transFigure.inverted().transform(ax.transData.transform(points))
    width, height = _POINTS * np.asarray(size)
    empty = '<g class="marker" visibility="hidden"><path/><circle r="6"/></g>'
    # dark on the light page and light on the dark one: nothing on it stands out more
    style = 'fill="currentColor" stroke="currentColor" stroke-width="2"'
    marker = empty.replace("<path/>", f'<path d="" {style}/>').replace("<circle", f"<circle {style}")
    return svg.removesuffix("</svg>") + marker + "</svg>", np.stack(
        [share[:, 0] * width, (1.0 - share[:, 1]) * height], axis=1
    )


def moved(svg: str, bars: str, x: float, y: float) -> str:
    """The figure with its marker shown at a place, for where no script runs."""
    svg = svg.replace('<g class="marker" visibility="hidden"', '<g class="marker"')
    return svg.replace('d=""', f'd="{bars}"').replace("<circle ", f'<circle cx="{x:.1f}" cy="{y:.1f}" ')


def _drawn(
    draw: Callable[[Any], object],
    *,
    name: str,
    label: str,
    size: tuple[float, float],
    n_panels: int | None = None,
    most: int = 3,
    css: str = "",
) -> tuple[str, Figure]:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    keys = ("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color")
    settings: dict[Any, Any] = dict.fromkeys(keys, _INK)
    settings |= {"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 11.0, "legend.labelcolor": _INK}
    # a panel's own ground would hide the page's
    settings |= {"axes.facecolor": "none"}
    stream = StringIO()
    with rc_context(settings):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.subplots() if n_panels is None else panels_in(figure, n_panels, most))
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(stream, format="svg", transparent=True, metadata=nothing)
    svg = stream.getvalue()
    svg = svg[svg.index("<svg") :].strip().replace(_INK, "currentColor")
    # blue is too dark on a dark page
    svg = svg.replace(BLUE.lower(), f"var(--accent, {BLUE.lower()})")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # a style element would reach every figure of the page; the page's own style says the same
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    view = re.search(r'viewBox="[^"]*"', svg)
    width = round(size[0] * 96)
    named = f' class="{css}"' if css else ""
    head = f'<svg{named} role="img" aria-label="{escape(label)}" style="max-width:{width}px" '
    head += view[0] if view else ""
    return re.sub(
        r"<svg[^>]*>", lambda _: f'{head} xmlns:xlink="http://www.w3.org/1999/xlink">', svg, count=1
    ), figure
