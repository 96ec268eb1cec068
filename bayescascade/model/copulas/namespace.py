"""Array namespaces in which the formulas are evaluated, and the floors that they share."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy import special

# u is kept above a value that no log can reach, and -log(u) above the same; C(1, v) is still v to machine
# precision. No smaller floor: PyTensor compiles with fast-math, which may reorder products, and the reciprocal of
# 1e-300 times a large number is infinite before it meets the zero that would have cancelled it.
U_MIN = X_MIN = 1e-20
# -log(u) where u is exactly 0, the edge of a segment: far enough that no v, however small, is comparable.
_X_MAX = 1e3
# Differences of two numbers near 1 carry rounding noise of this size; a smaller mass is noise.
MASS_MIN = 1e-16
# A parameter that the formulas divide by is moved by this much where it is smaller: values change by as much, and
# gradients lose 1e-16 / 1e-8 of their digits and stay nonzero, which a floor would not grant them.
_STEP = 1e-8
LOG_2 = float(np.log(2.0))


# What a family derives from τ alone and from u alone: once for each link and signal, before pairs are formed.
Parameters = tuple[Any, ...]
Point = tuple[Any, ...]


def _namespace(
    module: Any,
    functions: Any,
    asarray: Callable[[Any], Any],
    flatten: Callable[[Any], Any],
    constant: Callable[[Any], Any],
    add_rows: Callable[[Any, Any, Any], Any],
) -> SimpleNamespace:
    def logaddexp(a: Any, b: Any) -> Any:
        # NumPy's own logaddexp is not vectorised by SIMD and costs five times as much. log1p is not needed:
        # the result is used on an absolute scale, and the sum is at least one. Twice the sum, because PyTensor
        # turns log(1 + x) into log1p, which costs four times as much as log.
        return module.maximum(a, b) + (module.log(2.0 + 2.0 * module.exp(-abs(a - b))) - LOG_2)

    def log_sum_over(x: Any, divisor: Any, axis: int) -> Any:
        """Log of the sum of exp(x) / divisor."""
        # The gradient need not pass through the maximum. Subtracting the logarithm of the divisor from x would
        # cost as much as the rest, and PyTensor would put its own logsumexp, twice as slow, in place of this.
        top = constant(x.max(axis=axis, keepdims=True))
        return module.log((module.exp(x - top) / divisor).sum(axis=axis)) + top.squeeze(axis)

    return SimpleNamespace(
        log=module.log,
        exp=module.exp,
        log1p=module.log1p,
        expm1=module.expm1,
        sin=module.sin,
        cos=module.cos,
        where=module.where,
        maximum=module.maximum,
        minimum=module.minimum,
        cumsum=module.cumsum,
        concatenate=module.concatenate,
        zeros_like=module.zeros_like,
        logaddexp=logaddexp,
        log_sum_over=log_sum_over,
        add_rows=add_rows,
        erfc=functions.erfc,
        erfcinv=functions.erfcinv,
        owens_t=functions.owens_t,
        asarray=asarray,
        flatten=flatten,
    )


def _add_rows(x: Any, index: Any, rows: Any) -> Any:
    out = np.array(np.broadcast_to(x, (len(x), *np.broadcast_shapes(x.shape[1:], rows.shape[1:]))))
    np.add.at(out, index, rows)
    return out


# `flatten` joins the first two axes, (stage, leaf); in NumPy a further axis over draws may follow.
NUMPY = _namespace(np, special, np.asarray, lambda x: x.reshape((-1, *x.shape[2:])), lambda x: x, _add_rows)


def pytensor_namespace() -> SimpleNamespace:
    """Return the PyTensor twin of `NUMPY` (imports PyTensor)."""
    import pytensor.tensor as pt
    from pytensor.gradient import disconnected_grad

    return _namespace(
        pt,
        pt,
        pt.as_tensor_variable,
        lambda x: x.flatten(),
        disconnected_grad,
        lambda x, index, rows: x[index].inc(rows),
    )


def away_from_zero(parameter: Any, xp: Any) -> Any:
    """Return a parameter that can be divided by, for formulas with a removable singularity at zero."""
    return parameter + xp.where(abs(parameter) < _STEP, 2.0 * _STEP, 0.0)


def polynomial(x: Any, coefficients: tuple[float, ...]) -> Any:
    """Horner's rule, lowest power first."""
    value: Any = coefficients[-1]
    for c in coefficients[-2::-1]:
        value = value * x + c
    return value


def log_one_minus_product(a: Any, b: Any, one_minus_a: Any, one_minus_b: Any) -> np.ndarray:
    """Log of 1 - a b for a and b in [0, 1], without cancellation where the product is near one (NumPy only)."""
    product = a * b
    near_one = np.log(np.maximum(one_minus_a + a * one_minus_b, np.finfo(float).tiny))
    return np.where(product < 0.5, np.log1p(-np.minimum(product, 0.5)), near_one)


def minus_log(u: Any, xp: Any) -> Any:
    """-log(u) within the bounds above."""
    return xp.where(u > 0.0, xp.maximum(-xp.log(xp.maximum(u, U_MIN)), X_MIN), _X_MAX)
