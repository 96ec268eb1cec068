"""Files are whole or not there: written beside their place, and renamed."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bayescascade.errors import CascadeError


@contextmanager
def whole_file(path: str | os.PathLike[str], what: str) -> Iterator[Path]:
    """Give a path beside ``path`` to write to, and put it in place at the end; ``what`` names it in errors.

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
        When the path cannot be written.
    """
    target = Path(os.path.realpath(path))  # replacing a link would leave its target stale
    # the suffix stays, for writers that go by it
    part = target.with_name(f".{target.stem}.{secrets.token_hex(4)}.part{target.suffix}")
    try:
        try:
            yield part
            with open(part, "rb") as stream:
                os.fsync(stream.fileno())
            if target.exists():
                shutil.copymode(target, part)
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise CascadeError(f"{what} cannot be written to {path}: {error.strerror or error}.") from None
