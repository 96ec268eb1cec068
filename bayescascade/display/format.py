"""Numbers and thresholds as a reader wants them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bayescascade._common.arrays import tail_probabilities

# The two levels of the package: intervals of what is estimated, and tests of a check over all its rows together.
CI_PROB, LEVEL = 0.9, 0.01
PER = 1000  # queries whose cost a report shows


def share(value: float) -> str:
    """A share of queries.

    Examples
    --------
    >>> share(0.123), share(-1e-17)
    ('12.3%', '0.0%')
    """
    text = f"{value:.1%}"
    return "0.0%" if text == "-0.0%" else text


def chance(p: float) -> str:
    """A probability."""
    if np.isnan(p):
        return ""
    # some thousand draws that depend on one another, under a model, cannot show certainty
    return "over 99%" if p > 0.99 else "below 1%" if p < 0.01 else f"{p:.0%}"


def money(value: float) -> str:
    """An amount of money.

    Examples
    --------
    >>> money(0.0123), money(1.3841), money(9234.5)
    ('0.0123', '1.38', '9,230')
    """
    return f"{float(f'{value:.3g}'):,.0f}" if abs(value) >= PER else f"{value:.3g}"


def per_thousand(value: float) -> str:
    """A cost per query, as that of a thousand.

    Examples
    --------
    >>> per_thousand(0.00042), per_thousand(1.4211), per_thousand(10.6092)
    ('0.42', '1421', '10,609')
    """
    amount = PER * value
    if abs(amount) >= 1e4:
        return f"{amount:,.0f}"
    return f"{amount:.4g}" if abs(amount) >= PER else f"{amount:.3g}"


_SIGNS = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥"}


def with_currency(amount: str, currency: str | None) -> str:
    """An amount with its currency: a sign before it, a name behind it.

    Examples
    --------
    >>> with_currency("1.16", "$"), with_currency("1.16", "USD"), with_currency("1.16", "CHF")
    ('$1.16', '$1.16', '1.16 CHF')
    """
    if not currency:
        return amount
    sign = _SIGNS.get(currency.upper(), currency)
    if sign[-1].isalnum():
        return f"{amount} {currency}"
    return f"-{sign}{amount[1:]}" if amount.startswith("-") else f"{sign}{amount}"


def priced(cost: float, currency: str | None = None) -> str:
    """A cost per query, as that of a thousand, with the sign or the name of its currency.

    Examples
    --------
    >>> priced(0.000196, "USD"), priced(0.0013, "USD"), priced(0.000196, "CHF"), priced(0.000196)
    ('$0.196', '$1.30', '0.196 CHF', '0.196')
    """
    # a trailing zero is a digit, too: 1.30 beside 1.16
    text = f"{PER * cost:#.3g}".rstrip(".") if abs(PER * cost) < 1000.0 and cost else per_thousand(cost)
    return with_currency(text, currency)


_OF_LOG = {"logprob": "token probability", "log_likelihood": "probability of the answer", "p_true": "P(True)"}


def as_probability(threshold: float, kind: str) -> str:
    """A threshold that is a logarithm, as the probability it stands for; empty for other kinds.

    Examples
    --------
    >>> as_probability(-0.0662, "logprob"), as_probability(0.8, "probability")
    ('token probability ≥ 94%', '')
    """
    if kind not in _OF_LOG or not np.isfinite(threshold):
        return ""
    p = 100.0 * float(np.exp(threshold))
    # as many digits as tell it from certainty
    digits = 0 if p < 99.0 else min(6, int(np.ceil(-np.log10(max(100.0 - p, 1e-6)))))
    return f"{_OF_LOG[kind]} ≥ {p:.{digits}f}%" if p >= 1.0 else f"{_OF_LOG[kind]} ≥ {p:.2g}%"


def band(values: np.ndarray, ci_prob: float, show: Callable[[float], str]) -> str:
    """Mean and interval over draws."""
    low, high = np.quantile(values, tail_probabilities(ci_prob))
    return f"{show(float(np.mean(values)))} ({show(float(low))} to {show(float(high))})"


def show_threshold(threshold: float) -> str:
    """A threshold as a reader wants it."""
    if np.isnan(threshold):
        return "not run"
    if threshold == -np.inf:
        return "accept all"
    if threshold == np.inf:
        return "defer all"
    return short(threshold)


def short(threshold: float, digits: int = 3) -> str:
    """A finite threshold to so many digits, of its distance from 1 or 100 where it is close to that.

    Examples
    --------
    >>> short(0.847784), short(-0.0684512), short(0.99987), short(99.98)
    ('0.848', '-0.0685', '0.99987', '99.98')
    """
    for top, places in ((1.0, digits), (100.0, digits - 2)):  # a probability, and in percent
        if 0.9 * top < threshold < top:
            # the digits that tell it from certainty: 0.99987 is not 1
            places = max(places, int(np.ceil(-np.log10(top - threshold))) + 1)
            return f"{threshold:.{places}f}".rstrip("0").rstrip(".")
    return f"{threshold:.{digits}g}"


def in_range(threshold: float, low: float, high: float) -> str:
    """A finite threshold in two digits, or as many as keep it within what does as well.

    Examples
    --------
    >>> in_range(0.8042, 0.78, 0.82), in_range(0.8042, 0.8041, 0.8043), in_range(0.99987, 0.9997, 0.9999)
    ('0.80', '0.8042', '0.99987')
    """
    for digits in range(2, 7):
        text = in_digits(threshold, digits)
        if low <= float(text) <= high:
            return text
    return f"{threshold:.6g}"


def in_digits(threshold: float, digits: int) -> str:
    """A finite number in so many digits, zeros kept; of its distance from 1 or 100 where it is close to that."""
    if any(0.9 * top < threshold < top for top in (1.0, 100.0)):
        return short(threshold, digits)
    if abs(threshold) >= 10.0**digits:
        return f"{threshold:.0f}"
    return f"{threshold:#.{digits}g}".rstrip(".")


def as_good_range(low: float, high: float) -> str:
    """What does as well as a threshold, in two digits; empty where that is one number."""
    if np.isnan(low) or np.isnan(high):
        return ""
    if low == -np.inf or high == np.inf:
        return (
            "any"
            if low == -high
            else f"up to {in_digits(high, 2)}"
            if low == -np.inf
            else f"{in_digits(low, 2)} or more"
        )
    for digits in range(2, 7):
        ends = in_digits(low, digits), in_digits(high, digits)
        off = max(abs(float(ends[0]) - low), abs(float(ends[1]) - high))
        if ends[0] != ends[1] and off <= 0.2 * (high - low):
            return f"{ends[0]} to {ends[1]}"
    return ""


def show_reject(threshold: float) -> str:
    """A rejecting threshold as a reader wants it."""
    return {-np.inf: "never", np.inf: "always"}.get(threshold, short(threshold))
