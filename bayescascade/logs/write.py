"""Logs to files that `read_log` takes."""

from __future__ import annotations

import os
from pathlib import Path

import xarray as xr

from bayescascade._common.files import whole_file
from bayescascade.errors import bad_value
from bayescascade.logs.tables import KIND, SIGNAL

SUFFIXES = (".parquet", ".csv")


def write_log(log: xr.Dataset, path: str | os.PathLike[str]) -> None:
    """Write a log, one row for each query and stage that was run.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import bayescascade as bc
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "log.parquet"
    >>> bc.write_log(bc.load_example(), path)
    >>> bc.read_log(path).attrs["confidence_kind"]
    'probability'

    Parameters
    ----------
    log : xarray.Dataset
        As `read_log` returns it.
    path : path
        Where it goes: ``.parquet``, which also keeps the kind of the confidences and, where it is known, what
        signal made them; or ``.csv``.

    Raises
    ------
    CascadeError
        If the path has another ending, or cannot be written.
    """
    check_suffix(path)
    fields = [name for name in ("confidence", "correct", "cost", "latency") if name in log]
    table = log[fields].to_dataframe().reset_index().dropna(subset="confidence")
    position = {name: number for number, name in enumerate(log["stage"].values)}
    table = table.rename(columns={"stage": "model"}).assign(stage=lambda t: t["model"].map(position))
    known = ["query", *(["task"] if "task" in log.coords else []), "stage", "model", *fields]
    table = table[known].astype({"correct": "Int8"})
    if "latency" in log and log["latency"].attrs.get("units") == "ms":
        table = table.rename(columns={"latency": "latency_ms"})
    table.attrs = {name: log.attrs[name] for name in (KIND, SIGNAL) if name in log.attrs}
    with whole_file(path, "the log") as part:
        if Path(path).suffix == ".csv":
            table.to_csv(part, index=False)
        else:
            table.to_parquet(part, index=False)


def check_suffix(path: str | os.PathLike[str]) -> None:
    """Raise `CascadeError` for the name of a file that a log is not written to."""
    if Path(path).suffix not in SUFFIXES:
        raise bad_value("path", str(path), "a log is written as .parquet or .csv")
