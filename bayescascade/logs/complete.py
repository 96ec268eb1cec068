"""Queries of a log for which every stage ran, and whose answers are labelled."""

from __future__ import annotations

import numpy as np
import xarray as xr

from bayescascade.errors import CascadeError


def ran_all(log: xr.Dataset, labels: bool = True) -> np.ndarray:
    """Which queries ran every stage, and have every label if ``labels`` (query,)."""
    there = log["confidence"].notnull()
    found: np.ndarray = (there & log["correct"].notnull() if labels else there).all("stage").values
    return found


def complete_rows(log: xr.Dataset, what: str, instead: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confidence and wrong answers (query, stage) of the labelled queries, mean cost (stage,) of all.

    Raises `CascadeError` where a labelled query misses a stage: ``what`` needs them complete, so do ``instead``.
    """
    confidence, correct, cost = (
        log[name].transpose("query", "stage").values for name in ("confidence", "correct", "cost")
    )
    labelled = np.isfinite(correct).any(axis=1)
    confidence, correct = confidence[labelled], correct[labelled]
    lacks = (~np.isfinite(correct) | np.isnan(confidence)).any(axis=1)
    if lacks.any() or not labelled.any():
        raise CascadeError(
            "{} of the {} labelled queries miss an answer or a label at some stage; {} needs every stage of these "
            "run and labelled. Log and label the rest, or {}.",
            (lacks.sum(), labelled.sum(), what, instead),
        )
    return confidence, 1.0 - correct, np.nanmean(cost, axis=0)
