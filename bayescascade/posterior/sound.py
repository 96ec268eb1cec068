"""Whether a fit from disk can be one: names that are known, numbers in their range, segments in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from bayescascade._common.messages import show
from bayescascade.errors import CascadeError, call
from bayescascade.model.calibration import CALIBRATIONS
from bayescascade.model.population import COVARIANCE, PARAMETERS, parameters
from bayescascade.signals.kinds import check_kind, off_scale

VERSION = 2
_ROUNDING = 1e-6


def _at_least_0(values: np.ndarray) -> np.ndarray:
    return values < 0.0


def _not_0_or_1(values: np.ndarray) -> np.ndarray:
    return (values != 0.0) & (values != 1.0)


# Which values of a variable cannot be (NaN, where it is allowed, always can), and what they should be.
_RANGES: dict[tuple[str, str], tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    ("posterior", "tau"): (lambda x: np.abs(x) > 1.0, "between -1 and 1"),
    ("posterior", "cost"): (_at_least_0, "at least 0"),
    ("posterior", "latency"): (_at_least_0, "at least 0"),
    ("margins", "segment_mass"): (lambda x: (x < 0.0) | (x > 1.0 + _ROUNDING), "between 0 and 1"),
    ("observed_data", "correct"): (_not_0_or_1, "0 or 1"),
    ("observed_data", "cost"): (lambda x: (x < 0.0) | np.isinf(x), "at least 0"),
    ("constant_data", "segment_leaf"): (lambda x: (x < 0) | (x % 1.0 != 0.0), "whole numbers"),
    ("constant_data", "segment_count"): (lambda x: (x < 0.0) | np.isinf(x), "at least 0"),
    ("constant_data", "signal_scale"): (lambda x: x <= 0.0, "above 0"),
    ("constant_data", "split_used"): (_not_0_or_1, "0 or 1"),
}


def check_sound(fit: xr.DataTree, source: str) -> None:
    """Raise `CascadeError` unless a fit that has all its variables can have come from a log."""
    trouble = next(filter(None, (find(fit) for find in (_names, _ranges, _segments, _population))), None)
    if trouble:
        raise CascadeError(
            f"{source} is a damaged fit, or not one of bayescascade's: {trouble}. Fit its log again with "
            + call("fit", "log")
            + "."
        )


def _names(fit: xr.DataTree) -> str:
    """What the model is made of is known."""
    attrs = fit.attrs
    if not np.array_equal(attrs["bayescascade_fit"], VERSION):
        return f"it is of version {show(attrs['bayescascade_fit'])}, where {VERSION} is read"
    lacking = [name for name in CALIBRATIONS[attrs["calibration"]].variables if name not in fit["posterior"]]
    return f"its calibration needs the variable {lacking[0]!r}" if lacking else ""


def _population(fit: xr.DataTree) -> str:
    """The priors are those of the model: known for each of its parameters, with a spread of each."""
    if "population" not in fit.children:
        return ""
    population = fit["population"].to_dataset()
    lacking = [name for name in parameters(bool(fit.attrs.get("difficulty", 0))) if name not in population]
    if lacking:
        return f"its population lacks the variable {lacking[0]!r}"
    if population.sizes["moment"] != 2 or population.sizes["other"] != population.sizes["stage"]:
        return "its population has no mean and spread of each parameter"
    spreads = [population[name].transpose("moment", ...)[1] for name in PARAMETERS if name in population]
    covariance = population[COVARIANCE].transpose("stage", "other").values
    symmetric = np.allclose(covariance, covariance.T)
    if not (symmetric and np.linalg.eigvalsh(covariance).min() > 0.0 and all((sd > 0.0).all() for sd in spreads)):
        return "the spreads of its population should be above 0"
    return ""


def _ranges(fit: xr.DataTree) -> str:
    try:
        kind = check_kind(fit.attrs.get("confidence_kind", ""))
    except CascadeError as error:
        return error.message
    rules = _RANGES | {
        ("observed_data", "confidence"): (lambda x: off_scale(x, kind.name), kind.description),
    }
    for (group, name), (wrong, allowed) in rules.items():
        if name in fit[group]:
            values = fit[group].to_dataset()[name].values
            bad = wrong(values) & ~np.isnan(values)
            if bad.any():
                return (
                    f"{name!r} of the group {group!r} is {values[bad][0].item()!r}, where it should be {allowed}"
                )
    return ""


def _segments(fit: xr.DataTree) -> str:
    """Masses sum to 1 over a stage's segments; what is beyond the last is blank."""
    low = fit["constant_data"].to_dataset()["segment_low"].transpose(..., "segment")
    blank = np.isnan(low.values)
    mass: Any = fit["margins"]["segment_mass"].transpose(..., *low.dims).values
    if (np.abs(mass.sum(axis=-1) - 1.0) > _ROUNDING).any():
        return "the masses of its segments do not sum to 1 at every draw"
    if (mass[..., blank] != 0.0).any():
        return "it has mass where there is no segment"
    return ""
