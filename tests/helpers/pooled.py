"""A fit of several tasks whose population is known, or of one: its draws are made, not sampled."""

import numpy as np
import xarray as xr

from bayescascade.inference.sampling import SamplerConfig, assemble
from bayescascade.logs.validate import validate_log
from bayescascade.model.calibration import ATOMS
from bayescascade.model.design import build_design
from bayescascade.model.options import check_options

# What varies about which mean, and by how much, under the draws of the population.
SPREADS = {
    "task_intercept_sd": 0.7,
    "intercept_rest_sd": 0.4,
    "task_log_slope_sd": 0.3,
    "tau_logit_sd": 0.3,
    "loading_logit_sd": 0.5,
    "task_loading_logit_sd": 0.25,
    "log_discrimination_sd": 0.3,
    "task_log_discrimination_sd": 0.2,
    "task_unanswerable_logit_sd": 0.5,
}
MEANS = {
    "stage_intercept": (0.8, "stage"),
    "stage_log_slope": (0.1, "stage"),
    "stage_atom_offset": (-0.2, "stage", "atom"),
    "tau_logit_mean": (0.3, "link"),
    "loading_logit_mean": (-0.2,),
    "log_discrimination_mean": (-0.4,),
    "unanswerable_logit_mean": (-3.0,),
}
SHAPE = {"chain": 2, "draw": 50}


def joint_of(log, difficulty=False, seed=0):
    """The fit, in the form that `fit` returns."""
    log = validate_log(log)
    options = check_options(None, "polya_tree", "logistic", log.sizes["stage"] - 1, difficulty)
    design = build_design(log, options)
    config = SamplerConfig(draws=SHAPE["draw"], chains=SHAPE["chain"], random_seed=seed, log_likelihood=False)
    diverging = xr.DataArray(np.zeros(tuple(SHAPE.values()), dtype=bool), dims=tuple(SHAPE))
    return assemble(draws_of(design, seed), xr.Dataset({"diverging": diverging}), design, log, config)


def draws_of(design, seed=0, **spreads):
    """Draws of the variables of a joint fit (chain, draw, ...), as its posterior holds them."""
    rng = np.random.default_rng(seed)
    coords = {"task": design.tasks, "stage": design.stages, "link": design.links, "atom": list(ATOMS)}
    sizes = SHAPE | {dim: max(1, len(names)) for dim, names in coords.items()} | {"split": 7}

    def normal(*dims):
        return xr.DataArray(rng.normal(size=[sizes[dim] for dim in (*SHAPE, *dims)]), dims=(*SHAPE, *dims))

    found = {name: sd * np.exp(0.1 * normal()) for name, sd in (SPREADS | spreads).items()}
    found |= {name: mean + 0.2 * normal(*dims) for name, (mean, *dims) in MEANS.items()}
    own = ("task", "stage")
    found["intercept"] = found["stage_intercept"] + 0.7 * normal(*own)
    found["log_slope"] = found["stage_log_slope"] + 0.3 * normal(*own)
    found["slope"] = np.exp(found["log_slope"])
    found["atom_offset"] = found["stage_atom_offset"] + 0.5 * normal(*own, "atom")
    found["tau"] = 1.0 / (1.0 + np.exp(-found["tau_logit_mean"] - 0.3 * normal("task", "link")))
    found["cost"] = np.exp(0.1 * normal(*own))
    found["margin_split"] = xr.zeros_like(normal(*own, "split")) + 0.5
    if design.options.difficulty:
        for name in ("loading_logit", "log_discrimination"):
            found[name] = found[f"{name}_mean"] + found[f"{name}_sd"] * normal("stage")
            found[name] = found[name] + found[f"task_{name}_sd"] * normal(*own)
        found["loading"] = 1.0 / (1.0 + np.exp(-found.pop("loading_logit")))
        found["discrimination"] = np.exp(found.pop("log_discrimination"))
        found["unanswerable"] = xr.zeros_like(normal("task")) + 0.04
    ordered = {
        name: values.transpose(*(dim for dim in sizes if dim in values.dims)) for name, values in found.items()
    }
    drawn = xr.Dataset(ordered) if design.tasks else xr.Dataset(ordered).isel(task=0)
    return drawn.assign_coords({dim: names for dim, names in coords.items() if names})
