"""Frank's copula, of either sign and without tail dependence: Nelsen (2006), family 4.2.5; Joe (2014), 4.5.

Negative dependence is positive dependence on (u, 1 - v). For θ > 0, with m and M the smaller and the larger of
u and v: C = m - log(1 + w) / θ, w = exp(-θ(M - m)) (1 - exp(-θm)) (1 - exp(-θ(1 - M))) / (1 - exp(-θ)), where
nothing cancels or overflows, neither as θ -> 0 nor for large θ.

τ(θ) = 1 - 4/θ + 4 D(θ)/θ, with Debye's function D of order one, has no inverse in closed form. θ (1 - τ²) / τ is
even in τ and runs smoothly from 9 to 8: a ratio of polynomials in τ², fitted by least squares to the roots of
τ(θ) at Chebyshev points up to τ = 0.999, gives it to a relative 4e-11.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import bernoulli, factorial, spence

from bayescascade.model.copulas.namespace import (
    NUMPY,
    U_MIN,
    Parameters,
    Point,
    away_from_zero,
    log_one_minus_product,
    polynomial,
)

# lowest power of τ² first
_ABOVE = (
    8.999999999845437,
    -44.08010570290064,
    105.30107828054341,
    -150.5889942378647,
    140.99669090784616,
    -86.10468991655517,
    34.42853507167311,
    -7.44988132045082,
    1.8688994600823736,
)
_BELOW = (
    1.0,
    -4.707789528728599,
    10.76315650780981,
    -14.538845278460384,
    12.66448378113594,
    -6.972096443262068,
    2.4385167602892106,
    -0.3949900441309714,
    0.16900581309503931,
)


def tau_to_parameter(tau: Any, xp: Any) -> Any:
    square = tau * tau
    return tau * polynomial(square, _ABOVE) / (polynomial(square, _BELOW) * (1.0 - square))


def parameters(tau: Any, xp: Any) -> Parameters:
    # |θ|, 1 - exp(-|θ|) and whether τ is negative; not abs(θ), whose gradient at zero is zero
    theta = tau_to_parameter(tau, xp)
    theta = away_from_zero(xp.where(tau < 0.0, -theta, theta), xp)
    return theta, -xp.expm1(-theta), tau < 0.0


def parameter_to_tau(parameter: Any) -> Any:
    theta = np.abs(np.asarray(parameter, dtype=float))
    # D by its power series, of radius 2π, near zero, and by the dilogarithm elsewhere
    even = np.arange(2, 33, 2)
    weight = 4.0 * bernoulli(32)[even] / ((even + 1) * factorial(even))
    near = np.minimum(theta, 1.5)
    series = near * polynomial(near * near, tuple(weight))
    far = np.maximum(theta, 1.5)
    rest = -np.expm1(-far)
    debye = np.log(rest) + (np.pi**2 / 6.0 - spence(rest)) / far
    return np.sign(parameter) * np.where(theta < 1.5, series, 1.0 - 4.0 / far * (1.0 - debye))


def point(u: Any, xp: Any) -> Point:
    return (u,)


def tail_dependence(tau: Any) -> tuple[Any, Any]:
    return 0.0 * tau, 0.0 * tau


def _turned(at_u: Point, at_v: Point, given: Parameters, xp: Any) -> tuple[Any, ...]:
    (theta, rest, negative), (u,), (v,) = given, at_u, at_v
    v = xp.where(negative, 1.0 - v, v)
    small, large = xp.minimum(u, v), xp.maximum(u, v)
    w = xp.exp(theta * (small - large)) * xp.expm1(-theta * small) * (xp.expm1(theta * (large - 1.0)) / rest)
    return theta, rest, v, small, large, xp.log1p(w)


def cdf(at_u: Point, at_v: Point, given: Parameters, xp: Any) -> Any:
    theta, _, _, small, _, log_w = _turned(at_u, at_v, given, xp)
    c = small - log_w / theta
    return xp.where(given[2], at_u[0] - c, c)


def logpdf(at_u: Point, at_v: Point, given: Parameters, xp: Any) -> Any:
    theta, rest, _, small, large, log_w = _turned(at_u, at_v, given, xp)
    return xp.log(theta / rest) + theta * (small - large) - 2.0 * log_w


def loghfunc2(at_u: Point, at_v: Point, given: Parameters, xp: Any) -> Any:
    theta, rest, v, small, _, log_w = _turned(at_u, at_v, given, xp)
    ratio = -xp.expm1(-theta * at_u[0]) / rest
    return theta * (small - v) + xp.log(xp.maximum(ratio, U_MIN)) - log_w


def hinv2(p: Any, v: Any, tau: Any) -> np.ndarray:
    # u - v is the log of a ratio of 1 - (1 - p) (1 - exp(-θv)) and 1 - p (1 - exp(-θ(1 - v))), over θ
    theta, _, negative = parameters(np.asarray(tau), NUMPY)
    v = np.where(negative, 1.0 - v, v)
    below, above = theta * v, theta * (1.0 - v)
    log_ratio = log_one_minus_product(1.0 - p, -np.expm1(-below), p, np.exp(-below)) - log_one_minus_product(
        p, -np.expm1(-above), 1.0 - p, np.exp(-above)
    )
    return np.clip(v + log_ratio / theta, 0.0, 1.0)
