"""Figures of a report, as inline SVG with a name for those who do not see them.

Figures of several panels, and those with much beside their axes, come in two shapes, for a wide page and for a
phone. The page shows one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from scipy.stats import beta

from bayescascade._common.arrays import tail_probabilities
from bayescascade.analysis.label_value import LabelValue
from bayescascade.analysis.verdict import Verdict
from bayescascade.checks.calibration import reliability
from bayescascade.checks.dependence import pair_view
from bayescascade.checks.evidence import Evidence
from bayescascade.checks.results import CheckResult, CheckResults
from bayescascade.checks.signals import pit_ecdf
from bayescascade.display.answer import draw_density
from bayescascade.display.format import share
from bayescascade.display.model import draw_margin, draw_pair, draw_reliability
from bayescascade.display.svg import inline_svg
from bayescascade.display.value import draw_verdict
from bayescascade.posterior.draws import Draws
from bayescascade.reporting.text import Choice

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANEL = (3.5, 3.0)
WIDE, NARROW = "wide-only", "narrow-only"  # classes of the two shapes
_PHONE = 3.9  # inches of a figure on a phone


def density_figure(choice: Choice, scored: xr.Dataset | None, ci_prob: float) -> Any:
    """What is believed of the error, or of the cost where that alone has a limit, with the limit and the test."""
    name = "cost" if "max_cost" in choice.goal and "max_error" not in choice.goal else "error"
    limit = choice.goal.get(f"max_{name}")
    show: Callable[[float], str] = share if name == "error" else choice.money
    draws, margin = (choice.error, choice.error_with_margin) if name == "error" else (choice.cost, None)
    test = None if scored is None else _test(scored, name, ci_prob)
    label = f"Density of the {name} that the model believes in, around {show(float(draws.mean()))}"
    label += "" if margin is None else ", and the wider one with the safety margin"
    label += "" if limit is None else f"; a line at the limit, {show(limit)}"
    label += "." if test is None else f"; a dot at {show(test[0])}, what the test log shows."

    def draw(ax: Axes) -> None:
        from matplotlib.ticker import FuncFormatter, MaxNLocator

        draw_density(ax, draws, margin, limit=limit, test=test, show=show)
        ax.xaxis.set_major_locator(MaxNLocator(6))
        axis = (lambda x, _: f"{100.0 * x:.4g}%") if name == "error" else (lambda x, _: choice.money(x))
        ax.xaxis.set_major_formatter(FuncFormatter(axis))

    return two_shapes(draw, "density", label, (9.9, 2.3 if test else 2.05), (_PHONE, 2.8 if test else 2.6))


def _test(scored: xr.Dataset, name: str, ci_prob: float) -> tuple[float, float, float] | None:
    """What the test log shows, and the ends of its interval: Jeffreys' of the error."""
    value, n = float(scored[name]), int(scored.attrs["n_labelled"])
    if np.isnan(value):
        return None
    if name == "cost":
        return value, value, value
    wrong = round(value * n)
    low, high = beta.ppf(tail_probabilities(ci_prob), wrong + 0.5, n - wrong + 0.5)
    return value, float(low), float(high)


def worth_figure(worth: Verdict) -> Any:
    """What the cascade saves against each rival."""
    height = 0.9 + 0.5 * (len(worth.table) - 1)
    label = "Saving of the cascade against each rival with 90% intervals; the numbers are in the table below."
    return two_shapes(
        lambda ax: draw_verdict(ax, worth.table, title=""), "worth", label, (8.0, height), (_PHONE, height)
    )


def labels_figure(value: LabelValue) -> Any:
    """Worth of labels against their number."""
    label = "Worth of further labels against their number; the numbers are in the table below."
    return two_shapes(
        lambda ax: value.plot(ax, title=""),
        "labels",
        label,
        (7.0, 3.6),
        (_PHONE, 3.6),
    )


