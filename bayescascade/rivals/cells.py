"""The cells of a comparison, one method on one training set and its test set; kept in a folder as they finish."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from bayescascade._common.files import check_path, whole_file
from bayescascade.cascade.rules import Route
from bayescascade.errors import CascadeError
from bayescascade.logs.texts import ANSWER, TEXT
from bayescascade.posterior.schema import data_hash
from bayescascade.rivals.base import Method, area_under, measure, stages_alone


@dataclass(frozen=True)
class Result:
    """What a method did: points by rising cost, area on the test log and under resampled test queries.

    ``failed`` is the sentence with which the method gave up; the areas are then NaN.
    """

    error: np.ndarray
    cost: np.ndarray
    auc: float
    replicates: np.ndarray
    seconds: float
    failed: str = ""


@dataclass(frozen=True)
class Split:
    """One training set and its test set: the labels of its place in the result, and the logs.

    ``whole`` is the training set with all stages of the log, those that this cascade does not run among them.
    """

    cascade: str
    n: str
    seed: int
    train: xr.Dataset
    test: xr.Dataset
    whole: xr.Dataset

    @cached_property
    def marks(self) -> tuple[str, str, str]:
        """What tells the logs from all others: train, whole, test."""
        return _hash(self.train), _hash(self.whole), _hash(self.test)


def run_cell(method: Method, run: Split, n_replicates: int) -> Result:
    """Let a method learn from one log and play another."""
    train, test = run.test if getattr(method, "sees_test", False) else run.train, run.test
    more = {"whole": run.whole} if getattr(method, "sees_whole", False) else {}
    start = time.perf_counter()
    try:
        learnt = method.fit(train, random_seed=run.seed, **more)
        seconds = time.perf_counter() - start
        played = learnt.decide(test.drop_vars("correct"))
    except CascadeError as trouble:
        nothing = np.full(n_replicates, np.nan)
        return Result(np.empty(0), np.empty(0), np.nan, nothing, time.perf_counter() - start, str(trouble))
    error, cost = measure(played, test)
    order = np.argsort(cost, kind="stable")
    resampled = resample(played, test, n_replicates)
    return Result(error[order], cost[order], area_under(error, cost, **stages_alone(test)), resampled, seconds)


def resample(played: Route, test: xr.Dataset, n_replicates: int) -> np.ndarray:
    """Area (replicate,) on bootstrap samples of the test queries, the same samples for every method."""
    wrong = 1.0 - test["correct"].transpose("query", "stage").values
    cost = test["cost"].transpose("query", "stage").values
    n = len(wrong)
    counts = np.random.default_rng(n).multinomial(n, np.full(n, 1.0 / n), size=n_replicates).T / n  # (query, rep)
    error = played.loss(wrong) @ counts
    mean = counts.T @ cost  # (replicate, stage)
    alone = counts.T @ wrong
    reach = played.reach.astype(float) @ counts  # (point, stage, replicate)
    spent = np.einsum("psr,rs->pr", reach, mean)
    return np.array(
        [area_under(error[:, r], spent[:, r], mean=mean[r], alone=alone[r]) for r in range(n_replicates)]
    )


def key_of(method: Method, run: Split, n_replicates: int) -> str:
    """What tells a cell from all others: the data, the method with its options, the seed."""
    learns = ["test"]  # an oracle does the same whatever the others learn from
    if not getattr(method, "sees_test", False):
        learns = [run.marks[0], str(run.seed)]
    if getattr(method, "sees_whole", False):
        learns.append(run.marks[1])
    kind = str(run.test.attrs["confidence_kind"])  # the same numbers mean something else under another
    return "|".join([repr(method), *learns, run.marks[2], str(n_replicates), kind])


def _hash(log: xr.Dataset) -> str:
    """Of a log's numbers and of what was asked and answered, where it holds that."""
    texts = [str(text) for name in (TEXT, ANSWER) if name in log for text in log[name].values.ravel()]
    more = hashlib.sha256("\0".join(texts).encode()).hexdigest()
    return data_hash(log)[:20] + (more[:12] if texts else "")


class Store:
    """Finished cells in a folder, one Parquet file of one row each; a file is whole or not there.

    Without a path nothing is kept.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self.folder = None if path is None else Path(path)
        if self.folder is None:
            return
        check_path(self.folder, "the folder of finished cells")
        if os.path.exists(self.folder) and not os.path.isdir(self.folder):  # of a name too long, Path's own raise
            raise CascadeError(f"{self.folder} is a file; finished cells are kept in a folder, so name another.")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CascadeError(f"the folder {self.folder} cannot be made: {error.strerror}.") from None

    def get(self, key: str) -> Result | None:
        """A finished cell, if it is there."""
        path = self._path(key)
        if path is None or not path.exists():
            return None
        import pyarrow
        from pyarrow import parquet

        try:
            (row,) = parquet.read_table(path, schema=_schema(), page_checksum_verification=True).to_pylist()
            found = row.pop("key")
            cell = Result(**row | {name: np.array(row[name], float) for name in ("error", "cost", "replicates")})
            _check_cell(cell)
        except (OSError, ValueError, KeyError, TypeError, MemoryError, pyarrow.ArrowException) as error:
            raise CascadeError(
                f"{path} cannot be read as a finished cell of a comparison ({str(error)[:200]}); "
                "delete it, or name another folder."
            ) from None
        return cell if found == key else None

    def put(self, key: str, cell: Result) -> None:
        """Keep a finished cell."""
        path = self._path(key)
        if path is None:
            return
        import pyarrow
        from pyarrow import parquet

        with whole_file(path, "a finished cell") as part:
            row = pyarrow.Table.from_pylist([{"key": key, **vars(cell)}], schema=_schema())
            parquet.write_table(row, part, write_page_checksum=True)

    def _path(self, key: str) -> Path | None:
        name = hashlib.sha256(key.encode()).hexdigest()[:32]
        return None if self.folder is None else self.folder / f"{name}.parquet"


def _check_cell(cell: Result) -> None:
    """Raise `ValueError` for numbers that no method can have had."""
    if len(cell.error) != len(cell.cost):
        raise ValueError(f"it has {len(cell.error)} errors and {len(cell.cost)} costs")
    if not (np.isfinite(cell.cost) & (cell.cost >= 0.0) & (cell.error >= 0.0) & (cell.error <= 1.0)).all():
        raise ValueError("an error is no share, or a cost is negative or not finite")
    empty = [name for name in ("auc", "seconds", "failed") if getattr(cell, name) is None]
    if empty:  # a column that is missing is read as one of nothing
        raise ValueError(f"it says nothing of {empty[0]!r}")
    if not cell.failed and not (np.isfinite(cell.auc) and np.isfinite(cell.replicates).all()):
        raise ValueError("an area is not finite, though the method did not give up")


def _schema() -> Any:
    import pyarrow as pa

    numbers = pa.list_(pa.float64())
    return pa.schema(
        [
            *(("key", pa.string()), ("error", numbers), ("cost", numbers), ("auc", pa.float64())),
            *(("replicates", numbers), ("seconds", pa.float64()), ("failed", pa.string())),
        ]
    )
