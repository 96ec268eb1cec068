"""Thresholds in as few digits as mean the same to a reader; files keep all of them."""

from __future__ import annotations

import math
from collections.abc import Callable

_TOPS = (1.0, 100.0)  # certainty, as a probability and in per cent
_MOST = 17  # digits that tell any two numbers apart


def in_digits(threshold: float, digits: int = 2) -> str:
    """A finite number in so many digits, of its distance from 1 or 100 where it is close to that.

    Examples
    --------
    >>> in_digits(0.847784), in_digits(-0.0684512), in_digits(0.8), in_digits(0.99987), in_digits(99.98)
    ('0.85', '-0.068', '0.80', '0.99987', '99.98')
    """
    for top, least in zip(_TOPS, (digits, digits - 2), strict=True):
        if 0.9 * top < threshold < top:
            # the digits that tell it from certainty: 0.99987 is not 1
            places = math.ceil(-math.log10(2.0 * (top - threshold))) - 1 + digits
            if places > least:
                return f"{threshold:.{places}f}".rstrip("0").rstrip(".")
            return f"{threshold:.{least}f}"
    return _plain(threshold, digits)


def _plain(threshold: float, digits: int) -> str:
    return f"{threshold:.0f}" if abs(threshold) >= 10.0**digits else f"{threshold:#.{digits}g}".rstrip(".")


def in_range(threshold: float, low: float, high: float) -> str:
    """A finite threshold in two digits, or as many as keep it within what does as well.

    Examples
    --------
    >>> in_range(0.8042, 0.78, 0.82), in_range(0.8042, 0.8041, 0.8043), in_range(0.99987, 0.9997, 0.9999)
    ('0.80', '0.8042', '0.99987')
    >>> in_range(0.9312, 0.91, 0.94)
    '0.93'
    """
    for text in (_plain(threshold, 2), *(in_digits(threshold, digits) for digits in range(2, 7))):
        if low <= float(text) <= high and float(text) not in _TOPS:
            return text
    return f"{threshold:.6g}"


def as_good_range(low: float, high: float) -> str:
    """What does as well as a threshold, in two digits; empty where that is one number.

    Examples
    --------
    >>> as_good_range(0.7812, 0.8249), as_good_range(0.5, float("inf")), as_good_range(0.5, 0.5)
    ('0.78 to 0.82', '0.50 or more', '')
    """
    if math.isnan(low) or math.isnan(high):
        return ""
    if low == -math.inf or high == math.inf:
        if low == -high:
            return "any"
        return f"up to {in_digits(high)}" if low == -math.inf else f"{in_digits(low)} or more"
    for digits in range(2, 7):
        ends = in_digits(low, digits), in_digits(high, digits)
        off = max(abs(float(ends[0]) - low), abs(float(ends[1]) - high))
        if ends[0] != ends[1] and off <= 0.2 * (high - low):
            return f"{ends[0]} to {ends[1]}"
    return ""


def show_threshold(threshold: float, low: float = math.nan, high: float = math.nan) -> str:
    """A threshold as a reader wants it: two digits, or as many as keep it from ``low`` to ``high``.

    Examples
    --------
    >>> show_threshold(0.847784), show_threshold(float("-inf")), show_threshold(0.847784, 0.8475, 0.8481)
    ('0.85', 'accept all', '0.848')
    """
    if math.isnan(threshold):
        return "not run"
    if math.isinf(threshold):
        return "accept all" if threshold < 0.0 else "defer all"
    return in_digits(threshold) if math.isnan(low) or math.isnan(high) else in_range(threshold, low, high)


def show_reject(threshold: float) -> str:
    """A rejecting threshold as a reader wants it."""
    if math.isnan(threshold):
        return "not run"
    return {-math.inf: "never", math.inf: "always"}.get(threshold) or in_digits(threshold)


def show_apart(first: float, second: float, show: Callable[[float], str] = show_threshold) -> tuple[str, str]:
    """Two thresholds in two digits, or as many as tell them apart where they differ.

    Examples
    --------
    >>> show_apart(0.8042, 0.9), show_apart(0.8042, 0.8044), show_apart(0.8042, float("inf"))
    (('0.80', '0.90'), ('0.8042', '0.8044'), ('0.80', 'defer all'))
    """
    shown = show(first), show(second)
    if shown[0] != shown[1] or first == second or not (math.isfinite(first) and math.isfinite(second)):
        return shown
    digits = 2
    while shown[0] == shown[1] and digits < _MOST:
        digits += 1
        shown = in_digits(first, digits), in_digits(second, digits)
    return shown


def percent_of_log(threshold: float) -> str:
    """The probability whose logarithm a threshold is, with the digits that tell it from certainty.

    Examples
    --------
    >>> percent_of_log(-0.0662), percent_of_log(-0.0004), percent_of_log(-7.1)
    ('94%', '99.96%', '0.083%')
    """
    p = 100.0 * math.exp(threshold)
    digits = 0 if p < 99.0 else min(6, math.ceil(-math.log10(max(100.0 - p, 1e-6))))
    return f"{p:.{digits}f}%" if p >= 1.0 else f"{p:.2g}%"
