"""Tables of a report, as text."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescascade._common.html import texts
from bayescascade.cascade.predictive import beta_binomial_ends
from bayescascade.cascade.single_stages import beats_mixtures, single_stages
from bayescascade.checks.results import CheckResult
from bayescascade.display.format import LEVEL, PER, band, chance, money, share, show_cut
from bayescascade.display.names import short_name
from bayescascade.model.subsample import fair
from bayescascade.posterior.draws import Draws
from bayescascade.reporting.answer import judged
from bayescascade.reporting.explorer import Explorer
from bayescascade.reporting.text import UNIT, Choice
from bayescascade.tuning.solution_text import goal_in_words

_TABLE_POINTS = 6
ENDS = ("answered by", "answered or left at")  # where no stage abstains, and where some do


@dataclass(frozen=True)
class Table:
    """A table for the template; the first cell of a row heads it."""

    columns: list[str]
    rows: list[list[str]]


def sheet_of(table: pd.DataFrame, digits: int = 3) -> Table:
    """A data frame as a table."""
    return Table(*texts(table, digits))


def evidence_sheet(choice: Choice, scored: xr.Dataset | None, seen: xr.Dataset | None, ci_prob: float) -> Table:
    """What is expected of the thresholds, and what logs show; ``seen`` is their score on the fit's own log."""
    amounts: list[tuple[str, np.ndarray | None, Callable[[float], str]]] = [
        ("error", choice.error, share),
        ("cost", choice.cost, choice.money),
        ("of_answers", choice.error_of_answers, share),
        ("abstained", choice.abstained, share),
        ("latency", choice.latency, "{:.4g}".format),
    ]
    titles = {
        "cost": f"cost {UNIT}",
        "of_answers": "error, of the answers given",
        "abstained": "left unanswered",
        "latency": "latency per query",
    }
    scored, seen = (None if found is None else _with_answers(found) for found in (scored, seen))
    columns = ["", f"expected ({ci_prob:.0%} interval)"]
    if scored is not None:
        columns += [f"{scored.attrs['n_queries']:,} queries should show", "test log shows", ""]
    columns += [] if seen is None else ["training log shows"]
    rows = []
    for name, draws, show in amounts:
        if draws is None:
            continue
        row = [titles.get(name, name), band(draws, ci_prob, show)]
        if scored is not None:
            row += _tested(scored, name, show)
        row += [] if seen is None else [_shown(seen, name, show)]
        rows.append(row)
    for j, name in enumerate(choice.stages):
        row = [
            f"{ENDS[choice.abstained is not None]} {choice.short(name)}",
            band(choice.answered[:, j], ci_prob, share),
        ]
        row += [] if scored is None else _tested_share(scored, choice, j, ci_prob)
        rows.append([*row, *([] if seen is None else [share(_ended(seen, choice, j))])])
    return Table(columns, rows)


def _with_answers(found: xr.Dataset) -> xr.Dataset:
    """A score with the share of wrong ones among the answers that were given, too."""
    given = 1.0 - float(found["abstained"])
    return found.assign(of_answers=float(found["error"]) / given if given > 0.0 else np.nan)


def _ended(found: xr.Dataset, choice: Choice, stage: int) -> float:
    """Share of a log's queries that end at a stage: called there, and not at the next one that is run."""
    if choice.abstained is None:
        return float(found["answered"][stage])
    reach = found["reach"].values
    return float(reach[stage] - reach[stage + 1 :].max(initial=0.0))


def _tested_share(scored: xr.Dataset, choice: Choice, stage: int, ci_prob: float) -> list[str]:
    """Between what a test log should show the share of queries that end at a stage, what it shows, and how so."""
    rate, value = choice.answered[:, stage], _ended(scored, choice, stage)
    ends = beta_binomial_ends(float(rate.mean()), float(rate.std()), scored.attrs["n_queries"], ci_prob)
    return [" to ".join(map(share, ends)), share(value), _marked(judged(value, *ends))]


