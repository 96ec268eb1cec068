"""Isotonic calibration and the cheapest thresholds whose expected error keeps a target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from bayescascade._common.arrays import safe_divide
from bayescascade._common.pareto import efficient
from bayescascade.rivals.base import LogArrays, ThresholdDecisions, complete_arrays, spread
from bayescascade.rivals.common import N_POINTS, check_count, extra, run_points
from bayescascade.rivals.empirical_risk import descend, price_range
from bayescascade.signals.kinds import to_confidence

_ROUNDS = 5


@dataclass(frozen=True)
class Isotonic:
    """P(correct) of each stage by isotonic regression, thresholds on a grid of it, cost against a bound on error.

    With two stages all thresholds of the grid are tried: for every target error the cheapest that keeps it. With
    more, a search by coordinates over the same grid starts, for each target, from the cheapest vector that a
    sweep of prices found to keep it, and lowers the cost one threshold after another while the target holds.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.rivals.thresholds.isotonic import Isotonic
    >>> log = bc.simulate(200, n_stages=2, random_seed=1)
    >>> Isotonic().fit(log).thresholds.shape[1]
    2

    Attributes
    ----------
    n_grid : int
        Thresholds on the scale of P(correct), evenly spaced over [0, 1]; 201 as published.
    n_points : int
        Target errors, and points on the frontier, at most.

    Raises
    ------
    CascadeError
        From ``fit``, where the extra ``bayescascade[compare]`` is not installed.

    References
    ----------
    UCCI (2026), arXiv:2605.18796.
    """

    n_grid: int = 201
    n_points: int = N_POINTS
    name: str = "isotonic_constrained"
    needs_text: bool = False
    sees_test: bool = False

    def fit(self, train: xr.Dataset, *, random_seed: int = 0) -> ThresholdDecisions:
        """Cheapest thresholds for targets over the range of errors; nothing is random."""
        check_count("n_grid", self.n_grid, 2)
        check_count("n_points", self.n_points)
        known = complete_arrays(train)
        curves = [_curve(known, j) for j in range(len(known.cost))]
        right = np.stack([c.predict(x) for c, x in zip(curves, known.signal.T, strict=True)], axis=1)
        top = self.n_grid - 1
        # accepted at a grid's i-th threshold are those with level >= i
        level = np.floor(right * top + 1e-9)
        cheapest = self._all(level) if level.shape[1] == 2 else self._by_coordinates(level, 1.0 - right, known)
        error, cost = run_points(level, 1.0 - right, known.cost, cheapest)
        keep = spread(efficient(error, cost), cost, self.n_points)
        columns = [
            _raw(curve, np.ceil(column) / top, known.kind)
            for curve, column in zip(curves[:-1], cheapest[keep].T, strict=False)
        ]
        return ThresholdDecisions(np.column_stack([*columns, np.full(len(keep), -np.inf)]))

    def _all(self, level: np.ndarray) -> np.ndarray:
        """Every threshold of the grid (point, stage), and to accept nothing."""
        values = np.append(np.arange(self.n_grid, dtype=float), np.inf)
        return np.column_stack([values, np.full(len(values), -np.inf)])

    def _by_coordinates(self, level: np.ndarray, wrong: np.ndarray, known: LogArrays) -> np.ndarray:
        """The cheapest vectors (point, stage) found for each target, on the grid's scale."""
        points = np.unique(descend(level, wrong, known.cost, price_range(known.cost)), axis=0)
        error, cost = run_points(level, wrong, known.cost, points)
        values = [np.append(np.unique(column), np.inf) for column in level.T]
        found = []
        for target in np.linspace(error.min(), error.max(), self.n_points):
            best = points[np.where(error <= target + 1e-12, cost, np.inf).argmin()].copy()
            for _ in range(_ROUNDS):
                before = best.copy()
                for j in range(len(best) - 2, -1, -1):
                    tries = np.repeat(best[None], len(values[j]), axis=0)
                    tries[:, j] = values[j]
                    tried_error, tried_cost = run_points(level, wrong, known.cost, tries)
                    best = tries[np.where(tried_error <= target + 1e-12, tried_cost, np.inf).argmin()]
                if np.array_equal(before, best):
                    break
            found.append(best)
        return np.unique(found, axis=0)


def _curve(known: LogArrays, stage: int) -> Any:
    regression = extra("sklearn.isotonic", "scikit-learn").IsotonicRegression
    curve = regression(y_min=0.0, y_max=1.0, increasing=True, out_of_bounds="clip")
    return curve.fit(known.signal[:, stage], 1.0 - known.wrong[:, stage])


def _raw(curve: Any, probability: np.ndarray, kind: str) -> np.ndarray:
    """The smallest raw confidences whose calibrated values reach some probabilities (point,)."""
    x, y = curve.X_thresholds_, curve.y_thresholds_
    # the curve is flat at places, and the first knot that reaches a value is the one that counts
    at = np.searchsorted(y, probability - 1e-12)
    inner = np.clip(at, 1, max(len(y) - 1, 1)) if len(y) > 1 else np.zeros_like(at)
    low, high = y[inner - 1], y[inner]
    share = safe_divide(probability - low, high - low, 1.0)
    signal = x[inner - 1] + np.clip(share, 0.0, 1.0) * (x[inner] - x[inner - 1])
    signal = np.where(share >= 1.0 - 1e-9, x[inner], signal)
    raw = to_confidence(signal, kind)
    return np.where(at == 0, -np.inf, np.where(at >= len(y), np.inf, raw))
