"""Numbers and thresholds as a reader wants them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bayescascade._common.arrays import tail_probabilities

PER = 1000  # queries whose cost a report shows


def share(value: float) -> str:
    """A share of queries."""
    return f"{value:.1%}"


def chance(p: float) -> str:
    """A probability."""
    # a share of some thousand draws cannot show certainty
    return "above 99.9%" if p > 0.999 else "below 0.1%" if p < 0.001 else share(p)


def money(value: float) -> str:
    """An amount of money."""
    return f"{value:.3g}"


def per_thousand(value: float) -> str:
    """A cost per query, as that of a thousand."""
    return f"{PER * value:.4g}" if abs(value) >= 1.0 else f"{PER * value:.3g}"


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
    return f"{threshold:.6g}"


def show_reject(threshold: float) -> str:
    """A rejecting threshold as a reader wants it."""
    return {-np.inf: "never", np.inf: "always"}.get(threshold, f"{threshold:.6g}")
