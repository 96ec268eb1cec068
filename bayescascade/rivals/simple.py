"""Rivals that a cascade has to beat before it is worth anything, and the oracle that nothing beats."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import xarray as xr

from bayescascade._common.pareto import efficient, lower_hull
from bayescascade.cascade.rules import route
from bayescascade.rivals.base import StageDecisions, SubsetDecisions, complete_arrays, spread
from bayescascade.rivals.common import N_POINTS, calibrated, check_count, run_points
from bayescascade.rivals.empirical_risk import descend, price_range
from bayescascade.rivals.thresholds.ascent import random_start

_MAX_PARTS = 64  # of the stages, that the oracle tries


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
        known = complete_arrays(train)
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
        known = complete_arrays(train)
        return StageDecisions(lower_hull(known.cost, known.wrong.mean(axis=0)))


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
    >>> BestPair().fit(log).stages[0]  # the cheapest of the frontier
    (0,)

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

    def fit(self, train: xr.Dataset, *, random_seed: int = 0) -> SubsetDecisions:
        """Best pairs by rising cost; nothing is random."""
        check_count("n_points", self.n_points)
        check_count("n_prices", self.n_prices)
        known = complete_arrays(train)
        wrong, prices = calibrated(known.signal, known.wrong), price_range(known.cost, self.n_prices)
        n_stages = len(known.cost)
        # single stages first, so that they win where a pair only ties with them
        pairs = [*combinations(range(n_stages), 1), *combinations(range(n_stages), 2)]
        threshold = np.full((len(pairs), len(prices)), -np.inf)
        error, cost = np.empty(threshold.shape), np.empty(threshold.shape)
        for p, pair in enumerate(pairs):
            two, cost_of_two = known.confidence[:, pair], known.cost[list(pair)]
            if len(pair) == 1:
                error[p], cost[p] = wrong[:, pair].mean(), cost_of_two
                continue
            found = descend(two, wrong[:, pair], cost_of_two, prices)
            threshold[p] = found[:, 0]
            error[p] = route(two, found).loss(wrong[:, pair]).mean(axis=1)
            cost[p] = cost_of_two[0] + (two[:, 0] < found[:, :1]).mean(axis=1) * cost_of_two[1]
        best = (prices * error + cost).argmin(axis=0)
        at = best, np.arange(len(prices))
        keep = spread(efficient(error[at], cost[at]), cost[at], self.n_points)
        chosen = [pairs[p] for p in best[keep]]
        rows = [
            np.array([*[t] * (len(pair) - 1), -np.inf])
            for pair, t in zip(chosen, threshold[at][keep], strict=True)
        ]
        return SubsetDecisions(chosen, rows)


@dataclass(frozen=True)
class Oracle:
    """Stages and thresholds chosen by coordinate descent on the very log that they are tried on.

    ``fit`` has to be given the test log. It overfits that log: the area is one that no honest method reaches, and
    regret is counted from it. Any part of the stages may be run. The area's last point is given, every query to
    the last stage at the price of all; so the least error at every higher cost belongs to the curve, too.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.rivals.simple import Oracle
    >>> log = bc.simulate(200, n_stages=3, random_seed=1)
    >>> Oracle().sees_test, Oracle().fit(log).stages[0]
    (True, (0,))

    Attributes
    ----------
    n_prices, n_starts : int
        As for `CoordinateAscent`.
    """

    n_prices: int = 200
    n_starts: int = 3
    name: str = "oracle"
    needs_text: bool = False
    sees_test: bool = True

    def fit(self, train: xr.Dataset, *, random_seed: int = 0) -> SubsetDecisions:
        """The corners of the convex hull of all that was found, from a log on itself."""
        check_count("n_prices", self.n_prices)
        check_count("n_starts", self.n_starts)
        known, every = complete_arrays(train), range(train.sizes["stage"])
        prices, rng = price_range(known.cost, self.n_prices), np.random.default_rng(random_seed)
        stages: list[tuple[int, ...]] = []
        rows, error, cost = [], [], []
        # with costs turned round the descent looks for few errors at much money, on all stages
        tried = [(keep, 1.0) for keep in _parts(len(every))] + [(tuple(every), -1.0)]
        for keep, sign in tried:
            confidence, wrong, paid = known.confidence[:, keep], known.wrong[:, keep], known.cost[list(keep)]
            for i in range(self.n_starts if len(keep) > 1 else 1):
                start = None if i == 0 else random_start(confidence, len(prices), rng)
                found = np.unique(descend(confidence, wrong, sign * paid, prices, start), axis=0)
                errors, costs = run_points(confidence, wrong, paid, found)
                stages += [keep] * len(found)
                rows += list(found)
                error.append(errors)
                cost.append(costs)
        wrongs, spent = np.concatenate(error), np.concatenate(cost)
        corners = np.unique(np.concatenate([lower_hull(spent, wrongs), lower_hull(-spent, wrongs)]))
        corners = corners[np.argsort(spent[corners], kind="stable")]
        return SubsetDecisions([stages[i] for i in corners], [rows[i] for i in corners])


def _parts(n_stages: int) -> list[tuple[int, ...]]:
    """Every part of the stages; of very many stages those of three at most, and the whole."""
    parts = [keep for size in range(1, n_stages + 1) for keep in combinations(range(n_stages), size)]
    return parts if len(parts) <= _MAX_PARTS else [keep for keep in parts if len(keep) in (1, 2, 3, n_stages)]
