"""What the command line shows: results on stdout, remarks and progress on stderr."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from bayescascade.errors import CascadeWarning

if TYPE_CHECKING:
    import xarray as xr
    from rich.table import Table

CI_PROB = 0.9


def say(text: str) -> None:
    print(text, file=sys.stderr)


@contextmanager
def remarks() -> Iterator[None]:
    """Show the package's warnings as sentences, and hide other libraries', which say nothing to a user."""

    def print_note(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        say(f"Note: {message}")

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

    columns = (SpinnerColumn(finished_text="✓"), TextColumn("{task.description}"), TimeElapsedColumn())
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
    return f"{log.sizes['query']} queries; stages {order}: {stages}"


def _number(value: Any) -> str:
    return f"{float(value):.4g}"


def _share(value: Any) -> str:
    return f"{float(value):.1%}"


def thresholds_table(solution: Any, kind: str) -> Table:
    thresholds = solution.thresholds
    reach = solution.reach.mean([dim for dim in solution.reach.dims if dim != "stage"])
    words = {float("-inf"): "always", float("inf"): "never"}
    rows = (
        (str(stage), words.get(float(value)) or f"{float(value):.6g}", _share(share))
        for stage, value, share in zip(thresholds["stage"].values, thresholds.values, reach.values, strict=True)
    )
    return _table(f"Thresholds ({kind})", "Stage", "Accepts at or above", "Share that runs it", rows=rows)


def expected_table(solution: Any) -> Table:
    tail = (1 - CI_PROB) / 2
    rows = []
    for name in ("error", "cost"):
        draws = getattr(solution, name)
        low, high = draws.quantile([tail, 1 - tail]).values
        rows.append((name, _number(draws.mean()), f"{_number(low)} to {_number(high)}"))
    return _table("Expected per query", "", "Mean", f"{CI_PROB:.0%} interval", rows=rows)


def score_lines(scored: xr.Dataset, title: str) -> tuple[Table, str]:
    rows = (
        (str(stage), _share(ran), _share(answered))
        for stage, ran, answered in zip(
            scored["stage"].values, scored["reach"].values, scored["answered"].values, strict=True
        )
    )
    table = _table(title, "Stage", "Share that runs it", "Share it answers", rows=rows)
    error, cost = _number(scored["error"]), _number(scored["cost"])
    return table, f"Error {error}, cost {cost} per query, over {scored.attrs['n_queries']} queries.\n"


def checks_table(checks: Iterable[Any]) -> Table:
    words = {True: "passed", False: "FAILED", None: "no verdict"}
    rows = ((check.name, words[check.passed], check.text) for check in checks)
    table = _table("Is the fit to be believed?", "Check", "Result", "What was found", rows=rows)
    table.columns[-1].justify = "left"
    return table
