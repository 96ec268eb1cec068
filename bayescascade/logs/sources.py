"""Tables in many files: which files, what columns they have, and whether these are the same in all of them."""

from __future__ import annotations

import csv
import glob
import gzip
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas as pd

from bayescascade._common.messages import listed, show
from bayescascade.errors import CascadeError, bad_value, option, shown
from bayescascade.logs.files import read_file
from bayescascade.logs.tables import KIND, SIGNAL, load_table

PARQUET, CSV = "parquet", "csv"
NUMBER, TRUTH, TEXT = "numbers", "true and false", "texts"
_NOTHING = "nothing"  # a column without a value goes with any other
_FORMATS = {".parquet": PARQUET, ".pq": PARQUET, ".csv": CSV, ".tsv": CSV}
_HEADER = 1 << 20  # bytes of a first line, at most


@dataclass(frozen=True)
class Table:
    """A table that DuckDB reads.

    Attributes
    ----------
    columns : dict of str to str
        What each column holds: numbers, true and false, or texts.
    paths : tuple of str
        Its files; none for a data frame.
    frame : DataFrame, optional
    format : str
    separator : str
        Of CSV.
    kind : str, optional
        What its files say that confidences are.
    hive : tuple of str
        Columns that stand in the names of folders, as in ``tenant=acme/part-0.parquet``.
    """

    columns: dict[str, str]
    paths: tuple[str, ...] = ()
    frame: Any = field(default=None, repr=False)
    format: str = PARQUET
    separator: str = ","
    kind: str | None = None
    hive: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What messages call it."""
        more = f" and {len(self.paths) - 1} more files" if len(self.paths) > 1 else ""
        return (self.paths[0] + more) if self.paths else "the DataFrame"


def is_pattern(source: Any) -> bool:
    """Whether a source names several files: a pattern, a folder, or a list of paths."""
    if isinstance(source, str | os.PathLike):
        return os.path.isdir(source) or (glob.has_magic(os.fspath(source)) and not os.path.exists(source))
    return isinstance(source, list | tuple) and all(isinstance(part, str | os.PathLike) for part in source)


def is_partitioned(source: Any) -> bool:
    """Whether a source is a collection of Dask, such as a Dask DataFrame."""
    return hasattr(type(source), "to_delayed") and hasattr(type(source), "__dask_graph__")


def computed(parts: Iterable[Any]) -> list[Any]:
    """What parts of a Dask collection come to, wherever Dask computes; `CascadeError` where one cannot be."""
    from dask.base import compute

    with partitions_computed():
        return list(compute(*parts))


@contextmanager
def partitions_computed() -> Iterator[None]:
    """Computing partitions ends in a `CascadeError`, whatever a user's own functions in them raise."""
    try:
        yield
    except CascadeError:
        raise
    except Exception as error:
        if type(error).__module__.startswith("distributed"):  # the cluster's own
            raise
        raise CascadeError(
            f"a partition cannot be computed: {type(error).__name__}: {shown(str(error))}; mend what makes it"
        ) from error


def joined_table(source: Any) -> pd.DataFrame:
    """The rows of a table, of all files that a source names, or of all partitions of a Dask DataFrame.

    Files are read one after the other, by their paths. Raises `CascadeError` where there are none, where they
    differ (see `table_of_files`), or where `load_table` refuses what is in them.
    """
    if is_partitioned(source):
        parts = computed(source.to_delayed())
        _check_alike((f"partition {number}", _table_of_part(part)) for number, part in enumerate(parts))
        return load_table(pd.concat(parts))
    if not is_pattern(source):
        return load_table(source)
    table = table_of_files(find_files(source))
    parts, signals = [], set()
    for path in table.paths:
        part, named = read_file(path)[0], folder_columns(path)
        signals.add(part.attrs.get(SIGNAL))
        part.attrs = {}  # of all files, below
        parts.append(part.assign(**{name: named[name] for name in table.hive}))
    joined = pd.concat(parts, ignore_index=True)
    if table.kind is not None:
        joined.attrs[KIND] = table.kind
    if len(signals) == 1 and (signal := signals.pop()) is not None:
        joined.attrs[SIGNAL] = signal
    return load_table(joined)


