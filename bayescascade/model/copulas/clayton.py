"""Clayton's copula, with lower tail dependence: Nelsen (2006), family 4.2.1; Joe (2014), section 4.6.

With x = -log u and y = -log v: C = exp(-L), L = log(exp(θx) + exp(θy) - 1) / θ, θ = 2τ / (1 - τ). The larger
of x and y leaves L as M, and what remains, r = L - M, is computed without overflow or cancellation.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bayescascade.model.copulas.namespace import (
    NUMPY,
    Parameters,
    Point,
    away_from_zero,
    log_one_minus_product,
    minus_log,
)


def tau_to_parameter(tau: Any, xp: Any) -> Any:
    return 2.0 * tau / (1.0 - tau)


def parameters(tau: Any, xp: Any) -> Parameters:
    return (away_from_zero(tau_to_parameter(tau, xp), xp),)


def parameter_to_tau(parameter: Any) -> Any:
    return parameter / (parameter + 2.0)


def point(u: Any, xp: Any) -> Point:
    return (minus_log(u, xp),)


def tail_dependence(tau: Any) -> tuple[Any, Any]:
    # 2^(-1/θ), which passes to 0 with τ
    safe = np.maximum(tau, np.finfo(float).tiny)
    return 2.0 ** (-(1.0 - tau) / (2.0 * safe)), 0.0 * tau


def _terms(at_u: Point, at_v: Point, given: Parameters, xp: Any) -> tuple[Any, ...]:
    (theta,), (x,), (y,) = given, at_u, at_v
    large, small = xp.maximum(x, y), xp.minimum(x, y)
    r = xp.log1p(-xp.exp(theta * (small - large)) * xp.expm1(-theta * small)) / theta
    return theta, y, large, small, r


def cdf(at_u: Point, at_v: Point, given: Parameters, xp: Any) -> Any:
    _, _, large, _, r = _terms(at_u, at_v, given, xp)
    return xp.exp(-large - r)


def logpdf(at_u: Point, at_v: Point, given: Parameters, xp: Any) -> Any:
    theta, _, large, small, r = _terms(at_u, at_v, given, xp)
    return xp.log1p(theta) + theta * (small - large) + small - (2.0 * theta + 1.0) * r


def loghfunc2(at_u: Point, at_v: Point, given: Parameters, xp: Any) -> Any:
    theta, y, large, _, r = _terms(at_u, at_v, given, xp)
    return (theta + 1.0) * (y - large - r)


def hinv2(p: Any, v: Any, tau: Any) -> np.ndarray:
    # exp(θx) = 1 + (p^(-θ/(1+θ)) - 1) exp(θy), with exp(θy) p^(-θ/(1+θ)) taken out
    (theta,) = parameters(tau, NUMPY)
    y = minus_log(v, NUMPY)
    power = -theta / (1.0 + theta) * np.log(np.maximum(p, np.finfo(float).tiny))
    rest = log_one_minus_product(np.exp(-power), -np.expm1(-theta * y), -np.expm1(-power), np.exp(-theta * y))
    return np.exp(-np.maximum(y + (power + rest) / theta, 0.0))
