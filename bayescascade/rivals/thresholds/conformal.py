"""Rivals that promise: conformal bounds on cost without labels, and certified bounds on error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from bayescascade._common.pareto import efficient
from bayescascade.cascade.rules import route
from bayescascade.errors import Short, bad_value
from bayescascade.logs.complete import ran_all
from bayescascade.logs.texts import ANSWER
from bayescascade.logs.validate import validate_log
from bayescascade.rivals.base import ThresholdDecisions, complete_arrays, spread
from bayescascade.rivals.common import N_POINTS, calibrated, check_count, run_points
from bayescascade.rivals.empirical_risk import descend, price_range
from bayescascade.rivals.thresholds.learn_then_test import certify, plan_tests
from bayescascade.signals.kinds import to_signal


@dataclass(frozen=True)
class ConformalCost:
    """The most agreement with the last stage, while a query's cost keeps a budget with a conformal probability.

    One part of the queries gives candidates: coordinate descent for a sweep of prices, where an error is an
    answer that differs from the last stage's, by a logistic curve of the signal. The other part calibrates: a
    candidate keeps a budget with probability ``prob`` if the ⌈(n + 1) prob⌉-th smallest of its n costs there is
    within it. For each budget across the range of costs the candidate of least disagreement that keeps it is
    taken.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.rivals.thresholds.conformal import ConformalCost
    >>> log = bc.simulate(200, n_stages=3, random_seed=1)
    >>> ConformalCost().fit(log, random_seed=1).thresholds.shape[1]
    3

    Attributes
    ----------
    probs : tuple of float
        Probabilities that a new query's cost keeps the budget, each in (0, 1): budgets are gone through for every
        one of them, since with few stages one alone leaves wide gaps in cost.
    share : float
        Of the queries that candidates are learnt from, in (0, 1).
    n_budgets, n_points : int
        Budgets between the first stage's cost and that of all; points on the frontier, at most.

    Notes
    -----
    Simplified: the publication lets a language model answer several times and stops where enough answers agree,
    and searches thresholds exhaustively; here a stage has its confidence, and thresholds come from coordinate
    descent. A candidate is chosen on the calibrating costs for each budget without a correction for choosing.
    A log's variable ``answer`` (query, stage) tells whether answers agree, and then no label is read. Without it
    two answers count as agreeing if both are right or both are wrong.

    References
    ----------
    C3PO (2025), arXiv:2511.07396.
    """

    probs: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
    share: float = 0.5
    n_budgets: int = 50
    n_points: int = N_POINTS
    name: str = "conformal_cost"
    needs_text: bool = False
    sees_test: bool = False

    def fit(self, train: xr.Dataset, *, random_seed: int = 0) -> ThresholdDecisions:
        """One vector for each budget and probability, as far as they differ; the seed is that of the split."""
        self._check()
        log = validate_log(train)
        log = log.isel(query=ran_all(log, labels=ANSWER not in log))
        n = log.sizes["query"]
        cut = round(self.share * n)
        if not 0 < cut < n:
            raise bad_value(
                "share", Short(self.share), "log more", f"of {n} whole queries leaves none on one side"
            )
        order = np.random.default_rng(random_seed).permutation(n)
        learns, calibrates = order[:cut], order[cut:]
        confidence, cost = (log[name].transpose("query", "stage").values for name in ("confidence", "cost"))
        mean = np.nanmean(cost, axis=0)
        cost = np.where(np.isnan(cost), mean, cost)

        signal = to_signal(confidence[learns], str(log.attrs["confidence_kind"]))
        differs = disagreement(log)[learns]
        expected = calibrated(signal, differs)
        expected[:, -1] = 0.0
        points = np.unique(descend(confidence[learns], expected, mean, price_range(mean)), axis=0)
        loss, average = run_points(confidence[learns], expected, mean, points)
        reach = route(confidence[calibrates], points).reach.transpose(0, 2, 1)
        spent = (reach * cost[calibrates]).sum(axis=2)  # (point, query)
        chosen = self._choose(spent, loss, np.linspace(mean[0], mean.sum(), self.n_budgets))
        keep = chosen[efficient(loss[chosen], average[chosen])]
        return ThresholdDecisions(points[spread(keep, average, self.n_points)])

    def _choose(self, spent: np.ndarray, loss: np.ndarray, budgets: np.ndarray) -> np.ndarray:
        """Numbers of the candidates that some budget and probability asks for."""
        found = []
        for prob in self.probs:
            bound = conformal_bound(spent, prob)
            keeps = bound <= budgets[:, None] * (1.0 + 1e-9)  # (budget, point)
            best = np.where(keeps, loss, np.inf).argmin(axis=1)
            # no budget below the cheapest bound can be promised; who has to run takes the cheapest then
            found.append(np.where(keeps.any(axis=1), best, spent.mean(axis=1).argmin()))
        return np.unique(np.concatenate(found))

    def _check(self) -> None:
        check_count("n_budgets", self.n_budgets)
        check_count("n_points", self.n_points)
        if not self.probs or not all(0.0 < p < 1.0 for p in self.probs):
            raise bad_value("probs", self.probs, problem="should hold probabilities in (0, 1)")
        if not 0.0 < self.share < 1.0:
            raise bad_value("share", self.share, problem="should be in (0, 1)")


def conformal_bound(spent: np.ndarray, prob: float) -> np.ndarray:
    """Cost (point,) that a new query keeps with a probability of at least ``prob``; ``spent`` (point, query).

    Infinite where there are too few queries to say.
    """
    n = spent.shape[1]
    rank = int(np.ceil((n + 1) * prob - 1e-9))
    return np.sort(spent, axis=1)[:, rank - 1] if rank <= n else np.full(len(spent), np.inf)


def disagreement(log: xr.Dataset) -> np.ndarray:
    """Whether each stage's answer differs from the last stage's (query, stage)."""
    name = ANSWER if ANSWER in log else "correct"
    said = log[name].transpose("query", "stage").values
    return (said != said[:, -1:]).astype(float)


@dataclass(frozen=True)
class LearnThenTest:
    """Certified cheapest thresholds for each of a sweep of bounds on the error.

    Half of the queries give a path of threshold vectors, the others test it from its safest point on; see
    `learn_then_test`. What nothing is certified for goes to the last stage.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.rivals.thresholds.conformal import LearnThenTest
    >>> log = bc.simulate(200, n_stages=3, random_seed=1)
    >>> LearnThenTest().fit(log, random_seed=1).thresholds.shape[1]
    3

    Attributes
    ----------
    prob : float
        Probability over logs with which each bound is kept, in (0, 1).
    share : float
        Of the queries that the path is learnt from, in (0, 1).
    n_bounds : int
        Bounds on the error, evenly spaced over (0, 1).
    path : str
        ``"pareto"``, ``"common"`` or ``"grid"``.
    """

    prob: float = 0.9
    share: float = 0.5
    n_bounds: int = 199
    path: str = "pareto"
    n_points: int = N_POINTS
    name: str = "learn_then_test"
    needs_text: bool = False
    sees_test: bool = False

    def fit(self, train: xr.Dataset, *, random_seed: int = 0) -> ThresholdDecisions:
        """Certified thresholds by rising bound; the seed is that of the split."""
        check_count("n_bounds", self.n_bounds)
        check_count("n_points", self.n_points)
        if not 0.0 < self.prob < 1.0:
            raise bad_value("prob", self.prob, problem="should be in (0, 1)")
        known = complete_arrays(train)
        trial = plan_tests(train.isel(query=ran_all(train)), self.path, self.share, random_seed)
        bounds = np.linspace(0.0, 1.0, self.n_bounds + 2)[1:-1]
        certified = [certify(trial, float(bound), self.prob) for bound in bounds]
        points = np.unique([found.thresholds.values for found in certified], axis=0)
        cost = run_points(known.confidence, known.wrong, known.cost, points)[1]
        return ThresholdDecisions(points[spread(np.argsort(cost), cost, self.n_points)])