def find_files(source: Any) -> list[str]:
    """The files that a path, a pattern, a folder or a list of them names, each once.

    Raises `CascadeError` where there are none.
    """
    sources = [source] if isinstance(source, str | os.PathLike) else source
    found: list[str] = []
    for part in map(os.fspath, sources):
        if os.path.isdir(part):
            inside = sorted(str(path) for path in Path(part).rglob("*") if _ending(path) in _FORMATS)
            found += [path for path in inside if not Path(path).name.startswith((".", "_"))]
        elif os.path.exists(part) or not glob.has_magic(part):
            found.append(part)
        else:
            found += sorted(path for path in glob.glob(part, recursive=True) if os.path.isfile(path))
    if not found:
        where = os.fspath(source) if isinstance(source, str | os.PathLike) else source
        raise CascadeError(
            f"no file of a log is at {show(where)}; name a folder of .parquet or .csv "
            "files, or a pattern such as 'logs/*.parquet'"
        )
    return list(dict.fromkeys(found))


def _ending(path: str | Path) -> str:
    """The last part of a name, ``.gz`` left out."""
    name = Path(path)
    return (name.with_suffix("") if name.suffix.lower() == ".gz" else name).suffix.lower()


def table_of_files(paths: Iterable[str]) -> Table:
    """Files as one table.

    Raises `CascadeError` where a file is of another format than the first, or has other columns, columns of
    another type, or another kind of confidence.
    """
    paths = tuple(paths)
    for path in paths:
        if not os.path.isfile(path):
            raise CascadeError(f"there is no file {path}; name files, a folder of them, or a pattern")
        if _ending(path) not in _FORMATS:
            raise CascadeError(
                f"{path} is neither Parquet nor CSV; logs of many files end in {', '.join(_FORMATS)}, or .csv.gz"
            )
    formats = {_FORMATS[_ending(path)] for path in paths}
    if len(formats) > 1:
        raise CascadeError(f"{paths[0]} and others are of different formats; keep all files in Parquet, or in CSV")
    read = _read_parquet_head if formats == {PARQUET} else _read_csv_head
    first = read(paths[0])
    holds = _check_alike((path, read(path)) for path in paths)
    hive = _folders(paths, first.columns)
    columns = holds | dict.fromkeys(hive, TEXT)
    return Table(columns, paths, None, formats.pop(), first.separator, first.kind, hive)


def table_of_frame(frame: pd.DataFrame) -> Table:
    """A data frame as a table."""
    table = _table_of_part(frame)
    return replace(table, columns=_known(table.columns))


def _table_of_part(frame: pd.DataFrame) -> Table:
    types = pd.api.types
    columns = {}
    for name, dtype in frame.dtypes.items():
        number = types.is_any_real_numeric_dtype(dtype)
        columns[str(name)] = NUMBER if number else TRUTH if types.is_bool_dtype(dtype) else TEXT
        if columns[str(name)] == TEXT and len(frame) and bool(frame[name].isna().all()):
            columns[str(name)] = _NOTHING
    return Table(columns, frame=frame, kind=frame.attrs.get(KIND))


def _known(columns: dict[str, str]) -> dict[str, str]:
    """Columns of no value at all hold texts, for those who read them."""
    return {name: TEXT if holds == _NOTHING else holds for name, holds in columns.items()}


def _read_parquet_head(path: str) -> Table:
    import pyarrow
    import pyarrow.parquet

    try:
        schema = pyarrow.parquet.read_schema(path)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines() or [type(error).__name__]
        raise CascadeError(
            f"{path} cannot be read as Parquet, it is truncated or of another format: {reason[0]}"
        ) from None
    columns = {name: _holds(kind) for name, kind in zip(schema.names, schema.types, strict=True)}
    try:
        attributes = json.loads((schema.metadata or {}).get(b"pandas", b"{}")).get("attributes", {})
    except (ValueError, AttributeError):
        attributes = {}
    return Table(columns, (path,), kind=attributes.get(KIND) if isinstance(attributes, dict) else None)


