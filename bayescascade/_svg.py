"""Figures as inline SVG that follow the page's colours and never share an id."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any

from bayescascade._axes import BLUE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Stands for the page's ink while Matplotlib draws; nothing else uses this colour.
_INK = "#010203"


def inline_svg(draw: Callable[[Axes], object], *, name: str, label: str, size: tuple[float, float]) -> str:
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
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    keys = ("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color")
    settings: dict[Any, Any] = dict.fromkeys(keys, _INK)
    settings |= {"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 11.0, "legend.labelcolor": _INK}
    stream = StringIO()
    with rc_context(settings):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.subplots())
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
    head = f'<svg role="img" aria-label="{escape(label)}" style="max-width:{width}px" {view[0] if view else ""}'
    return re.sub(r"<svg[^>]*>", lambda _: f'{head} xmlns:xlink="http://www.w3.org/1999/xlink">', svg, count=1)
