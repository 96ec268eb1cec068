"""The Gaussian copula, of either sign and without tail dependence: Joe (2014), section 4.3.1.

ρ = sin(πτ/2). The distribution function is Owen's: with h, k the normal quantiles of u, v and T Owen's function,
C = (u + v)/2 - T(h, (k - ρh)/(hc)) - T(k, (h - ρk)/(kc)) - [hk < 0]/2, c = (1 - ρ²)^(1/2). It is exact to
rounding for every ρ, where quadrature (Genz 2004, doi:10.1023/B:STCO.0000035304.20635.31) needs two regimes.
"""

from __future__ import annotations

from math import ceil, log, pi, sqrt
from typing import Any

import numpy as np
from scipy.special import ndtr

from bayescascade.model.copulas.namespace import NUMPY, U_MIN, Parameters, Point

# The quantile of exactly 0 or 1, beyond every other: there a strip starts or ends.
_END = 39.0
# Away from the median, h and k are divisors; 1 - ρ² is one too. The moves and floors change no tenth digit.
_H_MIN, _C_MIN = 1e-12, 1e-8
# The series of `cell_masses` ends where |rho|^n is so small, and is not used where that takes too many terms.
_LAST_TERM, _MAX_TERMS = 1e-4, 300


def tau_to_parameter(tau: Any, xp: Any) -> Any:
    return xp.sin(pi / 2.0 * tau)


def parameters(tau: Any, xp: Any) -> Parameters:
    # the cosine, and not (1 - ρ²)^(1/2), which cancels
    return tau_to_parameter(tau, xp), xp.maximum(xp.cos(pi / 2.0 * tau), _C_MIN)


def parameter_to_tau(parameter: Any) -> Any:
    return 2.0 / pi * np.arcsin(parameter)


def tail_dependence(tau: Any) -> tuple[Any, Any]:
    return 0.0 * tau, 0.0 * tau


def point(u: Any, xp: Any) -> Point:
    return u, normal_score(u, xp)


def point_of_score(score: Any, xp: Any) -> Point:
    """The `point` of u = Phi(score)."""
    return normal_cdf(score, xp), score


def normal_cdf(score: Any, xp: Any) -> Any:
    """Phi(score)."""
    return 0.5 * xp.erfc(-score / sqrt(2.0))


def normal_score(u: Any, xp: Any) -> Any:
    """The normal quantile of u, finite for 0 and 1 too."""
    tail = xp.where(u < 0.5, u, 1.0 - u)
    z = xp.where(tail > 0.0, sqrt(2.0) * xp.erfcinv(2.0 * xp.maximum(tail, U_MIN)), _END)
    return xp.where(u < 0.5, -z, z)


def cdf(at_u: Point, at_v: Point, given: Parameters, xp: Any) -> Any:
    (rho, c), (_, h), (_, k) = given, at_u, at_v
    h = h + xp.where(abs(h) < _H_MIN, 2.0 * _H_MIN, 0.0)
    k = k + xp.where(abs(k) < _H_MIN, 2.0 * _H_MIN, 0.0)
    owen = xp.owens_t(h, (k - rho * h) / (h * c)) + xp.owens_t(k, (h - rho * k) / (k * c))
    return 0.5 * (at_u[0] + at_v[0]) - owen - xp.where(h * k < 0.0, 0.5, 0.0)


def cell_masses(left: Point, right: Point, tau: np.ndarray) -> np.ndarray | None:
    """P(U in cell, V in cell) between edges (draw, edge), a `point` each: (draw, cell, cell), by Mehler's series.

    The density is the sum over n of rho^n h_n(x) h_n(y) phi(x) phi(y), with h_n the Hermite polynomials of norm 1
    (Abramowitz & Stegun 1964, 22.9), and the integral of h_n phi over a cell is a difference at its ends. That
    is ten times as fast as Owen's function at every corner. None where a tau is so near 1 that the series is long.
    """
    rho = tau_to_parameter(tau, NUMPY)
    largest = float(np.abs(rho).max(initial=0.0))
    n_terms = (
        1 if largest == 0.0 else ceil(log(_LAST_TERM) / log(largest)) + 1 if largest < 1.0 else _MAX_TERMS + 1
    )
    if n_terms > _MAX_TERMS:
        return None
    power = rho[:, None, None] ** np.arange(n_terms)
    masses = (_hermite_masses(left, n_terms) * power) @ np.swapaxes(_hermite_masses(right, n_terms), 1, 2)
    return np.maximum(masses, 0.0)


def _hermite_masses(edges: Point, n_terms: int) -> np.ndarray:
    """Integrals of h_n phi over the cells between edges, a `point` of (draw, edge), by n (draw, cell, n)."""
    u, z = edges
    # h_n phi at the edges, of which -1 / n^(1/2) times the one before is the integral
    density = np.empty((n_terms + 1, *z.shape))
    density[0], density[1] = 0.0, np.exp(-0.5 * z * z) / sqrt(2.0 * pi)
    for n in range(1, n_terms):
        np.multiply(density[n], z / sqrt(n), out=density[n + 1])
        density[n + 1] -= density[n - 1] * sqrt((n - 1) / n)
    out = np.empty((*u[:, 1:].shape, n_terms))
    out[..., 0] = np.diff(u)
    root = np.sqrt(np.arange(1, n_terms))
    out[..., 1:] = np.moveaxis(density[1:n_terms, :, :-1] - density[1:n_terms, :, 1:], 0, -1) / root
    return out


def logpdf(at_u: Point, at_v: Point, given: Parameters, xp: Any) -> Any:
    (rho, c), (_, h), (_, k) = given, at_u, at_v
    z = (h - rho * k) / c
    return 0.5 * (h - z) * (h + z) - xp.log(c)


def loghfunc2(at_u: Point, at_v: Point, given: Parameters, xp: Any) -> Any:
    (rho, c), (_, h), (_, k) = given, at_u, at_v
    return xp.log(xp.maximum(0.5 * xp.erfc((rho * k - h) / (c * sqrt(2.0))), U_MIN))


def hinv2(p: Any, v: Any, tau: Any) -> np.ndarray:
    rho, c = parameters(tau, NUMPY)
    h, k = normal_score(p, NUMPY), normal_score(v, NUMPY)
    inside = (p > 0.0) & (p < 1.0)
    return np.where(inside, ndtr(c * h + rho * k), p)
