"""What the rivals that set thresholds share: calibrated errors, frontiers of vectors, libraries of an extra."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

import numpy as np

from bayescascade._common.pareto import efficient
from bayescascade.cascade.rules import route_blocks
from bayescascade.errors import CascadeError, bad_value
from bayescascade.rivals.base import LogArrays, ThresholdDecisions, spread
from bayescascade.rivals.empirical_risk import expected_wrong

N_POINTS = 50


def calibrated(signal: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """P(wrong) of each training query by a logistic curve of its signal; all (query, stage)."""
    return np.stack([expected_wrong(*columns) for columns in zip(signal.T, wrong.T, strict=True)], axis=1)


def run_points(
    confidence: np.ndarray, wrong: np.ndarray, cost: np.ndarray, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Error and cost (point,) of thresholds (point, stage) on some queries."""
    found = [
        (route.loss(wrong).mean(axis=1), route.reach.mean(axis=2) @ cost)
        for route in route_blocks(confidence, points)
    ]
    error, paid = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return error, paid


def frontier_of(
    points: np.ndarray, known: LogArrays, wrong: np.ndarray, n_points: int | None = N_POINTS
) -> ThresholdDecisions:
    """The vectors (point, stage) that no other beats by ``wrong`` (query, stage) on the training log.

    Of more than ``n_points`` are kept those spread evenly in cost.
    """
    points = np.unique(points, axis=0)
    error, cost = run_points(known.confidence, wrong, known.cost, points)
    keep = efficient(error, cost)
    return ThresholdDecisions(points[keep if n_points is None else spread(keep, cost, n_points)])


def check_count(name: str, value: float, least: int = 1) -> None:
    """Raise `CascadeError` unless an option is a whole number of at least so many."""
    if not isinstance(value, int | np.integer) or value < least:
        raise bad_value(name, value, problem=f"should be a whole number of at least {least}")


def extra(module: str, package: str) -> ModuleType:
    """Import a library that only rivals need.

    Raises
    ------
    CascadeError
        Where it is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as missing:
        raise CascadeError(
            f"this rival needs {package}, which is not installed; "
            "install it with the extra, pip install 'bayescascade[compare]'."
        ) from missing
