"""What a report says, as plain data for its template: sentences, tables and figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from bayescascade._checks.evidence import Evidence, gather
from bayescascade._checks.results import WORDS, CheckResult
from bayescascade._singles import beats_mixtures, single_stages
from bayescascade._svg import inline_svg
from bayescascade._words import Choice, answer, band, care, chance, money, share
from bayescascade.cascade import evaluate
from bayescascade.checks import check
from bayescascade.draws import Draws, get_draws
from bayescascade.errors import CascadeError
from bayescascade.frontiers import frontier
from bayescascade.plots import draw_frontier, draw_link, draw_margin, draw_reliability
from bayescascade.positions import check_thresholds, draws_for
from bayescascade.scoring import score
from bayescascade.solution import show_threshold
from bayescascade.verdicts import verdict

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from bayescascade.solution import ThresholdSolution

_TABLE_POINTS = 8
_PANEL = (3.5, 3.0)


@dataclass(frozen=True)
class Sheet:
    """A table for the template."""

    columns: list[str]
    rows: list[list[str]]


def tell(
    fit: xr.DataTree,
    *,
    solution: ThresholdSolution | None,
    log: xr.Dataset | None,
    test: xr.Dataset | None,
    thresholds: object,
    ci_prob: float,
) -> dict[str, object]:
    """Everything that the template asks for."""
    draws = get_draws(fit)
    choice = _choice(fit, draws, solution, thresholds)
    chosen = solution if solution is not None else thresholds
    scored = None if test is None or choice is None else _score(test, draws, choice, chosen)
    price = None if choice is None else choice.goal.get("error_price")
    worth = None if price is None else verdict(fit, error_price=price, solution=solution, **_abstaining(choice))
    curve = frontier(fit, n_points=50, ci_prob=ci_prob)
    whole = choice is not None and choice.stages == draws.stages
    checks = check(fit, thresholds=chosen if whole else None)
    log, remarks = _scorable(log, draws, curve)
    n_queries = int(fit.attrs.get("n_queries", 0))
    failed = [result.name for result in checks if result.passed is False]
    return {
        "title": f"Cascade of {len(draws.stages)} stages",
        "subtitle": f"{', '.join(draws.stages)}; fitted on {n_queries} queries.",
        "answer": answer(choice, draws, scored, worth, ci_prob),
        "care": care(failed),
        "chosen": None if choice is None else _chosen(choice, draws, scored, ci_prob),
        "kind": draws.kind,
        "ci": f"{ci_prob:.0%}",
        "frontier_figure": _frontier_figure(curve, draws, solution, log, ci_prob),
        "frontier_table": _frontier_sheet(curve),
        "frontier_caption": f"Points of the frontier: thresholds, and means with {ci_prob:.0%} intervals.",
        "remarks": remarks,
        "checks": [_check(result) for result in checks],
        **_panels(gather(fit), draws, ci_prob),
        "provenance": _provenance(fit),
    }


def _choice(
    fit: xr.DataTree, draws: Draws, solution: ThresholdSolution | None, thresholds: object
) -> Choice | None:
    if solution is not None:
        stages = [str(s) for s in solution.thresholds["stage"].values]
        if not set(stages) <= set(draws.stages):
            raise CascadeError(f"the solution is for stages {stages}, but the fit has {draws.stages}.")
        error, cost = (np.ravel(getattr(solution, name).values) for name in ("error", "cost"))
        reach = solution.reach.transpose("chain", "draw", "stage").values.reshape(len(error), -1)
        return Choice(
            stages,
            solution.thresholds.values,
            error,
            cost,
            reach,
            solution.goal,
            solution.feasible,
            solution.kept,
            None if solution.reject is None else solution.reject.values,
            None if solution.abstained is None else np.ravel(solution.abstained.values),
            solution.history is not None,
        )
    if thresholds is None:
        return None
    part = draws_for(draws, thresholds)
    array = check_thresholds(thresholds, part.stages, draws.kind)
    if len(array) != 1:
        raise CascadeError(f"a report is about one threshold vector, but {len(array)} came; give (stage,).")
    found = evaluate(fit, thresholds).transpose("chain", "draw", ...)
    error, cost = np.ravel(found["error"].values), np.ravel(found["cost"].values)
    reach = found["reach"].values.reshape(len(error), -1)
    reject = getattr(thresholds, "reject", None)
    return Choice(
        part.stages,
        array[0],
        error,
        cost,
        reach,
        {},
        True,
        float("nan"),
        None if reject is None else np.asarray(reject, dtype=float),
        np.ravel(found["abstained"].values) if reject is not None else None,
        bool(getattr(thresholds, "history", None)),
    )


def _abstaining(choice: Choice | None) -> dict[str, float]:
    price = None if choice is None else choice.goal.get("abstain_price")
    return {} if price is None else {"abstain_price": float(price)}


def _score(test: xr.Dataset, draws: Draws, choice: Choice, chosen: object) -> xr.Dataset:
    kind = test.attrs.get("confidence_kind") if isinstance(test, xr.Dataset) else None
    if kind is not None and kind != draws.kind:
        raise CascadeError(f"the test log's confidences are {kind!r}, but the fit's are {draws.kind!r}.")
    stages = (
        [str(s) for s in test["stage"].values] if isinstance(test, xr.Dataset) and "stage" in test.coords else []
    )
    if stages != draws.stages and stages != choice.stages:
        raise CascadeError(f"the test log has stages {stages}, but the fit has {draws.stages}.")
    return score(test.sel(stage=choice.stages), chosen)


def _scorable(log: xr.Dataset | None, draws: Draws, curve: xr.Dataset) -> tuple[xr.Dataset | None, list[str]]:
    """The log if the whole frontier can be scored on it, else a remark that says why not."""
    if log is None:
        return None, []
    try:
        score(log, curve["threshold"])
    except CascadeError as error:
        return None, [f"The log was not scored along the frontier: {error}"]
    return log, []


# ---- tables


def _chosen(choice: Choice, draws: Draws, scored: xr.Dataset | None, ci_prob: float) -> dict[str, object]:
    answered = choice.answered
    columns = ["stage", "threshold", "runs for", "answers"]
    rows = [
        [name, show_threshold(float(t)), share(float(reach)), band(answered[:, j], ci_prob, share)]
        for j, (name, t, reach) in enumerate(
            zip(choice.stages, choice.thresholds, choice.reach.mean(axis=0), strict=True)
        )
    ]
    found = [["error", band(choice.error, ci_prob, share)], ["cost", band(choice.cost, ci_prob, money)]]
    if choice.abstained is not None:
        found.append(["left unanswered", band(choice.abstained, ci_prob, share)])
    expected = ["", f"model: mean ({ci_prob:.0%} interval)"]
    if scored is not None:
        columns, expected = [*columns, "answers on test"], [*expected, "on the test log"]
        rows = [[*row, share(float(part))] for row, part in zip(rows, scored["answered"].values, strict=True)]
        found[0].append(share(float(scored["error"])))
        found[1].append(money(float(scored["cost"])))
        if choice.abstained is not None:
            found[2].append(share(float(scored["abstained"])))
    mixed = float(np.mean(beats_mixtures(choice.error, choice.cost, single_stages(draws))))
    note = (
        f"With probability {chance(mixed)} these thresholds err less than sending queries to two stages at "
        "random for the same mean cost."
    )
    if scored is not None:
        note += " A test log scatters about the long run, so it may miss an interval by chance."
    return {"thresholds": Sheet(columns, rows), "expected": Sheet(expected, found), "note": note}


def _frontier_sheet(curve: xr.Dataset) -> Sheet:
    # past its least error the frontier only costs more
    error = curve["error"].values
    improving = np.flatnonzero(error <= np.minimum.accumulate(error))
    wanted = np.linspace(error[improving[0]], error[improving[-1]], _TABLE_POINTS)
    picked = improving[np.unique(np.abs(error[improving] - wanted[:, None]).argmin(axis=1))]
    stages = [str(s) for s in curve["stage"].values]
    rows = []
    for point in picked:
        at = curve.isel(point=int(point))
        row = []
        for name, show in (("error", share), ("cost", money)):
            mean, low, high = (float(at[f"{name}{end}"]) for end in ("", "_low", "_high"))
            row.append(f"{show(mean)} ({show(low)} to {show(high)})")
        rows.append([*row, *(show_threshold(float(t)) for t in at["threshold"].values[:-1])])
    return Sheet(["error", "cost per query", *stages[:-1]], rows)


def _check(result: CheckResult) -> dict[str, object]:
    css = {True: "passed", False: "failed", None: "none"}[result.passed]
    table = Sheet([], []) if result.table.empty else _sheet(result.table.reset_index())
    word = WORDS[result.passed]
    return {"name": result.name, "result": word, "css": css, "text": result.text, "table": table}


def _sheet(table: pd.DataFrame) -> Sheet:
    rows = [[_cell(value) for value in row] for row in table.to_numpy(dtype=object)]
    return Sheet([str(name).replace("_", " ") for name in table.columns], rows)


def _cell(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating):
        number = float(value)
        return "" if np.isnan(number) else f"{number:.3g}" if abs(number) < 1000 else f"{number:.0f}"
    return str(value)


def _provenance(fit: xr.DataTree) -> list[tuple[str, str]]:
    attrs, sizes = {str(name): value for name, value in fit.attrs.items()}, fit["posterior"].sizes
    versions: dict[str, str] = json.loads(str(attrs.get("versions", "{}")))
    labels = int(fit["observed_data"].to_dataset()["correct"].count())
    named = ("copula", "margin", "calibration", "cost")
    model = ", ".join(f"{name} {attrs[name]}" for name in named if name in attrs)
    if attrs.get("method") == "map":
        model += "; a point estimate, so intervals have no width"
    model += f"; {attrs['repriced']}" if attrs.get("repriced") else ""
    task = f"task {attrs['task']}, " if "task" in attrs else ""
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
        ("Versions", ", ".join(f"{name} {number}" for name, number in versions.items()) or "unknown"),
    ]


# ---- figures


def _frontier_figure(
    curve: xr.Dataset,
    draws: Draws,
    solution: ThresholdSolution | None,
    log: xr.Dataset | None,
    ci_prob: float,
) -> Any:
    ends = curve.isel(point=[0, -1])
    label = (
        f"Error against cost along the frontier: from {share(float(ends['error'][0]))} at "
        f"{money(float(ends['cost'][0]))} per query to {share(float(ends['error'][1]))} at "
        f"{money(float(ends['cost'][1]))}, with a credible band, each stage used alone"
        f"{', and the chosen thresholds' if solution is not None else ''}."
    )

    def draw(ax: Axes) -> object:
        return draw_frontier(ax, curve, draws, solution, log, ci_prob)

    return _figure(draw, "frontier", label, (6.6, 4.5))


def _panels(evidence: Evidence, draws: Draws, ci_prob: float) -> dict[str, object]:
    def each(name: str, parts: Iterable[str], label: str, draw: Callable[[int, Axes], object]) -> list[Any]:
        return [
            _figure(partial(draw, j), f"{name}{j}", f"{label} of {part}", _PANEL) for j, part in enumerate(parts)
        ]

    return {
        "reliability": each(
            "reliability",
            evidence.stages,
            "Reliability",
            lambda j, ax: draw_reliability(ax, evidence, j, ci_prob),
        ),
        "margins": each(
            "margin",
            evidence.stages,
            "Difference between observed and fitted distribution of the confidence",
            lambda j, ax: draw_margin(ax, evidence, j, 0.99),
        ),
        "links": each(
            "link",
            evidence.links,
            "Scatter of the ranks of confidences",
            lambda j, ax: draw_link(ax, evidence, j, draws.tau[:, j], ci_prob),
        ),
    }


def _figure(draw: Callable[[Axes], object], name: str, label: str, size: tuple[float, float]) -> Any:
    from markupsafe import Markup

    # Matplotlib escapes what it writes, and the label is escaped with it: the element is safe as it stands
    return Markup(inline_svg(draw, name=f"figure-{name}", label=label, size=size))
