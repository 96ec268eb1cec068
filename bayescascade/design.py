"""From a log to the arrays that the model reads: signals placed in the tree, rows ordered by case, labels, costs.

`Design` is what is known before any parameter: it is kept in the fit's ``constant_data``, so that posterior
draws can be turned into margins and calibrations without the log.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from bayescascade.calibration import Scaling, build_scaling
from bayescascade.data import validate_log
from bayescascade.margins import N_LEAVES, Margin, build_margin, leaf_used, masked_paths, split_prior
from bayescascade.signals import KINDS, to_signal

_DIMS: dict[str, tuple[str, ...] | str] = {
    "tree": ("branch", "stage", "leaf", "split"),
    "leaf_used": ("stage", "leaf"),
    "split_prior": ("branch", "stage", "split"),
    "row_leaf": "row",
    "row_place": ("place", "row"),
    "row_signal": "row",
    "label_stage": "label",
    "label_x": ("regressor", "label"),
    "label_correct": "label",
    "cost_known": ("known", "stage"),
}


@dataclass(frozen=True)
class Design:
    """A log made ready for the model.

    Attributes
    ----------
    stages, links : list of str
    kind : str
        The log's ``confidence_kind``.
    margins, scalings : list
        One `Margin` and one `Scaling` for each stage.
    arrays : dict of str to ndarray
        What `pm.Data` holds, by name.
    row_query, row_stage, label_query : ndarray of int
        Where each row and label stands in the log.
    """

    stages: list[str]
    kind: str
    margins: list[Margin]
    scalings: list[Scaling]
    arrays: dict[str, np.ndarray]
    row_query: np.ndarray
    row_stage: np.ndarray
    label_query: np.ndarray

    @property
    def links(self) -> list[str]:
        """Names of the pairs of consecutive stages."""
        return [f"{a} > {b}" for a, b in zip(self.stages[:-1], self.stages[1:], strict=True)]

    @property
    def dims(self) -> dict[str, tuple[str, ...] | str]:
        """Dims of the arrays that have named ones."""
        return _DIMS


def build_design(log: xr.Dataset) -> Design:
    """Place every observed signal and label of a validated log."""
    log = validate_log(log)
    kind = str(log.attrs["confidence_kind"])
    signal = to_signal(log["confidence"].transpose("query", "stage").values, kind)
    correct = log["correct"].transpose("query", "stage").values
    bounds = signal_bounds(kind)
    observed = [signal[np.isfinite(signal[:, j]), j] for j in range(signal.shape[1])]
    margins = [build_margin(x, discrete=kind == "votes", bounds=bounds) for x in observed]
    scalings = [build_scaling(x, m) for x, m in zip(observed, margins, strict=True)]

    rows, row_query, row_stage = _rows(signal, margins)
    labels, label_query = _labels(signal, correct, scalings)
    arrays = {
        "tree": np.stack(masked_paths(margins)),
        "leaf_used": leaf_used(margins),
        "split_prior": split_prior(margins),
    }
    arrays |= rows | labels | {"cost_known": cost_statistics(log["cost"].transpose("query", "stage").values)}
    stages = [str(s) for s in log["stage"].values]
    return Design(stages, kind, margins, scalings, arrays, row_query, row_stage, label_query)


def signal_bounds(kind: str) -> tuple[float, float]:
    """Range of the signal scale of a kind of confidence."""
    spec = KINDS[kind]
    ends = to_signal(np.array([spec.lower, spec.upper], dtype=float), kind)
    return float(ends[0]), float(ends[1])


def _rows(signal: np.ndarray, margins: list[Margin]) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """One row for each observed (query, stage), ordered by how it links to the stage before."""
    query, stage = np.nonzero(np.isfinite(signal))
    place = {
        name: np.full(signal.shape, fill, dtype=dtype)
        for name, fill, dtype in (
            ("leaf", 0, np.int64),
            ("low", 0.0, float),
            ("high", 0.0, float),
            ("atom", False, bool),
            ("log_shape", 0.0, float),
        )
    }
    for j, margin in enumerate(margins):
        seen = np.isfinite(signal[:, j])
        for name, value in margin.locate(signal[seen, j]).items():
            place[name][seen, j] = value
    place["leaf"] += N_LEAVES * np.arange(signal.shape[1])

    linked = (stage > 0) & np.isfinite(signal[query, stage - 1])
    atom_here, atom_before = place["atom"][query, stage], place["atom"][query, stage - 1]
    case = np.where(linked, 1 + atom_here.astype(int) + atom_before.astype(int), 0)
    order = np.argsort(case, kind="stable")
    query, stage, case = query[order], stage[order], case[order]

    # where each (query, stage) stands among the rows, so that a link can point at the row before it
    position = np.zeros(signal.shape, dtype=np.int64)
    position[query, stage] = np.arange(len(query))
    before = position[query, np.maximum(stage - 1, 0)]
    here, link = np.arange(len(query)), stage - 1
    atom_first = place["atom"][query, np.maximum(stage - 1, 0)]
    first, second = np.where(atom_first, before, here), np.where(atom_first, here, before)
    arrays = {
        "row_signal": signal[query, stage],
        "row_leaf": place["leaf"][query, stage],
        "row_place": np.stack([place[name][query, stage] for name in ("low", "high", "log_shape")]),
        "row_unlinked": np.zeros(int(np.sum(case == 0))),
    }
    for name, number in (("both_free", 1), ("one_atom", 2), ("both_atoms", 3)):
        arrays[name] = np.stack([first, second, link])[:, case == number]
    return arrays, query, stage


def _labels(
    signal: np.ndarray, correct: np.ndarray, scalings: list[Scaling]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    query, stage = np.nonzero(np.isfinite(correct) & np.isfinite(signal))
    z, ends = np.zeros(len(query)), np.zeros((len(query), 2))
    for j, scaling in enumerate(scalings):
        here = stage == j
        z[here] = scaling.standardise(signal[query[here], j])
        ends[here] = scaling.at_ends(signal[query[here], j])
    arrays = {
        "label_stage": stage,
        "label_x": np.column_stack([z, ends]).T.copy(),
        "label_correct": correct[query, stage].astype(np.int64),
    }
    return arrays, query


def cost_statistics(cost: np.ndarray) -> np.ndarray:
    """Mean cost of each stage, its relative standard error, and degrees of freedom (3, stage).

    A stage with a single known cost borrows the spread of the others, with three degrees of freedom.
    """
    n = np.sum(np.isfinite(cost), axis=0)
    mean = np.nanmean(cost, axis=0)
    spread = np.array([np.nanstd(c, ddof=1) if m > 1 else np.nan for c, m in zip(cost.T, n, strict=True)])
    relative = np.divide(spread, mean, out=np.zeros_like(mean), where=mean > 0)
    lone = n < 2
    relative[lone] = np.mean(relative[~lone]) if (~lone).any() else 0.0
    return np.stack([mean, relative / np.sqrt(n), np.maximum(n - 1.0, 3.0)])
