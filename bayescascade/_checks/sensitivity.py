"""Do prior and likelihood pull apart? The posterior's sensitivity to the power of each."""

from __future__ import annotations

import logging
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescascade._checks import pictures
from bayescascade._checks.evidence import Evidence
from bayescascade._checks.results import CheckResult
from bayescascade._messages import joined
from bayescascade.design import Design, build_design
from bayescascade.storage import options_of, own_log
from bayescascade.structure import Structure

SENSITIVE = 0.05  # ArviZ's limit, for prior and likelihood alike
# Shift of a posterior mean, in posterior standard deviations, for each unit of log power. In a conjugate normal
# model it is at most half the distance of prior and likelihood in standard deviations of their difference, so that
# at 1 they lie at least two of these apart.
CONFLICT = 1.0
_DRAWS = 500
_SIGNALS = ("tau_share", "margin_split")
_BLOCKS = {"signal": ("tau",), "correct": ("intercept", "slope")}


def check_sensitivity(evidence: Evidence, rng: np.random.Generator) -> CheckResult:
    """Sensitivity of tau, intercepts and slopes to the power of their prior and of their likelihood."""
    nothing = why_not(evidence.fit)
    if nothing:
        return CheckResult("sensitivity", None, pd.DataFrame(), nothing)
    tree = thinned(evidence.fit)
    table = pd.concat([_of_block(tree, factor) for factor in _BLOCKS])
    table.index.name = "quantity"
    conflict = table.index[(table["diagnosis"] == "conflict")]
    leaning = table.index[(table["prior"] >= SENSITIVE) & (table["diagnosis"] != "conflict")]
    weak = table.index[table["likelihood"] < SENSITIVE]
    picture = partial(pictures.sensitivity, table, SENSITIVE)
    if len(conflict):
        text = (
            f"Prior and log contradict each other about {joined(conflict)}: the posterior is a compromise "
            f"that neither supports (pull {table.loc[conflict, 'pull'].max():.1f}; from {CONFLICT:g} up it is a "
            "conflict). "
            "Look at the log for labels or confidences turned round, at plot_reliability and the other checks; if "
            "the log is right, fit with a wider prior of your own from build_model."
        )
        return CheckResult("sensitivity", False, table, text, picture)
    if len(leaning) or len(weak):
        parts = [
            f"the prior counts for {joined(leaning)}" if len(leaning) else "",
            f"the log says little about {joined(weak)}" if len(weak) else "",
        ]
        text = (
            f"Prior and log do not contradict each other, but {' and '.join(filter(None, parts))}. "
            "Label more queries to let the log decide."
        )
    else:
        text = "A stronger or weaker prior would hardly move tau, intercepts and slopes: the log decides."
    return CheckResult("sensitivity", True, table, text, picture)


def why_not(fit: xr.DataTree) -> str:
    """Why a fit's prior and likelihood cannot be reweighted; empty where they can."""
    if "task" in fit.attrs:
        return "What one task's prior is, the other tasks say; sensitivity is computed for fits of one task only."
    if "log_likelihood" not in fit.children:
        return (
            "The fit holds no log-likelihood, so sensitivity was not computed. "
            "Fit again with log_likelihood=True to have it."
        )
    sizes = fit["posterior"].sizes
    if sizes["chain"] * sizes["draw"] < 100:
        return "Fewer than 100 draws: too few to reweight. Fit again with more draws."
    return ""


