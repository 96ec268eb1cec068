"""Files to tables of raw cells: CSV as programs and spreadsheets write it, JSON, Parquet; packed or not."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import os
import re
import sys
import warnings
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd

from bayescascade._common.memory import check_memory, total_memory
from bayescascade._common.messages import listed, show
from bayescascade.errors import CascadeError, CascadeWarning

STDIN = "-"
MAX_COLUMNS = 20_000  # a text of one line would otherwise take minutes and all memory before it is refused
_BATCH = 1024  # rows of Parquet whose texts are unpacked at a time, to see how large they are
_MARKS = ",;\t|"  # that separate values, the likeliest first
_GZIP, _PARQUET, _ZIP = b"\x1f\x8b", b"PAR1", b"PK\x03\x04"
_JSON = re.compile(rb'(?:\xef\xbb\xbf)?\s*(?:\[\s*[\[{]|\{\s*")')  # no names of columns start so
_SHEETS = {".xlsx", ".xls", ".xlsm", ".ods"}
JSON_FORMS = "write one object a row (JSON lines), or an array of such objects"


def read_file(source: str | os.PathLike[str]) -> tuple[pd.DataFrame, str]:
    """The table in a file, or on standard input for ``"-"``, and what messages call it."""
    if os.fspath(source) == STDIN:
        return _by_content(standard_input().read(), "standard input"), "standard input"
    path = Path(source)
    return _read_path(path, str(path)), str(path)


def standard_input() -> BinaryIO:
    """Standard input as bytes; raises `CascadeError` where it is closed, or is none of files or pipes."""
    if not hasattr(sys.stdin, "buffer"):  # None where it is closed; notebooks have one of their own
        raise CascadeError(f"{STDIN!r} is standard input, of which there is none here; name a file")
    return sys.stdin.buffer


def _read_path(path: Path, origin: str) -> pd.DataFrame:
    readers: dict[str, Callable[[bytes, str], pd.DataFrame]] = {
        ".csv": _read_csv,
        ".tsv": partial(_read_csv, separator="\t"),
        **dict.fromkeys((".parquet", ".pq"), _read_parquet),
    }
    readers |= dict.fromkeys((".jsonl", ".ndjson", ".json"), _read_json)
    known = f"({', '.join(readers)}, or .gz of one; {STDIN} is standard input)"
    packed = path.suffix.lower() == ".gz"
    suffix = (path.with_suffix("") if packed else path).suffix.lower()
    if suffix in {".pkl", ".pickle"}:
        raise CascadeError(
            f"{origin} is a pickle, which can run any code when opened, so it is never read; "
            "save it as Parquet or CSV"
        )
    if not os.path.exists(path):  # Path.exists raises for a name that is too long
        raise CascadeError(f"there is no file {origin}; give the path of a log {known}")
    if not path.is_file():
        raise CascadeError(f"{origin} is not a file; give the path of one log {known}")
    if suffix not in readers:
        allowed = ", ".join(readers)
        how = ": save the sheet as CSV" if suffix in _SHEETS else ""
        raise CascadeError(
            f"{origin} ends in {path.suffix!r}; a log file should end in one of {allowed}, or .gz{how}"
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CascadeError(f"{origin} cannot be read: {error.strerror or error}") from None
    content = _unpacked(content, origin) if packed or content.startswith(_GZIP) else content
    if not content:
        raise CascadeError(f"{origin} is empty: it has no bytes; a log needs a row for each query")
    if _is_otherwise(content, suffix):
        return _by_content(content, origin)
    return readers[suffix](content, origin)


def _is_otherwise(content: bytes, suffix: str) -> bool:
    """Whether a file that is called CSV is Parquet, JSON or an archive by what it holds."""
    return suffix in (".csv", ".tsv") and (content.startswith((_PARQUET, _ZIP)) or bool(_JSON.match(content)))


def _by_content(content: bytes, origin: str) -> pd.DataFrame:
    """The table in bytes that have no name to go by."""
    if content.startswith(_GZIP):
        content = _unpacked(content, origin)
    if not content.strip():
        raise CascadeError(f"{origin} is empty; a log needs a row for each query")
    if content.startswith(_PARQUET):
        return _read_parquet(content, origin)
    if content.startswith(_ZIP):
        raise CascadeError(
            f"{origin} is a ZIP archive, as spreadsheets are; save the sheet as CSV, or give the log that is in it"
        )
    return (_read_json if _opening(content) else _read_csv)(content, origin)


def _unpacked(content: bytes, origin: str) -> bytes:
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise CascadeError(
            f"{origin} cannot be unpacked by gzip ({error}): it is cut off, damaged or not packed; pack it again"
        ) from None


# ---- CSV


def _read_csv(content: bytes, origin: str, separator: str | None = None) -> pd.DataFrame:
    content = _as_utf8(content, origin)
    named = re.match(rb'\s*"?sep[=](.)"?[ \t]*\r?\n', content)  # Excel's way to name the separator
    if named:
        content, separator = content[named.end() :], named[1].decode("latin-1")
    header = re.match(rb"\s*([^\r\n]*)", content)[1]  # type: ignore[index]  # it matches anything
    counts = {mark: header.count(mark.encode()) for mark in _MARKS}  # of equals the first
    separator = separator or max(counts, key=lambda mark: counts[mark])
    if header.count(separator.encode()) >= MAX_COLUMNS:
        raise CascadeError(
            f"the first line of {origin} has more than {MAX_COLUMNS} columns, so it is not a log; "
            "put each query on a line of its own"
        )
    try:
        # Every cell as text: guessing would make 7 of the query "007" and a missing one of the query "NA".
        # The header is read as a row, or pandas renames the second of two equal columns without a word.
        cells = pd.read_csv(
            io.BytesIO(content),
            sep=separator,
            header=None,
            index_col=False,
            dtype=str,
            keep_default_na=False,
            skipinitialspace=True,
        )
    except pd.errors.EmptyDataError:
        raise CascadeError(f"{origin} is empty: it has no rows; a log needs a row for each query") from None
    except ValueError as error:  # pandas' ParserError is one
        _check_first_line(content, origin)
        raise CascadeError(
            f"{origin} cannot be read as CSV: {str(error).strip()}; repair that line: a value that holds "
            f"{separator!r} needs quotes"
        ) from None
    _check_whole(cells, content, separator, origin)
    again = cells.index[1:][(cells.iloc[1:, 0] == cells.iat[0, 0]).to_numpy()]
    if len(again) and cells.loc[again[0]].equals(cells.iloc[0]):
        raise CascadeError(
            f"row {again[0] - 1} of {origin} (counted from 0) names the columns again, as where files were "
            "joined; remove that line"
        )
    if cells.shape[1] > 2 and (cells.iloc[0, 1:] == "").all():  # a title, as spreadsheets write it
        _refuse_first_line(cells.iat[0, 0], origin)
    table = cells.iloc[1:].reset_index(drop=True)
    table.columns = [str(name).strip() for name in cells.iloc[0]]
    return table


def _check_first_line(content: bytes, origin: str) -> None:
    """Refuse a first line that is no line of column names: a title, or a comment, stands before these."""
    lines = [line for line in content.decode().splitlines()[:10] if line.strip()]
    best = max(_MARKS, key=lambda mark: max(line.count(mark) for line in lines))
    if all(line.count(best) > lines[0].count(best) for line in lines[1:]):
        _refuse_first_line(lines[0], origin)


def _refuse_first_line(line: str, origin: str) -> None:
    raise CascadeError(
        f"the first line of {origin} is {show(line)}, which has fewer values than the lines after it; it should "
        "name the columns: remove what stands before their names"
    )


def _as_utf8(content: bytes, origin: str) -> bytes:
    """The text in UTF-8 without a mark; Excel writes UTF-16 as "Unicode text" and Windows-1252 as plain CSV."""
    try:
        if content.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):  # which starts as UTF-16 does
            return content.decode("utf-32").encode()
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return content.decode("utf-16").encode()
        content = content.removeprefix(b"\xef\xbb\xbf")
        if b"\0" in content:
            raise UnicodeError
        try:
            content.decode()
        except UnicodeDecodeError as error:
            text = content.decode("cp1252")
            line = content.count(b"\n", 0, error.start)
            warnings.warn(
                f"{origin} is not in UTF-8, so it was read as Windows-1252, as Excel writes CSV; look whether its "
                f"names are right (first: {text.splitlines()[line][:60]!r}), or save it as CSV in UTF-8",
                CascadeWarning,
                stacklevel=7,
            )
            return text.encode()
        return content
    except UnicodeError:
        raise CascadeError(f"{origin} is not a text file; save the log as CSV in UTF-8, or as Parquet") from None


def _check_whole(cells: pd.DataFrame, content: bytes, separator: str, origin: str) -> None:
    """Refuse rows with fewer values than the header, and warn of a last line that may be cut off."""
    if (cells.iloc[:, -1] == "").any():  # pandas fills what is missing, so count
        lines = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", newline="")
        rows = (row for row in csv.reader(lines, delimiter=separator) if row)
        with suppress(csv.Error):  # of a text too long for this reader, which is no fault
            for number, row in enumerate(rows, start=-1):
                if len(row) < cells.shape[1] and any(map(str.strip, row)):
                    raise CascadeError(
                        f"row {number} of {origin} (counted from 0) has {len(row)} values where the header has "
                        f"{cells.shape[1]}: the file is cut off or damaged there; write it again, "
                        "with a separator for every empty value"
                    )
    if not content.endswith((b"\n", b"\r")):
        warnings.warn(
            f"the last line of {origin} has no line end, so its last value ({cells.iloc[-1, -1]!r}) may be cut "
            "off; if the file is whole, end it with a line end",
            CascadeWarning,
            stacklevel=7,
        )


# ---- Parquet


def _read_parquet(content: bytes, origin: str) -> pd.DataFrame:
    import pyarrow

    try:
        _check_unpacked(content, origin)
        return pd.read_parquet(io.BytesIO(content), engine="pyarrow")
    except (pyarrow.ArrowException, OSError, ValueError, KeyError, TypeError) as error:  # of damaged metadata, too
        reason = str(error).splitlines() or [type(error).__name__]
        raise CascadeError(
            f"{origin} cannot be read as Parquet, it is truncated or of another format: {reason[0]}"
        ) from None


def _check_unpacked(content: bytes, origin: str) -> None:
    """Refuse Parquet that would not fit: a value that is said once may stand in a million rows."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    file = ParquetFile(io.BytesIO(content))
    texts = [
        field.name
        for field in file.schema_arrow
        if pa.types.is_binary(field.type) or pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
    ]
    rows, columns = file.metadata.num_rows, len(file.schema_arrow)
    what, advice = f"the table in {origin}", "leave out columns that are no part of the log"
    size = 8.0 * rows * columns
    check_memory(what, size, advice)
    if texts:
        seen = 0
        for batch in file.iter_batches(batch_size=_BATCH, columns=texts):
            seen += batch.num_rows
            size += batch.nbytes
            if size > 0.5 * total_memory():  # which is said, or refused
                check_memory(what, size * rows / max(seen, 1), advice)
                break


