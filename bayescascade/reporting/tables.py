"""Tables of a report, as text."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import xarray as xr

from bayescascade._common.html import texts
from bayescascade.cascade.single_stages import beats_mixtures, single_stages
from bayescascade.checks.results import WORDS, CheckResult
from bayescascade.display.format import LEVEL, band, chance, money, per_thousand, share, show_threshold
from bayescascade.posterior.draws import Draws
from bayescascade.reporting.explorer import Explorer
from bayescascade.reporting.text import Choice
from bayescascade.tuning.solution_text import goal_in_words

_TABLE_POINTS = 10


@dataclass(frozen=True)
class Table:
    """A table for the template; the first cell of a row heads it."""

    columns: list[str]
    rows: list[list[str]]


def sheet_of(table: pd.DataFrame, digits: int = 3) -> Table:
    """A data frame as a table."""
    return Table(*texts(table, digits))


def chosen_sheets(
    choice: Choice, draws: Draws, scored: xr.Dataset | None, seen: xr.Dataset | None, ci_prob: float
) -> dict[str, object]:
    """The chosen thresholds, and what they bring; ``seen`` is their score on the fit's own log."""
    answered = choice.answered
    columns = ["stage", "threshold", "runs for", "answers"]
    rows = [
        [name, show_threshold(float(t)), share(float(reach)), band(answered[:, j], ci_prob, share)]
        for j, (name, t, reach) in enumerate(
            zip(choice.stages, choice.thresholds, choice.reach.mean(axis=0), strict=True)
        )
    ]
    found = [
        ["error", band(choice.error, ci_prob, share)],
        ["cost of 1,000 queries", band(choice.cost, ci_prob, per_thousand)],
    ]
    if choice.abstained is not None:
        found.append(["left unanswered", band(choice.abstained, ci_prob, share)])
    expected = ["in the long run", f"model: mean ({ci_prob:.0%} interval)"]
    if choice.sure:
        margin = ", with safety margin" if choice.goal.get("doubt") and "error" in choice.sure else ""
        expected.append(f"{100.0 * choice.goal['prob']:.4g}% sure at most{margin}")
        for row, name, show in zip(found, ("error", "cost", ""), (share, per_thousand, share), strict=False):
            row.append(show(choice.sure[name]) if name in choice.sure else "")
    if scored is not None:
        expected.append(f"{scored.attrs['n_queries']} queries should show ({scored.attrs['ci_prob']:.0%})")
        for row, name, show in zip(found, ("error", "cost"), (share, per_thousand), strict=False):
            row.append(" to ".join(show(float(scored[f"{name}_{end}"])) for end in ("low", "high")))
        for row in found[2:]:
            row.append("")
    for where, score in (("the test log shows", scored), ("the fit's own log shows", seen)):
        if score is not None:
            expected.append(where)
            found[0].append(share(float(score["error"])))
            found[1].append(per_thousand(float(score["cost"])))
            if choice.abstained is not None:
                found[2].append(share(float(score["abstained"])))
    if scored is not None:
        columns = [*columns, "answers on test"]
        rows = [[*row, share(float(part))] for row, part in zip(rows, scored["answered"].values, strict=True)]
    mixed = float(np.mean(beats_mixtures(choice.error, choice.cost, single_stages(draws))))
    note = (
        f"With probability {chance(mixed)} these thresholds err less than sending queries to two stages at "
        "random for the same mean cost."
    )
    if scored is not None:
        note += " One test log in ten shows something outside of what it should, where the model is right."
    return {"thresholds": Table(columns, rows), "expected": Table(expected, found), "note": note}


def frontier_sheet(explorer: Explorer) -> Table:
    """About ten points of the frontier, evenly spaced in error."""
    kept, prices = explorer.points["kept"].values, explorer.hull_prices()
    # points that are best at some price; in the grey between two of them nobody gains
    best = np.flatnonzero(np.isfinite(prices[:, 0]))
    error = explorer.points["error"].values[best]
    wanted = np.linspace(error[0], error[-1], _TABLE_POINTS)
    chosen = best[np.unique(np.abs(error - wanted[:, None]).argmin(axis=1))]
    rows = []
    for point in map(int, chosen):
        thresholds = [cells[1] for cells in explorer.rows(point)[:-1]]
        low, high = prices[point]
        worth = (
            f"up to {money(high)}"
            if low == 0.0
            else f"{money(low)} or more"
            if np.isinf(high)
            else f"{money(low)} to {money(high)}"
        )
        brings = [explorer.band("error", point), explorer.band("cost", point), share(float(kept[point]))]
        rows.append([*brings, worth, *thresholds])
    columns = [
        "error",
        "cost of 1,000 queries",
        f"{explorer.prob:.0%} sure below, with safety margin",
        "best where an error costs",
    ]
    return Table([*columns, *explorer.stages[:-1]], rows)


def check_rows(result: CheckResult) -> dict[str, object]:
    """A check with its verdict, and the numbers behind it."""
    css = {True: "passed", False: "failed", None: "none"}[result.passed]
    table = Table([], []) if result.table.empty else sheet_of(result.table)
    return {"name": result.name, "result": WORDS[result.passed], "css": css, "text": result.text, "table": table}


def provenance(fit: xr.DataTree, choice: Choice | None, ci_prob: float) -> list[tuple[str, str]]:
    """Where the page comes from: log, model, sampling, options, versions."""
    attrs, sizes = {str(name): value for name, value in fit.attrs.items()}, fit["posterior"].sizes
    versions: dict[str, str] = json.loads(str(attrs.get("versions", "{}")))
    labels = int(fit["observed_data"].to_dataset()["correct"].count())
    named = ("copula", "margin", "calibration")
    model = ", ".join(f"{name} {attrs[name]}" for name in named if name in attrs)
    model += f"; {attrs['repriced']}" if attrs.get("repriced") else ""
    task = f"task {attrs['task']}, " if "task" in attrs else ""
    goal = goal_in_words(choice.goal) if choice is not None else ""
    return [
        ("Page written", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"),
        ("Log", f"{task}{attrs.get('n_queries', '?')} queries, {labels} labels, kind {attrs['confidence_kind']}"),
        ("SHA-256 of the log", str(attrs.get("data_hash", "unknown"))),
        ("Model", model),
        (
            "Sampling",
            f"{sizes['chain']} chains of {sizes['draw']} draws after {attrs.get('tuning_steps', '?')} tuning "
            f"steps, target_accept {attrs.get('target_accept', '?')}, random seed "
            f"{attrs.get('random_seed', '?')}, {float(attrs.get('sampling_time', float('nan'))):.1f} s",
        ),
        ("Goal", goal or "none stated"),
        ("Intervals", f"{ci_prob:.0%}, equal-tailed, of the posterior; tests are at the {LEVEL:.0%} level"),
        ("Versions", ", ".join(f"{name} {number}" for name, number in versions.items()) or "unknown"),
    ]
