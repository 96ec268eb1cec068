"""What is known of each tenant: a line for each in a file that only grows, and a table at the end.

A line is written when a tenant's own file is in place. So whatever ends the work, what had finished is there, and
the next run goes on from it; a line that was cut off says nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from bayescascade._common.arrays import none_if_nan
from bayescascade._common.files import whole_file
from bayescascade._common.spreadsheets import for_spreadsheets
from bayescascade.errors import CascadeError

FAILED = "failed"
_LONGEST = 150  # bytes of a file's name, of 255


def file_name(tenant: str) -> str:
    """A name for a file of a tenant, which may be called anything, without its ending.

    Examples
    --------
    >>> file_name("acme"), file_name("a/b"), len(file_name("x" * 1000))
    ('acme', 'a%2Fb', 167)
    """
    safe = quote(tenant, safe=" ,+()@")
    if tenant.startswith("."):
        safe = safe.replace(".", "%2E")
    if len(safe) <= _LONGEST:
        return safe
    return f"{safe[:_LONGEST]}-{hashlib.sha256(tenant.encode()).hexdigest()[:16]}"


def digest(content: Any) -> str:
    """Of all that a tenant's result hangs on: what has another one is done again."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


class Record:
    """The lines of a folder, the last one of each tenant."""

    def __init__(self, folder: Path, name: str = "tenants") -> None:
        self._folder, self._lines, self._table = folder, folder / f"{name}.jsonl", folder / f"{name}.csv"
        self.rows: dict[str, dict[str, Any]] = {}
        try:
            content = self._lines.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return
        except OSError as error:
            raise CascadeError(f"{self._lines} cannot be read: {error.strerror or error}") from None
        for line in content.splitlines():
            try:
                row = json.loads(line)
                self.rows[str(row["tenant"])] = row
            except (ValueError, KeyError, TypeError):  # cut off when its writer was killed
                continue

    @classmethod
    def make(cls, folder: Path) -> Record:
        """That of a folder, which is made if need be; `CascadeError` where it cannot be."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CascadeError(f"the folder {folder} cannot be made: {error.strerror or error}") from None
        return cls(folder)

    def is_done(self, tenant: str, digest: str) -> bool:
        """Whether a tenant has its result, and the file of it, where there is one, is in place."""
        row = self.rows.get(tenant)
        if row is None or row.get("digest") != digest or row.get("status") == FAILED:
            return False
        return not row["file"] or (self._folder / str(row["file"])).is_file()

    def add(self, row: dict[str, Any]) -> None:
        """Write a tenant's line.

        Raises `CascadeError` where it cannot be written, as on a full disk.
        """
        plain = {name: none_if_nan(value) for name, value in row.items()}
        try:
            with open(self._lines, "ab+") as stream:
                if stream.tell() and not _ends_a_line(stream):
                    stream.write(b"\n")
                stream.write((json.dumps(plain) + "\n").encode())
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise CascadeError(f"{self._lines} cannot be written: {error.strerror or error}") from None
        self.rows[str(row["tenant"])] = plain

    def table(self, names: list[str], columns: tuple[str, ...]) -> pd.DataFrame:
        """The rows of these tenants."""
        rows = [self.rows[name] for name in names if name in self.rows]
        table = pd.DataFrame(rows, columns=["tenant", *columns]).set_index("tenant")
        return table.fillna(np.nan).infer_objects()  # a line has null where a number is not known

    def write_table(self, table: pd.DataFrame) -> None:
        """Write a table beside the lines."""
        with whole_file(self._table, "the table of tenants") as part:
            for_spreadsheets(table.reset_index()).to_csv(part, index=False)


def _ends_a_line(stream: Any) -> bool:
    stream.seek(-1, os.SEEK_END)
    return bool(stream.read(1) == b"\n")
