"""Members of a zip file one at a time, also those packed by zstd; nothing is unpacked to disk."""

from __future__ import annotations

import copy
import os
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bayescascade.errors import CascadeError
from bayescascade.logs.importers.calls import fault
from bayescascade.logs.importers.lines import opened

ZSTD = 93  # the method's number in a zip file
MAX_MEMBER = 1 << 28  # bytes, unpacked; a member without end would take all memory
MAX_TOTAL = 1 << 36
_ENCRYPTED = 0x1
# what `zipfile` raises for what is no zip file, or no whole one
_DAMAGED = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    OverflowError,
    struct.error,
    zlib.error,
)


class Archive:
    """The members of a zip file by name.

    Examples
    --------
    >>> import pathlib, tempfile, zipfile
    >>> from bayescascade.logs.importers.archive import opened_archive
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "log.eval"
    >>> with zipfile.ZipFile(path, "w") as made:
    ...     made.writestr("header.json", "{}")
    >>> with opened_archive(path) as archive:
    ...     archive.names, archive.read("header.json")
    (['header.json'], b'{}')
    """

    def __init__(self, source: zipfile.ZipFile, name: str) -> None:
        self._source, self._name = source, name
        # of two members with one name the last counts, as for every program that reads zip files
        self._members = {info.filename: info for info in source.infolist()}
        self.names = list(self._members)

    def read(self, name: str) -> bytes:
        """The content of a member, unpacked and held against its checksum.

        Raises
        ------
        CascadeError
            If it is encrypted, damaged, packed by an unknown method, or longer than `MAX_MEMBER`.
        """
        where = f"{self._name}, member {name}"
        info = self._members[name]
        if info.flag_bits & _ENCRYPTED:
            raise fault(where, "encrypted, and a password is never asked for; write the log without one")
        if info.file_size > MAX_MEMBER:
            raise _too_long(where)
        try:
            content = self._content(info)
        except _DAMAGED as error:
            raise fault(
                where, f"damaged, cut off, or packed in an unknown way ({error}); write the log again"
            ) from None
        if len(content) > MAX_MEMBER:
            raise _too_long(where)
        if len(content) != info.file_size or zlib.crc32(content) != info.CRC:
            raise fault(where, "damaged: it is not what its checksum says; write the log again")
        return content

    def _content(self, info: zipfile.ZipInfo) -> bytes:
        """One byte more than allowed, if there are so many."""
        if info.compress_type != ZSTD:
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise zipfile.BadZipFile(f"method {info.compress_type}")
            with self._source.open(info) as stream:
                return stream.read(MAX_MEMBER + 1)
        # Taken out as it is stored, because `zipfile` reads zstd from Python 3.14 on only, and one frame of it.
        packed = copy.copy(info)
        packed.compress_type, packed.file_size = zipfile.ZIP_STORED, info.compress_size
        del packed.CRC  # that of the unpacked content
        zstd = _zstd()
        try:
            with self._source.open(packed) as stored, zstd.ZstdFile(stored) as frames:
                return bytes(frames.read(MAX_MEMBER + 1))
        except zstd.ZstdError as error:
            raise zipfile.BadZipFile(str(error)) from None


def _zstd() -> Any:
    """The library of zstd, loaded for the logs that need it alone."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd


def _too_long(where: str) -> CascadeError:
    return fault(where, f"longer than {MAX_MEMBER >> 20} MB unpacked, so it is not read; is it a log?")


@contextmanager
def opened_archive(source: str | os.PathLike[str]) -> Iterator[Archive]:
    """Open a zip file for reading.

    Raises
    ------
    CascadeError
        If it is not there, is no zip file, is damaged, or would be larger than `MAX_TOTAL` unpacked.
    """
    with opened(source) as (_, raw):
        try:
            archive = zipfile.ZipFile(raw)
        except _DAMAGED as error:
            raise CascadeError(f"{source} cannot be opened as a zip file ({error}); write the log again") from None
        with archive:
            if sum(info.file_size for info in archive.infolist()) > MAX_TOTAL:
                raise CascadeError(f"{source} is longer than {MAX_TOTAL >> 30} GB unpacked, so it is not read")
            yield Archive(archive, str(source))
