"""What the command line shows: results on stdout, remarks and progress on stderr."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import textwrap
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayescascade._common.messages import counted
from bayescascade.errors import CascadeWarning, Face

if TYPE_CHECKING:
    import xarray as xr
    from rich.table import Table

CI_PROB = 0.9  # as `display.format` has it, which is not loaded for --help
MISTAKE, INFEASIBLE, INTERRUPTED = 2, 3, 130  # exit codes


def never_fail() -> None:
    """Let a terminal that lacks a character show its code instead."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def width() -> int:
    """Columns of the terminal; 80 where there is none."""
    return shutil.get_terminal_size().columns


def wrapped(text: str, indent: str = "", first: str = "") -> str:
    """Prose, each of its lines broken between words to the width of the terminal."""
    return "\n".join(
        textwrap.fill(
            line,
            max(width(), 40),
            initial_indent=indent if number else first,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for number, line in enumerate(text.splitlines() or [""])
    )


def tell(text: str) -> None:
    """Prose on standard output."""
    print(wrapped(text))


def facts(lines: Iterable[tuple[str, str]]) -> None:
    """Names and what they are, the texts below one another."""
    lines = list(lines)
    wide = max((len(name) for name, _ in lines), default=0) + 2
    for name, text in lines:
        print(wrapped(text, " " * wide, name.ljust(wide)))


def say(text: str) -> None:
    """A remark on standard error, wrapped where a person reads it: a line of a log is one line."""
    print(wrapped(text) if sys.stderr.isatty() else text, file=sys.stderr, flush=True)


def error(message: str) -> None:
    """What stopped a command, on standard error."""
    import typer

    text = f"Error: {message}"
    text = wrapped(text) if sys.stderr.isatty() else text
    typer.echo(typer.style("Error:", fg="red", bold=True) + text.removeprefix("Error:"), err=True)


def written(path: Path) -> str:
    """What to say of a file once it is written; asked before that, because it says whether there was one."""
    return f"{'Replaced' if path.is_file() else 'Wrote'} {path}"


def not_written(path: Path) -> str:
    """What to say of a file that was to be written and was not."""
    return f"{path} {'was left as it was, from an earlier run' if path.exists() else 'was not written'}."


def emit(content: Any) -> None:
    """A result as JSON on standard output: None for what is not known, infinities as text."""
    print(json.dumps(_plain(content), indent=2, ensure_ascii=False))


def _plain(value: Any) -> Any:
    """Dicts, data frames, arrays and records as JSON has them."""
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        value = value.to_dict("records")
    elif hasattr(value, "tolist"):
        value = value.tolist()
    elif hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return None if value != value else str(value) if value in (float("inf"), float("-inf")) else value
    return value if value is None or isinstance(value, bool | int) else str(value)


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
    """A spinner and a clock while the work goes on; where nobody watches, a line before and one after it."""
    if not sys.stderr.isatty():
        start = time.monotonic()
        say(f"{text} ...")
        yield
        say(f"{text}: done in {time.monotonic() - start:.0f} s")
        return
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


_NARROW = 60  # columns of a terminal


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], words: Iterable[int] = (0,)) -> Table:
    """A table without a frame; columns of words may be broken to fit, those of numbers hardly ever."""
    from rich import box
    from rich.table import Table

    made = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )
    for number, column in enumerate(columns):
        # folding keeps long stage names whole in a narrow terminal
        if number in words:
            made.add_column(column, overflow="fold")
        else:  # in a very narrow one unbroken numbers would leave nothing to the names
            made.add_column(column, overflow="fold", justify="right", no_wrap=width() >= _NARROW)
    for row in rows:
        made.add_row(*row)
    return made


def describe(log: xr.Dataset) -> str:
    stages, order = ", ".join(map(str, log["stage"].values)), log.attrs.get("stage_order", "as given")
    tasks = tasks_of(log)
    told = f"; tasks: {', '.join(f'{name} ({count})' for name, count in tasks.items())}" if len(tasks) > 1 else ""
    return f"{counted(log.sizes['query'])}; stages {order}: {stages}{told}"


def log_words(log: xr.Dataset, path: Path) -> str:
    """A log just written, as it is typed to read it: CSV does not say what its confidences are."""
    kind = "" if path.suffix == ".parquet" else f" --kind {log.attrs['confidence_kind']}"
    return shlex.quote(str(path)) + kind


def tasks_of(log: xr.Dataset) -> dict[str, int]:
    """The tasks of a log in order of appearance, and how many queries each has."""
    return dict(Counter(log["task"].values.tolist())) if "task" in log.coords else {}
