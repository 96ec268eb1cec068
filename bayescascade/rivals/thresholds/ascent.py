"""Coordinate ascent on the training log: the simplest way to choose thresholds for each price of an error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from bayescascade.rivals.base import LogArrays, ThresholdDecisions, complete_arrays
from bayescascade.rivals.common import N_POINTS, calibrated, check_count, frontier_of, run_points
from bayescascade.rivals.empirical_risk import descend, price_range


@dataclass(frozen=True)
class CoordinateAscent:
    """Thresholds that do best on the training log itself, one price of an error after another.

    Each threshold in turn goes to the best of all values at which a decision changes, the others held, from
    several starts. What counts as an error is either what was wrong, or what a logistic curve of the
    signal expects to be wrong, which is far steadier with few labels.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.rivals.thresholds.ascent import CoordinateAscent
    >>> log = bc.simulate(200, n_stages=3, random_seed=1)
    >>> CoordinateAscent().name, CoordinateAscent(calibrated=False).name
    ('ascent_calibrated', 'ascent_raw')
    >>> thresholds = CoordinateAscent().fit(log).thresholds
    >>> thresholds.shape[1], set(thresholds[:, -1].tolist())
    (3, {-inf})

    Attributes
    ----------
    calibrated : bool
        Errors by calibrated confidences, or as labelled.
    n_points : int
        Points on the frontier, at most, spread evenly in cost.
    n_prices : int
        Prices of an error that are tried, from one at which no second stage is worth its cost to one at which
        every error is.
    n_starts : int
        Starts: nothing accepted, then vectors of random quantiles.
    """

    calibrated: bool = True
    n_points: int = N_POINTS
    n_prices: int = 200
    n_starts: int = 3
    needs_text: bool = False
    sees_test: bool = False

    @property
    def name(self) -> str:
        """``"ascent_calibrated"`` or ``"ascent_raw"``."""
        return "ascent_calibrated" if self.calibrated else "ascent_raw"

    def fit(self, train: xr.Dataset, *, random_seed: int = 0) -> ThresholdDecisions:
        """Thresholds on the raw scale; the seed is that of the random starts."""
        known = complete_arrays(train)
        wrong = calibrated(known.signal, known.wrong) if self.calibrated else known.wrong
        return ascend(known, wrong, self.n_points, self.n_prices, self.n_starts, random_seed)


def ascend(
    known: LogArrays, wrong: np.ndarray, n_points: int, n_prices: int, n_starts: int, random_seed: int
) -> ThresholdDecisions:
    """The frontier of the best vectors for each price, by ``wrong`` (query, stage), 0 or 1 or a probability."""
    for name, value in (("n_points", n_points), ("n_prices", n_prices), ("n_starts", n_starts)):
        check_count(name, value)
    prices, rng = price_range(known.cost, n_prices), np.random.default_rng(random_seed)
    best = np.empty((len(prices), len(known.cost)))
    least = np.full(len(prices), np.inf)
    for i in range(n_starts):
        start = None if i == 0 else random_start(known.confidence, len(prices), rng)
        found = descend(known.confidence, wrong, known.cost, prices, start)
        error, cost = run_points(known.confidence, wrong, known.cost, found)
        loss = prices * error + cost
        best, least = np.where((loss < least)[:, None], found, best), np.minimum(loss, least)
    return frontier_of(best, known, wrong, n_points)


def random_start(confidence: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Vectors (n, stage) of random quantiles; one for all prices, so that neighbours stay alike."""
    at = rng.integers(len(confidence), size=confidence.shape[1])
    start = np.sort(confidence, axis=0)[at, np.arange(confidence.shape[1])]
    start[-1] = -np.inf
    return np.repeat(start[None], n, axis=0)
