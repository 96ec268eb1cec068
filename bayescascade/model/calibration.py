"""Calibration: from a stage's signal to P(correct), one source for the model and for posterior draws.

logit P(correct) = intercept + slope curve(z) + offset of the atom, if any. The signal enters standardised, and
held constant beyond the range of the observed continuous values, so that an atom far out (a probability of exactly
1) does not ride on an extrapolated line. The lowest and the highest atom and the largest ones between have offsets
of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayescascade.errors import bad_value
from bayescascade.model.margins.segments import Margin
from bayescascade.model.population import intercepts, normal

# Atoms with an offset: the two ends of the scale and the largest ones between.
ATOMS = ("bottom", "top", *(f"inner {i}" for i in range(1, 7)))
N_ATOMS = len(ATOMS)
# A monotone curve has one slope between each two knots; these are quantiles of the standardised signal.
_KNOT_LEVELS = (0.25, 0.5, 0.75)
N_KNOTS = len(_KNOT_LEVELS)
N_PIECES = N_KNOTS + 1
# The log-normal priors of all spreads are narrow on purpose: with three to five stages, or a few tasks, the data
# say little about them, and a wider prior's funnel near zero makes transitions diverge.
SPREAD = 0.3
_ATOM_SCALE = np.array([1.0, 1.0, *[0.5] * (N_ATOMS - 2)])


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


def bent(ramp: Any, bend: Any, xp: Any) -> Any:
    """The monotone curve: the sum of ramps (..., piece), each steeper by exp(bend) (..., piece)."""
    return (ramp * xp.exp(bend)).sum(-1)


def log_bernoulli(correct: Any, logit: Any, xp: Any) -> Any:
    """Log of P(correct), or of P(wrong) where ``correct`` is 0, from the logit of P(correct)."""
    return -xp.logaddexp(0.0, (1.0 - 2.0 * correct) * logit)


@dataclass(frozen=True)
class Calibration:
    """One way from a stage's signal to P(correct).

    Attributes
    ----------
    name : str
    variables : dict of str to tuple of str
        Its variables in the posterior, and the dims of each after ``task``: ``("stage", ...)``.
    inputs : callable
        ``(z, scaling) -> arrays`` that the formula reads of standardised signals ``z`` (...): (...) or
        (..., piece) each.
    prior : callable
        ``(task, data) -> variables``, inside a `pm.Model`: pooled across stages, and across tasks if ``task`` is
        ``("task",)`` and not empty. Where a population gives the priors, ``data`` holds its arrays.
    curve : callable
        ``(values, inputs, xp)`` -> what the slope multiplies.
    """

    name: str
    variables: dict[str, tuple[str, ...]]
    inputs: Callable[[np.ndarray, Scaling], dict[str, np.ndarray]]
    prior: Callable[[tuple[str, ...], dict[str, Any] | None], dict[str, Any]]
    curve: Callable[[dict[str, Any], dict[str, Any], Any], Any]

    def logit(self, values: dict[str, Any], inputs: dict[str, Any], xp: Any) -> Any:
        """Logit of P(correct), given the variables' values where the inputs are, or broadcasting against them."""
        return values["intercept"] + values["slope"] * self.curve(values, inputs, xp) + values["atom_offset"]

    def label_logit(
        self, variables: dict[str, Any], data: dict[str, Any], xp: Any, draws: tuple[int, ...] = ()
    ) -> Any:
        """Logit of P(correct) of each label (..., label), given the arrays of a `Design` and the variables.

        ``draws`` is the shape of the variables before the dims ``task`` and those in `variables`.
        """
        values = {}
        for name, dims in self.variables.items():
            value = variables[name]
            at = (*(slice(None) for _ in draws), data["label_column"])
            if dims[-1] == "atom":  # one more, without offset, for what is no atom
                value = xp.concatenate([value, xp.zeros_like(value[..., :1])], axis=-1)
                at = (*at, data["label_atom"])
            value = value.reshape((*draws, -1, *(_SIZES[dim] for dim in dims[1:])))
            values[name] = value[at]
        return self.logit(values, {name.removeprefix("label_"): value for name, value in data.items()}, xp)


_SIZES = {"atom": N_ATOMS + 1, "piece": N_PIECES}
_LINE = {"intercept": ("stage",), "slope": ("stage",), "atom_offset": ("stage", "atom")}


# --- logistic: a straight line ----------------------------------------------------------------------------------


