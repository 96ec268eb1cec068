"""What the command line shows: results on stdout, remarks and progress on stderr."""

from __future__ import annotations

import shlex
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import TextIOWrapper
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayescascade.errors import CascadeWarning, Face, render

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from rich.table import Table

CI_PROB = 0.9  # as `display.format` has it, which is not loaded for --help
MISTAKE, INFEASIBLE, INTERRUPTED = 2, 3, 130  # exit codes


def never_fail() -> None:
    """Let a terminal that lacks a character show its code instead."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    print(text, file=sys.stderr)


@contextmanager
def remarks(face: Face) -> Iterator[None]:
    """Show the package's warnings as sentences, and hide other libraries', which say nothing to a user."""

    def print_note(message: Warning | str, *where: Any, **more: Any) -> None:
        say(f"Note: {message.render(face) if isinstance(message, CascadeWarning) else message}")

    with warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
        warnings.simplefilter("always", CascadeWarning)
        warnings.showwarning = print_note
        yield


@contextmanager
def working(text: str) -> Iterator[None]:
    """A spinner and a clock while the work goes on."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(finished_text="✓"),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(text, total=1)
        yield
        progress.update(task, completed=1)


def show(*parts: Table | str) -> None:
    from rich.console import Console

    console = Console(markup=False, highlight=False)  # stage names may hold brackets
    for part in parts:
        console.print(part)


def _table(title: str, *columns: str, rows: Iterable[tuple[str, ...]]) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold")
    for number, column in enumerate(columns):
        # folding keeps long stage names whole in a narrow terminal
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def describe(log: xr.Dataset) -> str:
    stages, order = ", ".join(map(str, log["stage"].values)), log.attrs.get("stage_order", "as given")
    tasks = tasks_of(log)
    told = f"; tasks: {', '.join(f'{name} ({count})' for name, count in tasks.items())}" if len(tasks) > 1 else ""
    return f"{log.sizes['query']} queries; stages {order}: {stages}{told}"


def log_words(log: xr.Dataset, path: Path) -> str:
    """A log just written, as it is typed to read it: CSV does not say what its confidences are."""
    kind = "" if path.suffix == ".parquet" else f" --kind {log.attrs['confidence_kind']}"
    return shlex.quote(str(path)) + kind


def tasks_of(log: xr.Dataset) -> dict[str, int]:
    """The tasks of a log in order of appearance, and how many queries each has."""
    return dict(Counter(log["task"].values.tolist())) if "task" in log.coords else {}


def _number(value: Any) -> str:
    return f"{float(value):.4g}"


def _share(value: Any) -> str:
    return f"{float(value):.1%}"


def thresholds_table(solution: Any, kind: str) -> Table:
    thresholds, reject = solution.thresholds, getattr(solution, "reject", None)
    reach = solution.reach.mean([dim for dim in solution.reach.dims if dim != "stage"])
    accepts, abstains = {float("-inf"): "always", float("inf"): "never"}, {float("-inf"): "never"}
    rows = []
    for j, stage in enumerate(thresholds["stage"].values):
        cells = [str(stage), _threshold(thresholds[j], accepts), _share(reach[j])]
        if reject is not None:
            cells.insert(2, _threshold(reject[j], abstains))
        rows.append(tuple(cells))
    rejects = () if reject is None else ("Abstains below",)
    columns = ("Stage", "Accepts at or above", *rejects, "Share that runs it")
    return _table(f"Thresholds ({kind})", *columns, rows=rows)


def _threshold(value: Any, words: Mapping[float, str]) -> str:
    from bayescascade.display.format import short

    return words.get(float(value)) or short(float(value))


def expected_table(solution: Any) -> Table:
    tail, bounds = (1 - CI_PROB) / 2, solution.upper_bounds
    rows = []
    for name in ("error", "cost", "abstained", "latency"):
        draws = getattr(solution, name, None)
        if draws is None:
            continue
        low, high = draws.quantile([tail, 1 - tail]).values
        sure = (_number(bounds[name]) if name in bounds else "",) if bounds else ()
        rows.append((name, _number(draws.mean()), f"{_number(low)} to {_number(high)}", *sure))
    columns = ["", "Mean", f"{CI_PROB:.0%} interval"]
    if bounds:
        margin = ", with safety margin" if solution.margin is not None else ""
        columns.append(f"{100 * solution.goal['prob']:.4g}% sure at most{margin}")
    return _table("Expected per query", *columns, rows=rows)