def _shown(found: xr.Dataset, name: str, show: Callable[[float], str]) -> str:
    return show(float(found[name])) if name in found and not np.isnan(found[name]) else "–"


def _tested(scored: xr.Dataset, name: str, show: Callable[[float], str]) -> list[str]:
    """Between what a test log should show an amount, what it shows, and how that compares."""
    value = _shown(scored, name, show)
    if f"{name}_low" not in scored or value == "–":
        return ["", value, ""]
    low, high = (float(scored[f"{name}_{end}"]) for end in ("low", "high"))
    return [f"{show(low)} to {show(high)}", value, _marked(judged(float(scored[name]), low, high))]


def _marked(verdict: str) -> str:
    return f"✓ {verdict}" if verdict == "as expected" else verdict


def labels_sheet(found: pd.DataFrame) -> Table:
    """What further labels are worth: what was asked of `label_value` decides which columns there are."""
    said: list[tuple[str, str, Callable[[float], str]]] = [
        ("limit", "limit at today's cost", share),
        ("lowest", "lowest limit", share),
        ("cost", f"cost of keeping your limit, {UNIT}", money),
        ("p_kept", "your limit can be kept", chance),
        ("evsi", "worth per 1,000 queries served", money),
        ("error_width", "width of the error's interval", share),
    ]
    if "limit" in found:  # the saving is in the cost already
        said = [row for row in said if row[0] != "evsi"]
    if "label_cost" in found and (found["label_cost"] > 0.0).any():
        said += [("label_cost", "the labels cost", money), ("pays_from", "pays from so many queries", money)]
    said = [row for row in said if row[0] in found]
    rows = []
    for _, at in found.iterrows():
        cells = []
        for name, _, show in said:
            error = float(at.get(f"{name}_mcse", np.nan))
            scale = 100.0 if show is share else 1.0 if show is money else np.nan
            noise = "" if np.isnan(scale * error) else f" ± {scale * error:.1g}"
            cells.append("–" if np.isnan(at[name]) else show(float(at[name])) + noise)
        rows.append([str(at["labelled"]), str(int(at["n_labels"])), *cells])
    return Table(["labelled at", "queries", *(head for _, head, _ in said)], rows)


def mixture_note(choice: Choice, draws: Draws) -> str:
    """How the thresholds compare with a coin that decides between two models."""
    mixed = float(np.mean(beats_mixtures(choice.error, choice.cost, single_stages(draws))))
    return (
        f"The probability that this beats randomly splitting queries between two models, at the same cost, is "
        f"{chance(mixed)}."
    )


def frontier_sheet(explorer: Explorer, money: Callable[[float], str]) -> Table:
    """Some points of the frontier, evenly spaced in error."""
    kept, prices = explorer.points["kept"].values, explorer.hull_prices()
    # points that are best at some price; in the grey between two of them nobody gains
    best = np.flatnonzero(np.isfinite(prices[:, 0]))
    error = explorer.points["error"].values[best]
    wanted = np.linspace(error[0], error[-1], _TABLE_POINTS)
    chosen = best[np.unique(np.abs(error - wanted[:, None]).argmin(axis=1))]
    names, kind = [short_name(name, among=explorer.stages) for name in explorer.stages], explorer.kind
    rows = []
    for point in map(int, chosen):
        thresholds = explorer.points["threshold"].values[point]
        all_of = zip(names, thresholds, explorer.spans(point), strict=True)
        run = [(name, t, span) for name, t, span in all_of if not np.isnan(t)]
        last = next(i for i, (_, t, _) in enumerate(run) if t == -np.inf)
        rule = " → ".join(
            name if t == -np.inf else f"{name} ≥ {show_cut(t, kind, *span)}" for name, t, span in run[: last + 1]
        )
        low, high = prices[point]
        price = lambda value: money(value / PER)  # noqa: E731
        worth = (
            f"up to {price(high)}"
            if low == 0.0
            else f"{price(low)} or more"
            if np.isinf(high)
            else f"{price(low)} to {price(high)}"
        )
        cost = explorer.band("cost", point)
        rows.append([rule, explorer.band("error", point), share(float(kept[point])), cost, worth])
    columns = ["thresholds", "error", f"{explorer.prob:.0%} sure below", f"cost {UNIT}", "best if an error costs"]
    return Table(columns, rows)


