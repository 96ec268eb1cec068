"""Files are whole or not there: written beside their place, and renamed."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bayescascade.errors import CascadeError, shown

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_AT_ONCE = 8  # processes that write one file at the same time; any more take names that nobody takes over


@contextmanager
def whole_file(path: str | os.PathLike[str], what: str) -> Iterator[Path]:
    """Give a path beside ``path`` to write to, and put it in place at the end; ``what`` names it in errors.

    What is there and is no regular file, such as a device or a pipe, is not replaced: it is written to at the end.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "note.txt"
    >>> with whole_file(path, "the note") as part:
    ...     _ = part.write_text("all of it")
    >>> path.read_text()
    'all of it'

    Raises
    ------
    CascadeError
        When the path cannot be written, or is write-protected.
    """
    try:
        check_path(path, what)
        mode = _mode(path)
        if mode is None or stat.S_ISREG(mode):
            if mode is not None and not mode & 0o222:
                raise CascadeError(
                    f"{what} cannot be written to {path}: it is write-protected; name another file."
                )
            with _beside(Path(os.path.realpath(path)), replaces=mode is not None) as part:
                yield part
            return
        if stat.S_ISDIR(mode):
            raise CascadeError(f"{what} cannot be written to {path}: it is a folder; name a file in it.")
        with tempfile.TemporaryDirectory() as folder:
            part = Path(folder, "part" + Path(path).suffix[:20])
            yield part
            with open(part, "rb") as source, open(path, "wb") as target:
                shutil.copyfileobj(source, target)
    except OSError as error:
        raise CascadeError(f"{what} cannot be written to {path}: {error.strerror or error}.") from None


def write_json(path: str | os.PathLike[str], content: Any, what: str) -> None:
    """Write plain values as JSON, whole or not at all; ``what`` names them in errors.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "found.json"
    >>> write_json(path, {"kept": True}, "what was found")
    >>> path.read_text().split()
    ['{', '"kept":', 'true', '}']

    Raises
    ------
    CascadeError
        As `whole_file` does.
    """
    with whole_file(path, what) as part:
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        # halves of characters, which have no UTF-8, are written as JSON escapes them
        part.write_text(text, encoding="utf-8", errors="backslashreplace")


@contextmanager
def _beside(target: Path, replaces: bool) -> Iterator[Path]:
    """A path beside ``target``, which takes its place; not through a link, or the link's target would be stale."""
    with _part_of(target) as part:
        yield part
        with open(part, "rb") as stream:
            os.fsync(stream.fileno())
        if replaces:
            shutil.copymode(target, part)
        os.replace(part, target)


@contextmanager
def _part_of(target: Path) -> Iterator[Path]:
    """A path that nobody else writes to; parts that killed processes left there are taken over or removed.

    Who writes a part holds a lock on it, which ends with the process: a part without a lock is left over.
    """
    # the suffix stays, for writers that go by it; a name has 255 bytes, so not all of a long one
    stem, suffix = os.fsdecode(os.fsencode(target.stem)[:100]), target.suffix[:20]
    mine = None
    with ExitStack() as held:
        for number in range(_AT_ONCE):
            part = target.with_name(f".{stem}.{number}.part{suffix}")
            if mine is not None and not os.path.lexists(part):
                break
            opened: list[int] = []
            held.callback(_release, part, opened)
            _open(part, opened)
            mine = mine or (part if opened else None)
        if mine is None:
            mine = target.with_name(f".{stem}.{secrets.token_hex(4)}.part{suffix}")
            held.callback(mine.unlink, missing_ok=True)
        yield mine


def _open(part: Path, opened: list[int]) -> None:
    """Open a file that is ours to write, made if it is not there; ``opened`` stays empty where it is not ours."""
    if fcntl is None:
        return
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    while True:
        try:
            # made and noted in one step: a termination in between would leave it behind
            opened.extend(map(os.open, (part,), (flags,), (0o666,)))
        except OSError:
            if os.path.lexists(part):  # a link, or somebody else's
                return
            raise
        free = _lock(part, opened[0])
        if free and _is_at(part, opened[0]):
            return
        os.close(opened.pop())
        if not free:
            return


def _lock(part: Path, file: int) -> bool:
    """Lock an open file, unless it is another's."""
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # there are no locks on this disk, so nobody writes under this name
        part.unlink(missing_ok=True)
        return False
    return True


def _is_at(part: Path, file: int) -> bool:
    """Whether a name is still that of an open file, and its only one."""
    try:
        found = os.stat(part, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(file)) and found.st_nlink == 1


def _release(part: Path, opened: list[int]) -> None:
    """Remove a part, unless it is in its place by now and the name another's."""
    for file in opened:
        if _lock(part, file) and _is_at(part, file):  # a termination may have come before the lock
            part.unlink()
        os.close(file)


def _mode(path: str | os.PathLike[str]) -> int | None:
    """Kind and permissions of what is there, None for nothing; links are followed."""
    try:
        return os.stat(path).st_mode
    except FileNotFoundError:
        return None


def check_path(path: str | os.PathLike[str], what: str) -> None:
    """Raise `CascadeError` for what cannot be a path."""
    try:
        text = os.fspath(path)
        if not isinstance(text, str):  # bytes, which Path does not take
            raise TypeError
        os.fsencode(text)
    except (TypeError, UnicodeError):
        raise CascadeError(f"{what} cannot have the path {shown(path)}: give a text or a Path.") from None
    if "\0" in text:
        raise CascadeError(f"{what} cannot have the path {shown(text)}: it holds a NUL; take it out.")


def read_whole(path: str | os.PathLike[str], what: str) -> bytes:
    """The bytes of a regular file; a pipe that nobody writes to, or an endless device, would never end.

    Examples
    --------
    >>> read_whole("nowhere.json", "the policy")
    Traceback (most recent call last):
    ...
    FileNotFoundError: [Errno 2] No such file or directory: 'nowhere.json'

    Raises
    ------
    OSError
        When it cannot be read, or is not there.
    CascadeError
        When it is not a regular file.
    """
    check_path(path, what)
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise CascadeError(f"{what} cannot be read from {path}: it is not a regular file; name one.")
    return Path(path).read_bytes()
