"""Independence: C = u v. Zero times an argument gives each result the shape of all three, as elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayescascade.model.copulas.namespace import U_MIN, Parameters, Point


def tau_to_parameter(tau: Any, xp: Any) -> Any:
    return tau


def parameters(tau: Any, xp: Any) -> Parameters:
    return (tau,)


def parameter_to_tau(parameter: Any) -> Any:
    return parameter


def point(u: Any, xp: Any) -> Point:
    return (u,)


def tail_dependence(tau: Any) -> tuple[Any, Any]:
    return 0.0 * tau, 0.0 * tau


def cdf(at_u: Point, at_v: Point, given: Parameters, xp: Any) -> Any:
    return at_u[0] * at_v[0] + 0.0 * given[0]


def logpdf(at_u: Point, at_v: Point, given: Parameters, xp: Any) -> Any:
    return 0.0 * (at_u[0] + at_v[0] + given[0])


def loghfunc2(at_u: Point, at_v: Point, given: Parameters, xp: Any) -> Any:
    return xp.log(xp.maximum(at_u[0], U_MIN)) + 0.0 * (at_v[0] + given[0])


def hinv2(p: Any, v: Any, tau: Any) -> np.ndarray:
    return p + 0.0 * (v + tau)
