"""One tenant's rows out of a table of many, by DuckDB, so that the rest of it is not held."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr

from bayescascade.aggregates import sql
from bayescascade.aggregates.counting import database
from bayescascade.logs.read import read_log
from bayescascade.logs.sources import Table


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
