"""Tables of any origin as one mapping a row, and where each stands."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import narwhals as nw
import pandas as pd

from bayescascade.errors import CascadeError
from bayescascade.logs.importers.lines import Advance, json_lines, name_of, nothing, refuse_pickle
from bayescascade.logs.tables import load_table

TABLES = (".csv", ".tsv", ".parquet", ".pq")


def rows_of(source: Any, advance: Advance = nothing) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each row of a file or of a DataFrame, and where it stands, for messages.

    Parameters
    ----------
    source : path or DataFrame
        JSON lines or an array, CSV or Parquet; a DataFrame of pandas, Polars or PyArrow, a relation of DuckDB, or
        any other that narwhals knows.
    """
    if isinstance(source, str | os.PathLike):
        refuse_pickle(source)
        if not _is_table(source):
            yield from json_lines(source, advance)
            return
        yield from _numbered(load_table(source), name_of(source))
        return
    yield from _numbered(source, "the table")


def _is_table(source: str | os.PathLike[str]) -> bool:
    path = Path(os.fspath(source))
    suffix = path.with_suffix("").suffix if path.suffix.lower() == ".gz" else path.suffix
    return suffix.lower() in TABLES


def _numbered(source: Any, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(source, pd.DataFrame):
        source = _plain(source, name)
    try:
        frame = nw.from_native(source)
    except TypeError:
        raise CascadeError(
            f"a table should be a path or of pandas, Polars, PyArrow or DuckDB, but is a {type(source).__name__}"
        ) from None
    if isinstance(frame, nw.LazyFrame):
        frame = frame.collect("pyarrow")
    for number, row in enumerate(frame.iter_rows(named=True)):
        yield f"{name}, row {number} (counted from 0)", row


def _plain(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """A table whose columns hold all: Phoenix has ids in the index, and once more in a column of a CSV file."""
    if not {None, *table.columns}.issuperset(table.index.names):
        table = table.reset_index()
    again = table.columns.duplicated()
    for column in table.columns[again]:
        first, *others = (values for _, values in table[column].items())
        if not all(first.equals(values) for values in others):
            raise CascadeError(f"{name} has two columns {column!r} that differ; leave one of them out")
    return table.loc[:, ~again]