# ---- JSON


def _opening(content: bytes) -> bytes:
    """The bracket that a JSON text starts with, empty if it starts otherwise."""
    found = re.match(rb"(?:\xef\xbb\xbf)?\s*([\[{])", content)
    return found[1] if found else b""


def _read_json(content: bytes, origin: str) -> pd.DataFrame:
    # Not pandas.read_json(lines=True, dtype=False): an integer beside a missing value becomes a float, so that
    # query 9007199254740993 becomes ...992, one of more than 64 bits is refused, floats lose their last digits,
    # and no error names its line.
    if _opening(content) == b"[" or re.match(rb"(?:\xef\xbb\xbf)?\s*\{\s*\n", content):  # one text, not lines
        try:
            return _from_document(json.loads(content.decode("utf-8-sig")), origin)
        except (ValueError, RecursionError) as error:
            if isinstance(error, CascadeError):
                raise
            raise CascadeError(f"{origin} is not valid JSON ({error}); {JSON_FORMS}") from None
    records = []
    for number, line in enumerate(io.BytesIO(content), start=1):
        try:
            text = line.decode("utf-8-sig").strip()
            record = json.loads(text) if text else None
        except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
            raise CascadeError(
                f"{origin}, line {number}: not valid JSON ({error}); every line should be one whole object"
            ) from None
        if isinstance(record, dict):
            records.append(record)
        elif text:
            raise CascadeError(
                f"{origin}, line {number}: should be an object such as "
                f'{{"query": 1, "stage": 0, ...}} but is a JSON {type(record).__name__}; '
                "write one object per line"
            )
    if len(records) == 1 and all(isinstance(value, dict | list) for value in records[0].values()):
        return _from_document(records[0], origin)
    # Object columns, or an integer beside a missing value would become a float.
    return pd.DataFrame(records, dtype=object)


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _from_document(document: Any, origin: str) -> pd.DataFrame:
    """The table in one JSON text: an array of objects, or a column to each key as pandas' to_json writes it."""
    if isinstance(document, list):
        wrong = next((place for place, row in enumerate(document) if not isinstance(row, dict)), None)
        if wrong is not None:
            raise CascadeError(
                f"{origin} should be an array of objects, but its item {wrong} (counted from 0) is a JSON "
                f"{type(document[wrong]).__name__}; {JSON_FORMS}"
            )
        return pd.DataFrame(document, dtype=object)
    tables = [value for value in document.values() if _is_rows(value)]
    if len(tables) == 1 and (len(document) == 1 or set(document) == {"schema", "data"}):  # a wrapper, or pandas'
        return pd.DataFrame(tables[0], dtype=object)
    columns = document.values()
    if columns and all(isinstance(values, dict) for values in columns):
        rows = dict.fromkeys(key for values in columns for key in values)
        return pd.DataFrame({n: [values.get(key) for key in rows] for n, values in document.items()}, dtype=object)
    if columns and all(isinstance(v, list) for v in columns) and len({len(v) for v in columns}) == 1:
        return pd.DataFrame(document, dtype=object)
    raise CascadeError(
        f"{origin} is one JSON object with the keys {listed(document)}, which are not columns of one length; "
        f"{JSON_FORMS}"
    )
