"""Pair copulas of a link, each formula written once for NumPy and for PyTensor.

A family is a declarative entry in `FAMILIES`; its formulas are a module of `bayescascade._families`. They take an
array namespace ``xp`` as their last argument: `NUMPY` evaluates posterior draws, `pytensor_namespace` builds the
model's graph, so that the sampler and the tuner can never disagree about a formula.

Every family is parameterised by Kendall's tau. All families here are exchangeable, C(u, v) = C(v, u).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np

from bayescascade._families import clayton, frank, gaussian, gumbel, independence, joe
from bayescascade._families.arrays import MASS_MIN, NUMPY, U_MIN, pytensor_namespace
from bayescascade.errors import CascadeError

__all__ = ["FAMILIES", "MASS_MIN", "NUMPY", "Family", "get_family", "pytensor_namespace", "rotate_180"]


@dataclass(frozen=True)
class Family:
    """One pair-copula family, in terms of Kendall's tau.

    Arguments broadcast against each other, and a result has the broadcast shape of all of them.

    Attributes
    ----------
    name : str
    tau_range : tuple of float
        Open interval of Kendall's tau that the family can express.
    tau_to_parameter : callable
        ``(tau, xp) -> parameter`` of the textbook form.
    parameter_to_tau : callable
        Its inverse, for NumPy.
    rotated : bool
        Whether this is the survival copula, C(u, v) turned by 180 degrees, of the family `base`, whose formulas
        it holds.

    Notes
    -----
    The underscored callables are the formulas of `base`: ``_logpdf``, ``_cdf`` and ``_loghfunc2`` (the log of
    dC/dv) take ``(u, v, tau, xp)``, ``_hinv2`` takes ``(p, v, tau)`` and ``_tail_dependence`` takes ``(tau)``.
    """

    name: str
    tau_range: tuple[float, float]
    tau_to_parameter: Callable[[Any, Any], Any]
    parameter_to_tau: Callable[[Any], Any]
    _logpdf: Callable[[Any, Any, Any, Any], Any]
    _cdf: Callable[[Any, Any, Any, Any], Any]
    _loghfunc2: Callable[[Any, Any, Any, Any], Any]
    _hinv2: Callable[[Any, Any, Any], np.ndarray]
    _tail_dependence: Callable[[Any], tuple[Any, Any]]
    rotated: bool = False

    @property
    def base(self) -> str:
        """Name of the family without rotation."""
        return self.name.removesuffix("_180")

    def logpdf(self, u: Any, v: Any, tau: Any, xp: Any = NUMPY) -> Any:
        """Log of the copula density c(u, v)."""
        if self.rotated:
            u, v = 1.0 - u, 1.0 - v
        return self._logpdf(u, v, tau, xp)

    def pdf(self, u: Any, v: Any, tau: Any, xp: Any = NUMPY) -> Any:
        """Copula density c(u, v)."""
        return xp.exp(self.logpdf(u, v, tau, xp))

    def cdf(self, u: Any, v: Any, tau: Any, xp: Any = NUMPY) -> Any:
        """Distribution function C(u, v)."""
        if self.rotated:
            return u + v - 1.0 + self._cdf(1.0 - u, 1.0 - v, tau, xp)
        return self._cdf(u, v, tau, xp)

    def loghfunc2(self, u: Any, v: Any, tau: Any, xp: Any = NUMPY) -> Any:
        """Log of P(U <= u | V = v)."""
        if self.rotated:
            return xp.log(xp.maximum(self.hfunc2(u, v, tau, xp), U_MIN))
        return self._loghfunc2(u, v, tau, xp)

    def hfunc2(self, u: Any, v: Any, tau: Any, xp: Any = NUMPY) -> Any:
        """P(U <= u | V = v) = dC/dv."""
        if self.rotated:
            return -xp.expm1(self._loghfunc2(1.0 - u, 1.0 - v, tau, xp))
        return xp.exp(self._loghfunc2(u, v, tau, xp))

    def hfunc1(self, u: Any, v: Any, tau: Any, xp: Any = NUMPY) -> Any:
        """P(V <= v | U = u) = dC/du, by exchangeability."""
        return self.hfunc2(v, u, tau, xp)

    def hinv2(self, p: Any, v: Any, tau: Any) -> np.ndarray:
        """Solve hfunc2(u, v) = p for u (NumPy only)."""
        p, v, tau = (np.asarray(x, dtype=float) for x in (p, v, tau))
        if self.rotated:
            return 1.0 - self._hinv2(1.0 - p, 1.0 - v, tau)
        return self._hinv2(p, v, tau)

    def hinv1(self, p: Any, u: Any, tau: Any) -> np.ndarray:
        """Solve hfunc1(u, v) = p for v (NumPy only)."""
        return self.hinv2(p, u, tau)

    def tail_dependence(self, tau: Any) -> tuple[Any, Any]:
        """Limits of P(U <= q | V <= q) as q -> 0 and of P(U > q | V > q) as q -> 1 (NumPy only)."""
        lower, upper = self._tail_dependence(np.asarray(tau, dtype=float))
        return (upper, lower) if self.rotated else (lower, upper)

    def log_strip(self, u_low: Any, u_high: Any, v: Any, tau: Any, xp: Any = NUMPY) -> Any:
        """Log of P(u_low < U <= u_high | V = v): one side an atom, the other continuous."""
        if self.rotated:
            # the mass that the base has in the turned strip: no difference of complements of small numbers
            u_low, u_high, v = 1.0 - u_high, 1.0 - u_low, 1.0 - v
        mass = xp.exp(self._loghfunc2(u_high, v, tau, xp)) - xp.exp(self._loghfunc2(u_low, v, tau, xp))
        return xp.log(xp.maximum(mass, MASS_MIN))

    def log_rectangle(self, u_low: Any, u_high: Any, v_low: Any, v_high: Any, tau: Any, xp: Any = NUMPY) -> Any:
        """Log of P(u_low < U <= u_high, v_low < V <= v_high): both sides atoms."""
        if self.rotated:
            u_low, u_high, v_low, v_high = 1.0 - u_high, 1.0 - u_low, 1.0 - v_high, 1.0 - v_low
        mass = (
            self._cdf(u_high, v_high, tau, xp)
            - self._cdf(u_low, v_high, tau, xp)
            - self._cdf(u_high, v_low, tau, xp)
            + self._cdf(u_low, v_low, tau, xp)
        )
        return xp.log(xp.maximum(mass, MASS_MIN))


def rotate_180(family: Family) -> Family:
    """Survival copula of a family, with c(1 - u, 1 - v) for its density; twice gives the family back."""
    name = family.base if family.rotated else f"{family.name}_180"
    return replace(family, name=name, rotated=not family.rotated)


def _family(name: str, tau_range: tuple[float, float], formulas: ModuleType) -> Family:
    return Family(
        name,
        tau_range,
        formulas.tau_to_parameter,
        formulas.parameter_to_tau,
        formulas.logpdf,
        formulas.cdf,
        formulas.loghfunc2,
        formulas.hinv2,
        formulas.tail_dependence,
    )


_BASE = (
    _family("gumbel", (0.0, 1.0), gumbel),
    _family("clayton", (0.0, 1.0), clayton),
    _family("joe", (0.0, 1.0), joe),
    _family("frank", (-1.0, 1.0), frank),
    _family("gaussian", (-1.0, 1.0), gaussian),
    _family("independence", (0.0, 1.0), independence),
)
# the others are their own survival copulas
_ASYMMETRIC = ("gumbel", "clayton", "joe")

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (*_BASE, *(rotate_180(family) for family in _BASE if family.name in _ASYMMETRIC))
}


def get_family(name: str) -> Family:
    """Return the family called ``name``.

    Examples
    --------
    >>> family = get_family("gumbel")
    >>> float(family.cdf(0.5, 0.5, 0.5).round(4))
    0.3752

    Raises
    ------
    CascadeError
        For a name that is not in `FAMILIES`.
    """
    if name not in FAMILIES:
        raise CascadeError(
            f"copula={name!r} is not a known family; choose one of {', '.join(map(repr, sorted(FAMILIES)))}."
        )
    return FAMILIES[name]
