"""What more data would do to expected net benefits, from few refits: moment matching across sample sizes.

Plain arrays: draws of the net benefit of some decisions, now and after new data of some sizes. Of the data's
effect only the expected posterior covariance is learned. The distribution of the posterior means is that of the
draws, drawn together about their mean until its covariance is what the data take away (Heath, Kunst, Jackson,
Strong et al. 2019, doi:10.1177/0272989X19837983). With several decisions that is done in the few uncorrelated
directions in which they differ, each with its own curve s m / (m + h).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from arviz_stats.base import array_stats
from scipy.optimize import minimize_scalar

_VARIANCE = 0.999  # of the differences between decisions that the directions hold
_MOST = 8
_SHRUNK = (0.25, 0.5, 0.75, 1.0)
_WIDEST = 9.0  # of log(h / m)


@dataclass(frozen=True)
class Space:
    """How far each decision's net benefit lies above that of the decision that is best now.

    ``mean + z @ load`` are these differences (draw, decision), but for what the directions leave out; the
    directions are uncorrelated over the draws and of unit variance.

    Attributes
    ----------
    best : int
        The decision that is best now.
    mean : ndarray (decision,)
    load : ndarray (direction, decision)
    inverse : ndarray (decision, direction)
    z : ndarray (draw, direction)
    """

    best: int
    mean: np.ndarray
    load: np.ndarray
    inverse: np.ndarray
    z: np.ndarray

    def covariance(self, net: np.ndarray) -> np.ndarray:
        """Covariance, in the directions, of draws of the net benefit (draw, decision)."""
        z = (net - net[:, self.best, None]) @ self.inverse
        return np.atleast_2d(np.cov(z, rowvar=False))


def make_space(net: np.ndarray) -> Space:
    """The directions in which decisions differ, from draws of their net benefit (draw, decision)."""
    best = int(np.argmax(net.mean(axis=0)))
    gap = net - net[:, best, None]
    mean = gap.mean(axis=0)
    u, size, v = np.linalg.svd(gap - mean, full_matrices=False)
    share = np.cumsum(size**2) / max(float(np.sum(size**2)), 1e-300)
    n = min(int(np.searchsorted(share, _VARIANCE)) + 1, _MOST, int(np.sum(size > 1e-9 * max(size[0], 1e-300))))
    scale = size[:n] / np.sqrt(len(net) - 1)
    return Space(best, mean, scale[:, None] * v[:n], v[:n].T / scale, u[:, :n] * np.sqrt(len(net) - 1))


def contenders(net: np.ndarray) -> np.ndarray:
    """Decisions that some draw finds best, also after the draws are drawn together (decision,) of bool."""
    mean = net.mean(axis=0)
    out = np.zeros(net.shape[1], dtype=bool)
    for size in _SHRUNK:
        out[np.argmax(mean + size * (net - mean), axis=1)] = True
    out[np.argmax(mean)] = True
    return out


def plan(
    score: np.ndarray, n: int, low: int, high: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draws (n,) at evenly spaced quantiles of a score (draw,), and a sample size for each, evenly in log."""
    rank = np.round((np.arange(n) + 0.5) / n * len(score) - 0.5).astype(int)
    size = np.round(np.geomspace(low, high, n)).astype(int)
    return np.argsort(score, kind="stable")[rank], rng.permutation(size)


def fit_curve(m: np.ndarray, share: np.ndarray) -> tuple[float, float]:
    """Least-squares s in [0, 1] and h > 0 of ``share = s m / (m + h)``.

    ``share`` (refit,) is how much smaller than now the variance is after ``m`` new data, as a share. For normal
    data with a normal prior the curve is exact; h is then the size of the sample that the prior is worth.
    """
    middle = float(np.mean(np.log(m)))

    def best_limit(log_half: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The best s for each h, which is linear least squares, and the sum of squares that it leaves."""
        x = m / (m + np.exp(log_half)[:, None])
        s = np.clip(x @ share / np.sum(x**2, axis=1), 0.0, 1.0)
        return s, np.sum((s[:, None] * x - share) ** 2, axis=1)

    # where the curve is all but a line, or flat, the sum of squares has a plateau: look everywhere first
    grid = middle + np.linspace(-_WIDEST, _WIDEST, 61)
    step = grid[1] - grid[0]
    start = grid[np.argmin(best_limit(grid)[1])]
    found = minimize_scalar(
        lambda x: best_limit(np.array([x]))[1][0], bounds=(start - step, start + step), method="bounded"
    )
    return float(best_limit(np.array([found.x]))[0][0]), float(np.exp(found.x))


@dataclass(frozen=True)
class Learning:
    """Share of the variance that m new data take away in expectation, in each of some directions.

    Attributes
    ----------
    basis : ndarray (direction, direction)
        Orthogonal; its columns are directions within those of a `Space`.
    limit, half : ndarray (direction,)
        Share taken away by endless data, and the number of data that take away half of it.
    """

    basis: np.ndarray
    limit: np.ndarray
    half: np.ndarray

    def share(self, m: float) -> np.ndarray:
        """Share of the variance that goes (direction,)."""
        return self.limit * m / (m + self.half)


def learn(m: np.ndarray, covariance: np.ndarray) -> Learning:
    """Learning curves from posterior covariances (refit, direction, direction) after ``m`` (refit,) new data.

    The basis is that of the mean loss of covariance; for normal data with a normal prior it is the same for all m.
    """
    lost = np.eye(covariance.shape[1]) - covariance
    basis = np.linalg.eigh(lost.mean(axis=0))[1]
    share = np.einsum("ki,qkl,li->qi", basis, lost, basis)
    curves = [fit_curve(m, column) for column in share.T]
    return Learning(basis, np.array([s for s, _ in curves]), np.array([h for _, h in curves]))


def gains(space: Space, learning: Learning, m: float) -> np.ndarray:
    """How much better the best decision after ``m`` new data is than the one that is best now (draw,).

    The draws are of the data; their mean is the expected value of sample information.
    """
    factor = learning.basis * np.sqrt(learning.share(m))
    after = space.mean + space.z @ factor @ learning.basis.T @ space.load
    return after.max(axis=1)


def leave_one_out(space: Space, m: np.ndarray, covariance: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Standard error of the mean gain at each of ``sizes`` (size,) that comes of so few refits."""
    return jackknife(m, covariance, lambda learning: [gains(space, learning, size).mean() for size in sizes])


def jackknife(m: np.ndarray, covariance: np.ndarray, value: Callable[[Learning], object]) -> np.ndarray:
    """Standard error of what is computed from `learn`, an array of any shape, that comes of so few refits."""
    n, values = len(m), []
    for left_out in range(n):
        keep = np.arange(n) != left_out
        values.append(np.asarray(value(learn(m[keep], covariance[keep]))))
    return np.sqrt((n - 1) * np.var(values, axis=0))


def mcse(values: np.ndarray, n_chains: int) -> np.ndarray:
    """Monte Carlo error of the mean of each row (row, draw) of chains laid end to end."""
    chains = values.reshape(len(values), n_chains, -1)
    return np.array([float(array_stats.mcse(x, method="mean")) if np.ptp(x) > 0 else 0.0 for x in chains])
