"""The page of `monitor`: what was found, error, cost and deferral over time, and the evidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayescascade.display.format import CI_PROB, PER, share
from bayescascade.display.style import BLUE, COLOURS, DASHES, GREY, VERMILION, plain, shortened
from bayescascade.display.svg import inline_svg
from bayescascade.reporting.report import pages

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bayescascade.monitoring.result import Watch

_LEAST_BLOCKS = 3  # that make a picture
_MOST_CURVES = 5


def render_page(watch: Watch) -> str:
    """The page as HTML, in which names are text, never markup."""
    from markupsafe import Markup

    shown = watch.shown()
    state = "Alarm: " + ", ".join(watch.alarms) if watch.alarms else watch.state
    return (
        pages()
        .get_template("monitor.html.j2")
        .render(
            title=state,
            subtitle=f"{watch.n_queries} served queries of the cascade {' > '.join(watch.header['stages'])}",
            alarm=bool(watch.alarms),
            answer=[watch.text],
            block=f"about {watch.blocks['n'].mean():.0f}",
            ci=f"{CI_PROB:.0%}",
            level=f"{watch.level:.0%}",
            figures=[Markup(figure) for figure in _over_time(watch)],
            columns=list(shown.columns),
            rows=shown.astype(str).values.tolist(),
            idle=watch.idle(),
            evidence=Markup(_evidence(watch)),
            provenance=_provenance(watch.header),
        )
    )


def _provenance(header: Mapping[str, Any]) -> list[tuple[str, str]]:
    models = header.get("models") or {}
    rows = [(f"model of {stage}", models.get(stage) or "not said") for stage in header["stages"]]
    promise = header.get("promise") or {}
    return [*rows, *(("promise: " + name.replace("_", " "), f"{value:.4g}") for name, value in promise.items())]


def _over_time(watch: Watch) -> list[str]:
    out = []
    currency = watch.header.get("currency")
    labels = {
        "error": "share of wrong answers",
        "cost": f"cost of {PER:,} queries" + (f" ({plain(currency)})" if currency else ""),
        "deferral": "deferred by the first stage",
    }
    for name, text in labels.items():
        blocks = watch.blocks[np.isfinite(watch.blocks[name])]
        if len(blocks) >= _LEAST_BLOCKS:
            alt = f"{name} of blocks of served queries in order, beside what is expected"
            draw = _drawing(watch, blocks, name, text)
            out.append(inline_svg(draw, name=f"time-{name}", label=alt, size=(8.0, 2.4)))
    return out


def _drawing(watch: Watch, blocks: pd.DataFrame, name: str, label: str) -> Any:
    scale = PER if name == "cost" else 1.0
    limit = (watch.header.get("promise") or {}).get(f"max_{name}")

    def draw(ax: Axes) -> None:
        x = blocks["query"].to_numpy()
        shows, expected, low, high = (
            scale * blocks[key].to_numpy()
            for key in (name, *(f"{name}_{part}" for part in ("expected", "low", "high")))
        )
        ax.fill_between(x, low, high, color=GREY, alpha=0.25, lw=0)
        ax.plot(x, expected, color=GREY, ls="--", lw=1.2)
        ax.plot(x, shows, color=BLUE, marker="o", ms=3.5, lw=1.0)
        if limit is not None:
            ax.axhline(scale * limit, color=VERMILION, lw=1.2)
            ax.annotate("limit", (float(x[0]), scale * limit), va="bottom", fontsize=9)
        if name != "cost":
            ax.yaxis.set_major_formatter(lambda value, _: share(value))
        ax.set_xlabel("served queries")
        ax.set_ylabel(label, fontsize=9)
        ax.spines[["top", "right"]].set_visible(False)

    return draw


def _evidence(watch: Watch) -> str:
    curves = {name: x for name, x in watch.evidence.items() if name not in ("query", "needed")}
    if not curves or watch.n_queries < _LEAST_BLOCKS:
        return ""
    most = sorted(curves, key=lambda name: -float(np.max(curves[name])))[:_MOST_CURVES]

    def draw(ax: Axes) -> None:
        for i, name in enumerate(most):
            style: dict[str, Any] = {
                "color": COLOURS[i % len(COLOURS)],
                "ls": DASHES[i % len(DASHES)],
                "label": shortened(name, 48),
            }
            ax.plot(watch.evidence["query"], 10.0 ** np.clip(curves[name], -3.0, 12.0), **style)
        ax.axhline(10.0 ** watch.evidence["needed"][0], color=GREY, ls=":")
        ax.set_yscale("log")
        ax.set_xlabel("served queries")
        ax.set_ylabel("capital of the bets", fontsize=9)
        ax.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        ax.spines[["top", "right"]].set_visible(False)

    label = f"capital of bets against {', '.join(most)}, over served queries"
    return inline_svg(draw, name="evidence", label=label, size=(8.0, 2.8))
