"""Calibration: from a stage's signal to P(correct), one source for the model and for posterior draws.

The signal enters standardised, and held constant beyond the range of the observed continuous values, so that
an atom far out (a probability of exactly 1) does not ride on an extrapolated line: the lowest and the highest
atom have offsets of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bayescascade.margins import Margin

ENDS = ("bottom", "top")


@dataclass(frozen=True)
class Scaling:
    """How one stage's signal is standardised: ``z = clip((signal - centre) / scale, floor, ceiling)``.

    ``bottom`` and ``top`` are the signals of the lowest and highest segment where those are atoms, else NaN.
    """

    centre: float
    scale: float
    floor: float
    ceiling: float
    bottom: float
    top: float

    def standardise(self, signal: Any) -> np.ndarray:
        """Standardise signals of any shape."""
        return np.clip((np.asarray(signal) - self.centre) / self.scale, self.floor, self.ceiling)

    def at_ends(self, signal: Any) -> np.ndarray:
        """1.0 where a signal is the bottom or the top atom (..., end)."""
        signal = np.asarray(signal)
        return np.stack([signal == self.bottom, signal == self.top], axis=-1).astype(float)


def build_scaling(signal: np.ndarray, margin: Margin) -> Scaling:
    """Choose the scaling of one stage from its observed signals and their segments."""
    atoms = margin.low[margin.is_atom]
    free = signal[~np.isin(signal, atoms)]
    # with hardly any continuous value the atoms themselves have to carry the slope
    basis = free if len(free) >= 0.1 * len(signal) else signal
    centre, scale = float(np.mean(basis)), float(np.std(basis))
    if not scale > 1e-12 * max(1.0, abs(centre)):
        scale = 1.0
    is_atom = margin.is_atom
    several = len(margin.low) > 1
    return Scaling(
        centre=centre,
        scale=scale,
        floor=float((basis.min() - centre) / scale),
        ceiling=float((basis.max() - centre) / scale),
        bottom=float(margin.low[0]) if is_atom[0] and several else np.nan,
        top=float(margin.high[-1]) if is_atom[-1] and several else np.nan,
    )


def logit_correct(intercept: Any, slope: Any, offset: Any, z: Any) -> Any:
    """Logit of P(correct) = intercept + slope z + offset of the atom, if any."""
    return intercept + slope * z + offset