def _line_prior(task: tuple[str, ...], population: dict[str, Any] | None = None) -> dict[str, Any]:
    import pymc as pm
    import pytensor.tensor as pt

    dims = (*task, "stage")
    if population is not None:
        slope = pm.Deterministic("slope", pt.exp(normal("log_slope", population, dims)), dims=dims)
        offset = normal("atom_offset", population, (*dims, "atom"))
        return {"intercept": intercepts(population), "slope": slope, "atom_offset": offset}
    intercept_mean = pm.Normal("intercept_mean", 0.0, 1.5)
    intercept_sd = pm.LogNormal("intercept_sd", np.log(0.8), SPREAD)
    log_slope_mean = pm.Normal("log_slope_mean", 0.0, 0.7)
    log_slope_sd = pm.LogNormal("log_slope_sd", np.log(0.4), SPREAD)
    if task:
        stage_intercept = pm.Normal("stage_intercept", intercept_mean, intercept_sd, dims="stage")
        stage_log_slope = pm.Normal("stage_log_slope", log_slope_mean, log_slope_sd, dims="stage")
        task_sd = pm.LogNormal("task_intercept_sd", np.log(0.7), SPREAD)
        task_shift = pm.ZeroSumNormal("task_intercept", sigma=task_sd, dims="task")  # the stages hold the mean
        rest_sd = pm.LogNormal("intercept_rest_sd", np.log(0.4), SPREAD)
        slope_sd = pm.LogNormal("task_log_slope_sd", np.log(0.3), SPREAD)
        centre = stage_intercept + task_shift[:, None]
        intercept = pm.Normal("intercept", centre, rest_sd, dims=dims)
        log_slope = pm.Normal("log_slope", stage_log_slope, slope_sd, dims=dims)
        shared = pm.Normal("stage_atom_offset", 0.0, _ATOM_SCALE, dims=("stage", "atom"))
        # most atoms have no labels in some task, so their offsets are drawn as departures
        departure = pm.Normal("atom_departure", 0.0, 1.0, dims=(*dims, "atom"))
        offset = pm.Deterministic("atom_offset", shared + 0.5 * departure, dims=(*dims, "atom"))
    else:
        intercept = pm.Normal("intercept", intercept_mean, intercept_sd, dims=dims)
        log_slope = pm.Normal("log_slope", log_slope_mean, log_slope_sd, dims=dims)
        offset = pm.Normal("atom_offset", 0.0, _ATOM_SCALE, dims=(*dims, "atom"))
    slope = pm.Deterministic("slope", pt.exp(log_slope), dims=dims)
    return {"intercept": intercept, "slope": slope, "atom_offset": offset}


def _own_signal(z: np.ndarray, scaling: Scaling) -> dict[str, np.ndarray]:
    return {"z": z}


def _straight(values: dict[str, Any], inputs: dict[str, Any], xp: Any) -> Any:
    return inputs["z"]


# --- monotone: an increasing piecewise linear curve -------------------------------------------------------------


def _monotone_prior(task: tuple[str, ...], population: dict[str, Any] | None = None) -> dict[str, Any]:
    import pymc as pm

    return _line_prior(task, population) | {"bend": pm.Normal("bend", 0.0, 0.5, dims=(*task, "stage", "piece"))}


def _own_ramps(z: np.ndarray, scaling: Scaling) -> dict[str, np.ndarray]:
    return {"ramp": ramps(z, scaling.knots)}


def _bent(values: dict[str, Any], inputs: dict[str, Any], xp: Any) -> Any:
    return bent(inputs["ramp"], values["bend"], xp)


CALIBRATIONS: dict[str, Calibration] = {
    calibration.name: calibration
    for calibration in (
        Calibration(
            name="logistic",
            variables=_LINE,
            inputs=_own_signal,
            prior=_line_prior,
            curve=_straight,
        ),
        Calibration(
            name="monotone",
            variables=_LINE | {"bend": ("stage", "piece")},
            inputs=_own_ramps,
            prior=_monotone_prior,
            curve=_bent,
        ),
    )
}


def get_calibration(name: str) -> Calibration:
    """Return the calibration called ``name``.

    Raises
    ------
    CascadeError
        For a name that is not in `CALIBRATIONS`.
    """
    if name not in CALIBRATIONS:
        hint = f"choose one of {', '.join(map(repr, CALIBRATIONS))}"
        raise bad_value("calibration", name, hint, "is not known")
    return CALIBRATIONS[name]
