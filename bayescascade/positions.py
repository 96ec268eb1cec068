"""Thresholds in any form, checked; and as positions on the axis of a stage's segments, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from bayescascade.draws import Draws
from bayescascade.errors import CascadeError
from bayescascade.margins import Margin
from bayescascade.signals import KINDS, to_confidence, to_signal


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
        lowest = to_signal(np.array([-np.inf]), draws.kind)[0] if draws.kind in ("logprob", "p_true") else -np.inf
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


def draws_for(draws: Draws, thresholds: Any) -> Draws:
    """The draws of the stages that thresholds name, where these are fewer than the fit's, or in another order."""
    names = stages_named(thresholds, draws.stages)
    return draws if names == draws.stages else draws.restrict([draws.stages.index(name) for name in names])


def stages_named(thresholds: Any, stages: list[str]) -> list[str]:
    """The stages that thresholds name, if these are some of the given ones; else the given ones."""
    names = getattr(thresholds, "stages", None)
    if names is None:
        array = getattr(thresholds, "thresholds", thresholds)
        names = array["stage"].values if isinstance(array, xr.DataArray) and "stage" in array.coords else []
    names = [str(name) for name in names]
    return names if names and set(names) <= set(stages) else stages


def to_rows_of(thresholds: Any, draws: Draws) -> np.ndarray:
    """Rows of positions, as `cascade.forward` takes them, of whatever `check_thresholds` takes."""
    rows = to_positions(check_thresholds(thresholds, draws.stages, draws.kind), draws)
    reject = getattr(thresholds, "reject", None)
    if reject is None:
        return rows
    below = to_positions(np.atleast_2d(np.asarray(reject, dtype=float)), draws)
    return np.concatenate([rows, below], axis=1)


def is_one_point(thresholds: Any) -> bool:
    """Whether thresholds, in any form that `check_thresholds` takes, are of a single point (stage,)."""
    return np.ndim(getattr(thresholds, "thresholds", thresholds)) == 1


def check_thresholds(thresholds: Any, stages: list[str], kind: str) -> np.ndarray:
    """Return thresholds as an array (point, stage), or raise `CascadeError`.

    Anything with ``thresholds`` of its own, a `ThresholdSolution` or a `Policy`, stands for these.
    """
    thresholds = getattr(thresholds, "thresholds", thresholds)
    if isinstance(thresholds, xr.DataArray):
        if "stage" in thresholds.coords:
            names = [str(s) for s in thresholds["stage"].values]
            if names != list(stages):
                raise CascadeError(f"the thresholds are for stages {names}, but this cascade has {list(stages)}.")
        thresholds = thresholds.transpose(..., "stage").values if "stage" in thresholds.dims else thresholds.values
    try:
        array = np.asarray(thresholds, dtype=float)
    except (TypeError, ValueError):
        raise CascadeError(
            f"thresholds came as {type(thresholds).__name__}; give numbers over (stage,) or (point, stage), "
            "a solution of tune, or a policy."
        ) from None
    if array.ndim not in (1, 2) or array.shape[-1] != len(stages):
        raise CascadeError(
            f"thresholds have shape {array.shape}; give one for each of the {len(stages)} stages {list(stages)}, "
            "as (stage,) or (point, stage), the last one -inf."
        )
    if np.isnan(array).any():
        raise CascadeError("thresholds contain NaN; use -inf to accept everything and +inf to accept nothing.")
    if not np.all(array[..., -1] == -np.inf):
        raise CascadeError(
            f"the last stage's threshold is {array[..., -1].ravel()[0]}, but the last stage answers whatever "
            "reaches it: give -inf."
        )
    low, high = KINDS[kind].lower, KINDS[kind].upper
    # as much over the end as read_log forgives a confidence
    off = np.isfinite(array) & ((array < low - 1e-6) | (array > high + 1e-6))
    if off.any():
        raise CascadeError(
            f"a threshold is {array[off][0]:g}, but a confidence of kind {kind!r} lies between {low:g} and "
            f"{high:g}; give thresholds on that scale, or -inf to accept everything and inf to accept nothing."
        )
    return np.atleast_2d(array)


def with_last(thresholds: Any) -> Any:
    """Set the last stage's threshold to -inf: it answers whatever reaches it."""
    out = thresholds.copy()
    out[..., -1] = -np.inf
    return out
