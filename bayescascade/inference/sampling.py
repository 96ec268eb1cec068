"""Sampling: compile a structure once, refit it to any log, hand back one DataTree.

A `Structure` is what changes the model's graph. Its compiled model is kept for the life of the process; PyTensor's
own cache keeps the kernels on disk.
"""

from __future__ import annotations

import json
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr

from bayescascade._common.compiling import compiling
from bayescascade._common.parallel import n_cores
from bayescascade.errors import PACKAGE, CascadeWarning, bad_value, call, in_python, option
from bayescascade.inference.margin_draws import draw_margins
from bayescascade.inference.pointwise import log_likelihood_of
from bayescascade.logs.tables import SIGNAL
from bayescascade.logs.tasks import tasks_of
from bayescascade.model.build import model_of_design
from bayescascade.model.calibration import ATOMS
from bayescascade.model.copulas.family import FAMILIES
from bayescascade.model.costs import draw_means, mean_statistics, spread_of
from bayescascade.model.design import Design, build_design, by_task
from bayescascade.model.margins.models import get_margin_model
from bayescascade.model.options import Options, Structure
from bayescascade.model.packing import pack
from bayescascade.model.population import standard
from bayescascade.posterior.schema import constant_data, data_hash, family_table, margins_and_scalings

_MOST_DRAWS = 1_000_000  # the sampler ends the process where its memory does
# Queries times draws above which the pointwise log-likelihood is left out unless asked for: 400 MB for each part.
_MAX_LOG_LIKELIHOOD = 50_000_000
# Free variables that say the same as a kept one.
_DROPPED = (
    *("tau_share", "tau_logit", "tau_logit_shifted", "cost_t", "atom_departure"),
    *("loading_logit", "log_discrimination"),
    *(f"{level}{name}_departure" for level in ("", "task_") for name in ("loading_logit", "log_discrimination")),
    *("unanswerable_logit", "task_unanswerable_logit_departure"),
)
# Names of nutpie's statistics that are kept, and what ArviZ calls them.
_STATS = {
    "diverging": "diverging",
    "energy": "energy",
    "depth": "tree_depth",
    "n_steps": "n_steps",
    "step_size": "step_size",
    "mean_tree_accept": "acceptance_rate",
    "maxdepth_reached": "reached_max_treedepth",
    "logp": "lp",
}


@dataclass(frozen=True)
class SamplerConfig:
    """How to sample, as the arguments of `fit`."""

    draws: int = 1000
    tune: int = 200
    chains: int = 4
    cores: int | None = None
    random_seed: int = 0
    progressbar: bool = False
    target_accept: float | None = None
    log_likelihood: bool | None = None

    def __post_init__(self) -> None:
        for name, value, least in (("draws", self.draws, 4), ("tune", self.tune, 10), ("chains", self.chains, 1)):
            if not isinstance(value, int | np.integer) or not least <= value <= _MOST_DRAWS:
                raise bad_value(name, value, f"give a whole number from {least} to {_MOST_DRAWS}")
        if self.target_accept is not None and not 0.0 < self.target_accept < 1.0:
            raise bad_value("target_accept", self.target_accept, "give a number between 0 and 1")

    def acceptance(self, design: Design) -> float:
        """The acceptance rate to aim at: docs/evidence/acceptance.md has the measurements."""
        if self.target_accept is not None:
            return float(self.target_accept)
        if not design.options.difficulty:
            return 0.8
        return 0.95 if design.tasks else 0.9


def fit_design(design: Design, log: xr.Dataset, config: SamplerConfig) -> xr.DataTree:
    """Sample the posterior of a design and gather all that a fit holds."""
    start = time.perf_counter()
    raw = sample(design, config)
    posterior = labelled(raw["posterior"].to_dataset(), design)
    stats = raw["sample_stats"].to_dataset()[list(_STATS)].rename(_STATS)
    tree = assemble(posterior, stats, design, log, config)
    tree.attrs["sampling_time"] = time.perf_counter() - start
    return tree


