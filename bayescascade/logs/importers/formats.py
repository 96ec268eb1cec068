"""The formats that files of responses come in, by name, and how a file shows which it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bayescascade.errors import CascadeError, bad_value, in_python, option
from bayescascade.logs.importers.collect import Collector
from bayescascade.logs.importers.evaluations import EVALUATIONS
from bayescascade.logs.importers.head import Head, head_of
from bayescascade.logs.importers.lines import name_of
from bayescascade.logs.importers.one_line import at, is_batch, is_response
from bayescascade.logs.importers.presets import PRESETS
from bayescascade.logs.importers.responses import collect_responses
from bayescascade.logs.importers.traces import SUFFIXES as TRACES
from bayescascade.logs.importers.traces import collect_traces


@dataclass(frozen=True)
class Format:
    """A format of files.

    Attributes
    ----------
    collect : callable
        From a source and `Options` (and ``query`` and ``progressbar``) to a `Collector`.
    looks : callable
        Whether the start of a file is that of this format and of no other.
    options : tuple of str
        What ``collect`` takes besides.
    """

    collect: Callable[..., Collector]
    looks: Callable[[Head], bool]
    options: tuple[str, ...] = ()


def _traces(name: str) -> Format:
    preset = PRESETS[name]

    def collect(source: Any, options: Any, query: str | None = None, **more: Any) -> Collector:
        return collect_traces(source, options, preset, query, **more)

    def looks(head: Head) -> bool:
        if any(at(head.first, mark) is not None for mark in preset.marks):
            return True
        columns = set(head.columns)  # of a table that has responses, too
        return not columns.isdisjoint(preset.marks) and not columns.isdisjoint(preset.response)

    return Format(collect, looks, ("scores", "score"))


FORMATS: dict[str, Format] = {
    **{name: _traces(name) for name in PRESETS},
    **{name: Format(*functions) for name, functions in EVALUATIONS.items()},
    "responses": Format(collect_responses, lambda head: _is_response(head.first)),
}


def _is_response(line: dict[str, Any]) -> bool:
    return is_response(line) or is_batch(line) or (isinstance(line.get("response"), dict) and "model" not in line)


def guess_format(source: str | os.PathLike[str]) -> str:
    """The format that a file's start shows.

    Raises
    ------
    CascadeError
        If it could be none of them, or more than one.
    """
    head = head_of(_first_file(source))
    found = [name for name, known in FORMATS.items() if known.looks(head)]
    found = [name for name in found if name in EVALUATIONS] or found  # which hold responses, too
    if len(found) == 1:
        return found[0]
    if not found and any("confidence" in str(name).lower() for name in (*head.columns, *head.first)):
        raise CascadeError(
            f"{name_of(source)} has confidences, so it is a log already; "
            + in_python("give it to read_log", "give it to bayescascade fit as it is")
        )
    reason = f"could be {' or '.join(found)}" if found else "is of no known format"
    raise CascadeError(
        f"{name_of(source)} {reason}; name its format: {', '.join(FORMATS)}", parameter="format", value=None
    )


def _first_file(source: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """The file itself, or one of those in a folder."""
    if not os.path.isdir(source):
        return source
    suffixes = dict.fromkeys((".eval", ".jsonl", ".json", *TRACES))
    inside = (path for suffix in suffixes for path in sorted(Path(source).rglob(f"*{suffix}")))
    return next(inside, source)


def check_format(name: str) -> Format:
    """A format by its name."""
    if name not in FORMATS:
        raise bad_value("format", name, f"choose one of {', '.join(FORMATS)}")
    return FORMATS[name]


def refuse_options(name: str, known: Format, given: Iterable[str]) -> None:
    """Refuse options that a format does not have."""
    for each in given:
        if each not in known.options:
            others = [other for other, format_ in FORMATS.items() if each in format_.options]
            raise CascadeError(
                option(each) + f" is not for the format {name}, only for {', '.join(others)}; leave it out"
            )
