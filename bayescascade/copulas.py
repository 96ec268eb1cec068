"""Pair copulas of a link, each formula written once for NumPy and for PyTensor.

A family is a declarative entry in `FAMILIES`. Its functions take an array namespace ``xp`` as their
last argument: `NUMPY` evaluates posterior draws, `pytensor_namespace` builds the model's graph, so that
the sampler and the tuner can never disagree about a formula.

Every family is parameterised by Kendall's tau. All families here are exchangeable, C(u, v) = C(v, u).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from bayescascade.errors import CascadeError

# -log(u) is kept above one rounding step of u at 1, so C(1, v) is still v to machine precision, and u above a
# value that no log can reach. No smaller floor: PyTensor compiles with fast-math, which may reorder products, and
# the reciprocal of 1e-300 times a large number is infinite before it meets the zero that would have cancelled it.
_X_MIN, _U_MIN = 1e-16, 1e-20
# Differences of two numbers near 1 carry rounding noise of this size; a smaller mass is noise.
MASS_MIN = 1e-16


def _namespace(module: Any, flatten: Callable[[Any], Any]) -> SimpleNamespace:
    def logaddexp(a: Any, b: Any) -> Any:
        # NumPy's own logaddexp is not vectorised by SIMD and costs five times as much. log1p is not needed:
        # the result is used on an absolute scale, and the sum is at least one.
        return module.maximum(a, b) + module.log(1.0 + module.exp(-abs(a - b)))

    return SimpleNamespace(
        log=module.log,
        exp=module.exp,
        maximum=module.maximum,
        minimum=module.minimum,
        cumsum=module.cumsum,
        concatenate=module.concatenate,
        logaddexp=logaddexp,
        flatten=flatten,
    )


# `flatten` joins the first two axes, (stage, leaf); in NumPy a further axis over draws may follow.
NUMPY = _namespace(np, lambda x: x.reshape((-1, *x.shape[2:])))


def pytensor_namespace() -> SimpleNamespace:
    """Return the PyTensor twin of `NUMPY` (imports PyTensor)."""
    import pytensor.tensor as pt

    return _namespace(pt, lambda x: x.flatten())


@dataclass(frozen=True)
class Family:
    """One pair-copula family, in terms of Kendall's tau.

    Attributes
    ----------
    name : str
    tau_range : tuple of float
        Open interval of Kendall's tau that the family can express.
    tau_to_parameter : callable
        ``(tau, xp) -> parameter`` of the textbook form.
    logpdf, cdf, loghfunc2 : callable
        ``(u, v, tau, xp)``: log density, distribution function, and log of dC/dv, which is
        P(U <= u | V = v).
    """

    name: str
    tau_range: tuple[float, float]
    tau_to_parameter: Callable[[Any, Any], Any]
    _logpdf: Callable[[Any, Any, Any, Any], Any]
    _cdf: Callable[[Any, Any, Any, Any], Any]
    _loghfunc2: Callable[[Any, Any, Any, Any], Any]

    def logpdf(self, u: Any, v: Any, tau: Any, xp: Any = NUMPY) -> Any:
        """Log of the copula density c(u, v)."""
        return self._logpdf(u, v, tau, xp)

    def pdf(self, u: Any, v: Any, tau: Any, xp: Any = NUMPY) -> Any:
        """Copula density c(u, v)."""
        return xp.exp(self._logpdf(u, v, tau, xp))

    def cdf(self, u: Any, v: Any, tau: Any, xp: Any = NUMPY) -> Any:
        """Distribution function C(u, v)."""
        return self._cdf(u, v, tau, xp)

    def hfunc2(self, u: Any, v: Any, tau: Any, xp: Any = NUMPY) -> Any:
        """P(U <= u | V = v) = dC/dv."""
        return xp.exp(self._loghfunc2(u, v, tau, xp))

    def hfunc1(self, u: Any, v: Any, tau: Any, xp: Any = NUMPY) -> Any:
        """P(V <= v | U = u) = dC/du, by exchangeability."""
        return xp.exp(self._loghfunc2(v, u, tau, xp))

    def hinv1(self, p: Any, u: Any, tau: Any) -> np.ndarray:
        """Solve hfunc1(u, v) = p for v (NumPy only; Chandrupatla's method, SciPy's elementwise root finder)."""
        from scipy.optimize import elementwise

        p, u, tau = np.broadcast_arrays(*(np.asarray(x, dtype=float) for x in (p, u, tau)))
        # SciPy takes square roots of values that it then discards
        with np.errstate(invalid="ignore"):
            root = elementwise.find_root(
                lambda v, p, u, tau: self.hfunc1(u, v, tau) - p,
                (np.full(p.shape, 0.0), np.full(p.shape, 1.0)),
                args=(p, u, tau),
            )
        return np.clip(root.x, 0.0, 1.0)

    def log_strip(self, u_low: Any, u_high: Any, v: Any, tau: Any, xp: Any = NUMPY) -> Any:
        """Log of P(u_low < U <= u_high | V = v): one side an atom, the other continuous."""
        mass = self.hfunc2(u_high, v, tau, xp) - self.hfunc2(u_low, v, tau, xp)
        return xp.log(xp.maximum(mass, MASS_MIN))

    def log_rectangle(self, u_low: Any, u_high: Any, v_low: Any, v_high: Any, tau: Any, xp: Any = NUMPY) -> Any:
        """Log of P(u_low < U <= u_high, v_low < V <= v_high): both sides atoms."""
        mass = (
            self.cdf(u_high, v_high, tau, xp)
            - self.cdf(u_low, v_high, tau, xp)
            - self.cdf(u_high, v_low, tau, xp)
            + self.cdf(u_low, v_low, tau, xp)
        )
        return xp.log(xp.maximum(mass, MASS_MIN))


def _minus_log(u: Any, xp: Any) -> Any:
    return xp.maximum(-xp.log(xp.maximum(u, _U_MIN)), _X_MIN)


def _gumbel_theta(tau: Any, xp: Any) -> Any:
    return 1.0 / (1.0 - tau)


def _gumbel_terms(u: Any, v: Any, tau: Any, xp: Any) -> tuple[Any, ...]:
    # x = -log u, y = -log v, a = log of (x^theta + y^theta)^(1/theta): powers are never formed
    theta = _gumbel_theta(tau, xp)
    x, y = _minus_log(u, xp), _minus_log(v, xp)
    log_x, log_y = xp.log(x), xp.log(y)
    a = xp.logaddexp(theta * log_x, theta * log_y) / theta
    return theta, x, y, log_x, log_y, a


def _gumbel_cdf(u: Any, v: Any, tau: Any, xp: Any) -> Any:
    *_, a = _gumbel_terms(u, v, tau, xp)
    return xp.exp(-xp.exp(a))


def _gumbel_logpdf(u: Any, v: Any, tau: Any, xp: Any) -> Any:
    theta, x, y, log_x, log_y, a = _gumbel_terms(u, v, tau, xp)
    t = xp.exp(a)
    return x + y - t + (theta - 1.0) * (log_x + log_y) + (1.0 - 2.0 * theta) * a + xp.log(t + theta - 1.0)


def _gumbel_loghfunc2(u: Any, v: Any, tau: Any, xp: Any) -> Any:
    theta, _, y, _, log_y, a = _gumbel_terms(u, v, tau, xp)
    return y - xp.exp(a) + (theta - 1.0) * (log_y - a)


# Zero times tau keeps the result's shape that of all three arguments, as in every other family.
FAMILIES: dict[str, Family] = {
    "gumbel": Family("gumbel", (0.0, 1.0), _gumbel_theta, _gumbel_logpdf, _gumbel_cdf, _gumbel_loghfunc2),
    "independence": Family(
        "independence",
        (0.0, 1.0),
        lambda tau, xp: tau,
        lambda u, v, tau, xp: 0.0 * (u + v + tau),
        lambda u, v, tau, xp: u * v + 0.0 * tau,
        lambda u, v, tau, xp: xp.log(xp.maximum(u, _U_MIN)) + 0.0 * (v + tau),
    ),
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