def _holds(kind: Any) -> str:
    from pyarrow import types

    if types.is_null(kind):
        return _NOTHING
    if types.is_boolean(kind):
        return TRUTH
    return NUMBER if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) else TEXT


def _read_csv_head(path: str) -> Table:
    """The header; as in `logs.files`, the mark that it has most of separates."""
    try:
        with gzip.open(path) if path.lower().endswith(".gz") else open(path, "rb") as stream:
            line = stream.readline(_HEADER).decode("utf-8-sig").strip("\r\n")
    except (OSError, EOFError, UnicodeError) as error:
        raise CascadeError(f"{path} cannot be read as CSV in UTF-8: {error}") from None
    counts = {mark: line.count(mark) for mark in ",;\t"}
    separator = max(counts, key=lambda mark: counts[mark])
    (names,) = csv.reader([line], delimiter=separator, skipinitialspace=True) if line else ([],)
    if not names:
        raise CascadeError(f"{path} is empty: it has no header; a log needs a row for each query")
    return Table(dict.fromkeys((name.strip() for name in names), TEXT), (path,), separator=separator)


def folder_columns(path: str) -> dict[str, str]:
    """Columns that the folders of a file name, and their values.

    Examples
    --------
    >>> folder_columns("logs/tenant=a%2Fb/day=1/part.parquet")
    {'tenant': 'a/b', 'day': '1'}
    """
    named = [part.partition("=") for part in Path(path).parent.parts]
    return {name: unquote(value) for name, sign, value in named if sign and name}


def _folders(paths: tuple[str, ...], columns: dict[str, str]) -> tuple[str, ...]:
    """Columns that the folders of all files name, and the files do not have."""
    named = [folder_columns(path) for path in paths]
    return tuple(name for name in named[0] if name not in columns and all(name in of for of in named))


def _check_alike(tables: Iterable[tuple[str, Table]]) -> dict[str, str]:
    """What each column holds in all tables, which come with what messages call them."""
    named = iter(tables)
    first, one = next(named)
    holds, where = dict(one.columns), dict.fromkeys(one.columns, first)
    for path, other in named:
        lacks, more = (list(dict.fromkeys(a - b)) for a, b in _both_ways(set(holds), set(other.columns)))
        if lacks or more:
            parts = [f"lacks {listed(sorted(lacks))}"] * bool(lacks) + [f"has {listed(sorted(more))}"] * bool(more)
            raise CascadeError(
                f"{path} has other columns than {first}: it {' and '.join(parts)}; write all files of a log "
                "alike, or count them apart"
            )
        for name, kind in other.columns.items():
            if holds[name] == _NOTHING:
                holds[name], where[name] = kind, path
            elif kind not in (holds[name], _NOTHING):
                raise CascadeError(
                    f"column {name!r} holds {kind} in {path} and {holds[name]} in {where[name]}; write all files "
                    "of a log alike"
                )
        if one.kind != other.kind:
            raise CascadeError(
                f"confidences are of kind {one.kind!r} in {first} and of kind {other.kind!r} in {path}; a log has "
                "one kind: count them apart"
            )
        if one.separator != other.separator:
            raise CascadeError(
                f"{path} separates its columns by {other.separator!r}, {first} by {one.separator!r}"
            )
    return _known(holds)


def _both_ways(one: set[str], other: set[str]) -> tuple[tuple[set[str], set[str]], tuple[set[str], set[str]]]:
    return (one, other), (other, one)


def check_kind_of(table: Table, given: str | None) -> str:
    """The kind of confidence that is asked for, else the one that the files name."""
    if given is None and table.kind is None:
        raise CascadeError(
            "nothing says what the confidences are; name their kind: " + option(KIND, "probability"),
            parameter=KIND,
        )
    if given is not None and table.kind not in (None, given):
        raise bad_value(KIND, given, f"{table.name} says that its confidences are of kind {table.kind!r}")
    return str(given or table.kind)
