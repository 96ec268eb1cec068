"""Are the new queries of an update like the old ones? What an earlier fit expects of them, and what they show."""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.special import ndtr

from bayescascade.posterior.draws import Draws
from bayescascade.signals.kinds import to_signal

PARTS = ("labels", "level", "spread")
_DRAWS = 500
_LEAST = 10  # queries below which a comparison says nothing
_RUN_SHARE = 0.9  # of the queries of the stage before: of fewer, those that are seen were chosen


def compare_with_new(previous: Draws, new: xr.Dataset, random_seed: int) -> xr.Dataset:
    """New queries beside what the draws of an earlier fit predict of them: ``n, observed, expected, z, p``.

    Each over (stage, part). Parts: the share of right ``labels`` given the signals; the ``level`` of the signals,
    that is their mean rank in the margin, one half if nothing changed; their ``spread``, the mean distance of
    ranks from one half, a quarter. NaN where there are too few queries, and for signals of a stage that runs for
    chosen queries only. A posterior predictive comparison: p is two-sided and normal, with the spread of the
    queries and that of the earlier draws.
    """
    draws = previous.thin(_DRAWS)
    rng = np.random.default_rng([random_seed, 2])
    signal = to_signal(new["confidence"].transpose("query", "stage").values, draws.kind)
    correct = new["correct"].transpose("query", "stage").values
    ran = np.isfinite(signal)
    out = np.full((5, len(draws.stages), len(PARTS)), np.nan)
    for j in range(len(draws.stages)):
        labelled = ran[:, j] & np.isfinite(correct[:, j])
        out[:, j, 0] = _of_labels(draws, j, signal[labelled, j], correct[labelled, j])
        before = ran[:, max(j - 1, 0)]
        whole = ran[:, : j + 1].all(axis=1).sum() >= _RUN_SHARE * before.sum()
        if whole and before.sum() >= max(1.0, _RUN_SHARE * len(before)):  # a task may have no new queries
            out[:, j, 1:] = _of_signals(draws, j, signal[ran[:, j], j], rng).T
    names = ("n", "observed", "expected", "z", "p")
    return xr.Dataset(
        {name: (("stage", "part"), values) for name, values in zip(names, out, strict=True)},
        coords={"stage": draws.stages, "part": list(PARTS)},
    )


def _of_labels(draws: Draws, stage: int, signal: np.ndarray, correct: np.ndarray) -> list[float]:
    """Share of right answers given the signals, against its posterior predictive distribution."""
    if len(signal) < _LEAST:
        return [len(signal), *[np.nan] * 4]
    p = draws.p_correct(stage, signal)  # (draw, query)
    variance = (p * (1.0 - p)).sum(axis=1).mean() / len(signal) ** 2 + p.mean(axis=1).var()
    return _row(len(signal), correct.mean(), p.mean(), variance)


def _of_signals(draws: Draws, stage: int, signal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Level and spread of ranks in the earlier margin, randomised within atoms (part, amount)."""
    if len(signal) < _LEAST:
        return np.array([[len(signal), *[np.nan] * 4]] * 2)
    low, high = draws.cdf(stage, signal)
    rank = low + (high - low) * rng.uniform(size=low.shape)  # (draw, query): uniform if nothing has changed
    n, away = len(signal), np.abs(rank - 0.5)
    level = _row(n, rank.mean(), 0.5, 1.0 / (12.0 * n) + rank.mean(axis=1).var())
    return np.array([level, _row(n, away.mean(), 0.25, 1.0 / (48.0 * n) + away.mean(axis=1).var())])


def _row(n: int, observed: float, expected: float, variance: float) -> list[float]:
    z = (observed - expected) / np.sqrt(max(variance, 1e-300))
    return [float(n), float(observed), float(expected), float(z), float(2.0 * ndtr(-abs(z)))]
