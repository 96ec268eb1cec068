"""The start of a file, by which its format is known."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from bayescascade.logs.files import STDIN
from bayescascade.logs.importers.lines import opened

HEAD = 1 << 20  # bytes to look at


@dataclass(frozen=True)
class Head:
    """The start of a file: its first bytes, and its first JSON object if it has one."""

    content: bytes
    first: dict[str, Any]


def head_of(source: str | os.PathLike[str]) -> Head:
    """The start of a file, or of standard input, which it leaves to be read."""
    with opened(source) as (stream, _):
        if os.fspath(source) == STDIN:
            content = stream.peek(HEAD) if hasattr(stream, "peek") else b""
        else:
            content = stream.read(HEAD)
    return Head(content, _first_object(content))


def _first_object(content: bytes) -> dict[str, Any]:
    """The first object of JSON lines or of an array; empty where there is none, or where it is cut off."""
    text = content.decode("utf-8-sig", "replace").lstrip().removeprefix("[").lstrip()
    try:
        found, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
