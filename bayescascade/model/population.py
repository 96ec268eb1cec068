"""What is known of a log before it is seen: the normal priors that a population of other logs gives it.

A population is a Dataset with the mean and the standard deviation, over ``moment``, of each parameter that a fit
of several tasks pools, on the scale where it is normal. Intercepts have a mean and a covariance over the stages,
because a log that is hard for one stage is hard for the others, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # the help of the command line reads this module, and waits for nothing heavy
    import xarray as xr

# Dims of the pooled parameters after ``moment``; the last three only where queries have a difficulty.
PARAMETERS: dict[str, tuple[str, ...]] = {
    "log_slope": ("stage",),
    "atom_offset": ("stage", "atom"),
    "tau_logit": ("link",),
    "loading_logit": ("stage",),
    "log_discrimination": ("stage",),
    "unanswerable_logit": (),
}
LATENT = ("loading_logit", "log_discrimination", "unanswerable_logit")
MEAN, COVARIANCE = "intercept_mean", "intercept_covariance"
_ARRAY = "population_"


def parameters(difficulty: bool) -> dict[str, tuple[str, ...]]:
    """The pooled parameters of a model with or without a difficulty, and their dims."""
    return {name: dims for name, dims in PARAMETERS.items() if difficulty or name not in LATENT}


def standard(n_stages: int, n_atoms: int, difficulty: bool) -> xr.Dataset:
    """A population in which every parameter is standard normal."""
    import xarray as xr

    sizes = {"stage": n_stages, "atom": n_atoms, "link": n_stages - 1}
    found: dict[str, Any] = {}
    for name, dims in parameters(difficulty).items():
        shape = [sizes[dim] for dim in dims]
        found[name] = (("moment", *dims), np.stack([np.zeros(shape), np.ones(shape)]))
    found[MEAN] = ("stage", np.zeros(n_stages))
    found[COVARIANCE] = (("stage", "other"), np.eye(n_stages))
    return xr.Dataset(found)


def arrays(population: xr.Dataset, difficulty: bool) -> dict[str, np.ndarray]:
    """What `pm.Data` holds of a population, by name."""
    out = {
        _ARRAY + name: population[name].transpose("moment", *dims).values
        for name, dims in parameters(difficulty).items()
    }
    out["tau_prior"] = out.pop(_ARRAY + "tau_logit")  # as a model without a population has it
    out[_ARRAY + MEAN] = population[MEAN].values
    out[_ARRAY + "root"] = np.linalg.cholesky(population[COVARIANCE].transpose("stage", "other").values)
    return out


def normal(name: str, data: dict[str, Any], dims: tuple[str, ...] = ()) -> Any:
    """A parameter with the population's prior, inside a `pm.Model`."""
    import pymc as pm

    mean, sd = data[_ARRAY + name][0], data[_ARRAY + name][1]
    return pm.Normal(name, mean, sd, dims=dims or None)


def intercepts(data: dict[str, Any]) -> Any:
    """The intercepts of the stages (stage,), inside a `pm.Model`."""
    import pymc as pm

    return pm.MvNormal("intercept", data[_ARRAY + MEAN], chol=data[_ARRAY + "root"], dims="stage")
