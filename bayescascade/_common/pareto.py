"""Which points no other point dominates, and the corners of their lower convex hull."""

from __future__ import annotations

import numpy as np


def efficient(error: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Numbers of the Pareto-optimal points (point,) in the order of rising cost; of equal ones the first alone.

    Examples
    --------
    >>> efficient(np.array([0.3, 0.4, 0.1]), np.array([2.0, 2.0, 5.0])).tolist()
    [0, 2]
    """
    order = np.lexsort((error, cost))
    best = np.minimum.accumulate(error[order])
    return order[error[order] < np.append(np.inf, best[:-1])]


def spread_evenly(cost: np.ndarray, n_points: int) -> np.ndarray:
    """Numbers of at most so many points (point,), about evenly spaced in cost, the ends among them.

    Examples
    --------
    >>> spread_evenly(np.array([0.0, 0.1, 1.0, 2.1]), 3).tolist()
    [0, 2, 3]
    """
    if len(cost) <= n_points:
        return np.arange(len(cost))
    goals = np.linspace(cost.min(), cost.max(), n_points)
    return np.unique(np.abs(cost - goals[:, None]).argmin(axis=1))


def undominated(*amounts: np.ndarray | None) -> np.ndarray:
    """Whether no point before is as good by the mean of all these amounts (draw, point), where they are known.

    Unlike `efficient`, points keep their order, by cost mostly, and a point is compared with those before it only:
    one that costs the same as a better one after it stays.
    """
    means = np.stack([part.mean(axis=0) for part in amounts if part is not None], axis=1)
    as_good = (means[:, None] <= means[None]).all(axis=2)
    return ~np.triu(as_good, 1).any(axis=0)


def lower_hull(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Numbers of the corners of the lower left convex hull of points (point,), by rising ``x`` and falling ``y``.

    These are the points of least y * price + x for some price. A monotone chain (Andrew 1979), since
    `scipy.spatial.ConvexHull` refuses points on one line and fewer than three.

    Examples
    --------
    >>> lower_hull(np.array([0.0, 1.0, 2.0, 3.0]), np.array([4.0, 3.0, 1.0, 2.0])).tolist()
    [0, 2]
    """
    hull: list[int] = []
    for new in efficient(y, x):
        while len(hull) > 1:
            start, middle = hull[-2:]
            rise, run = y[[middle, new]] - y[start], x[[middle, new]] - x[start]
            if rise[0] * run[1] < rise[1] * run[0]:  # the middle one is below the line from the start to the new
                break
            hull.pop()
        hull.append(int(new))
    return np.array(hull)