def sample(design: Design, config: SamplerConfig, *, save_warmup: bool = False) -> xr.DataTree:
    """Run NUTS (nutpie) on a design with the compiled model of its structure."""
    compiled = compiled_with(design)
    import nutpie

    # not blocking: nutpie's own wait turns Ctrl-C into a result with too few draws
    sampler = nutpie.sample(
        compiled,
        draws=config.draws,
        tune=config.tune,
        chains=config.chains,
        cores=config.cores or min(config.chains, n_cores()),
        seed=int(config.random_seed),
        progress_bar=config.progressbar,
        target_accept=config.acceptance(design),
        save_warmup=save_warmup,
        blocking=False,
    )
    try:
        return sampler.wait()
    except BaseException as error:
        with suppress(BaseException):  # after a panic there may be nothing left to cancel
            sampler.cancel()
        # the sampler's Rust core raises PanicException, a BaseException that no caller expects
        if isinstance(error, Exception | KeyboardInterrupt | SystemExit):
            raise
        raise RuntimeError(
            f"the sampler stopped: {error}. Please report this with the log that caused it."
        ) from error


def compiled_with(design: Design) -> Any:
    """The compiled model of a design's structure, with the design's arrays for its data."""
    compiled = _compiled(design.structure)
    # lengths of dims may be among the shared variables; the structure fixes those
    arrays = pack(design.arrays)
    used = {v.name: arrays[v.name] for v in compiled.shared_var_keys if v.name in arrays}
    return compiled.with_data(**used)


def _compiled(structure: Structure) -> Any:
    """The compiled model of a structure: of threads that want it at once the first compiles it."""
    with compiling():
        return _compile(structure)


