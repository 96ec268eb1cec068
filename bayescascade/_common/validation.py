"""Ranges that numbers from a user must lie in."""

from __future__ import annotations

import unicodedata

import numpy as np

from bayescascade.errors import CascadeError, Short, bad_value, option

TURNS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # the direction of all that follows


def check_text(what: str, text: str, allowed: str = "") -> None:
    """Raise `CascadeError` for a text that steers a terminal, turns a line round, or that no file can hold.

    Examples
    --------
    >>> check_text("stage", "modèle 1")
    >>> check_text("stage", "a\\0")
    Traceback (most recent call last):
    ...
    bayescascade.errors.CascadeError: stage 'a\\x00' holds the control character '\\x00'; take it out of the name.
    """
    if text.isprintable():
        return
    bad = [c for c in text if c not in allowed and (unicodedata.category(c) in ("Cc", "Cs") or c in TURNS)]
    if bad:
        shown = ascii(text if len(text) <= 60 else text[:57] + "...")
        raise CascadeError(f"{what} {shown} holds the control character {bad[0]!a}; take it out of the name.")


MOST_QUERIES = 10**12  # of a promise; beyond it is the long run


def check_prob(name: str, value: float) -> None:
    """Raise `CascadeError` unless ``value`` lies strictly between 0 and 1."""
    if not 0.0 < value < 1.0:
        raise bad_value(name, value, "give a probability strictly between 0 and 1")


def check_positive(name: str, value: float | None) -> None:
    """Raise `CascadeError` unless ``value`` is a positive, finite number, or None."""
    if value is None:
        return
    try:
        good = bool(np.isfinite(value)) and value > 0.0
    except TypeError:
        good = False
    if not good:
        raise bad_value(name, value, "give a positive, finite number")


def check_batch(batch: int | None) -> None:
    """Raise `CascadeError` unless ``batch`` is a whole number of queries, or None."""
    if batch is None:
        return
    if not isinstance(batch, int | np.integer) or isinstance(batch, bool) or not 1 <= batch <= MOST_QUERIES:
        raise bad_value("batch", batch, f"give a whole number of queries, from 1 to {MOST_QUERIES:.0e}")


def check_doubt(doubt: float, **options: object) -> None:
    """Raise `CascadeError` for a doubt that is no share, or options that it does not go with."""
    if not (np.isfinite(doubt) and doubt >= 0.0):
        raise bad_value("doubt", doubt, "give a share of at least 0, such as 0.3")
    other = next((option(name, value) for name, value in options.items() if value is not None), None)
    if doubt and other is not None:
        raise bad_value("doubt", Short(doubt), "leave one of them out", "does not go with " + other)


def check_worth_abstaining(abstain_price: float | None, error_price: float | None) -> None:
    """Raise `CascadeError` where no answer would cost as much as a wrong one, or more."""
    if abstain_price is None or error_price is None or abstain_price < error_price:
        return
    problem = "is not below " + option("error_price", Short(error_price))
    problem += ": a wrong answer would be no worse than none, so nothing would be answered"
    raise bad_value("abstain_price", Short(abstain_price), "lower it or leave it out", problem)
