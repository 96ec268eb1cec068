"""Files are whole or not there: written beside their place, and renamed."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bayescascade.errors import CascadeError, shown


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


@contextmanager
def _beside(target: Path, replaces: bool) -> Iterator[Path]:
    """A path beside ``target``, which takes its place; not through a link, or the link's target would be stale."""
    # the suffix stays, for writers that go by it; a name has 255 bytes, so not all of a long one
    stem = os.fsdecode(os.fsencode(target.stem)[:100])
    part = target.with_name(f".{stem}.{secrets.token_hex(4)}.part{target.suffix[:20]}")
    try:
        yield part
        with open(part, "rb") as stream:
            os.fsync(stream.fileno())
        if replaces:
            shutil.copymode(target, part)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


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
