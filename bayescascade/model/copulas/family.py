"""Pair copulas of a link, each formula written once for NumPy and for PyTensor.

A family is a declarative entry in `FAMILIES`; its formulas are a module of this package. They take
``(at_u, at_v, parameters, xp)``: what follows from u, from v and from tau alone, see `Family.formulas`, and an
array namespace. `NUMPY` evaluates posterior draws, `pytensor_namespace` builds the model's graph, so that the
sampler and the tuner can never disagree about a formula.

Every family is parameterised by Kendall's tau. All families here are exchangeable, C(u, v) = C(v, u).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np

from bayescascade.errors import bad_value
from bayescascade.model.copulas import clayton, frank, gaussian, gumbel, independence, joe
from bayescascade.model.copulas.namespace import MASS_MIN, NUMPY, U_MIN, Parameters, Point, pytensor_namespace

__all__ = ["FAMILIES", "MASS_MIN", "NUMPY", "Family", "get_family", "pytensor_namespace", "rotate_180"]

_FORMULAS: dict[str, ModuleType] = {
    "gumbel": gumbel,
    "clayton": clayton,
    "joe": joe,
    "frank": frank,
    "gaussian": gaussian,
    "independence": independence,
}


@dataclass(frozen=True)
class Family:
    """One pair-copula family, in terms of Kendall's tau.

    Arguments broadcast against each other, and a result has the broadcast shape of all of them.

    Attributes
    ----------
    name : str
    tau_range : tuple of float
        Open interval of Kendall's tau that the family can express.
    rotated : bool
        Whether this is the survival copula, C(u, v) turned by 180 degrees, of the family `base`, whose formulas
        it has.
    """

    name: str
    tau_range: tuple[float, float]
    rotated: bool = False

    @property
    def base(self) -> str:
        """Name of the family without rotation."""
        return self.name.removesuffix("_180")

    @property
    def formulas(self) -> ModuleType:
        """Formulas of `base`.

        ``parameters(tau, xp)`` is what follows from tau alone, ``point(u, xp)`` what follows from u alone; with
        these, ``logpdf``, ``cdf`` and ``loghfunc2`` (the log of dC/dv) take ``(at_u, at_v, parameters, xp)``. A
        caller with many pairs of few signals and fewer links works the first two out before it forms pairs.
        """
        return _FORMULAS[self.base]

    def tau_to_parameter(self, tau: Any, xp: Any = NUMPY) -> Any:
        """Parameter of the textbook form."""
        return self.formulas.tau_to_parameter(tau, xp)

    def parameter_to_tau(self, parameter: Any) -> Any:
        """Kendall's tau of a parameter of the textbook form (NumPy only)."""
        return self.formulas.parameter_to_tau(parameter)

    def logpdf(self, u: Any, v: Any, tau: Any, xp: Any = NUMPY) -> Any:
        """Log of the copula density c(u, v)."""
        if self.rotated:
            u, v = 1.0 - u, 1.0 - v
        return self.formulas.logpdf(*self._at(u, v, tau, xp), xp)

    def pdf(self, u: Any, v: Any, tau: Any, xp: Any = NUMPY) -> Any:
        """Copula density c(u, v)."""
        return xp.exp(self.logpdf(u, v, tau, xp))

    def cdf(self, u: Any, v: Any, tau: Any, xp: Any = NUMPY) -> Any:
        """Distribution function C(u, v)."""
        if self.rotated:
            return u + v - 1.0 + self.formulas.cdf(*self._at(1.0 - u, 1.0 - v, tau, xp), xp)
        return self.formulas.cdf(*self._at(u, v, tau, xp), xp)

    def loghfunc2(self, u: Any, v: Any, tau: Any, xp: Any = NUMPY) -> Any:
        """Log of P(U <= u | V = v)."""
        if self.rotated:
            return xp.log(xp.maximum(self.hfunc2(u, v, tau, xp), U_MIN))
        return self.formulas.loghfunc2(*self._at(u, v, tau, xp), xp)

    def hfunc2(self, u: Any, v: Any, tau: Any, xp: Any = NUMPY) -> Any:
        """P(U <= u | V = v) = dC/dv."""
        if self.rotated:
            return -xp.expm1(self.formulas.loghfunc2(*self._at(1.0 - u, 1.0 - v, tau, xp), xp))
        return xp.exp(self.formulas.loghfunc2(*self._at(u, v, tau, xp), xp))

    def hfunc1(self, u: Any, v: Any, tau: Any, xp: Any = NUMPY) -> Any:
        """P(V <= v | U = u) = dC/du, by exchangeability."""
        return self.hfunc2(v, u, tau, xp)

    def hinv2(self, p: Any, v: Any, tau: Any) -> np.ndarray:
        """Solve hfunc2(u, v) = p for u (NumPy only)."""
        p, v, tau = (np.asarray(x, dtype=float) for x in (p, v, tau))
        if self.rotated:
            return 1.0 - np.asarray(self.formulas.hinv2(1.0 - p, 1.0 - v, tau))
        return np.asarray(self.formulas.hinv2(p, v, tau))

    def hinv1(self, p: Any, u: Any, tau: Any) -> np.ndarray:
        """Solve hfunc1(u, v) = p for v (NumPy only)."""
        return self.hinv2(p, u, tau)

    def tail_dependence(self, tau: Any) -> tuple[Any, Any]:
        """Limits of P(U <= q | V <= q) as q -> 0 and of P(U > q | V > q) as q -> 1 (NumPy only)."""
        lower, upper = self.formulas.tail_dependence(np.asarray(tau, dtype=float))
        return (upper, lower) if self.rotated else (lower, upper)

    def log_strip(self, u_low: Any, u_high: Any, v: Any, tau: Any, xp: Any = NUMPY) -> Any:
        """Log of P(u_low < U <= u_high | V = v): one side an atom, the other continuous."""
        if self.rotated:
            # the mass that the base has in the turned strip: no difference of complements of small numbers
            u_low, u_high, v = 1.0 - u_high, 1.0 - u_low, 1.0 - v
        low, high, at_v = (self.formulas.point(x, xp) for x in (u_low, u_high, v))
        return log_strip(self.formulas, low, high, at_v, self.formulas.parameters(tau, xp), xp)

    def log_rectangle(self, u_low: Any, u_high: Any, v_low: Any, v_high: Any, tau: Any, xp: Any = NUMPY) -> Any:
        """Log of P(u_low < U <= u_high, v_low < V <= v_high): both sides atoms."""
        if self.rotated:
            u_low, u_high, v_low, v_high = 1.0 - u_high, 1.0 - u_low, 1.0 - v_high, 1.0 - v_low
        corners = [self.formulas.point(x, xp) for x in (u_low, u_high, v_low, v_high)]
        return log_rectangle(self.formulas, corners, self.formulas.parameters(tau, xp), xp)

    def _at(self, u: Any, v: Any, tau: Any, xp: Any) -> tuple[Point, Point, Parameters]:
        formulas = self.formulas
        return formulas.point(u, xp), formulas.point(v, xp), formulas.parameters(tau, xp)


