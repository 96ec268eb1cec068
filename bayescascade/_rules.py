"""What a log must be, whoever made it: rules on the (query, stage) matrices."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bayescascade.errors import CascadeError, CascadeWarning
from bayescascade.signals import check_kind, clip_rounding, off_scale

Matrix = NDArray[np.float64]  # (query, stage)
Where = Callable[[int, int], str]


def check_enough_stages(names: list[str]) -> None:
    """A cascade has two stages or more."""
    if len(names) < 2:
        only = f"only {names[0]!r}" if names else "none"
        raise CascadeError(
            f"a cascade needs at least two stages but this log has {only}; add the other stages' rows"
        )


def clean_matrices(matrices: dict[str, Matrix], names: list[str], kind: str, where: Where) -> dict[str, Matrix]:
    """Check the values of a log and blank what belongs to stages not run.

    `where(query, stage)` describes a cell for messages. Returns new matrices: confidence, correct, cost and,
    if given, latency.
    """
    confidence = _clean_confidence(matrices["confidence"], kind, where)
    blank = np.full(confidence.shape, np.nan)
    correct, cost = matrices.get("correct", blank), matrices.get("cost", blank)
    _first_bad(
        ~np.isnan(correct) & (correct != 0) & (correct != 1),
        correct,
        where,
        "correct",
        "a label should be 0, 1, True or False, or empty (NaN) if unknown",
    )
    _first_bad(
        np.isinf(cost) | (cost < 0),
        cost,
        where,
        "cost",
        "a cost should be finite and at least 0, or NaN if unknown",
    )
    run = ~np.isnan(confidence)
    _warn_lost_labels(~np.isnan(correct) & ~run, where)
    # What a stage that was not run has to say is padding, typically zeros of a join: as labels or costs they
    # would count as wrong answers and free calls.
    cleaned = {
        name: np.where(run, matrix, np.nan)
        for name, matrix in {**matrices, "correct": correct, "cost": cost}.items()
        if name != "confidence"
    }
    for stage, name in enumerate(names):
        _check_stage(name, run[:, stage], cleaned["correct"][:, stage], cleaned["cost"][:, stage])
    return {"confidence": confidence, **cleaned}


def _clean_confidence(confidence: Matrix, kind: str, where: Where) -> Matrix:
    clipped = clip_rounding(confidence, kind)
    allowed = f"of kind {kind!r} it should be {check_kind(kind).description}, or NaN if the stage was not run"
    _first_bad(off_scale(clipped, kind), clipped, where, "confidence", allowed)
    return clipped


def _first_bad(bad: NDArray[np.bool_], values: Matrix, where: Where, what: str, allowed: str) -> None:
    if bad.any():
        query, stage = (int(place) for place in np.argwhere(bad)[0])
        total = int(bad.sum())
        others = f", and {total - 1} more like it" if total > 1 else ""
        raise CascadeError(
            f"{what} is {values[query, stage].item()!r} at {where(query, stage)}{others}; {allowed}"
        )


def _warn_lost_labels(lost: NDArray[np.bool_], where: Where) -> None:
    if lost.any():
        query, stage = (int(place) for place in np.argwhere(lost)[0])
        warnings.warn(
            f"{int(lost.sum())} labels have no confidence beside them, so those stages count as not run and "
            f"the labels are left out (first: {where(query, stage)}); fill in the confidences to use them",
            CascadeWarning,
            stacklevel=4,
        )


def _check_stage(name: str, run: NDArray[np.bool_], correct: Matrix, cost: Matrix) -> None:
    if not run.any():
        raise CascadeError(
            f"stage {name!r} has no confidence in any row, so it counts as never run; log its confidence "
            "(a constant if it reports none), or leave the stage out with stages=[...]"
        )
    if np.isnan(correct).all():
        raise CascadeError(
            f"stage {name!r} has no labelled row: 'correct' is absent or empty wherever the stage was run; "
            f"label some of its answers (in a wide table the column is called '{name}.correct'), or leave the "
            "stage out with stages=[...]"
        )
    if np.isnan(cost).all():
        raise CascadeError(
            f"stage {name!r} has no known cost: it is empty wherever the stage was run; "
            'log it, or give the price of a call to each stage: cost={"small": 1e-4, "large": 1e-3}'
        )
