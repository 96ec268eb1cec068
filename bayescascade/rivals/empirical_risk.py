"""Coordinate ascent on the empirical risk of logged queries, for a sweep of error prices."""

from __future__ import annotations

import numpy as np

from bayescascade.cascade.rules import route
from bayescascade.rivals.logistic import fit_logistic

_N_PRICES = 200
_ROUNDS = 4
_RIDGE = 0.25  # weight of a squared slope or intercept: a normal prior of variance 4 on standardised signals


def descend(
    confidence: np.ndarray,
    wrong: np.ndarray,
    cost: np.ndarray,
    prices: np.ndarray,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """Thresholds (price, stage) of low empirical loss, wrong * price + cost, by coordinate descent.

    From the last stage back, each threshold goes to the best of all values at which a decision changes, the others
    held; the first round is backward induction, since nothing is accepted before, unless there is a ``start``.

    Parameters
    ----------
    confidence, wrong : ndarray (query, stage)
        ``wrong`` may be 0 or 1, or a probability.
    cost : ndarray (stage,)
    prices : ndarray (price,)
        What an error costs.
    start : ndarray (price, stage), optional
        Where to begin, for each price.
    """
    n_stages = confidence.shape[1]
    thresholds = np.full((len(prices), n_stages), np.inf) if start is None else start.copy()
    thresholds[:, -1] = -np.inf
    loss = prices[:, None, None] * wrong.T[None]  # (price, stage, query)
    orders = [descending(confidence[:, j]) for j in range(n_stages - 1)]
    for _ in range(_ROUNDS):
        before = thresholds.copy()
        to_go = loss[:, -1]
        for j in range(n_stages - 2, -1, -1):
            wait = cost[j + 1] + to_go
            going = route(confidence, thresholds).reach[:, j]
            order, values, ends = orders[j]
            gain = np.cumsum((going * (wait - loss[:, j]))[:, order], axis=1)[:, ends]
            gain = np.concatenate([np.zeros((len(prices), 1)), gain], axis=1)
            thresholds[:, j] = values[gain.argmax(axis=1)]
            to_go = np.where(confidence[:, j] >= thresholds[:, j, None], loss[:, j], wait)
        if np.array_equal(before, thresholds):
            break
    return thresholds


def price_range(cost: np.ndarray, n: int = _N_PRICES) -> np.ndarray:
    """Prices from one at which no error is worth a second stage to one at which every error is."""
    positive = cost[cost > 0]
    return np.geomspace(0.1 * positive.min(), 1e3 * cost.sum(), n) if len(positive) else np.ones(1)


def descending(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Order by falling value; the thresholds inf and each distinct value; where in the order each value ends."""
    order = np.argsort(-x, kind="stable")
    ends = np.append(np.flatnonzero(x[order][1:] != x[order][:-1]), len(x) - 1)
    return order, np.append(np.inf, x[order][ends]), ends


def expected_wrong(signal: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """P(wrong) by a logistic curve of the signal, falling, with a little ridge (query,)."""
    intercept, slope = fit_logistic(signal, 1.0 - wrong, ridge=_RIDGE)
    return 1.0 / (1.0 + np.exp(intercept + slope * signal))
