"""Rivals that a cascade has to beat before it is worth anything, and the oracle that nothing beats."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import xarray as xr

from bayescascade._common.pareto import efficient, lower_hull
from bayescascade.cascade.empirical import run
from bayescascade.rivals.base import Played, StageDecisions, ThresholdDecisions, know, spread
from bayescascade.rivals.common import N_POINTS, calibrated, check_count
from bayescascade.rivals.empirical_risk import descend, price_range
from bayescascade.rivals.thresholds.ascent import ascend


@dataclass(frozen=True)
class SingleStages:
    """Every query to one stage, and no other stage called: the stages that no other beats on training.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.rivals.simple import SingleStages
    >>> log = bc.simulate(200, n_stages=3, random_seed=1)
    >>> SingleStages().fit(log).stages.tolist()
    [0, 1, 2]
    """

    name: str = "single_stages"
    needs_text: bool = False
    sees_test: bool = False

    def fit(self, train: xr.Dataset, *, random_seed: int = 0) -> StageDecisions:
        """Stages by rising cost, each better than all cheaper ones; nothing is random."""
        known = know(train)
        return StageDecisions(efficient(known.wrong.mean(axis=0), known.cost))


@dataclass(frozen=True)
class RandomMix:
    """Queries sent at random to one of two stages: the lower convex hull of the single stages on training.

    A mix has the error and the cost of a point on the straight line between its two stages, and the area under a
    frontier joins points by straight lines. So the corners of the hull are all that is returned; playing a mix
    with drawn queries would add noise and no information.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.rivals.simple import RandomMix
    >>> log = bc.simulate(200, n_stages=3, random_seed=1)
    >>> RandomMix().fit(log).stages.tolist()
    [0, 1, 2]
    """

    name: str = "random_mix"
    needs_text: bool = False
    sees_test: bool = False

    def fit(self, train: xr.Dataset, *, random_seed: int = 0) -> StageDecisions:
        """Corners of the hull by rising cost; nothing is random."""
        known = know(train)
        return StageDecisions(lower_hull(known.cost, known.wrong.mean(axis=0)))


@dataclass(frozen=True)
class PairDecisions:
    """Call one stage, and a second where its confidence is below a threshold; no other stage is called.

    Attributes
    ----------
    first, second : ndarray (point,)
        Numbers of the stages; the same twice where one stage answers every query.
    threshold : ndarray (point,)
        A raw confidence of the first stage; -inf accepts every query there.
    """

    first: np.ndarray
    second: np.ndarray
    threshold: np.ndarray

    def decide(self, log: xr.Dataset) -> Played:
        """Two stages of the log; the others are neither called nor paid for."""
        confidence = log["confidence"].transpose("query", "stage").values
        defer = self.threshold[:, None] > confidence[:, self.first].T
        point = np.arange(len(self.first))
        ran = np.zeros((len(point), confidence.shape[1], len(confidence)), dtype=bool)
        ran[point, self.second] = defer
        ran[point, self.first] = True
        return Played(np.where(defer, self.second[:, None], self.first[:, None]), ran)


@dataclass(frozen=True)
class BestPair:
    """For each price of an error the best two stages, with a threshold between them.

    Thresholds minimise expected error times price plus cost over calibrated training confidences; the pair with
    the least loss is taken. A single stage is a pair that never calls its second.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.rivals.simple import BestPair
    >>> log = bc.simulate(200, n_stages=3, random_seed=1)
    >>> found = BestPair().fit(log)
    >>> bool((found.first <= found.second).all())
    True

    Attributes
    ----------
    n_points : int
        Points on the frontier, at most.
    n_prices : int
        Prices of an error that are tried, from one at which no second stage is worth its cost to one at which
        every error is.

    References
    ----------
    Bouchard (2026), arXiv:2605.06350, on pairs beside full chains.
    """

    n_points: int = N_POINTS
    n_prices: int = 200
    name: str = "best_pair"
    needs_text: bool = False
    sees_test: bool = False

    def fit(self, train: xr.Dataset, *, random_seed: int = 0) -> PairDecisions:
        """Best pairs by rising cost; nothing is random."""
        check_count("n_points", self.n_points)
        check_count("n_prices", self.n_prices)
        known = know(train)
        wrong, prices = calibrated(known.signal, known.wrong), price_range(known.cost, self.n_prices)
        n_stages = len(known.cost)
        # single stages first, so that they win where a pair only ties with them
        pairs = [(j, j) for j in range(n_stages)] + list(combinations(range(n_stages), 2))
        threshold = np.full((len(pairs), len(prices)), -np.inf)
        error, cost = np.empty(threshold.shape), np.empty(threshold.shape)
        for p, (i, j) in enumerate(pairs):
            if i == j:
                error[p], cost[p] = wrong[:, i].mean(), known.cost[i]
                continue
            two = known.confidence[:, [i, j]]
            found = descend(two, wrong[:, [i, j]], known.cost[[i, j]], prices)
            threshold[p] = found[:, 0]
            error[p] = run(two, wrong[:, [i, j]], found).mean(axis=1)
            cost[p] = known.cost[i] + (two[:, 0] < found[:, :1]).mean(axis=1) * known.cost[j]
        best = (prices * error + cost).argmin(axis=0)
        at = best, np.arange(len(prices))
        keep = spread(efficient(error[at], cost[at]), cost[at], self.n_points)
        first, second = np.array(pairs)[best[keep]].T
        return PairDecisions(first, second, threshold[at][keep])


@dataclass(frozen=True)
class Oracle:
    """Thresholds chosen by coordinate ascent on the very log that they are tried on.

    ``fit`` has to be given the test log. It overfits that log: the area is one that no honest method reaches, and
    regret is counted from it.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.rivals.simple import Oracle
    >>> log = bc.simulate(200, n_stages=3, random_seed=1)
    >>> Oracle().sees_test, Oracle().fit(log).thresholds.shape[1]
    (True, 3)

    Attributes
    ----------
    n_points : int
        Points on the frontier, at most.
    n_prices, n_starts : int
        As for `CoordinateAscent`.
    """

    n_points: int = N_POINTS
    n_prices: int = 200
    n_starts: int = 3
    name: str = "oracle"
    needs_text: bool = False
    sees_test: bool = True

    def fit(self, train: xr.Dataset, *, random_seed: int = 0) -> ThresholdDecisions:
        """The frontier of a log on itself."""
        known = know(train)
        return ascend(known, known.wrong, self.n_points, self.n_prices, self.n_starts, random_seed)
