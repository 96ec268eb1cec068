"""Figures of a report, as inline SVG with a name for those who do not see them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from bayescascade.analysis.label_value import LabelValue
from bayescascade.analysis.verdict import Verdict
from bayescascade.cascade.discrepancy import ModelDiscrepancy
from bayescascade.cascade.empirical import score
from bayescascade.cascade.single_stages import single_stages
from bayescascade.checks.calibration import reliability
from bayescascade.checks.dependence import pair_view
from bayescascade.checks.evidence import Evidence
from bayescascade.checks.results import CheckResult, CheckResults
from bayescascade.checks.signals import pit_ecdf
from bayescascade.display.format import PER, per_thousand, share
from bayescascade.display.frontier import draw_flow, draw_frontier
from bayescascade.display.model import draw_margin, draw_pair, draw_reliability
from bayescascade.display.svg import inline_svg
from bayescascade.display.value import draw_label_value, draw_verdict
from bayescascade.posterior.draws import Draws
from bayescascade.reporting.text import Choice
from bayescascade.tuning.solution import ThresholdSolution

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANEL = (3.5, 3.0)


def frontier_figure(
    curve: xr.Dataset,
    draws: Draws,
    solution: ThresholdSolution | None,
    log: xr.Dataset | None,
    ci_prob: float,
    discrepancy: ModelDiscrepancy,
) -> Any:
    """The frontier with its band, each stage alone, and the chosen point; apart from that, the safety margin."""
    ends = curve.isel(point=[0, -1])
    label = (
        f"Error against cost along the frontier: from {share(float(ends['error'][0]))} at "
        f"{per_thousand(float(ends['cost'][0]))} per 1,000 queries to {share(float(ends['error'][1]))} at "
        f"{per_thousand(float(ends['cost'][1]))}, with a credible band, each stage used alone"
        f"{', and the chosen thresholds' if solution is not None else ''}."
    )

    singles = single_stages(draws)
    kept = np.quantile(discrepancy.stages_alone(draws), float(curve.attrs["prob"]), axis=0, method="higher")
    scored = None if log is None else score(log, curve["threshold"])
    options: dict[str, Any] = {"singles": singles, "singles_kept": kept, "solution": solution, "scored": scored}
    options["ci_prob"] = ci_prob

    def draw(ax: Axes) -> object:
        return draw_frontier(ax, curve, n_queries=PER, **options)

    return figure(draw, "frontier", label, (6.6, 4.5))


def flow_figure(choice: Choice, ci_prob: float) -> Any:
    """Which share of queries each stage runs for and ends."""
    answered = choice.answered
    told = "; ".join(
        f"{name} runs for {share(float(ran))} and ends {share(float(done))}"
        for name, ran, done in zip(choice.stages, choice.reach.mean(axis=0), answered.mean(axis=0), strict=True)
    )

    def draw(ax: Axes) -> object:
        return draw_flow(ax, choice.stages, choice.reach, choice.abstained is not None, ci_prob)

    return figure(draw, "flow", f"Where queries are answered: {told}.", (6.6, 0.9 + 0.5 * len(choice.stages)))


def worth_figure(worth: Verdict) -> Any:
    """What the cascade saves against each rival."""
    size = (6.4, 0.9 + 0.45 * (len(worth.table) - 1))
    label = "Saving of the cascade against each rival with 90% intervals; the numbers are in the table below."
    return figure(lambda ax: draw_verdict(ax, worth.table), "worth", label, size)


def labels_figure(value: LabelValue) -> Any:
    """Worth of labels against their number."""
    label = "Worth of further labels against their number; the numbers are in the table below."
    return figure(lambda ax: draw_label_value(ax, value.data, value.evpi), "labels", label, (6.0, 3.8))


def panels_of(evidence: Evidence, draws: Draws, ci_prob: float) -> dict[str, list[Any]]:
    """A panel for each stage or link: reliability, margins, links."""

    def each(name: str, parts: Iterable[str], label: str, draw: Callable[[int, Axes], object]) -> list[Any]:
        return [
            figure(partial(draw, j), f"{name}{j}", f"{label} of {part}", _PANEL) for j, part in enumerate(parts)
        ]

    return {
        "reliability": each(
            "reliability",
            evidence.stages,
            "Reliability",
            lambda j, ax: draw_reliability(ax, reliability(evidence, j), ci_prob),
        ),
        "margins": each(
            "margin",
            evidence.stages,
            "Difference between observed and fitted distribution of the confidence",
            lambda j, ax: draw_margin(ax, pit_ecdf(evidence, j, 0.99)),
        ),
        "links": each(
            "link",
            evidence.links,
            "Scatter of the ranks of confidences, with contours of the fitted copula,",
            lambda j, ax: draw_pair(ax, pair_view(evidence, j, j + 1, draws.tau[:, j]), ci_prob),
        ),
    }


def predictive_figures(along: CheckResult, checks: CheckResults, n_stages: int) -> list[dict[str, Any]]:
    """What the model predicts beside what the log shows, of the checks that could be computed.

    ``along`` is the check of error and cost at points of the frontier.
    """
    dependence, own = checks["dependence"], checks["own signal"]
    out = []

    def add(result: CheckResult, name: str, caption: str, size: tuple[float, float], n_panels: int) -> None:
        drawn = figure(result.picture, name, caption, size, n_panels=n_panels)  # type: ignore[arg-type]
        out.append({"figure": drawn, "caption": caption})

    if along.picture is not None:
        caption = (
            "Error and cost at points along the frontier, cheapest first: the model's 99% predictive interval for "
            "a log of this length, and what the log shows."
        )
        add(along, "predictive", caption, (6.8, 2.9), 2)
    if dependence.picture is not None:
        n = n_stages * (n_stages - 1) // 2
        caption = (
            "Every two stages: the fit leaves something out where τ of the log, or the share of queries in both "
            "tails, lies outside of the model's range."
        )
        add(dependence, "dependence", caption, (3.4 * min(n, 3), 3.5 * -(-n // 3)), n)
    if own.picture is not None:
        caption = (
            "What an earlier confidence says of correctness beyond a stage's own: calibration leaves something "
            "out where the observed score lies outside of the replicates."
        )
        add(own, "own-signal", caption, (6.0, 1.3 + 0.42 * len(own.table)), 1)
    return out


def few_points(curve: xr.Dataset) -> xr.DataArray:
    """Thresholds of some points along the frontier (point, stage)."""
    at = np.unique(np.linspace(0, curve.sizes["point"] - 1, 10).round().astype(int))
    return curve["threshold"].isel(point=at)


def figure(
    draw: Callable[[Any], object], name: str, label: str, size: tuple[float, float], n_panels: int | None = None
) -> Any:
    """An inline figure that a template takes as it stands."""
    from markupsafe import Markup

    # Matplotlib escapes what it writes, and the label is escaped with it: the element is safe
    return Markup(inline_svg(draw, name=f"figure-{name}", label=label, size=size, n_panels=n_panels))
