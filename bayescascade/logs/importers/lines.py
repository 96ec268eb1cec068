"""JSON lines one at a time, packed or not, so that a file of any length takes little memory."""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from bayescascade._common.files import check_path
from bayescascade.errors import CascadeError
from bayescascade.logs.files import STDIN, standard_input
from bayescascade.logs.importers.calls import check_object, fault

MAX_LINE = 1 << 26  # bytes; a response of a model is far shorter, and a line without end would take all memory
ONE_A_LINE = "write one JSON object a line"
PICKLES = (".pkl", ".pickle", ".joblib", ".pt", ".pth")

Advance = Callable[[int], object]


def nothing(done: int) -> None:
    """An `Advance` that shows nothing."""


def name_of(source: str | os.PathLike[str]) -> str:
    """What messages call a source."""
    return "standard input" if os.fspath(source) == STDIN else str(source)


def is_pickle(source: str | os.PathLike[str]) -> bool:
    """Whether a file is a pickle, by its name."""
    return any(suffix.lower() in PICKLES for suffix in Path(os.fspath(source)).suffixes)


def refuse_pickle(source: str | os.PathLike[str]) -> None:
    """Raise `CascadeError` for a pickle."""
    if is_pickle(source):
        raise CascadeError(
            f"{source} is a pickle, which can run any code when opened, so it is never read; "
            "save it as JSON lines, Parquet or CSV"
        )


def bytes_in(source: str | os.PathLike[str]) -> int | None:
    """The size of a file, None for standard input."""
    return None if os.fspath(source) == STDIN else os.path.getsize(source)


@contextmanager
def opened(source: str | os.PathLike[str]) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """The bytes of a file or of standard input, unpacked, and the stream below, which knows how far it is.

    Raises
    ------
    CascadeError
        If it is not there, is no regular file, is a pickle, or cannot be read or unpacked.
    """
    name = name_of(source)
    if os.fspath(source) == STDIN:
        with _readable(name):
            yield _unpacked(standard_input()), standard_input()
        return
    refuse_pickle(source)
    check_path(source, "the file")
    if not os.path.exists(source):
        raise CascadeError(f"there is no file {name}; look whether its name and folder are right")
    if not os.path.isfile(source):
        raise CascadeError(f"{name} is not a file; give the path of one")
    with _readable(name), open(source, "rb") as raw:
        yield _unpacked(raw), raw


@contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CascadeError(f"{name} cannot be unpacked by gzip ({error}); pack it again") from None
    except OSError as error:
        raise CascadeError(f"{name} cannot be read: {error.strerror or error}") from None


def _unpacked(raw: Any) -> Any:
    buffered = raw if hasattr(raw, "peek") else io.BufferedReader(raw)
    return gzip.GzipFile(fileobj=buffered) if buffered.peek(2)[:2] == b"\x1f\x8b" else buffered


def content_of(source: str | os.PathLike[str], most: int, advice: str) -> bytes:
    """All bytes of a file that is held in memory, unpacked; `CascadeError` where there are more than ``most``."""
    with opened(source) as (stream, _):
        content = stream.read(most + 1)
    if len(content) > most:
        raise CascadeError(f"{name_of(source)} is longer than {most >> 20} MB; {advice}")
    return content


def json_lines(source: str | os.PathLike[str], advance: Advance = nothing) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each object of a file of JSON lines, or of one JSON array, and where it stands, for messages.

    Parameters
    ----------
    source : path
        Also of a ``.gz``; ``"-"`` is standard input.
    advance : callable
        Called with the number of bytes that were read since.

    Raises
    ------
    CascadeError
        If a line is no JSON object; the message names it.
    """
    name = name_of(source)
    found = False
    with opened(source) as (stream, below):
        last = 0
        for number, line in enumerate(_lines(stream, name), start=1):
            if not number % 100 and below is not getattr(sys.stdin, "buffer", None):
                done = below.tell()
                advance(done - last)
                last = done
            where = f"{name}, line {number}"
            if number == 1 and line.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
                yield from _array(line + stream.read(), name)
                return
            if line.strip():
                found = True
                yield where, _object(line, where)
    if not found:
        raise CascadeError(f"{name} is empty; {ONE_A_LINE}")


def _lines(stream: IO[bytes], name: str) -> Iterator[bytes]:
    number = 0
    while line := stream.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise fault(f"{name}, line {number}", f"longer than {MAX_LINE >> 20} MB; {ONE_A_LINE}")
        yield line


def _object(line: bytes, where: str) -> dict[str, Any]:
    try:
        found = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise fault(where, f"not text in UTF-8; {ONE_A_LINE}, in UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise fault(where, f"not valid JSON ({error}); every line should be one whole object") from None
    return check_object(found, where, f"; {ONE_A_LINE}")


def _array(content: bytes, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of one JSON array, which is short: it is held in memory."""
    try:
        items = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise CascadeError(f"{name} is not valid JSON ({error}); {ONE_A_LINE}") from None
    if not items:
        raise CascadeError(f"{name} is empty; {ONE_A_LINE}")
    for number, item in enumerate(items, start=1):
        where = f"{name}, item {number}"
        yield where, check_object(item, where, f"; {ONE_A_LINE}")
