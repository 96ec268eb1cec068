"""Aggregates on disk: arrays in NumPy's own archive, without pickles, checked when they are read."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bayescascade._common.files import check_path, whole_file
from bayescascade.aggregates.aggregate import AMOUNTS, MOMENTS, RIGHT, Aggregate
from bayescascade.errors import CascadeError, call
from bayescascade.signals.kinds import KINDS

FORMAT = 1
_PACKED = 2000  # times that a file may hold its own size, packed


def save_aggregate(aggregate: Aggregate, path: str | os.PathLike[str]) -> None:
    """Write an aggregate to a file, whole or not at all.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import bayescascade as bc
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "2026-11-28.npz"
    >>> bc.save_aggregate(bc.aggregate(bc.load_example(), [0.8, 0.9, float("-inf")]), path)
    >>> bc.load_aggregate(path).n_queries
    300.0

    Parameters
    ----------
    aggregate : Aggregate
    path : path
        Its name ends in ``.npz``.

    Raises
    ------
    CascadeError
        When the name has another ending, or the file cannot be written.
    """
    check_path(path, "the aggregate")
    if Path(path).suffix != ".npz":
        raise CascadeError(f"an aggregate is written as .npz, but the file is called {Path(path).name!r}")
    n_edges = [len(edges) for edges in aggregate.edges]
    with whole_file(path, "the aggregate") as part, open(part, "wb") as stream:
        np.savez_compressed(
            stream,
            allow_pickle=False,
            format=np.array(FORMAT),
            stages=np.array(aggregate.stages, dtype=np.str_),
            kind=np.array(aggregate.kind),
            unit=np.array([] if aggregate.unit is None else [aggregate.unit], dtype=np.str_),
            n_edges=np.array(n_edges, dtype=np.int64),
            edges=np.concatenate([*aggregate.edges, np.zeros(0)]),
            cell=aggregate.cell.astype(np.int64),
            label=aggregate.label.astype(np.int64),
            weight=aggregate.weight,
            square=aggregate.square,
            amounts=aggregate.amounts,
        )


def load_aggregate(path: str | os.PathLike[str]) -> Aggregate:
    """Read an aggregate that `save_aggregate` wrote.

    Examples
    --------
    >>> import bayescascade as bc
    >>> bc.load_aggregate("nowhere.npz")
    Traceback (most recent call last):
    ...
    bayescascade.errors.CascadeError: there is no file 'nowhere.npz'; give the path of an aggregate ...

    Raises
    ------
    CascadeError
        For a missing, damaged or foreign file.
    """
    check_path(path, "the aggregate")
    if not os.path.isfile(path):
        raise CascadeError(
            f"there is no file {os.fspath(path)!r}; give the path of an aggregate written by "
            + call("save_aggregate")
        )
    try:
        with zipfile.ZipFile(path) as packed:
            claimed = sum(member.file_size for member in packed.infolist())
        if claimed > _PACKED * os.path.getsize(path):
            raise ValueError("it holds more than a file of its size can")
        with np.load(path, allow_pickle=False) as content:
            return _read(content)
    except Exception as error:  # whatever a damaged archive makes of NumPy
        raise CascadeError(
            f"{os.fspath(path)!r} is not an aggregate, or is damaged ({error}); give a file written by "
            + call("save_aggregate")
            + ", or count its log again"
        ) from None


def _read(content: Mapping[str, np.ndarray]) -> Aggregate:
    """An aggregate from its arrays; ValueError for what cannot be one."""
    if int(content["format"]) != FORMAT:
        raise ValueError(f"its format is {int(content['format'])}, and this version reads {FORMAT}")
    stages, unit = ([str(name) for name in content[key]] for key in ("stages", "unit"))
    kind = str(content["kind"])
    if kind not in KINDS or len(unit) > 1 or not stages or len(set(stages)) < len(stages):
        raise ValueError("its stages, kind or unit are none")
    n_edges, edges = content["n_edges"], content["edges"]
    if n_edges.shape != (len(stages),) or (n_edges < 0).any() or n_edges.sum() != len(edges):
        raise ValueError("its edges are not those of its stages")
    by_stage = tuple(np.split(edges, np.cumsum(n_edges)[:-1]))
    if not all(np.isfinite(e).all() and (np.diff(e) > 0).all() for e in by_stage):
        raise ValueError("its edges do not ascend")
    cell, label, weight, square = (content[name] for name in ("cell", "label", "weight", "square"))
    amounts, n = content["amounts"], len(content["weight"])
    shapes = {"cell": (n, len(stages)), "label": (n, len(stages)), "weight": (n,), "square": (n,)}
    shapes["amounts"] = (n, len(stages), len(AMOUNTS), MOMENTS)
    for name, shape in shapes.items():
        values, kinds = content[name], "i" if name in ("cell", "label") else "f"
        if values.shape != shape or values.dtype.kind != kinds or not np.isfinite(values).all():
            raise ValueError(f"{name} is not an array of numbers of the right shape")
        if (values < 0).any():
            raise ValueError(f"{name} is negative")
    if (cell > n_edges + 1).any() or (label > RIGHT).any() or (label[cell == 0] != 0).any():
        raise ValueError("a pattern is of a cell or a label that there is not")
    empty = Aggregate.empty(stages, kind, by_stage)
    whole = Aggregate(
        empty.stages, kind, empty.edges, cell, label, weight, square, amounts, unit[0] if unit else None
    )
    return whole._with(cell, label, weight, square, amounts)