def thinned(fit: xr.DataTree, n_draws: int = _DRAWS) -> xr.DataTree:
    """Some hundred draws with their log prior and log-likelihood, as ArviZ wants them."""
    posterior = fit["posterior"].to_dataset()
    thin = slice(None, None, max(1, posterior.sizes["chain"] * posterior.sizes["draw"] // n_draws))
    posterior = posterior.isel(draw=thin)
    return xr.DataTree.from_dict(
        {
            "posterior": posterior,
            "log_prior": log_prior(build_design(own_log(fit), options_of(fit)), posterior),
            "log_likelihood": fit["log_likelihood"].to_dataset().isel(draw=thin),
        }
    )


def _of_block(tree: xr.DataTree, factor: str) -> pd.DataFrame:
    """ArviZ's sensitivities of one block's quantities, and how hard prior and likelihood pull at each."""
    import arviz as az

    prior = tree["log_prior"].to_dataset()
    prior = prior[[name for name in prior if (name in _SIGNALS) == (factor == "signal")]]
    likelihood = tree["log_likelihood"].to_dataset()[[factor]]
    posterior = tree["posterior"].to_dataset()[list(_BLOCKS[factor])]
    part = xr.DataTree.from_dict({"posterior": posterior, "log_prior": prior, "log_likelihood": likelihood})
    log = logging.getLogger("arviz_stats")
    level = log.level
    log.setLevel(logging.ERROR)  # what it warns of is what this check reports
    try:
        table = az.psense_summary(part, round_to=6)
    finally:
        log.setLevel(level)
    table = table[["prior", "likelihood"]].astype(float)
    powers = prior.to_array().sum("variable"), likelihood[factor].sum("query")
    shifts = [pd.concat([_shift(posterior[name], power) for name in posterior]).to_numpy() for power in powers]
    table["pull"] = np.where(shifts[0] * shifts[1] < 0.0, np.minimum(*np.abs(shifts)), 0.0)
    sensitive = (table["prior"] >= SENSITIVE) & (table["likelihood"] >= SENSITIVE)
    table["diagnosis"] = np.select(
        [sensitive & (table["pull"] >= CONFLICT), table["likelihood"] < SENSITIVE, table["prior"] >= SENSITIVE],
        ["conflict", "weak likelihood", "prior counts"],
        "",
    )
    return table


def _shift(values: xr.DataArray, power: xr.DataArray) -> pd.Series:
    """How far a mean moves, in standard deviations, for each unit of log power: a covariance."""
    dims = ("chain", "draw")
    return (xr.cov(values, power, dims, ddof=0) / values.std(dims)).to_series()


def log_prior(design: Design, draws: xr.Dataset) -> xr.Dataset:
    """Log density of each variable at the top of the model, (chain, draw) each.

    What lies below, such as the intercepts given their mean and spread, is part of the model rather than of the
    prior; so is what the log does not touch, such as the offset of an atom that does not occur.
    """
    function, names, data = _density(design.structure)
    for shared in data:
        shared.set_value(design.arrays[shared.name])
    flat = draws.stack(sample=("chain", "draw")).transpose("sample", ...)
    low = design.arrays["tau_low"]
    values = {"tau_share": (flat["tau"].values - low) / (1.0 - low)}
    terms = function(*(values.get(name, flat[name].values if name in flat else None) for name in names))
    used = {
        "margin_split": np.stack([margin.split_used for margin in design.margins]),
        "atom_offset": np.isfinite(np.stack([scaling.atoms for scaling in design.scalings])),
    }
    shape = (draws.sizes["chain"], draws.sizes["draw"])
    out = {}
    for name, term in zip(names, terms, strict=True):
        if name in used and used[name].shape == term.shape[1:]:
            term = np.where(used[name], term, 0.0)
        out[name] = (("chain", "draw"), term.reshape((shape[0] * shape[1], -1)).sum(axis=1).reshape(shape))
    return xr.Dataset(out, coords={"chain": draws["chain"], "draw": draws["draw"]})


@lru_cache(maxsize=16)
def _density(structure: Structure) -> tuple[Any, list[str], list[Any]]:
    """From draws of the top variables to their elementwise log densities; names; data to set beforehand."""
    from pymc.model.transform.conditioning import remove_value_transforms
    from pytensor import function
    from pytensor.compile.mode import Mode
    from pytensor.compile.sharedvalue import SharedVariable
    from pytensor.graph.replace import vectorize_graph
    from pytensor.graph.traversal import ancestors

    from bayescascade.model import model_of_design
    from bayescascade.sampling import placeholder

    design = placeholder(structure)
    model = remove_value_transforms(model_of_design(design))
    free = set(model.free_RVs)
    top = [rv for rv in model.free_RVs if not free & set(ancestors(rv.owner.inputs))]
    top = [rv for rv in top if not rv.name.startswith("cost")]
    terms = model.logp(vars=top, sum=False)
    points = [model.rvs_to_values[rv] for rv in top]
    many = [v.type.clone(shape=(None, *v.type.shape))(name=v.name) for v in points]
    many_terms = vectorize_graph(terms, dict(zip(points, many, strict=True)))
    # evaluated once or twice: compiling it would cost more than it saves
    compiled = function(many, many_terms, mode=Mode(linker="py", optimizer="None"), on_unused_input="ignore")
    data = [v for v in ancestors(terms) if isinstance(v, SharedVariable) and v.name in design.arrays]
    return compiled, [rv.name for rv in top], data
