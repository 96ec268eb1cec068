"""Logs of many tenants: who they are, how a worker reads one of them, and whether it has changed since."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import xarray as xr

from bayescascade._common.messages import listed, show
from bayescascade.aggregates import sql
from bayescascade.aggregates.counting import database
from bayescascade.aggregates.joined import read_table
from bayescascade.errors import CascadeError, bad_value
from bayescascade.logs.read import read_log
from bayescascade.logs.sources import (
    Table,
    find_files,
    folder_columns,
    is_pattern,
    table_of_files,
    table_of_frame,
)
from bayescascade.logs.tables import load_table
from bayescascade.logs.validate import check_names
from bayescascade.posterior.schema import data_hash
from bayescascade.tenants.record import digest

ROWS = ".rows"  # a folder for a copy by tenant of large files


@dataclass(frozen=True)
class Tenant:
    """How a worker gets the log of one tenant.

    Attributes
    ----------
    name : str
    digest : str
        Of what the log holds: another one where it has changed.
    log : Dataset, optional
    table : Table, optional
        Files in which this tenant's rows are those with its name in the column ``by``, or all rows without one.
    by : str
    reading : dict
        Arguments of `read_log`.
    """

    name: str
    digest: str
    log: xr.Dataset | None = field(default=None, repr=False)
    table: Table | None = None
    by: str = ""
    reading: Mapping[str, Any] = field(default_factory=dict)

    def read(self) -> xr.Dataset:
        """The log; `CascadeError` for one that breaks a rule of `read_log`."""
        if self.log is not None:
            return self.log
        assert self.table is not None
        if not self.by and len(self.table.paths) == 1:
            return read_log(self.table.paths[0], **self.reading)
        return read_table(self.table, self.reading, self.by, self.name)


def find_tenants(logs: Any, by: str, reading: Mapping[str, Any], folder: Path) -> list[Tenant]:
    """The tenants of logs in any form, by name; parts of large files may be written to ``folder``.

    Raises
    ------
    CascadeError
        For names that no file can have, or that are alike; for files that differ, or lack the column ``by``.
    """
    if isinstance(logs, xr.Dataset):
        tenants = _of_dataset(logs, by)
    elif isinstance(logs, Mapping):
        tenants = [_of_one(name, log, reading) for name, log in logs.items()]
    else:
        tenants = _of_table(logs, by, reading, folder)
    if not tenants:
        raise CascadeError("there is no tenant: the logs are empty; give a log for each, or a table with rows")
    check_names("task", [tenant.name for tenant in tenants])
    return tenants


def _of_dataset(log: xr.Dataset, by: str) -> list[Tenant]:
    if by not in log.coords or log[by].dims != ("query",):
        raise bad_value("by", by, f"the log names tenants by none of its coords, which are {listed(log.coords)}")
    names = log[by].values.astype(str)
    bare = log.drop_vars(by)
    parts = {str(name): bare.isel(query=names == name) for name in dict.fromkeys(names.tolist())}
    return [Tenant(name, _digest(part), part) for name, part in parts.items()]


def _of_one(name: Any, log: Any, reading: Mapping[str, Any]) -> Tenant:
    if not isinstance(name, str) or not name.strip():
        raise CascadeError(f"a tenant's name should be a text but is {show(name)}")
    if isinstance(log, xr.Dataset):
        return Tenant(name, _digest(log), log)
    if is_pattern(log) or isinstance(log, str | os.PathLike):
        table = table_of_files(find_files(log))
        sizes = [(path, os.path.getsize(path), os.stat(path).st_mtime_ns) for path in table.paths]
        return Tenant(name, digest(sizes), table=table, reading=reading)
    raise CascadeError(f"the log of {show(name)} should be a Dataset or a path but is a {type(log).__name__}")


def _of_table(logs: Any, by: str, reading: Mapping[str, Any], folder: Path) -> list[Tenant]:
    if is_pattern(logs) or isinstance(logs, str | os.PathLike):
        table = table_of_files(find_files(logs))
    else:
        table = table_of_frame(load_table(logs))
    if by not in table.columns:
        raise bad_value(
            "by", by, f"name the column of tenants; the columns of {table.name} are {listed(table.columns)}"
        )
    column = sql.name(by)
    with database(ordered=True) as connection:
        if not table.paths:
            connection.register(sql.TABLE, table.frame)
        source = sql.relation(table)
        # the sum of the rows' hashes does not depend on their order
        rows = connection.execute(
            f"SELECT {column}::VARCHAR, count(*), sum(hash(t)::HUGEINT)::VARCHAR FROM {source} AS t "
            f"GROUP BY {column} ORDER BY 1"
        ).fetchall()
        if any(name is None or not name.strip() for name, *_ in rows):
            raise CascadeError(
                f"column {by!r} of {table.name} is empty in some rows; name the tenant of every row"
            )
        own = _files_by_tenant(table, by)
        if own is None:
            # a copy by tenant, so that nobody reads all rows to find those of one
            parts = (folder / ROWS).resolve()  # workers may stand elsewhere
            shutil.rmtree(parts, ignore_errors=True)  # of a run that was interrupted
            connection.execute(
                f"COPY (SELECT * FROM {source}) TO {sql.text(str(parts))} "
                f"(FORMAT parquet, PARTITION_BY ({column}))"
            )
            kind, copied = table.kind, find_files(parts)
            hive = replace(table_of_files(copied[:1]), paths=tuple(copied), kind=kind)
            table, own = hive, _files_by_tenant(hive, by)
            assert own is not None
    return [
        Tenant(name, digest([n, rows_hash, table.kind]), None, replace(table, paths=own[name]), by, reading)
        for name, n, rows_hash in rows
    ]


def _files_by_tenant(table: Table, by: str) -> dict[str, tuple[str, ...]] | None:
    """The files of each tenant, where their folders name it."""
    if by not in table.hive:
        return None
    found: dict[str, list[str]] = {}
    for path in table.paths:
        found.setdefault(folder_columns(path)[by], []).append(path)
    return {name: tuple(paths) for name, paths in found.items()}


def _digest(log: xr.Dataset) -> str:
    names = [str(s) for s in log["stage"].values] if "stage" in log.coords else []
    try:
        return digest([data_hash(log), names, str(log.attrs.get("confidence_kind"))])
    except (KeyError, ValueError, TypeError):  # no log: the worker says why
        return digest(repr(log))