@lru_cache(maxsize=16)
def _compile(structure: Structure) -> Any:
    """Compile the model of a structure, on a tiny placeholder log: data come later by `with_data`."""
    import nutpie

    model = model_of_design(placeholder(structure), packed=True)
    names = [v.name for v in (*model.free_RVs, *model.deterministics)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Numba will use object mode")
        return nutpie.compile_pymc_model(model, var_names=names)


def placeholder(structure: Structure) -> Design:
    """A design of the structure with a dozen queries for each task."""
    rng = np.random.default_rng(0)
    n = 12 * structure.n_tasks
    shape = (n, structure.n_stages)
    log = xr.Dataset(
        {
            "confidence": (("query", "stage"), rng.uniform(0.1, 0.9, shape)),
            "correct": (("query", "stage"), np.indices(shape)[0] % 2.0),
            "cost": (("query", "stage"), rng.uniform(0.5, 1.5, shape)),
        },
        coords={"query": np.arange(n), "stage": [str(j) for j in range(structure.n_stages)]},
        attrs={"confidence_kind": "probability"},
    )
    if structure.n_tasks > 1:
        log = log.assign_coords(task=("query", np.repeat(np.arange(structure.n_tasks), 12).astype(str)))
    names = tuple(
        name + ("_180" if structure.rotated and name + "_180" in FAMILIES else "") for name in structure.families
    )
    options = Options(
        ("independence",) * (structure.n_stages - 1),
        structure.margin,
        structure.calibration,
        candidates=names,
        difficulty=structure.difficulty,
        population=standard(structure.n_stages, len(ATOMS), structure.difficulty)
        if structure.population
        else None,
    )
    return build_design(log, options, structure=structure)


def labelled(posterior: xr.Dataset, design: Design) -> xr.Dataset:
    """Give the sampler's draws the log's own coordinates."""
    names = {"stage": design.stages, "link": design.links, "atom": list(ATOMS), "task": design.tasks}
    posterior = posterior.assign_coords(
        {
            dim: np.asarray(values, dtype=object).astype(str)
            for dim, values in names.items()
            if dim in posterior.dims
        }
    )
    posterior = posterior.drop_vars([v for v in posterior.coords if v not in posterior.dims])
    # nutpie stores untransformed variables whether asked for or not
    return posterior.drop_vars(_DROPPED, errors="ignore")


def assemble(
    posterior: xr.Dataset, stats: xr.Dataset, design: Design, log: xr.Dataset, config: SamplerConfig
) -> xr.DataTree:
    """Everything a fit holds, from draws of the model's variables (chain, draw, ...)."""
    options = design.options
    lead = design.column_dims
    shape = [posterior.sizes[dim] for dim in ("chain", "draw", *lead)]
    split, mass = (
        x.reshape(*shape, -1) for x in draw_margins(posterior, design, np.random.default_rng(config.random_seed))
    )
    posterior = posterior.assign(margin_split=(("chain", "draw", *lead, "split"), split))
    posterior = posterior.assign(_latency(posterior, design, config.random_seed))
    coords = {name: posterior[name] for name in ("chain", "draw", *lead)}
    seen = log[["confidence", "correct", "cost", *(["latency"] if "latency" in log else [])]]
    groups = {
        "posterior": posterior,
        "margins": xr.Dataset({"segment_mass": (("chain", "draw", *lead, "segment"), mass)}, coords=coords),
        "copula": family_table(options.copula),
        "sample_stats": stats,
        "observed_data": seen.assign_coords(stage=design.stages),
        "constant_data": constant_data(design).assign(_spreads(design)),
    }
    if options.population is not None:
        groups["population"] = options.population
    if keeps_log_likelihood(config, log.sizes["query"]):
        groups["log_likelihood"] = log_likelihood_of(posterior, design, log["query"].values)
    tree = xr.DataTree.from_dict(groups)
    if design.thinned:
        tree.attrs["n_modelled"] = int(log.sizes["query"])
    tree.attrs |= {
        "bayescascade_fit": 2,
        "copula": options.label,
        "margin": options.margin,
        "calibration": options.calibration,
        "difficulty": int(options.difficulty),  # netCDF has no booleans
        "confidence_kind": design.kind,
        **({SIGNAL: log.attrs[SIGNAL]} if isinstance(log.attrs.get(SIGNAL), str) else {}),
        "random_seed": int(config.random_seed),
        "tuning_steps": int(config.tune),
        "target_accept": config.acceptance(design),
        "n_queries": int(design.whole.sizes["query"]),
        "data_hash": data_hash(design.whole),
        "versions": json.dumps(
            {p: version(p) for p in ("bayescascade", "pymc", "pytensor", "nutpie", "arviz", "xarray", "numpy")}
        ),
    }
    return tree


def keeps_log_likelihood(config: SamplerConfig, n_queries: int) -> bool:
    """Whether a fit is to hold the log-likelihood of each query under each draw."""
    if config.log_likelihood is None:
        return config.chains * config.draws * n_queries <= _MAX_LOG_LIKELIHOOD
    return config.log_likelihood


def _latency(posterior: xr.Dataset, design: Design, seed: int) -> dict[str, Any]:
    """Mean latency of each stage, drawn as mean costs are; NaN where none is known.

    It is drawn here, since nothing else in the model depends on it.
    """
    log = design.whole
    if "latency" not in log or not np.isfinite(log["latency"]).any():
        return {}
    known = by_task(mean_statistics, log["latency"].transpose("query", "stage").values, *_tasks(log))
    n_chains, n_draws = posterior.sizes["chain"], posterior.sizes["draw"]
    drawn = draw_means(known, n_chains * n_draws, np.random.default_rng([seed, 2]))
    shape = (n_chains, n_draws, *(posterior.sizes[dim] for dim in design.column_dims))
    return {"latency": (("chain", "draw", *design.column_dims), drawn.reshape(shape), log["latency"].attrs)}


def _spreads(design: Design) -> dict[str, Any]:
    """How much cost and latency of one call vary between the queries of a stage."""
    log = design.whole
    shape = (*([len(design.tasks)] if design.tasks else []), len(design.stages))
    return {
        f"{name}_sd": (
            design.column_dims,
            by_task(spread_of, log[name].transpose("query", "stage").values, *_tasks(log)).reshape(shape),
        )
        for name in ("cost", "latency")
        if name in log
    }


def _tasks(log: xr.Dataset) -> tuple[np.ndarray, int]:
    """Number of each query's task, and how many tasks there are."""
    names, task = tasks_of(log)
    return task, max(1, len(names))


def warn_unconverged(tree: xr.DataTree) -> None:
    """Warn, with what to do, when R-hat exceeds 1.01 or a transition diverged (nutpie itself is silent)."""
    worst, name = _worst_rhat(informed(tree))
    diverged = _divergences(tree)
    troubles = []
    if worst > 1.01:
        troubles.append(f"R-hat is {worst:.3f} for {name} (at most 1.01 is wanted)")
    if diverged:
        troubles.append(f"{diverged} transitions diverged (none is wanted)")
    if troubles:
        warnings.warn(
            f"sampling did not converge: {'; '.join(troubles)}. Fit again with more "
            + option("draws")
            + " and "
            + option("tune")
            + ", or a higher "
            + option("target_accept")
            + " (0.97 to 0.99); if it stays so, "
            + in_python("call ", "run ")
            + call("check", "fit")
            + " and look at the margins.",
            CascadeWarning,
            skip_file_prefixes=PACKAGE,
        )


def convergence(tree: xr.DataTree) -> dict[str, Any]:
    """Worst R-hat and its variable, smallest bulk and tail effective sample size, number of divergences."""
    from arviz_stats import ess

    posterior = informed(tree)
    worst, name = _worst_rhat(posterior)
    found = {"rhat": worst, "rhat_name": name, "divergences": _divergences(tree)}
    for kind in ("bulk", "tail"):
        least = np.nan
        if np.isfinite(worst):
            least = float(np.nanmin([v.min() for v in ess(posterior, method=kind).data_vars.values()]))
        found[f"ess_{kind}"] = least
    return found


def informed(tree: xr.DataTree) -> xr.Dataset:
    """The posterior, NaN where the log says nothing: offsets of atoms, and splits, that do not occur in it.

    Those stay as their priors have them and nothing is computed from them, so whether they mix is of no interest.
    """
    posterior, constant = tree["posterior"].to_dataset(), tree["constant_data"].to_dataset()
    margins, _ = margins_and_scalings(constant)
    atom = constant["atom_signal"].notnull()
    used = get_margin_model(str(tree.attrs["margin"])).split_used(margins)
    dims = [dim for dim in ("task", "stage") if dim in constant.dims]
    split = xr.DataArray(used.reshape(*(constant.sizes[dim] for dim in dims), -1), dims=(*dims, "split"))
    known = {"atom_offset": atom, "margin_split": split}
    if "stage_atom_offset" in posterior and "task" in atom.dims:  # one task alone does not say what others have
        known["stage_atom_offset"] = atom.any("task")
    return posterior.assign({name: posterior[name].where(where) for name, where in known.items()})


def _worst_rhat(posterior: xr.Dataset) -> tuple[float, str]:
    """The largest R-hat and its variable; NaN for a single chain, or fewer than four draws."""
    from arviz_stats import rhat

    if posterior.sizes["chain"] < 2 or posterior.sizes["draw"] < 4:
        return np.nan, ""
    with np.errstate(invalid="ignore", divide="ignore"):  # costs given as prices do not vary
        found = {str(name): float(r.max()) for name, r in rhat(posterior).data_vars.items()}
    worst = max(found, key=lambda name: np.nan_to_num(found[name]))
    return found[worst], worst


def _divergences(tree: xr.DataTree) -> int:
    return int(tree["sample_stats"]["diverging"].sum())
