"""The start of a file, by which its format is known."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import dataclass
from typing import Any

from bayescascade.logs.files import STDIN
from bayescascade.logs.importers.lines import opened

PARQUET = b"PAR1"
HEAD = 1 << 20  # bytes to look at


@dataclass(frozen=True)
class Head:
    """The start of a file: its first bytes, its first JSON object if it has one, and a table's columns."""

    content: bytes
    first: dict[str, Any]
    columns: tuple[str, ...] = ()


def head_of(source: str | os.PathLike[str]) -> Head:
    """The start of a file, or of standard input, which it leaves to be read."""
    with opened(source) as (stream, _):
        if os.fspath(source) == STDIN:
            content = stream.peek(HEAD) if hasattr(stream, "peek") else b""
        else:
            content = stream.read(HEAD)
    return Head(content, _first_object(content), _columns(source, content))


def _columns(source: str | os.PathLike[str], content: bytes) -> tuple[str, ...]:
    """The columns of a Parquet file, or those that the first line of a table of text names."""
    if content.startswith(PARQUET):
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return tuple(pq.read_schema(source).names)
        except (pa.ArrowException, OSError):
            return ()
    line = content.partition(b"\n")[0].decode("utf-8-sig", "replace").strip()
    if not line or line[0] in "{[" or not line.replace("\t", " ").isprintable():
        return ()
    try:
        return tuple(next(csv.reader([line], delimiter="\t" if "\t" in line else ","), ()))
    except csv.Error:
        return ()


def _first_object(content: bytes) -> dict[str, Any]:
    """The first object of JSON lines or of an array; empty where there is none, or where it is cut off."""
    text = content.decode("utf-8-sig", "replace").lstrip().removeprefix("[").lstrip()
    try:
        found, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
