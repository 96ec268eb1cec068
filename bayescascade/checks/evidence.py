"""What the checks look at: the fit's own log beside its draws; and how unusual a number is among replicates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr
from scipy.stats import t

from bayescascade.checks.given import p_correct_given
from bayescascade.display.format import LEVEL
from bayescascade.model.subsample import fair
from bayescascade.posterior.draws import Draws, get_draws
from bayescascade.posterior.schema import observed_log, require
from bayescascade.signals.kinds import to_signal

FEW, MANY = 200, 1000
LEAST = 10  # queries below which a comparison says nothing
_MAX_PAIRS = 1000


@dataclass(frozen=True)
class Evidence:
    """A fit's log as arrays, and its draws thinned to `FEW` and to `MANY`.

    Attributes
    ----------
    signal, correct : ndarray (query, stage)
        NaN where a stage was not run, or not labelled.
    """

    fit: xr.DataTree
    log: xr.Dataset
    signal: np.ndarray
    correct: np.ndarray
    few: Draws
    many: Draws

    @property
    def stages(self) -> list[str]:
        """Names of the stages."""
        return self.few.stages

    @property
    def links(self) -> list[str]:
        """Names of the pairs of consecutive stages."""
        return [f"{a} > {b}" for a, b in zip(self.stages[:-1], self.stages[1:], strict=True)]

    def rows(self, rng: np.random.Generator, *stages: int) -> np.ndarray:
        """Queries of a fair sample for which all the given stages were run; at most a random thousand of them."""
        rows = np.flatnonzero(np.isfinite(self.signal[:, list(stages)]).all(axis=1) & fair(self.log))
        return rows if len(rows) <= _MAX_PAIRS else np.sort(rng.choice(rows, _MAX_PAIRS, replace=False))

    def labelled(self, stage: int) -> np.ndarray:
        """Queries whose answer at a stage is labelled."""
        return np.flatnonzero(np.isfinite(self.correct[:, stage]) & np.isfinite(self.signal[:, stage]))

    @cached_property
    def p_labelled(self) -> list[np.ndarray]:
        """P(correct) of each stage's labelled queries given their signals up to there (draw, query), of `few`."""
        stages = range(len(self.stages))
        return [p_correct_given(self.few, j, self.signal[self.labelled(j)]) for j in stages]


def gather(fit: xr.DataTree) -> Evidence:
    """Read a fit's log and draws."""
    require(fit, undrifted=", so its log is not of its mix of queries; check or report the fit that it came from.")
    draws, log = get_draws(fit), observed_log(fit)
    signal = to_signal(log["confidence"].values, draws.kind)
    return Evidence(fit, log, signal, log["correct"].values, draws.thin(FEW), draws.thin(MANY))


def two_sided(observed: float, replicated: np.ndarray) -> float:
    """Two-sided p-value of a number under about normal replicates; NaN when they say nothing.

    A t distribution allows for the mean and spread being those of finitely many replicates.
    """
    replicated = replicated[np.isfinite(replicated)]
    if len(replicated) < 20 or not np.isfinite(observed):
        return np.nan
    spread = np.std(replicated, ddof=1) * np.sqrt(1.0 + 1.0 / len(replicated))
    gap = abs(observed - np.mean(replicated))
    if spread < 1e-12:
        return np.nan if gap < 1e-9 else 0.0
    return float(2.0 * t.sf(gap / spread, len(replicated) - 1))


def one_sided(observed: float, replicated: np.ndarray) -> float:
    """P-value of a number that is too high under about normal replicates; 1 when they say nothing."""
    p = two_sided(observed, replicated)
    if np.isnan(p):
        return 1.0
    return p / 2.0 if observed > np.mean(replicated) else 1.0 - p / 2.0


def tail_area(observed: float, replicated: np.ndarray) -> float:
    """Two-sided p-value of a count, by how many replicates lie at or beyond it; NaN when they never vary."""
    if np.ptp(replicated) == 0 and replicated[0] == observed:
        return np.nan
    return float(min(1.0, 2.0 * min(np.mean(replicated >= observed), np.mean(replicated <= observed))))


def centre_range(replicated: np.ndarray) -> tuple[float, float]:
    """Ends of the central 99% of the replicates."""
    finite = replicated[np.isfinite(replicated)]
    if not len(finite):
        return np.nan, np.nan
    low, high = np.quantile(finite, [LEVEL / 2, 1.0 - LEVEL / 2])
    return float(low), float(high)
