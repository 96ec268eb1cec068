"""Thresholds in any form that users give, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from bayescascade.cascade.positions import to_positions
from bayescascade.errors import CascadeError
from bayescascade.posterior.draws import Draws
from bayescascade.signals.kinds import KINDS


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


@dataclass(frozen=True)
class Rules:
    """Checked thresholds of some points: what `read_rules` makes of every form that users give.

    Attributes
    ----------
    thresholds : ndarray (point, stage)
        On the raw scale of confidences.
    reject : ndarray (point, stage), optional
        A stage abstains below these; None where no stage ever does.
    """

    thresholds: np.ndarray
    reject: np.ndarray | None = None


def read_rules(thresholds: Any, stages: list[str], kind: str, reject: Any = None) -> Rules:
    """Check thresholds in any form: arrays, a solution, a policy, with what these say of abstaining.

    Raises
    ------
    CascadeError
        For thresholds of the wrong length, off their scale or with NaN, a last one other than -inf, or rejecting
        thresholds above the accepting ones.
    """
    if isinstance(thresholds, Rules):
        return thresholds
    reject = getattr(thresholds, "reject", None) if reject is None else reject
    array = check_thresholds(thresholds, stages, kind)
    if reject is None:
        return Rules(array)
    low = _check_reject(reject, array, stages, kind)
    return Rules(array, low if (low > -np.inf).any() else None)


def _check_reject(reject: Any, thresholds: np.ndarray, stages: list[str], kind: str) -> np.ndarray:
    if isinstance(reject, xr.DataArray):
        reject = reject.transpose(..., "stage").values if "stage" in reject.dims else reject.values
    try:
        array = np.atleast_2d(np.asarray(reject, dtype=float))
    except (TypeError, ValueError):
        raise CascadeError(f"reject came as {reject!r}; give numbers over (stage,) or (point, stage).") from None
    if array.ndim != 2 or array.shape[1] != len(stages) or len(array) not in (1, len(thresholds)):
        raise CascadeError(
            f"reject has shape {np.shape(reject)}; give one for each of the {len(stages)} stages {list(stages)}, "
            f"as (stage,), or (point, stage) with {len(thresholds)} points as in thresholds."
        )
    if np.isnan(array).any():
        raise CascadeError("reject contains NaN; use -inf where a stage never abstains.")
    low, high = KINDS[kind].lower, KINDS[kind].upper
    off = np.isfinite(array) & ((array < low - 1e-6) | (array > high + 1e-6))
    if off.any():
        raise CascadeError(
            f"a rejecting threshold is {array[off][0]:g}, but a confidence of kind {kind!r} lies between {low:g} "
            f"and {high:g}; give it on that scale, or -inf where a stage never abstains."
        )
    array = np.broadcast_to(array, thresholds.shape)
    above = array[:, :-1] > thresholds[:, :-1]
    if above.any():
        point, j = np.argwhere(above)[0]
        raise CascadeError(
            f"stage {stages[j]!r} would accept from {thresholds[point, j]:g} on but abstain below "
            f"{array[point, j]:g}; give a rejecting threshold at or below the accepting one."
        )
    return array
