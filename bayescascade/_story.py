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
from bayescascade._singles import beats_mixtures, beats_singles, rivals, single_stages
from bayescascade._svg import inline_svg
from bayescascade.cascade import evaluate
from bayescascade.checks import check
from bayescascade.draws import Draws, check_thresholds, get_draws
from bayescascade.errors import CascadeError
from bayescascade.frontiers import frontier
from bayescascade.plots import draw_frontier, draw_link, draw_margin, draw_reliability
from bayescascade.scoring import score
from bayescascade.solution import show_threshold

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from bayescascade.solution import ThresholdSolution

_TABLE_POINTS = 8
_PANEL = (3.5, 3.0)


@dataclass(frozen=True)
class Choice:
    """Thresholds with what the draws say of them; from a solution, or the user's own.

    Attributes
    ----------
    thresholds : ndarray (stage,)
    error, cost : ndarray (draw,)
    reach : ndarray (draw, stage)
    """

    thresholds: np.ndarray
    error: np.ndarray
    cost: np.ndarray
    reach: np.ndarray
    goal: dict[str, float]
    feasible: bool
    kept: float

    @property
    def answered(self) -> np.ndarray:
        """Share of queries that each stage answers (draw, stage)."""
        left = np.concatenate([self.reach[:, 1:], np.zeros_like(self.reach[:, :1])], axis=1)
        return np.maximum(self.reach - left, 0.0)  # rounding leaves -1e-17 of a stage that defers all


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
    scored = None if test is None or choice is None else _score(test, draws, choice)
    curve = frontier(fit, n_points=50, ci_prob=ci_prob)
    checks = check(fit, thresholds=None if choice is None else choice.thresholds)
    log, remarks = _scorable(log, draws, curve)
    n_queries = int(fit.attrs.get("n_queries", 0))
    failed = [result.name for result in checks if result.passed is False]
    return {
        "title": f"Cascade of {len(draws.stages)} stages",
        "subtitle": f"{', '.join(draws.stages)}; fitted on {n_queries} queries.",
        "answer": _answer(choice, draws, scored, ci_prob),
        "care": _care(failed),
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
        if stages != draws.stages:
            raise CascadeError(f"the solution is for stages {stages}, but the fit has {draws.stages}.")
        error, cost = (np.ravel(getattr(solution, name).values) for name in ("error", "cost"))
        reach = solution.reach.transpose("chain", "draw", "stage").values.reshape(len(error), -1)
        values, goal, feasible, kept = solution.thresholds.values, solution.goal, solution.feasible, solution.kept
        return Choice(values, error, cost, reach, goal, feasible, kept)
    if thresholds is None:
        return None
    array = check_thresholds(thresholds, draws.stages, draws.kind)
    if len(array) != 1:
        raise CascadeError(f"a report is about one threshold vector, but {len(array)} came; give (stage,).")
    found = evaluate(fit, array[0]).transpose("chain", "draw", ...)
    error, cost = np.ravel(found["error"].values), np.ravel(found["cost"].values)
    reach = found["reach"].values.reshape(len(error), -1)
    return Choice(array[0], error, cost, reach, {}, True, float("nan"))


def _score(test: xr.Dataset, draws: Draws, choice: Choice) -> xr.Dataset:
    kind = test.attrs.get("confidence_kind") if isinstance(test, xr.Dataset) else None
    if kind is not None and kind != draws.kind:
        raise CascadeError(f"the test log's confidences are {kind!r}, but the fit's are {draws.kind!r}.")
    thresholds = xr.DataArray(choice.thresholds, dims="stage", coords={"stage": draws.stages})
    stages = (
        [str(s) for s in test["stage"].values] if isinstance(test, xr.Dataset) and "stage" in test.coords else []
    )
    if stages != draws.stages:
        raise CascadeError(f"the test log has stages {stages}, but the fit has {draws.stages}.")
    return score(test, thresholds)


def _scorable(log: xr.Dataset | None, draws: Draws, curve: xr.Dataset) -> tuple[xr.Dataset | None, list[str]]:
    """The log if the whole frontier can be scored on it, else a remark that says why not."""
    if log is None:
        return None, []
    try:
        score(log, curve["threshold"])
    except CascadeError as error:
        return None, [f"The log was not scored along the frontier: {error}"]
    return log, []


# ---- words


def _answer(choice: Choice | None, draws: Draws, scored: xr.Dataset | None, ci_prob: float) -> list[str]:
    if choice is None:
        return [
            "No thresholds were chosen for this report. The table of the frontier shows what can be had: pick the "
            "row whose error and cost suit you, and set its thresholds, or ask tune for a goal and pass what it "
            "returns as solution."
        ]
    rule = f"{'; '.join(_rules(draws.stages, choice.thresholds))}."
    lead = f"To have {_goal(choice.goal)}, set" if choice.goal else "Set"
    if not choice.feasible:
        lead = f"No thresholds give {_goal(choice.goal)}; nearest come, with probability {choice.kept:.1%},"
    expected = (
        f"Of the answers {_band(choice.error, ci_prob, _share)} are expected to be wrong, at a cost of "
        f"{_band(choice.cost, ci_prob, _money)} per query"
    )
    if scored is not None:
        expected += (
            f"; on the test log of {scored.attrs['n_queries']} queries it is {_share(float(scored['error']))} "
            f"and {_money(float(scored['cost']))}"
        )
    return [f"{lead}: {rule}", f"{expected}.", _comparison(choice, draws)]


def _comparison(choice: Choice, draws: Draws) -> str:
    singles = single_stages(draws)
    price = choice.goal.get("error_price")
    p = float(np.mean(beats_singles(choice.error, choice.cost, singles, price)))
    if price is not None:
        best = draws.stages[int(np.argmin((singles[0] * price + singles[1]).mean(axis=0)))]
        return (
            f"The cascade beats the best single stage ({best}) with probability {_chance(p)}, counting "
            f"{price:g} for each error."
        )
    text = (
        f"The cascade beats the best single stage with probability {_chance(p)}, that is, no stage used alone "
        "errs as little for as little money"
    )
    if p >= 0.5:
        return f"{text}."
    rival = int(np.argmax(rivals(choice.error, choice.cost, singles).mean(axis=0)))
    return (
        f"{text}; consider {draws.stages[rival]} alone, whose error is "
        f"{_share(float(singles[0][:, rival].mean()))} at a cost of {_money(float(singles[1][:, rival].mean()))}."
    )


def _goal(goal: dict[str, float]) -> str:
    if "error_price" in goal:
        return f"the least expected loss when an error costs {goal['error_price']:g}"
    name = "error" if "max_error" in goal else "cost"
    limit = goal[f"max_{name}"]
    shown = f"{100.0 * limit:.4g}%" if name == "error" else f"{limit:.4g}"
    return f"{name} at most {shown} with probability {goal['prob']:g}"


def _care(failed: list[str]) -> str:
    if not failed:
        return ""
    names = ", ".join(failed)
    return f"Read this with care: the fit failed the check of {names}. What that means stands further down."


def _rules(stages: list[str], thresholds: np.ndarray) -> list[str]:
    """What each stage does, in words; nothing is left for the stages after one that accepts all."""
    last = int(np.argmax(thresholds == -np.inf))
    rules = [
        f"{name} defers everything" if t == np.inf else f"{name} answers from confidence {t:.6g} up"
        for name, t in zip(stages[:last], thresholds[:last], strict=True)
    ]
    rules.append(f"{stages[last]} answers {'what is left' if last else 'everything'}")
    if last < len(stages) - 1:
        rules.append(f"{', '.join(stages[last + 1 :])} {'is' if last == len(stages) - 2 else 'are'} never called")
    return rules


def _share(value: float) -> str:
    return f"{value:.1%}"


def _chance(p: float) -> str:
    # a share of some thousand draws cannot show certainty
    return "above 99.9%" if p > 0.999 else "below 0.1%" if p < 0.001 else _share(p)


def _money(value: float) -> str:
    return f"{value:.3g}"


def _band(values: np.ndarray, ci_prob: float, show: Callable[[float], str]) -> str:
    low, high = np.quantile(values, [(1.0 - ci_prob) / 2.0, (1.0 + ci_prob) / 2.0])
    return f"{show(float(np.mean(values)))} ({show(float(low))} to {show(float(high))})"


# ---- tables


def _chosen(choice: Choice, draws: Draws, scored: xr.Dataset | None, ci_prob: float) -> dict[str, object]:
    answered = choice.answered
    columns = ["stage", "threshold", "runs for", "answers"]
    rows = [
        [name, show_threshold(float(t)), _share(float(reach)), _band(answered[:, j], ci_prob, _share)]
        for j, (name, t, reach) in enumerate(
            zip(draws.stages, choice.thresholds, choice.reach.mean(axis=0), strict=True)
        )
    ]
    found = [["error", _band(choice.error, ci_prob, _share)], ["cost", _band(choice.cost, ci_prob, _money)]]
    expected = ["", f"model: mean ({ci_prob:.0%} interval)"]
    if scored is not None:
        columns, expected = [*columns, "answers on test"], [*expected, "on the test log"]
        rows = [[*row, _share(float(share))] for row, share in zip(rows, scored["answered"].values, strict=True)]
        found[0].append(_share(float(scored["error"])))
        found[1].append(_money(float(scored["cost"])))
    mixed = float(np.mean(beats_mixtures(choice.error, choice.cost, single_stages(draws))))
    note = (
        f"With probability {_chance(mixed)} these thresholds err less than sending queries to two stages at "
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
        for name, show in (("error", _share), ("cost", _money)):
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
        f"Error against cost along the frontier: from {_share(float(ends['error'][0]))} at "
        f"{_money(float(ends['cost'][0]))} per query to {_share(float(ends['error'][1]))} at "
        f"{_money(float(ends['cost'][1]))}, with a credible band, each stage used alone"
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
