"""Confidence (raw, as deployed) to signal (as modelled) and back: one fixed monotone map per kind."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayescascade.errors import CascadeError, shown

Array = NDArray[np.float64]

# Half the float32 step at 1. Models compute log-probabilities in float32, so a logged p = 1 (log-probability
# 0) only says that p is within this of 1: the largest claim the data can carry. It keeps the signal finite.
EPS = 2.0**-24

# Overshoot of a scale's end that can only be rounding, e.g. the float32 log-probability 2.4e-7.
ROUNDING = 1e-6

# Kinds whose exponential is a probability.
LOGARITHMS = ("logprob", "p_true", "log_likelihood")

_LOG_TOP = np.log1p(-EPS)
_LOG_BOTTOM = np.log(EPS)
_LOG2 = np.log(2.0)


def _log1mexp(s: Array) -> Array:
    """log(1 - e^s) for s <= 0."""
    # Each form loses all its digits where the other is exact; they are equally good at s = -log 2.
    return np.where(s > -_LOG2, np.log(-np.expm1(s)), np.log1p(-np.exp(s)))


def _logprob_forward(s: Array) -> Array:
    return -_log1mexp(np.minimum(s, _LOG_TOP))


def _logprob_inverse(xi: Array) -> Array:
    return _log1mexp(-xi)


def _log_likelihood_forward(s: Array) -> Array:
    # Sums over long answers are far below 0, where `logprob` would press them together: in logarithms of the
    # surprise -s, every doubling counts alike.
    return -np.log(np.clip(-s, EPS, 1 / EPS))


def _log_likelihood_inverse(xi: Array) -> Array:
    return -np.exp(-xi)


def _p_true_forward(s: Array) -> Array:
    s = np.clip(s, _LOG_BOTTOM, _LOG_TOP)
    return np.where(s >= -_LOG2, -_log1mexp(s) - _LOG2, _LOG2 + s)


def _p_true_inverse(xi: Array) -> Array:
    return np.where(xi >= 0, _log1mexp(-np.maximum(xi, 0) - _LOG2), xi - _LOG2)


def _probability_forward(p: Array) -> Array:
    p = np.clip(p, EPS, 1 - EPS)
    return np.log(p) - np.log1p(-p)


def _probability_inverse(xi: Array) -> Array:
    small = np.exp(-np.abs(xi))  # never overflows, whichever the sign
    return np.where(xi >= 0, 1, small) / (1 + small)


def _percent_forward(p: Array) -> Array:
    return _probability_forward(p / 100)


def _percent_inverse(xi: Array) -> Array:
    return 100 * _probability_inverse(xi)


def _margin_forward(m: Array) -> Array:
    return -np.log1p(-np.minimum(m, 1 - EPS))


def _margin_inverse(xi: Array) -> Array:
    return -np.expm1(-xi)


def _identity(x: Array) -> Array:
    return x


@dataclass(frozen=True)
class SignalKind:
    """How one kind of confidence is read: its scale and its map to the signal.

    Examples
    --------
    >>> from bayescascade.signals.kinds import KINDS
    >>> kind = KINDS["logprob"]
    >>> kind.lower, kind.upper
    (-inf, 0.0)

    Attributes
    ----------
    name : str
        The value of `confidence_kind`.
    lower, upper : float
        Ends of the raw scale.
    description : str
        The scale in words, for messages.
    forward, inverse : callable
        Array to array, on the scale only; `to_signal` and `to_confidence` also settle what lies outside.
    minus_inf : bool
        Whether -inf is a value of the scale (a logarithm of probability 0).
    """

    name: str
    lower: float
    upper: float
    description: str
    forward: Callable[[Array], Array]
    inverse: Callable[[Array], Array]
    minus_inf: bool = False


KINDS: dict[str, SignalKind] = {
    kind.name: kind
    for kind in (
        SignalKind(
            "logprob",
            -np.inf,
            0.0,
            "a mean log-probability, at most 0",
            _logprob_forward,
            _logprob_inverse,
            minus_inf=True,
        ),
        SignalKind(
            "log_likelihood",
            -np.inf,
            0.0,
            "a log-probability of a whole answer or of one token, at most 0",
            _log_likelihood_forward,
            _log_likelihood_inverse,
            minus_inf=True,
        ),
        SignalKind(
            "p_true",
            -np.inf,
            0.0,
            "the natural logarithm of P(True), at most 0",
            _p_true_forward,
            _p_true_inverse,
            minus_inf=True,
        ),
        SignalKind("probability", 0.0, 1.0, "a probability in [0, 1]", _probability_forward, _probability_inverse),
        SignalKind("percent", 0.0, 100.0, "a percentage in [0, 100]", _percent_forward, _percent_inverse),
        SignalKind(
            "margin", 0.0, 1.0, "a difference of two probabilities in [0, 1]", _margin_forward, _margin_inverse
        ),
        SignalKind(
            "logprob_gap", 0.0, np.inf, "a difference of two log-probabilities, at least 0", _identity, _identity
        ),
        SignalKind("votes", 0.0, 1.0, "a share of agreeing samples in [0, 1]", _identity, _identity),
        SignalKind("score", -np.inf, np.inf, "any finite number", _identity, _identity),
    )
}


def check_kind(kind: str) -> SignalKind:
    """Look up a confidence kind by name.

    Examples
    --------
    >>> check_kind("probability").description
    'a probability in [0, 1]'

    Raises
    ------
    CascadeError
        If the kind is unknown.
    """
    if not isinstance(kind, str) or kind not in KINDS:
        allowed = "; ".join(f"{known.name!r} ({known.description})" for known in KINDS.values())
        raise CascadeError(f"unknown confidence kind {shown(kind)}; choose one of {allowed}")
    return KINDS[kind]


def clip_rounding(confidence: ArrayLike, kind: str) -> Array:
    """Move confidences that overshoot their scale by rounding alone (at most 1e-6) to the end of the scale.

    Examples
    --------
    >>> clip_rounding([2e-7, -0.5, 0.3], "logprob").tolist()
    [0.0, -0.5, 0.3]

    Returns
    -------
    array of the shape of `confidence`; NaN and everything else unchanged.
    """
    found = check_kind(kind)
    values = np.array(confidence, dtype=np.float64)
    values[(values > found.upper) & (values <= found.upper + ROUNDING)] = found.upper
    values[(values < found.lower) & (values >= found.lower - ROUNDING)] = found.lower
    return values


def off_scale(confidence: ArrayLike, kind: str) -> NDArray[np.bool_]:
    """Tell which confidences cannot be of their kind. NaN (stage not run) is never off the scale.

    Examples
    --------
    >>> off_scale([0.2, 1.2, float("nan")], "probability").tolist()
    [False, True, False]
    >>> off_scale([float("-inf")], "p_true").tolist()  # probability 0
    [False]

    Returns
    -------
    boolean array of the shape of `confidence`.
    """
    found = check_kind(kind)
    values = np.asarray(confidence, dtype=np.float64)
    allowed_inf = np.isneginf(values) & found.minus_inf
    return (values < found.lower) | (values > found.upper) | (np.isinf(values) & ~allowed_inf)


def to_signal(confidence: ArrayLike, kind: str) -> Array:
    """Transform raw confidences (or thresholds) to signals, elementwise and increasing.

    Examples
    --------
    >>> to_signal([0.5, 0.9], "probability").round(4).tolist()
    [0.0, 2.1972]

    Parameters
    ----------
    confidence : array_like
        Any shape, on the raw scale. NaN stays NaN.
    kind : str
        A key of `KINDS`.

    Returns
    -------
    array of the same shape
        A value above the scale becomes +inf and one below it -inf, so that a threshold of +inf still accepts
        nothing and one of -inf everything. Data are checked for such values when they are read.

    Raises
    ------
    CascadeError
        If the kind is unknown.
    """
    found = check_kind(kind)
    values = np.asarray(confidence, dtype=np.float64)
    with np.errstate(all="ignore"):  # the branch not taken may be log(0)
        inside = found.forward(np.clip(values, found.lower, found.upper))
    return np.where(values > found.upper, np.inf, np.where(values < found.lower, -np.inf, inside))


def to_confidence(signal: ArrayLike, kind: str) -> Array:
    """Transform signals (usually thresholds) back to raw confidences: the inverse of `to_signal`.

    Examples
    --------
    >>> to_confidence(to_signal(0.9, "probability"), "probability").item()
    0.9

    Parameters
    ----------
    signal : array_like
        Any shape. NaN stays NaN.
    kind : str
        A key of `KINDS`.

    Returns
    -------
    array of the same shape
        The smallest raw value whose signal is at least `signal`, so that `confidence >= to_confidence(x)`
        says the same as `to_signal(confidence) >= x`, to the last bit: a threshold on an atom accepts it.
        +inf, and any signal above the range, gives +inf (never accept); -inf gives -inf, and any other signal
        at or below the range the lower end of the scale (accept all).

    Raises
    ------
    CascadeError
        If the kind is unknown.
    """
    found = check_kind(kind)
    x = np.asarray(signal, dtype=np.float64)
    with np.errstate(all="ignore"):
        low, high = found.forward(np.array([found.lower, found.upper]))
        raw = np.where((x > high) | np.isposinf(x), np.inf, np.where(np.isneginf(x), -np.inf, found.lower))
        inside = np.isfinite(x) & (x > low) & (x <= high)
        settled = _settle(found, np.where(inside, x, high))
    return np.where(np.isnan(x), np.nan, np.where(inside, settled, raw))


def _settle(kind: SignalKind, x: Array) -> Array:
    """Inverse of x, corrected to the smallest float whose computed signal reaches x."""
    # A plain inverse is off by some units in the last place, enough to put a threshold meant for the atom 0.9
    # at 0.9000000000000001 and defer every query on it. 64 units cover the rounding of both maps.
    raw = _step(kind.inverse(x), 64)
    for units in (64, 32, 16, 8, 4, 2, 1):
        lower = _step(raw, -units)
        raw = np.where(kind.forward(lower) >= x, lower, raw)
    return raw


def _step(x: Array, units: int) -> Array:
    """The float `units` places above x."""

    # Negative floats order backwards as integers, so fold them; the fold is its own inverse.
    def fold(bits: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.where(bits < 0, np.iinfo(np.int64).min - bits, bits)

    return fold(fold(np.ascontiguousarray(x).view(np.int64)) + units).view(np.float64).reshape(x.shape)
