"""The log of a running cascade: JSON lines, one a call, that survive the end of the process at any time."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bayescascade._common.files import check_path
from bayescascade._common.messages import show
from bayescascade.errors import CascadeError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

Line = dict[str, Any]

NEEDED = ("query", "stage", "decision", "kind", "last")


class DecisionLog:
    """A file to which each query's calls are added when the query has ended, all at once.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp()) / "log.jsonl"
    >>> log = DecisionLog(path, ["small", "large"], "probability")
    >>> log.append("q1", [{"query": "q1", "stage": "small", "decision": "accept", "kind": "probability"}])
    >>> log.close()
    >>> again = DecisionLog(path, ["small", "large"], "probability")
    >>> again.lines_of("q1")[0]["decision"]
    'accept'
    >>> again.close()

    Parameters
    ----------
    path : path
        Made if it is not there.
    stages : list of str
        Those of the policy.
    kind : str
        Its confidence kind.

    Attributes
    ----------
    places : dict
        Where in the file the lines of each query that has ended begin and end.
    cut : int
        Bytes at the end that were cut off, because a process was ended while it wrote them.

    Raises
    ------
    CascadeError
        If the file is another's, of other stages or another kind, or cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], stages: Sequence[str], kind: str) -> None:
        check_path(path, "the log")
        self.path, self._stages, self._kind = Path(path), stages, kind
        self._lock = threading.Lock()
        try:
            self._file: int | None = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise CascadeError(f"the log {path} cannot be written: {error.strerror or error}") from None
        try:
            if not stat.S_ISREG(os.fstat(self._file).st_mode):
                raise CascadeError(f"the log {path} is not a regular file; name one")
            self._hold()
            self.places, end = self._read()
            size = os.fstat(self._file).st_size
            self.cut = size - end
            if self.cut:
                os.ftruncate(self._file, end)
            os.fsync(self._file)
            _keep_name(self.path)
        except BaseException:
            self.close()
            raise

    def append(self, query: str, lines: Sequence[Mapping[str, Any]]) -> None:
        """Add the calls of a query that has ended; they are on the disk when this returns."""
        rows = [{**line, "last": place == len(lines)} for place, line in enumerate(lines, start=1)]
        text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode()
        with self._lock:
            if self._file is None:
                raise CascadeError(f"the log {self.path} is closed; make a new cascade")
            before = os.fstat(self._file).st_size
            try:
                written = os.write(self._file, text)
                if written < len(text):
                    raise OSError(0, "the disk is full")
                os.fsync(self._file)
            except OSError as error:
                os.ftruncate(self._file, before)  # so that the file still ends with a whole query
                raise CascadeError(
                    f"the log {self.path} cannot be written: {error.strerror}; query {show(query)} is not in it"
                ) from None
            self.places[query] = (before, before + len(text))

    def close(self) -> None:
        """Let others write; the lock ends with the file."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None

    def _hold(self) -> None:
        """Refuse a second writer."""
        if fcntl is None or self._file is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CascadeError(
                f"another process writes the log {self.path}; wait until it has ended, or name another file"
            ) from None
        except OSError as error:
            raise CascadeError(
                f"the log {self.path} cannot be locked ({error.strerror}); put it on another disk"
            ) from None

    def _read(self) -> tuple[dict[str, tuple[int, int]], int]:
        """The place of each query, and where the last whole one ends; what follows was never finished."""
        finished: dict[str, tuple[int, int]] = {}
        block: list[Line] = []
        end = at = 0
        with open(self.path, "rb") as stream:
            for place, text in enumerate(stream, start=1):
                at += len(text)
                if not text.endswith(b"\n"):  # a write reaches the disk from its start, so this is its end
                    break
                line = self._line(text, place)
                block.append(line)
                if line["query"] != block[0]["query"] or line["query"] in finished:
                    raise self._fault(place, f"the query {show(line['query'])} is there twice or in pieces")
                if line["last"]:
                    finished[line["query"]] = (end, at)
                    block, end = [], at
        if at and not finished and not block:
            self._torn_or_foreign()
        return finished, end

    def _torn_or_foreign(self) -> None:
        """Refuse a file without a whole line, unless it is the beginning of one of ours."""
        start = self.path.read_bytes()[:10]
        if not b'{"query": '.startswith(start):
            raise self._fault(1, "it is not one of a cascade's log")

    def _line(self, text: bytes, place: int) -> Line:
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            raise self._fault(place, "it is not a JSON object") from None
        missing = [name for name in NEEDED if not isinstance(line, dict) or name not in line]
        if missing:
            raise self._fault(place, f"it has no {missing[0]!r}, so it is not one of a cascade's log")
        if not isinstance(line["query"], str):
            raise self._fault(place, f"its query is {show(line['query'])}, not a text")
        if line["stage"] not in self._stages:
            raise self._fault(place, f"its stage {show(line['stage'])} is none of the policy's")
        if line["kind"] != self._kind:
            raise self._fault(place, f"its confidences are of the kind {show(line['kind'])}, not {self._kind!r}")
        return line

    def _fault(self, place: int, what: str) -> CascadeError:
        return CascadeError(f"{self.path}, line {place}: {what}; mend it, or name another file for the log")

    def lines_of(self, query: str) -> list[Line]:
        """The lines of a query that has ended."""
        start, end = self.places[query]
        with open(self.path, "rb") as stream:
            stream.seek(start)
            return [json.loads(line) for line in stream.read(end - start).splitlines()]

    def lines(self) -> Iterator[Line]:
        """All lines, one after another."""
        with open(self.path, "rb") as stream:
            yield from map(json.loads, stream)


def _keep_name(path: Path) -> None:
    """Bring the file's name to the disk, not only what is in it."""
    if os.name != "posix":
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
