"""Many files read as one log, for what needs the queries themselves and their order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr

from bayescascade.aggregates import sql
from bayescascade.aggregates.counting import database
from bayescascade.aggregates.sources import Table, find_files, table_of_files
from bayescascade.logs.read import read_log


def read_files(source: Any, **reading: Any) -> xr.Dataset:
    """The log in a folder of files, or those that a pattern names: one after the other, by their paths.

    Examples
    --------
    >>> read_files("logs/*.parquet")  # doctest: +SKIP

    Files hold the same columns, as for `aggregate`; ``reading`` is as for `read_log`. Raises `CascadeError` where
    there are no files, where they differ, or where `read_log` refuses what is in them.
    """
    return read_table(table_of_files(find_files(source)), reading)


def read_table(table: Table, reading: Mapping[str, Any], by: str = "", name: str = "") -> xr.Dataset:
    """The log in a table, or in those of its rows that have a ``name`` in the column ``by``, which is left out."""
    query, params = f"FROM {sql.relation(table)}", []
    if by:
        column = sql.name(by)
        query, params = f"SELECT * EXCLUDE ({column}) {query} WHERE {column}::VARCHAR = ?", [name]
    with database(ordered=True) as connection:
        if not table.paths:
            connection.register(sql.TABLE, table.frame)
        rows = connection.sql(query, params=params).to_arrow_table()
    how = dict(reading)
    if how.get("confidence_kind") is None and table.kind is not None:
        how["confidence_kind"] = table.kind
    return read_log(rows, **how)