def log_strip(formulas: ModuleType, low: Point, high: Point, v: Point, given: Parameters, xp: Any) -> Any:
    """Log of the mass between two values of u, given v, of a family without rotation."""
    mass = xp.exp(formulas.loghfunc2(high, v, given, xp)) - xp.exp(formulas.loghfunc2(low, v, given, xp))
    return xp.log(xp.maximum(mass, MASS_MIN))


def log_rectangle(formulas: ModuleType, corners: Sequence[Point], given: Parameters, xp: Any) -> Any:
    """Log of the mass of a rectangle from low and high u, low and high v, of a family without rotation."""
    u_low, u_high, v_low, v_high = corners
    mass = (
        formulas.cdf(u_high, v_high, given, xp)
        - formulas.cdf(u_low, v_high, given, xp)
        - formulas.cdf(u_high, v_low, given, xp)
        + formulas.cdf(u_low, v_low, given, xp)
    )
    return xp.log(xp.maximum(mass, MASS_MIN))


def rotate_180(family: Family) -> Family:
    """Survival copula of a family, with c(1 - u, 1 - v) for its density; twice gives the family back."""
    name = family.base if family.rotated else f"{family.name}_180"
    return replace(family, name=name, rotated=not family.rotated)


_BASE = (
    Family("gumbel", (0.0, 1.0)),
    Family("clayton", (0.0, 1.0)),
    Family("joe", (0.0, 1.0)),
    Family("frank", (-1.0, 1.0)),
    Family("gaussian", (-1.0, 1.0)),
    Family("independence", (0.0, 1.0)),
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
        hint = f"choose one of {', '.join(map(repr, sorted(FAMILIES)))}"
        raise bad_value("copula", name, hint, "is not a known family")
    return FAMILIES[name]
