"""Power scaling of prior and likelihood (Kallioinen et al. 2023, doi:10.1007/s11222-023-10366-5)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import logit
from scipy.stats import norm

from bayescascade._common.compiling import compiling
from bayescascade.inference.importance import psis, resample, take_draws
from bayescascade.model.design import Design, build_design
from bayescascade.model.margins.models import get_margin_model
from bayescascade.model.options import Structure
from bayescascade.posterior.scenarios import replaced
from bayescascade.posterior.schema import observed_log, options_of, why_not_computed

_DRAWS = 500


def why_not(fit: xr.DataTree) -> str:
    """Why a fit's prior and likelihood cannot be reweighted; empty where they can."""
    return why_not_computed(fit, "sensitivity", own_prior=True, log_likelihood=True, draws=100)


def thinned(fit: xr.DataTree, n_draws: int = _DRAWS) -> xr.DataTree:
    """Some hundred draws with their log prior and log-likelihood, as ArviZ wants them."""
    posterior = fit["posterior"].to_dataset()
    thin = slice(None, None, max(1, posterior.sizes["chain"] * posterior.sizes["draw"] // n_draws))
    posterior = posterior.isel(draw=thin)
    return xr.DataTree.from_dict(
        {
            "posterior": posterior,
            "log_prior": log_prior(build_design(observed_log(fit), options_of(fit)), posterior),
            "log_likelihood": fit["log_likelihood"].to_dataset().isel(draw=thin),
        }
    )


def log_prior(design: Design, draws: xr.Dataset) -> xr.Dataset:
    """Log density of each variable at the top of the model, (chain, draw) each.

    What lies below, such as the intercepts given their mean and spread, is part of the model rather than of the
    prior; so is what the log does not touch, such as the offset of an atom that does not occur.
    """
    with compiling():
        function, names, data = _density(design.structure)
    flat = draws.stack(sample=("chain", "draw")).transpose("sample", ...)
    low = design.arrays["tau_low"]
    share = (flat["tau"].values - low) / (1.0 - low)
    values = {"tau_share": share, "tau_logit": logit(share)}
    if "unanswerable" in flat:
        values["unanswerable_logit"] = logit(flat["unanswerable"].values)
        values["loading_logit"] = logit(flat["loading"].values)
        values["log_discrimination"] = np.log(flat["discrimination"].values)
    with compiling():  # its data are shared by all that use it
        for shared in data:
            shared.set_value(design.arrays[shared.name])
        terms = function(*(values.get(name, flat[name].values if name in flat else None) for name in names))
    used = {
        "margin_split": get_margin_model(design.options.margin).split_used(design.margins),
        "atom_offset": np.isfinite(np.stack([scaling.atoms for scaling in design.scalings])),
    }
    shape = (draws.sizes["chain"], draws.sizes["draw"])
    known = dict(zip(names, terms, strict=True))
    if design.options.difficulty and not design.tasks:  # sampled with a shift by the loadings, so not at the top
        known["tau_logit"] = norm(*design.arrays["tau_prior"]).logpdf(values["tau_logit"])
    out = {}
    for name, term in known.items():
        if name in used and used[name].shape == term.shape[1:]:
            term = np.where(used[name], term, 0.0)
        out[name] = (("chain", "draw"), term.reshape((shape[0] * shape[1], -1)).sum(axis=1).reshape(shape))
    return xr.Dataset(out, coords={"chain": draws["chain"], "draw": draws["draw"]})


@lru_cache(maxsize=16)
def _density(structure: Structure) -> tuple[Any, list[str], list[Any]]:
    """From draws of the top variables to their elementwise log densities; names; data to set beforehand."""
    from pymc import logp
    from pytensor import function
    from pytensor.compile.mode import Mode
    from pytensor.compile.sharedvalue import SharedVariable
    from pytensor.graph.replace import vectorize_graph
    from pytensor.graph.traversal import ancestors

    from bayescascade.inference.sampling import placeholder
    from bayescascade.model.build import model_of_design

    design = placeholder(structure)
    model = model_of_design(design)
    free = set(model.free_RVs)
    top = [rv for rv in model.free_RVs if not free & set(ancestors(rv.owner.inputs))]
    top = [rv for rv in top if not rv.name.startswith("cost")]
    points = [rv.type(name=rv.name) for rv in top]
    # each by itself: the model's own density is rewritten as a whole, which takes seconds
    terms = [logp(rv, point) for rv, point in zip(top, points, strict=True)]
    many = [v.type.clone(shape=(None, *v.type.shape))(name=v.name) for v in points]
    many_terms = vectorize_graph(terms, dict(zip(points, many, strict=True)))
    # evaluated once or twice: compiling it would cost more than it saves
    compiled = function(many, many_terms, mode=Mode(linker="py", optimizer="None"), on_unused_input="ignore")
    data = [v for v in ancestors(terms) if isinstance(v, SharedVariable) and v.name in design.arrays]
    return compiled, [rv.name for rv in top], data


def powered(fit: xr.DataTree, tree: xr.DataTree, group: str, power: float) -> tuple[xr.DataTree, float]:
    """The fit with its prior or its likelihood raised to a power, by resampling all its draws; and k-hat.

    ``tree`` holds the log prior and the log-likelihood of each draw, see `thinned`.
    """
    if group == "prior":
        density = tree["log_prior"].to_dataset().to_array().sum("variable")
    else:
        density = tree["log_likelihood"].to_dataset()["joint"].sum("query")
    log_ratio = (power - 1.0) * density.transpose("chain", "draw").values.reshape(-1)
    weight, k = psis(log_ratio - log_ratio.max())
    index = resample(weight, np.random.default_rng(0))
    groups = {name: take_draws(fit[name].to_dataset(), index) for name in ("posterior", "margins", "sample_stats")}
    # what was drawn from the posterior, and from a prior of its full strength
    stale = dict.fromkeys(("posterior_predictive", "predictions", "prior"))
    return replaced(fit, groups | stale, {f"{group}_power": power}), k