def check_rows(result: CheckResult) -> dict[str, object]:
    """A check with its verdict, and the numbers behind it."""
    css = {True: "passed", False: "failed", None: "none"}[result.passed]
    table = Table([], []) if result.table.empty else sheet_of(result.table)
    words = {True: "passed", False: "failed", None: "no verdict"}
    return {"name": result.name, "result": words[result.passed], "css": css, "text": result.text, "table": table}


def thinning(attrs: Mapping[str, Any], observed: xr.Dataset) -> str:
    """Which queries of a long log were used for what."""
    n, drawn = int(attrs["n_modelled"]), int(fair(observed).sum())
    told = f"{drawn:,} drawn at random, and {n - drawn:,} more for their labels"
    if "update" in attrs:  # which goes on from the queries that the fit before it kept
        return f"{told}, in place of {int(attrs['n_queries']):,}; margins and costs are those of these, too"
    return f"{told}; margins and costs are those of all {int(attrs['n_queries']):,}"


def provenance(fit: xr.DataTree, choice: Choice | None, ci_prob: float) -> list[tuple[str, str]]:
    """Where the page comes from: log, model, sampling, options, versions."""
    attrs, sizes = {str(name): value for name, value in fit.attrs.items()}, fit["posterior"].sizes
    versions: dict[str, str] = json.loads(str(attrs.get("versions", "{}")))
    observed = fit["observed_data"].to_dataset()
    labels = int(observed["correct"].count())
    named = ("copula", "margin", "calibration")
    model = ", ".join(f"{name} {attrs[name]}" for name in named if name in attrs)
    model += ", one difficulty for each query" if int(attrs.get("difficulty", 0)) else ""
    if "population" in fit.children:
        model += f"; priors from {int(fit['population'].attrs['n_tasks'])} other tasks (empirical Bayes)"
    model += f"; {attrs['repriced']}" if attrs.get("repriced") else ""
    task = f"task {attrs['task']}, " if "task" in attrs else ""
    goal = goal_in_words(choice.goal) if choice is not None else ""
    called = (
        []
        if choice is None
        else [f"{n}: {t!r}" for n, t in zip(choice.stages, choice.thresholds.tolist(), strict=True)]
    )
    return [
        ("Page written", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"),
        (
            "Training log",
            f"{task}{attrs.get('n_queries', '?')} queries, {labels} labels, kind {attrs['confidence_kind']}",
        ),
        *([("Queries in the likelihood", thinning(attrs, observed))] if "n_modelled" in attrs else []),
        ("SHA-256 of the log", str(attrs.get("data_hash", "unknown"))),
        ("Model", model),
        (
            "Sampling",
            f"{sizes['chain']} chains of {sizes['draw']} draws after {attrs.get('tuning_steps', '?')} tuning "
            f"steps, target_accept {attrs.get('target_accept', '?')}, random seed "
            f"{attrs.get('random_seed', '?')}, {float(attrs.get('sampling_time', float('nan'))):.1f} s",
        ),
        ("Goal", goal or "none stated"),
        *([("Thresholds in full", "; ".join(called))] if called else []),
        ("Intervals", f"{ci_prob:.0%} of the posterior, equal tails; checks test at the {LEVEL:.0%} level"),
        ("Versions", ", ".join(f"{name} {number}" for name, number in versions.items()) or "unknown"),
    ]
