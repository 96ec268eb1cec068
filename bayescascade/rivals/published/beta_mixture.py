"""The published margins: point masses at both ends and two beta distributions between, by maximum likelihood."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import betainc, betaincinv, betaln, expit, polygamma, psi, xlog1py, xlogy

# Shapes stay within these: a component that shrinks onto tied values would have an infinite likelihood.
_SHAPE_MIN, _SHAPE_MAX = 0.02, 500.0
_EDGE = 1e-9  # from the ends of [0, 1], where the density may be infinite
_ROUNDS = 300
_TOLERANCE = 1e-7  # of the log-likelihood of one value
_NEWTON = 20


@dataclass(frozen=True)
class BetaMixture:
    """A mixture of two beta distributions on [0, 1].

    Examples
    --------
    >>> from bayescascade.rivals.published.beta_mixture import BetaMixture
    >>> mixture = BetaMixture(weight=0.5, shapes=((2.0, 5.0), (5.0, 2.0)))
    >>> float(mixture.cdf(0.5))
    0.5

    Attributes
    ----------
    weight : float
        Of the first component.
    shapes : tuple of two pairs
        The first and the second shape of each component.
    """

    weight: float = 0.5
    shapes: tuple[tuple[float, float], tuple[float, float]] = ((2.0, 5.0), (5.0, 2.0))

    def cdf(self, z: np.ndarray | float) -> np.ndarray:
        """P(Z <= z), elementwise."""
        first, second = (betainc(a, b, z) for a, b in self.shapes)
        return self.weight * first + (1.0 - self.weight) * second

    def quantile(self, p: np.ndarray) -> np.ndarray:
        """Inverse of `cdf` (p,), interpolated between the quantiles of the components."""
        # the mixture is exact at these; they are dense wherever either component has mass
        inner = expit(np.linspace(-12.0, 12.0, 1200))
        z = np.unique(np.concatenate([[0.0, 1.0], *(betaincinv(a, b, inner) for a, b in self.shapes)]))
        level, at = np.unique(self.cdf(z), return_index=True)
        return np.interp(p, level, z[at])

    def loglik(self, z: np.ndarray) -> float:
        """Log-likelihood of values inside (0, 1)."""
        return float(np.logaddexp(*self._log_parts(z)).sum())

    def _log_parts(self, z: np.ndarray) -> list[np.ndarray]:
        weights = np.clip([self.weight, 1.0 - self.weight], np.finfo(float).tiny, 1.0)
        return [np.log(w) + _logpdf(z, *s) for w, s in zip(weights, self.shapes, strict=True)]

    def step(self, z: np.ndarray) -> BetaMixture:
        """One round of EM: a mixture whose likelihood is not lower."""
        first, second = self._log_parts(z)
        share = expit(first - second)
        shapes = tuple(fit_beta(z, w, s) for w, s in zip((share, 1.0 - share), self.shapes, strict=True))
        return BetaMixture(float(share.mean()), (shapes[0], shapes[1]))


def fit_mixture(z: np.ndarray) -> BetaMixture:
    """EM from equal weights, Beta(2, 5) and Beta(5, 2), as published; values in [0, 1].

    Examples
    --------
    >>> z = np.random.default_rng(1).beta(2.0, 2.0, size=500)
    >>> abs(float(fit_mixture(z).cdf(0.5)) - 0.5) < 0.05
    True

    Notes
    -----
    Fewer than three different values say too little for five parameters; the distribution is then uniform.
    """
    if len(np.unique(z)) < 3:
        return BetaMixture(0.5, ((1.0, 1.0), (1.0, 1.0)))
    z = np.clip(z, _EDGE, 1.0 - _EDGE)
    mixture = BetaMixture()
    before = mixture.loglik(z)
    for _ in range(_ROUNDS):
        mixture = mixture.step(z)
        after = mixture.loglik(z)
        if after - before < _TOLERANCE * len(z):
            break
        before = after
    return mixture


def fit_beta(
    z: np.ndarray, weight: np.ndarray | None = None, start: tuple[float, float] = (1.0, 1.0)
) -> tuple[float, float]:
    """Shapes of the beta distribution of most weighted likelihood, values inside (0, 1), by Newton's method.

    Examples
    --------
    >>> a, b = fit_beta(np.random.default_rng(1).beta(2.0, 5.0, size=4000))
    >>> round(a), round(b)
    (2, 5)

    Returns
    -------
    tuple of float
        Never of less likelihood than ``start``.
    """
    weight = np.ones_like(z) if weight is None else weight
    total = weight.sum()
    if total < 1e-8:
        return start
    means = np.array([weight @ np.log(z), weight @ np.log1p(-z)]) / total

    def value(x: np.ndarray) -> float:
        shape = np.exp(x)
        return float((shape - 1.0) @ means - betaln(*shape))

    # In the logarithms of the shapes; a step is halved until it climbs. EM asks for two such fits a round, some
    # hundreds in all: scipy.optimize.minimize(method="trust-exact") takes two to three times as long and knows no
    # bounds, so that a component which shrinks onto few values ends at a lower likelihood.
    low, high = np.log(_SHAPE_MIN), np.log(_SHAPE_MAX)
    x = np.clip(np.log(start), low, high)
    best = value(x)
    for _ in range(_NEWTON):
        shape = np.exp(x)
        slope = shape * (means - psi(shape) + psi(shape.sum()))
        curve = np.outer(shape, shape) * polygamma(1, shape.sum()) - np.diag(shape**2 * polygamma(1, shape))
        # Fisher's scoring: the likelihood is concave in the shapes, so this matrix is negative definite
        move = np.clip(-np.linalg.solve(curve - 1e-12 * np.eye(2), slope), -2.0, 2.0)
        gain = 0.0
        for _ in range(30):
            candidate = np.clip(x + move, low, high)
            gain = value(candidate) - best
            if gain > 0.0:
                x, best = candidate, best + gain
                break
            move = move / 2.0
        if gain <= 1e-12:
            break
    return float(np.exp(x[0])), float(np.exp(x[1]))


def _logpdf(z: np.ndarray, a: float, b: float) -> np.ndarray:
    return xlogy(a - 1.0, z) + xlog1py(b - 1.0, -z) - betaln(a, b)
