"""Calibration: from a stage's signal to P(correct), one source for the model and for posterior draws.

The signal enters standardised, and held constant beyond the range of the observed continuous values, so that
an atom far out (a probability of exactly 1) does not ride on an extrapolated line. The lowest and the highest
atom and the largest ones between have offsets of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bayescascade.model.margins.segments import Margin

CALIBRATIONS = ("logistic", "sequential", "monotone")
# Atoms with an offset: the two ends of the scale and the largest ones between.
ATOMS = ("bottom", "top", *(f"inner {i}" for i in range(1, 7)))
N_ATOMS = len(ATOMS)
# A monotone curve has one slope between each two knots; these are quantiles of the standardised signal.
_KNOT_LEVELS = (0.25, 0.5, 0.75)
N_KNOTS = len(_KNOT_LEVELS)
N_PIECES = N_KNOTS + 1


@dataclass(frozen=True)
class Scaling:
    """How one stage's signal is standardised: ``z = clip((signal - centre) / scale, floor, ceiling)``.

    ``atoms`` are the signals of the atoms that have an offset, in the order of `ATOMS`, NaN where there is none;
    ``knots`` are standardised.
    """

    centre: float
    scale: float
    floor: float
    ceiling: float
    atoms: np.ndarray
    knots: np.ndarray

    def standardise(self, signal: Any) -> np.ndarray:
        """Standardise signals of any shape."""
        return np.clip((np.asarray(signal) - self.centre) / self.scale, self.floor, self.ceiling)

    def which_atom(self, signal: Any) -> np.ndarray:
        """Which of the atoms each signal is, and `N_ATOMS` where it is none (...)."""
        same = np.asarray(signal)[..., None] == self.atoms
        return np.where(same.any(axis=-1), same.argmax(axis=-1), N_ATOMS)


def build_scaling(signal: np.ndarray, margin: Margin) -> Scaling:
    """Choose the scaling of one stage from its observed signals and their segments."""
    values, is_atom = margin.low[margin.is_atom], margin.is_atom
    free = signal[~np.isin(signal, values)]
    # with hardly any continuous value the atoms themselves have to carry the slope
    basis = free if len(free) >= 0.1 * len(signal) else signal
    centre, scale = float(np.mean(basis)), float(np.std(basis))
    if not scale > 1e-12 * max(1.0, abs(centre)):
        scale = 1.0
    atoms = np.full(N_ATOMS, np.nan)
    if len(is_atom) > 1:
        ends = [is_atom[0], is_atom[-1]]
        atoms[0], atoms[1] = np.where(ends, [margin.low[0], margin.high[-1]], np.nan)
        inner = np.flatnonzero(is_atom[1:-1]) + 1
        largest = np.sort(inner[np.argsort(-margin.count[inner], kind="stable")[: N_ATOMS - 2]])
        atoms[2 : 2 + len(largest)] = margin.low[largest]
    z = (basis - centre) / scale
    return Scaling(centre, scale, float(z.min()), float(z.max()), atoms, np.quantile(z, _KNOT_LEVELS))


def ramps(z: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Parts of ``z`` in each interval between knots (..., piece); they sum to ``z``."""
    low, high = np.append(-np.inf, knots), np.append(knots, np.inf)
    return np.clip(np.asarray(z)[..., None], low, high) - np.clip(0.0, low, high)


def logit_correct(intercept: Any, slope: Any, offset: Any, curve: Any, previous: Any = 0.0) -> Any:
    """Logit of P(correct) = intercept + slope curve + offset of the atom, if any, + effect of the previous signal.

    ``curve`` is z itself, or `bent` of it.
    """
    return intercept + slope * curve + offset + previous


def bent(ramp: Any, bend: Any, xp: Any) -> Any:
    """The monotone curve: the sum of ramps (..., piece), each steeper by exp(bend) (..., piece)."""
    return (ramp * xp.exp(bend)).sum(-1)


def log_bernoulli(correct: Any, logit: Any, xp: Any) -> Any:
    """Log of P(correct), or of P(wrong) where ``correct`` is 0, from the logit of P(correct)."""
    return -xp.logaddexp(0.0, (1.0 - 2.0 * correct) * logit)
