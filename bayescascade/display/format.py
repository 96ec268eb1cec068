"""Numbers and thresholds as a reader wants them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bayescascade._common.arrays import tail_probabilities
from bayescascade._common.digits import percent_of_log, show_threshold

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
    return f"{_OF_LOG[kind]} ≥ {percent_of_log(threshold)}"


def show_cut(threshold: float, kind: str, low: float = np.nan, high: float = np.nan) -> str:
    """A threshold for a line of its own, as `show_threshold`: as a probability, too, where it is a logarithm.

    Examples
    --------
    >>> show_cut(-0.0662, "logprob"), show_cut(0.8, "probability"), show_cut(float("-inf"), "logprob")
    ('94% (-0.066)', '0.80', 'accept all')
    """
    if kind not in _OF_LOG or not np.isfinite(threshold):
        return show_threshold(threshold, low, high)
    return f"{percent_of_log(threshold)} ({show_threshold(threshold, low, high)})"


def band(values: np.ndarray, ci_prob: float, show: Callable[[float], str]) -> str:
    """Mean and interval over draws."""
    low, high = np.quantile(values, tail_probabilities(ci_prob))
    return f"{show(float(np.mean(values)))} ({show(float(low))} to {show(float(high))})"
