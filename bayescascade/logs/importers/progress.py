"""A bar for large files, on standard error."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from bayescascade.logs.importers.lines import Advance, bytes_in, nothing

LEAST = 20_000_000  # bytes; less is read in a second or two


@contextmanager
def progress(sources: Iterable[str | os.PathLike[str]], wanted: bool) -> Iterator[Advance]:
    """Show how many of the files' bytes are read; small files show nothing."""
    sizes = [bytes_in(source) if os.path.exists(source) else None for source in sources]
    total = sum(size or 0 for size in sizes)
    if not wanted or total < LEAST:
        yield nothing
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as shown:
        task = shown.add_task("Reading responses", total=total)
        yield lambda done: shown.advance(task, done)
        shown.update(task, completed=total)
