"""Thresholds in any form, checked; and as positions on the axis of a stage's segments, and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayescascade.model.margins.segments import Margin
from bayescascade.posterior.draws import Draws
from bayescascade.signals.kinds import to_confidence, to_signal


def to_positions(thresholds: np.ndarray, draws: Draws) -> np.ndarray:
    """Turn raw thresholds (..., stage) into positions on the segment axis (..., stage).

    Position 2.5 of a stage means: segments 0 and 1 defer, and so does the lower half of segment 2. An atom is
    accepted by a threshold at or below its value.
    """
    thresholds = np.asarray(thresholds, dtype=float)
    out = np.empty_like(thresholds)
    for j, margin in enumerate(draws.margins):
        raw = thresholds[..., j]
        t = to_signal(raw, draws.kind)
        # confidences beyond the float32 range share a signal with the end of the scale; one that is not the
        # end itself must not accept it
        lowest = to_signal(np.array([-np.inf]), draws.kind)[0]
        t = np.where((t == lowest) & (raw > -np.inf), np.nextafter(t, np.inf), t)
        segment = np.searchsorted(margin.high, t, side="left")
        inside = np.minimum(segment, len(margin.low) - 1)
        width = np.where(margin.is_atom, 1.0, margin.high - margin.low)[inside]
        fraction = np.where(margin.is_atom[inside], 0.0, np.clip((t - margin.low[inside]) / width, 0.0, 1.0))
        position = np.where(segment < len(margin.low), segment + fraction, float(len(margin.low)))
        out[..., j] = np.where(raw == -np.inf, 0.0, np.where(raw == np.inf, float(len(margin.low)), position))
    return out


def cut_of(margin: Margin, position: Any) -> tuple[np.ndarray, np.ndarray]:
    """Segment that each position of a stage falls in, and the fraction of it that is deferred."""
    segment = np.minimum(np.floor(position).astype(int), len(margin.low) - 1)
    return segment, np.clip(position - segment, 0.0, 1.0)


def to_thresholds(positions: np.ndarray, draws: Draws) -> np.ndarray:
    """Undo `to_positions`; 0 gives -inf (accept all) and the end of the axis gives +inf (accept none).

    A position inside an atom is moved to its lower end, so the atom is accepted.
    """
    positions = np.asarray(positions, dtype=float)
    out = np.empty_like(positions)
    for j, margin in enumerate(draws.margins):
        n = len(margin.low)
        segment = np.clip(np.floor(positions[..., j] + 1e-9).astype(int), 0, n - 1)
        fraction = np.clip(positions[..., j] - segment, 0.0, 1.0)
        t = margin.low[segment] + fraction * (margin.high - margin.low)[segment]
        # where an interval starts at an atom's value, a threshold of that value would accept the atom
        before = np.maximum(segment - 1, 0)
        at_atom = (segment > 0) & margin.is_atom[before] & (t <= margin.high[before])
        t = np.where(at_atom, np.nextafter(margin.high[before], np.inf), t)
        raw = to_confidence(t, draws.kind)
        raw = np.where(margin.is_atom[segment], _atom_raw(margin, segment, draws.kind), raw)
        out[..., j] = np.where(
            positions[..., j] <= 0.0, -np.inf, np.where(positions[..., j] >= n - 1e-9, np.inf, raw)
        )
    return out


def _atom_raw(margin: Margin, segment: np.ndarray, kind: str) -> np.ndarray:
    """Raw threshold that accepts an atom: halfway to the value below, where nothing was seen, to be safe from
    rounding."""
    below = np.where(segment > 0, margin.high[np.maximum(segment - 1, 0)], margin.low[segment])
    return to_confidence(0.5 * (below + margin.low[segment]), kind)


def with_last(thresholds: Any) -> Any:
    """Set the last stage's threshold to -inf: it answers whatever reaches it."""
    out = thresholds.copy()
    out[..., -1] = -np.inf
    return out