def score_lines(scored: xr.Dataset, title: str) -> tuple[Table, str]:
    columns = (scored[name].values for name in ("stage", "reach", "answered"))
    rows = ((str(stage), _share(ran), _share(answered)) for stage, ran, answered in zip(*columns, strict=True))
    table = _table(title, "Stage", "Share that runs it", "Share it answers", rows=rows)
    error = "not known (no labels)" if isnan(scored["error"]) else _number(scored["error"])
    cost = _number(scored["cost"])
    return (
        table,
        f"Error {error}, cost {cost} per query, over {scored.attrs['n_queries']} queries.\n"
        + scored.attrs.get("text", ""),
    )


def comparison_table(comparison: xr.Dataset) -> Table:
    """Families of each link, the best first."""
    rows = []
    for link in comparison["link"].values:
        at = comparison.sel(link=link)
        for i in at["elpd"].values.argsort()[::-1]:
            found = at.isel(family=int(i))
            numbers = (f"{float(found[name]):.1f}" for name in ("elpd", "elpd_diff", "dse"))
            rows.append((str(link), str(found["family"].item()), *numbers))
    title = "Families, by expected log predictive density"
    table = _table(title, "Link", "Family", "elpd", "elpd_diff", "dse", rows=rows)
    table.columns[1].justify = "left"
    return table


def against_table(table: pd.DataFrame, reference: str) -> Table:
    """Areas of methods beside a reference's; ``table`` as `Comparison.table` gives it."""
    rows = []
    for (n, method), row in table.iterrows():
        gap = "" if isnan(row["difference"]) else f"{row['difference']:+.2f}%"
        band = gap and f"{row['low']:+.2f} to {row['high']:+.2f}%"
        numbers = [f"{row[name]:{form}}" for name, form in (("auc", ".4f"), ("regret", ".4f"), ("p_value", ".2g"))]
        auc, regret, p_value = ("" if text == "nan" else text for text in numbers)
        rows.append((str(method), str(n), auc, regret, gap, band, p_value, f"{row['seconds']:.1f}"))
    title = f"Area under error against cost, beside {reference} (lower is better)"
    columns = (
        "Method",
        "n",
        "Area",
        "Over the oracle",
        "Difference",
        f"{CI_PROB:.0%} interval",
        "p (Wilcoxon)",
        "Seconds",
    )
    return _table(title, *columns, rows=rows)


def frame_table(found: pd.DataFrame) -> Table:
    """A data frame of texts and numbers as it stands."""
    rows = (tuple(map(str, row)) for row in found.itertuples(index=False))
    return _table("", *map(str, found.columns), rows=rows)


def tenants_table(found: pd.DataFrame, numbers: tuple[str, ...]) -> Table:
    """Tenants by row; columns of ``numbers`` to four digits, empty where they are not known."""
    rows = (
        tuple(
            ("" if isnan(value) else _number(value)) if name in numbers else str(value)
            for name, value in zip(found.columns, row, strict=True)
        )
        for row in found.itertuples(index=False)
    )
    return _table("", *(str(name).replace("_", " ").capitalize() for name in found.columns), rows=rows)


def update_text(attrs: Mapping[Any, Any]) -> str:
    """What an update did."""
    why = "thinned log" if float(attrs.get("old_share", 1.0)) == 1.0 else "a share of the earlier ones was kept"
    k = f"Pareto k-hat {float(attrs['update_k']):.2f}" if "update_k" in attrs else why
    if attrs["update"] == "reweighted":
        share = float(attrs["update_share"])
        did = f"the earlier draws were reweighted ({k}; {share:.0%} of them count)"
    else:
        did = f"all queries were sampled anew ({k})"
    new, labelled = int(attrs["update_new"]), int(attrs["update_labelled"])
    return (
        f"Updated with {new} new queries, {labelled if labelled < new else 'all'} of them labelled, beside "
        f"{int(attrs['update_old'])} earlier ones: {did}."
    )


