"""What a fit of several tasks says of a further one before its log is seen: empirical Bayes.

Of each pooled parameter the posterior predictive distribution of a new task has, in closed form given a draw of
the population, a mean m and a variance v. Over the draws its mean is E[m] and its variance Var[m] + E[v]; a normal
distribution with these stands in for it.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import logit

from bayescascade._common.messages import listed
from bayescascade.errors import CascadeError, bad_value, option
from bayescascade.model.options import Options
from bayescascade.model.population import COVARIANCE, MEAN, parameters
from bayescascade.posterior.schema import options_of, read_families, require

_DRAWS = ("chain", "draw")
_ATOM_SPREAD = 0.5  # of a task's offset about that of all, see `bayescascade.model.calibration`
_NEAR_1 = 1.0 - 1e-12


def population_of(source: Any) -> xr.Dataset:
    """The population of a fit of several tasks, or the one that a fit was made with.

    Examples
    --------
    >>> population_of(xr.Dataset())
    Traceback (most recent call last):
    ...
    bayescascade.errors.CascadeError: a fit is an xarray.DataTree as returned by fit(); Dataset came.

    Parameters
    ----------
    source : xarray.DataTree
        Or what this function returned before, which is returned as it is.

    Returns
    -------
    xarray.Dataset
        Mean and standard deviation over ``moment`` of ``log_slope`` (stage), ``atom_offset`` (stage, atom),
        ``tau_logit`` (link) and, with a difficulty, ``loading_logit`` and ``log_discrimination`` (stage) and
        ``unanswerable_logit``; ``intercept_mean`` (stage) and ``intercept_covariance`` (stage, other). Attributes
        say which model it is for.

    Raises
    ------
    CascadeError
        Where the fit has neither.
    """
    if isinstance(source, xr.Dataset) and MEAN in source:
        return source
    fit = require(
        source,
        tasks="any",
        apart=" alone; a population is that of the fit of all tasks",
        unchanged="a population is that of a fit as it was sampled.",
    )
    if "population" in fit.children:
        return fit["population"].to_dataset()
    require(fit, tasks="several")
    posterior = fit["posterior"].to_dataset()
    options = options_of(fit)
    found = {name: _predictive(*_of_new(name, posterior)) for name in parameters(options.difficulty)}
    mean, covariance = _intercepts(posterior)
    stages = posterior["stage"].values
    return xr.Dataset(
        found | {MEAN: mean, COVARIANCE: covariance.assign_coords(other=stages)},
        coords={"moment": ["mean", "sd"]},
        attrs={
            "families": json.dumps([family.name for family in read_families(fit)]),
            "calibration": options.calibration,
            "difficulty": int(options.difficulty),
            "confidence_kind": str(fit.attrs["confidence_kind"]),
            "n_tasks": posterior.sizes["task"],
            "n_queries": int(fit.attrs["n_queries"]),
        },
    ).transpose("moment", ...)


def _of_new(name: str, posterior: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Mean and variance of a new task's parameter under each draw of the population."""
    if name == "log_slope":
        return posterior["stage_log_slope"], posterior["task_log_slope_sd"] ** 2
    if name == "atom_offset":
        return posterior["stage_atom_offset"], xr.DataArray(_ATOM_SPREAD**2)
    if name == "tau_logit":
        return posterior["tau_logit_mean"], posterior["tau_logit_sd"] ** 2
    if name == "unanswerable_logit":
        return posterior["unanswerable_logit_mean"], posterior["task_unanswerable_logit_sd"] ** 2
    if name == "loading_logit":
        return _of_stage(name, xr.apply_ufunc(logit, posterior["loading"].clip(max=_NEAR_1)), posterior)
    return _of_stage(name, xr.apply_ufunc(np.log, posterior["discrimination"]), posterior)


def _of_stage(name: str, of_task: xr.DataArray, posterior: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """As `_of_new`, where a fit keeps each task's parameter, but not the stage's, about which these are normal."""
    within, between = posterior[f"task_{name}_sd"] ** -2, posterior[f"{name}_sd"] ** -2
    precision = of_task.sizes["task"] * within + between
    mean = (of_task.sum("task") * within + posterior[f"{name}_mean"] * between) / precision
    return mean, 1.0 / precision + 1.0 / within


def _predictive(mean: xr.DataArray, variance: xr.DataArray) -> xr.DataArray:
    """Mean and standard deviation over all draws (moment, ...)."""
    spread = mean.var(_DRAWS) + (variance.mean(_DRAWS) if variance.dims else variance)
    moments: list[xr.DataArray] = [mean.mean(_DRAWS), spread**0.5]
    return xr.concat(moments, "moment").reset_coords(drop=True)


def _intercepts(posterior: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Mean (stage) and covariance (stage, other) of a new task's intercepts.

    What a task shifts all its stages by sums to zero over the tasks of the fit. That of a new one differs from
    their mean, which the stages hold, by more than one of them differs from all.
    """
    stage = posterior["stage_intercept"]
    shift = float((posterior["task_intercept_sd"] ** 2).mean()) * (1.0 + 1.0 / posterior.sizes["task"])
    rest = float((posterior["intercept_rest_sd"] ** 2).mean())
    known = np.atleast_2d(np.cov(stage.transpose(*_DRAWS, "stage").values.reshape(-1, stage.sizes["stage"]).T))
    covariance = known + shift + rest * np.eye(len(known))
    return stage.mean(_DRAWS), xr.DataArray(covariance, dims=("stage", "other"))


def with_population(options: Options, source: Any, log: xr.Dataset) -> Options:
    """The options with the priors of a population, for one task's log.

    Raises
    ------
    CascadeError
        Where ``source`` has no population, or one of another model, or of other stages or confidences than the
        log's.
    """
    population = population_of(source)
    if "task" in log.coords and len(np.unique(log["task"].values)) > 1:
        raise CascadeError(
            "the log has several tasks, which are pooled with each other; a population gives the priors of one. "
            "Leave out {}, or fit one task.",
            (option("population"),),
        )
    known = population.attrs
    stages, own = ([str(s) for s in of["stage"].values] for of in (population, log))
    if stages != own:
        raise CascadeError(
            f"the population's stages are {listed(stages)}, but the log's are {listed(own)}; they have to be the "
            "same, in the same order."
        )
    if str(log.attrs["confidence_kind"]) != known["confidence_kind"]:
        raise CascadeError(
            f"the population's confidences are of kind {known['confidence_kind']!r}, but the log's are of kind "
            f"{log.attrs['confidence_kind']!r}; give a population of that kind, or fit the log without one."
        )
    model = {
        "difficulty": (bool(known["difficulty"]), options.difficulty),
        "calibration": (known["calibration"], options.calibration),
        "copula": (json.loads(known["families"]), list(options.copula)),
    }
    for name, (theirs, asked) in model.items():
        if theirs != asked:
            raise bad_value(
                name, asked, "give " + option(name, theirs), "is not what the population was fitted with"
            )
    return replace(options, population=population)
