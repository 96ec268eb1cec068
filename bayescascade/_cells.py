"""The cells of a comparison, one method on one training set and its test set; kept in a file as they finish."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from bayescascade.baselines.base import ANSWER, TEXT, Method, Played, area_under, measure, stages_alone
from bayescascade.errors import CascadeError
from bayescascade.storage import data_hash

_START = '{"key": '


@dataclass(frozen=True)
class Cell:
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
class Run:
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


def run_cell(method: Method, run: Run, n_replicates: int) -> Cell:
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
        return Cell(np.empty(0), np.empty(0), np.nan, nothing, time.perf_counter() - start, str(trouble))
    error, cost = measure(played, test)
    order = np.argsort(cost, kind="stable")
    resampled = resample(played, test, n_replicates)
    return Cell(error[order], cost[order], area_under(error, cost, **stages_alone(test)), resampled, seconds)


def resample(played: Played, test: xr.Dataset, n_replicates: int) -> np.ndarray:
    """Area (replicate,) on bootstrap samples of the test queries, the same samples for every method."""
    wrong = 1.0 - test["correct"].transpose("query", "stage").values
    cost = test["cost"].transpose("query", "stage").values
    n = len(wrong)
    counts = np.random.default_rng(n).multinomial(n, np.full(n, 1.0 / n), size=n_replicates).T / n  # (query, rep)
    error = wrong[np.arange(n), played.answered] @ counts
    mean = counts.T @ cost  # (replicate, stage)
    alone = counts.T @ wrong
    reach = played.run.astype(float) @ counts  # (point, stage, replicate)
    spent = np.einsum("psr,rs->pr", reach, mean)
    return np.array(
        [area_under(error[:, r], spent[:, r], mean=mean[r], alone=alone[r]) for r in range(n_replicates)]
    )


def key_of(method: Method, run: Run, n_replicates: int) -> str:
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
    """Finished cells in a file of JSON lines; a line is whole or, when a run was killed, not read.

    Without a path nothing is kept.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self.path = None if path is None else Path(path)
        self.cells: dict[str, Cell] = {}
        if self.path is None or not self.path.exists():
            return
        whole, _, torn = self._read().rpartition("\n")
        for number, line in enumerate(whole.split("\n"), 1):
            if line:
                try:
                    entry = json.loads(line)
                    self.cells[entry.pop("key")] = _from_text(entry)
                except (ValueError, KeyError, TypeError, AttributeError):
                    raise CascadeError(
                        f"{self.path}, line {number}, is no finished cell of a comparison; name another file."
                    ) from None
        if torn:
            self._drop(torn)

    def get(self, key: str) -> Cell | None:
        """A finished cell, if it is there."""
        return self.cells.get(key)

    def put(self, key: str, cell: Cell) -> None:
        """Keep a finished cell."""
        self.cells[key] = cell
        if self.path is not None:
            self._append(json.dumps({"key": key, **_to_text(cell)}) + "\n")

    def _read(self) -> str:
        assert self.path is not None
        try:
            return self.path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CascadeError(f"{self.path} cannot be read as finished cells: {error}.") from None

    def _drop(self, torn: str) -> None:
        """Take off the line that a killed run left behind; anything else is somebody's text."""
        assert self.path is not None
        if not (torn.startswith(_START) or _START.startswith(torn)):
            raise CascadeError(f"{self.path} is no file of finished cells of a comparison; name another file.")
        os.truncate(self.path, self.path.stat().st_size - len(torn.encode()))

    def _append(self, text: str) -> None:
        assert self.path is not None
        try:
            with open(self.path, "a", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise CascadeError(f"finished cells cannot be kept in {self.path}: {error.strerror}.") from None


def _to_text(cell: Cell) -> dict[str, Any]:
    return {
        "error": [float(f"{x:.7g}") for x in cell.error],
        "cost": [float(f"{x:.7g}") for x in cell.cost],
        "auc": cell.auc,
        "replicates": base64.b64encode(cell.replicates.astype("<f4").tobytes()).decode(),
        "seconds": round(cell.seconds, 3),
        "failed": cell.failed,
    }


def _from_text(entry: dict[str, Any]) -> Cell:
    return Cell(
        error=np.array(entry["error"], dtype=float),
        cost=np.array(entry["cost"], dtype=float),
        auc=float(entry["auc"]),
        replicates=np.frombuffer(base64.b64decode(entry["replicates"]), dtype="<f4").astype(float),
        seconds=float(entry["seconds"]),
        failed=str(entry["failed"]),
    )
