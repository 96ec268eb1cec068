"""Groups that ArviZ compares a posterior with: replicated queries of some draws, and draws from the prior."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr

from bayescascade._common.compiling import compiling
from bayescascade.inference.sampling import labelled, placeholder
from bayescascade.logs.tasks import tasks_of
from bayescascade.model.build import model_of_design
from bayescascade.model.design import Design
from bayescascade.model.options import Structure
from bayescascade.posterior.draws import get_draws
from bayescascade.posterior.kernel import stages_alone
from bayescascade.posterior.replicate import replicate_draw
from bayescascade.posterior.schema import observed_log
from bayescascade.posterior.tasks import select_task

_REPLICATES, _PRIOR_DRAWS = 200, 1000
# Replicated confidences that are kept at most, 4 bytes each; a large log has fewer replicates.
_MAX_VALUES = 5_000_000


def with_groups(fit: xr.DataTree, design: Design, seed: int) -> xr.DataTree:
    """The fit with the groups ``posterior_predictive``, ``predictions`` and ``prior``."""
    fit["posterior_predictive"] = xr.DataTree(posterior_predictive(fit, seed))
    fit["predictions"] = xr.DataTree(predictions(fit))
    fit["prior"] = xr.DataTree(prior(design, seed))
    return fit


def posterior_predictive(fit: xr.DataTree, seed: int) -> xr.Dataset:
    """Confidences and correctness of as many new queries as the log has, (chain, draw, query, stage).

    Of some draws only. Every stage is run and every answer labelled, also where the log's are not; where there are
    tasks, a query is of the task of the log's query in its place.
    """
    log = observed_log(fit)
    names, task = tasks_of(log)
    posterior = fit["posterior"].to_dataset()
    n_chains, n_draws = posterior.sizes["chain"], posterior.sizes["draw"]
    many = max(10, min(_REPLICATES, _MAX_VALUES // log["confidence"].size))
    at = np.linspace(0, n_draws - 1, min(n_draws, max(1, many // n_chains))).round().astype(int)
    rng = np.random.default_rng([seed, 3])
    confidence = np.empty((n_chains, len(at), *log["confidence"].shape), dtype=np.float32)
    correct = np.empty(confidence.shape, dtype=np.int8)
    for t, name in enumerate(names or [""]):
        draws = get_draws(select_task(fit, name) if names else fit)
        own = task == t
        for chain in range(n_chains):
            for i, draw in enumerate(at):
                found = replicate_draw(draws, chain * n_draws + draw, int(own.sum()), rng)
                confidence[chain, i, own], correct[chain, i, own] = found
    dims = ("chain", "draw", "query", "stage")
    coords = {name: log[name] for name in ("query", "stage", "task") if name in log.coords}
    return xr.Dataset(
        {"confidence": (dims, confidence), "correct": (dims, correct)},
        coords=coords | {"chain": posterior["chain"], "draw": posterior["draw"][at]},
    )


def predictions(fit: xr.DataTree) -> xr.Dataset:
    """Long-run error and mean cost of each stage used alone, under each draw (chain, draw[, task], stage)."""
    posterior = fit["posterior"].to_dataset()
    cost = posterior["cost"].reset_coords(drop=True)
    tasks = [str(name) for name in posterior["task"].values] if "task" in posterior.dims else []
    shape = (posterior.sizes["chain"], posterior.sizes["draw"], posterior.sizes["stage"])
    alone = [stages_alone(get_draws(select_task(fit, name) if tasks else fit)) for name in tasks or [""]]
    error = np.stack([values.reshape(shape) for values in alone], axis=2)
    dims = ("chain", "draw", "task", "stage") if tasks else ("chain", "draw", "stage")
    return xr.Dataset({"error": (dims, error.reshape(cost.transpose(*dims).shape)), "cost": cost})


def prior(design: Design, seed: int) -> xr.Dataset:
    """Draws of the posterior's variables from the prior (chain, draw, ...), but for costs.

    Mean costs are known in closed form from the log, and have no prior of their own.
    """
    with compiling():  # the function, its data and its random states are shared by all that use it
        from pymc.pytensorf import reseed_rngs

        function, rngs, data, dims = _prior_function(design.structure)
        for shared in data:
            shared.set_value(design.arrays[shared.name])
        reseed_rngs(rngs, [seed, 4])
        values = function()
    found = zip(dims.items(), values, strict=True)
    drawn = xr.Dataset({name: (("chain", "draw", *own), values[None]) for (name, own), values in found})
    return labelled(drawn.assign_coords(chain=[0], draw=np.arange(_PRIOR_DRAWS)), design)


@lru_cache(maxsize=16)
def _prior_function(structure: Structure) -> tuple[Any, list[Any], list[Any], dict[str, tuple[str, ...]]]:
    """A function of many draws at once; its random states; data to set beforehand; dims of what it returns.

    What is not at the top of the model is normal: its mean plus its scale times a standard one. So all that is
    random can be drawn with a further axis, and the rest of the graph follows. PyTensor's interpreter evaluates
    it in a hundredth of a second, where compiling takes seconds.
    """
    import pymc as pm
    from pymc.distributions.shape_utils import change_dist_size
    from pymc.pytensorf import compile as pymc_compile
    from pymc.pytensorf import find_rng_nodes
    from pytensor.compile.mode import Mode
    from pytensor.compile.sharedvalue import SharedVariable
    from pytensor.graph.replace import graph_replace, vectorize_graph
    from pytensor.graph.traversal import ancestors

    design = placeholder(structure)
    model = model_of_design(design)
    dims = {
        v.name: tuple(model.named_vars_to_dims.get(v.name) or ())
        for v in (*model.free_RVs, *model.deterministics)
        if not v.name.startswith("cost")
    }
    top: list[Any] = []
    below: dict[Any, Any] = {}
    for rv in model.free_RVs:
        if not set(model.free_RVs) & set(ancestors(rv.owner.inputs)):
            top.append(rv)
            continue
        parameters: Any = graph_replace(rv.owner.op.dist_params(rv.owner), below, strict=False)
        shape = [len(model.coords[dim]) for dim in dims[rv.name]]
        if isinstance(rv.owner.op, pm.ZeroSumNormal.rv_type):
            top.append(pm.ZeroSumNormal.dist(shape=shape))
            below[rv] = parameters[0] * top[-1]
        else:
            top.append(pm.Normal.dist(shape=shape))
            below[rv] = parameters[0] + parameters[1] * top[-1]
    asked: Any = graph_replace([model[name] for name in dims], below, strict=False)
    many: Any = vectorize_graph(asked, {rv: change_dist_size(rv, (_PRIOR_DRAWS,), expand=True) for rv in top})
    function = pymc_compile([], many, mode=Mode(linker="py", optimizer="None"))
    shared = [v for v in ancestors(many) if isinstance(v, SharedVariable)]
    return function, find_rng_nodes(many), [v for v in shared if v.name in design.arrays], dims
