"""Ranges that numbers from a user must lie in."""

from __future__ import annotations

import numpy as np

from bayescascade.errors import CascadeError


def check_prob(name: str, value: float) -> None:
    """Raise `CascadeError` unless ``value`` lies strictly between 0 and 1."""
    if not 0.0 < value < 1.0:
        raise CascadeError(f"{name}={value!r} is not allowed; give a probability strictly between 0 and 1.")


def check_positive(name: str, value: float | None) -> None:
    """Raise `CascadeError` unless ``value`` is a positive, finite number, or None."""
    if value is None:
        return
    try:
        good = bool(np.isfinite(value)) and value > 0.0
    except TypeError:
        good = False
    if not good:
        raise CascadeError(f"{name}={value!r} is not allowed; give a positive, finite number.")


def check_batch(batch: int | None) -> None:
    """Raise `CascadeError` unless ``batch`` is a whole number of queries, or None."""
    if batch is None:
        return
    if not isinstance(batch, int | np.integer) or isinstance(batch, bool) or batch < 1:
        raise CascadeError(f"batch={batch!r} is not allowed; give a whole number of queries, at least 1.")


def check_doubt(doubt: float, **options: object) -> None:
    """Raise `CascadeError` for a doubt that is no share, or options that it does not go with."""
    if not (np.isfinite(doubt) and doubt >= 0.0):
        raise CascadeError(f"doubt={doubt!r} is not allowed; give a share of at least 0, such as 0.3.")
    other = next((f"{name}={value!r}" for name, value in options.items() if value is not None), None)
    if doubt and other is not None:
        raise CascadeError(f"doubt={doubt:g} does not go with {other}; leave one of them out.")
