"""Which files of lm-evaluation-harness there are, of which model and which task."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bayescascade.logs.importers.sources import sources_of

SUFFIX = ".jsonl"
_SAMPLES = re.compile(r"samples_(?P<task>.+?)(?:_(?P<date>\d{4}-\d\d-\d\dT[\d.\-]+))?\.jsonl")
_MOST = 1 << 26  # bytes of a file of results


class File(NamedTuple):
    """A file of samples; ``stage`` is a user's name for its model."""

    path: Path
    stage: str | None
    model: str | None
    task: str | None


def files_of(source: Any) -> tuple[list[File], list[str]]:
    """The files in what a user gave, and the names of those that a newer run of the same task replaces.

    Raises
    ------
    CascadeError
        If there is no such file, or none in a folder.
    """
    found: dict[Any, tuple[str, File]] = {}
    older = []
    for stage, path in sources_of(_with_models(source), [SUFFIX]):
        match = _SAMPLES.fullmatch(path.name)
        task, date = (match["task"], match["date"] or "") if match else (None, "")
        file = File(path, stage, _model(path, date), task)
        key = (stage or file.model, task) if date else path
        if key in found:
            last = found[key]
            older.append(min((last[0], last[1].path.name), (date, path.name))[1])
            if date < last[0]:
                continue
        found[key] = date, file
    return [file for _, file in found.values()], older


def _with_models(source: Any) -> Any:
    """A folder of models' folders as these folders."""
    if isinstance(source, Mapping):
        return {stage: _with_models(inside) for stage, inside in source.items()}
    if not isinstance(source, str | os.PathLike) or not os.path.isdir(source):
        return source
    inside = sorted(
        folder for folder in Path(source).iterdir() if folder.is_dir() and any(folder.glob(f"*{SUFFIX}"))
    )
    return inside if inside and not any(Path(source).glob(f"*{SUFFIX}")) else source


def _model(path: Path, date: str) -> str | None:
    """The model as the results of the same run name it, else as the folder is called."""
    results = path.with_name(f"results_{date}.json")
    try:
        with open(results, "rb") as stream:
            name = json.loads(stream.read(_MOST)).get("model_name")
    except (OSError, ValueError, AttributeError, RecursionError):  # it is only asked for a name
        name = None
    if isinstance(name, str) and name.strip():
        return name
    named = path.parent.name if date else path.stem
    return named.replace("__", "/") or None
