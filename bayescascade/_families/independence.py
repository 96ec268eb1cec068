"""Independence: C = u v. Zero times an argument gives each result the shape of all three, as elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayescascade._families.arrays import U_MIN


def tau_to_parameter(tau: Any, xp: Any) -> Any:
    return tau


def parameter_to_tau(parameter: Any) -> Any:
    return parameter


def tail_dependence(tau: Any) -> tuple[Any, Any]:
    return 0.0 * tau, 0.0 * tau


def cdf(u: Any, v: Any, tau: Any, xp: Any) -> Any:
    return u * v + 0.0 * tau


def logpdf(u: Any, v: Any, tau: Any, xp: Any) -> Any:
    return 0.0 * (u + v + tau)


def loghfunc2(u: Any, v: Any, tau: Any, xp: Any) -> Any:
    return xp.log(xp.maximum(u, U_MIN)) + 0.0 * (v + tau)


def hinv2(p: Any, v: Any, tau: Any) -> np.ndarray:
    return p + 0.0 * (v + tau)
