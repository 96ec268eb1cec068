"""Gumbel's copula, with upper tail dependence: Nelsen (2006), family 4.2.4; Joe (2014), section 4.8.

With x = -log u, y = -log v and s = (x^θ + y^θ)^(1/θ): C = exp(-s), θ = 1 / (1 - τ).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import wrightomega

from bayescascade.model.copulas.namespace import Parameters, Point, minus_log


def tau_to_parameter(tau: Any, xp: Any) -> Any:
    return 1.0 / (1.0 - tau)


def parameters(tau: Any, xp: Any) -> Parameters:
    # θ and θ - 1, from which a small s must not cancel
    return tau_to_parameter(tau, xp), tau / (1.0 - tau)


def parameter_to_tau(parameter: Any) -> Any:
    return 1.0 - 1.0 / parameter


def point(u: Any, xp: Any) -> Point:
    x = minus_log(u, xp)
    return x, xp.log(x)


def tail_dependence(tau: Any) -> tuple[Any, Any]:
    return 0.0 * tau, 2.0 - 2.0 ** (1.0 - tau)


def _terms(at_u: Point, at_v: Point, given: Parameters, xp: Any) -> tuple[Any, ...]:
    # a = log s: powers are never formed
    (x, log_x), (y, log_y) = at_u, at_v
    theta, order = given
    a = xp.logaddexp(theta * log_x, theta * log_y) / theta
    return theta, order, x, y, log_x, log_y, a


def cdf(at_u: Point, at_v: Point, given: Parameters, xp: Any) -> Any:
    *_, a = _terms(at_u, at_v, given, xp)
    return xp.exp(-xp.exp(a))


def logpdf(at_u: Point, at_v: Point, given: Parameters, xp: Any) -> Any:
    theta, order, x, y, log_x, log_y, a = _terms(at_u, at_v, given, xp)
    s = xp.exp(a)
    return x + y - s + order * (log_x + log_y) - (theta + order) * a + xp.log(s + order)


def loghfunc2(at_u: Point, at_v: Point, given: Parameters, xp: Any) -> Any:
    _, order, _, y, _, log_y, a = _terms(at_u, at_v, given, xp)
    return y - xp.exp(a) + order * (log_y - a)


def hinv2(p: Any, v: Any, tau: Any) -> np.ndarray:
    # log h = log p reads s + (θ - 1) log s = y + (θ - 1) log y - log p: Wright's omega function of s / (θ - 1)
    order = np.maximum(tau / (1.0 - tau), 1e-12)  # θ - 1
    y = minus_log(v, np)
    minus_log_p = -np.log(np.maximum(p, np.finfo(float).tiny))
    s = order * wrightomega((y + minus_log_p) / order + np.log(y / order))
    # near p = 1 the digits of s - y are lost; a Newton step on it brings them back
    rise = np.maximum(s - y, 0.0)
    miss = rise + order * np.log1p(rise / y) - minus_log_p
    rise = np.where(p < 1.0, np.maximum(rise - miss / (1.0 + order / (y + rise)), 0.0), 0.0)
    x_over_s = (-np.expm1(-(1.0 + order) * np.log1p(rise / y))) ** (1.0 / (1.0 + order))
    return np.exp(-(y + rise) * x_over_s)