def panels_of(
    evidence: Evidence, draws: Draws, thresholds: dict[str, float], ci_prob: float
) -> dict[str, list[Any]]:
    """A panel for each stage or link: reliability, margins, links. ``thresholds`` by stage are lines."""

    def each(name: str, parts: Iterable[str], label: str, draw: Callable[[int, Axes], object]) -> list[Any]:
        return [
            figure(partial(draw, j), f"{name}{j}", f"{label} of {part}", _PANEL) for j, part in enumerate(parts)
        ]

    return {
        "reliability": each(
            "reliability",
            evidence.stages,
            "Reliability",
            lambda j, ax: draw_reliability(
                ax, reliability(evidence, j), ci_prob, thresholds.get(evidence.stages[j]), evidence.stages
            ),
        ),
        "margins": each(
            "margin",
            evidence.stages,
            "Difference between observed and fitted distribution of the confidence",
            lambda j, ax: draw_margin(ax, pit_ecdf(evidence, j, 0.99), evidence.stages),
        ),
        "links": each(
            "link",
            evidence.links,
            "Scatter of the ranks of confidences, with contours of the fitted copula,",
            lambda j, ax: draw_pair(ax, pair_view(evidence, j, j + 1, draws.tau[:, j]), ci_prob, evidence.stages),
        ),
    }


def predictive_figures(along: CheckResult, checks: CheckResults, n_stages: int) -> list[dict[str, Any]]:
    """What the model predicts beside what the log shows, of the checks that could be computed.

    ``along`` is the check of error and cost at points of the frontier.
    """
    dependence, own = checks["dependence"], checks["own signal"]
    out = []

    def add(result: CheckResult, name: str, caption: str, panel: tuple[float, float], n: int) -> None:
        wide = (panel[0] * min(n, 3), panel[1] * -(-n // 3))
        assert result.picture is not None
        drawn = two_shapes(result.picture, name, caption, wide, (_PHONE, panel[1] * n), n_panels=n)
        out.append({"figure": drawn, "caption": caption})

    if along.picture is not None:
        caption = (
            "Error and cost along the frontier: the model's 99% interval for a log of this length, and what the "
            "training log shows."
        )
        add(along, "predictive", caption, (3.4, 2.9), 2)
    if dependence.picture is not None and dependence.passed is not True:
        caption = (
            "Every two stages. The model misses something where the log's τ (1: same ranking, 0: unrelated), or "
            "its share of queries in a corner, is outside of the model's range."
        )
        add(dependence, "dependence", caption, (3.4, 3.5), n_stages * (n_stages - 1) // 2)
    if own.picture is not None:
        caption = (
            "Whether an earlier stage's confidence says more about correctness than the stage's own: the model "
            "misses something where the observed statistic is outside of what simulations show."
        )
        add(own, "own-signal", caption, (6.0, 1.3 + 0.42 * len(own.table)), 1)
    return out


def few_points(curve: xr.Dataset) -> xr.DataArray:
    """Thresholds of some points along the frontier (point, stage)."""
    at = np.unique(np.linspace(0, curve.sizes["point"] - 1, 10).round().astype(int))
    return curve["threshold"].isel(point=at)


def two_shapes(
    draw: Callable[[Any], object],
    name: str,
    label: str,
    wide: tuple[float, float],
    narrow: tuple[float, float],
    n_panels: int | None = None,
) -> Any:
    """A figure for a wide page, and the same for a phone, of which a page shows one."""
    return figure(draw, name, label, wide, n_panels, css=WIDE) + figure(
        draw, f"{name}-narrow", label, narrow, n_panels, css=NARROW, most=1
    )


def figure(
    draw: Callable[[Any], object],
    name: str,
    label: str,
    size: tuple[float, float],
    n_panels: int | None = None,
    **options: Any,
) -> Any:
    """An inline figure that a template takes as it stands."""
    from markupsafe import Markup

    # Matplotlib escapes what it writes, and the label is escaped with it: the element is safe
    return Markup(inline_svg(draw, name=f"figure-{name}", label=label, size=size, n_panels=n_panels, **options))