def diff_tables(found: Any) -> list[Table]:
    """Thresholds and amounts of two policies side by side."""
    from bayescascade.display.format import chance

    rejects = "old_reject" in found.thresholds
    rows = []
    for stage, row in found.thresholds.iterrows():
        names = ("old", "new", *(("old_reject", "new_reject") if rejects else ()))
        rows.append((str(stage), *(_of_policy(row[name]) for name in names)))
    columns = ("stage", "old", "new", *(("old, abstain below", "new, abstain below") if rejects else ()))
    amounts = []
    for name, row in found.change.iterrows():
        band = "" if row.isna()["low"] else f"{_number(row['low'])} to {_number(row['high'])}"
        lower = "" if row.isna()["p_lower"] else chance(row["p_lower"])
        amounts.append((str(name), *(_number(row[c]) for c in ("old", "new", "change")), band, lower))
    return [
        _table("Thresholds", *columns, rows=rows),
        _table("Per query", "", "old", "new", "change", "90% interval", "P(lower)", rows=amounts),
    ]


def _of_policy(threshold: float) -> str:
    from bayescascade.display.format import show_threshold

    return "not run" if threshold != threshold else show_threshold(threshold)


def checks_table(checks: Iterable[Any], face: Face) -> Table:
    words = {True: "passed", False: "FAILED", None: "no verdict"}
    rows = ((check.name, words[check.passed], render(check.text, face)) for check in checks)
    table = _table("Is the fit to be believed?", "Check", "Result", "What was found", rows=rows)
    table.columns[-1].justify = "left"
    return table


def verdict_table(found: pd.DataFrame) -> Table:
    """The cascade and its rivals, per 1,000 queries."""
    from bayescascade.display.format import chance

    rows: list[tuple[str, ...]] = []
    limited = "kept" in found
    for row in found.itertuples():
        cascade = row.kind == "cascade"
        band = "" if cascade else f"{_number(row.saving_low)} to {_number(row.saving_high)}"
        saves = ("", "", "") if cascade else (_number(row.saving), band, chance(row.p_beats))
        rows.append((row.rival, _number(row.loss), *saves, *([chance(row.kept)] if limited else [])))
    columns = ["", "Expected loss", "The cascade saves", f"{CI_PROB:.0%} interval", "Probability that it saves"]
    if limited:
        columns.append("Keeps the limit with")
    return _table("Per 1,000 queries", *columns, rows=rows)


def labels_table(found: pd.DataFrame) -> Table:
    """The worth of more labels, by which stages are labelled and how many queries."""
    rows = []
    for row in found.itertuples():
        numbers = map(_number, (row.label_cost, row.error_width, row.cost_width))
        worth = f"{_number(row.evsi)} ± {_number(row.evsi_mcse)}"
        rows.append((str(row.labelled), str(row.n_labels), worth, *numbers))
    columns = ("Labelled", "Queries", "Worth per 1,000 served", "Cost", "Width of error", "Width of cost")
    return _table(f"More labels (widths: {CI_PROB:.0%} intervals)", *columns, rows=rows)


def sensitivity_table(found: pd.DataFrame) -> Table:
    """What becomes of thresholds that are kept, and of new ones, when something changes."""
    rows = []
    for (change, of, by), row in found.iterrows():
        of_stage = change == "price"
        name = f"{change} of {of} x {by:g}" if of_stage else f"{change} {by:g}" if change != "as tuned" else change
        numbers = (row[key] for key in ("error", "cost", "new_error", "new_cost", "lost"))
        rows.append((str(name), *("" if isnan(x) else f"{x:.3g}" for x in numbers)))
    columns = ("Change", "Error", "Cost", "Error, tuned anew", "Cost, tuned anew", "Lost by keeping")
    return _table("When something changes", *columns, rows=rows)
