"""Sampling: compile a structure once, refit it to any log, hand back one DataTree.

A *structure* is what changes the model's graph: number of stages, family, margin, calibration. The compiled
model of a structure is kept for the life of the process; PyTensor's own cache keeps the kernels on disk.
"""

from __future__ import annotations

import json
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr

from bayescascade.calibration import ENDS
from bayescascade.copulas import get_family
from bayescascade.design import Design, build_design
from bayescascade.errors import CascadeError, CascadeWarning
from bayescascade.margins import draw_segment_masses, log_leaf_weights
from bayescascade.model import check_options, model_of_design, signal_logp
from bayescascade.storage import constant_data, data_hash

# Rows times draws above which the pointwise log-likelihood is left out unless asked for: 400 MB.
_MAX_LOG_LIKELIHOOD = 50_000_000
_KEPT = ("tau", "intercept", "slope", "atom_offset", "cost", "margin_split")
_HYPER = ("intercept_mean", "intercept_sd", "log_slope_mean", "log_slope_sd", "log_slope")
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


def fit(
    log: xr.Dataset,
    *,
    copula: str = "gumbel",
    margin: str = "polya_tree",
    calibration: str = "logistic",
    draws: int = 1000,
    tune: int = 300,
    chains: int = 4,
    cores: int | None = None,
    random_seed: int | None = None,
    progressbar: bool = True,
    target_accept: float = 0.8,
    log_likelihood: bool | None = None,
) -> xr.DataTree:
    """Sample the posterior of a cascade log.

    Examples
    --------
    >>> import bayescascade as bc
    >>> fit = bc.fit(bc.load_example(), random_seed=1, progressbar=False)
    >>> dict(fit["posterior"]["tau"].sizes)
    {'chain': 4, 'draw': 1000, 'link': 2}

    Parameters
    ----------
    log : xarray.Dataset
        As `read_log` returns it.
    copula, margin, calibration : str
        As for `build_model`.
    draws, tune, chains, cores, random_seed, progressbar
        As in PyMC. ``random_seed=None`` draws a seed and keeps it in ``fit.attrs["random_seed"]``.
    target_accept : float
        Target acceptance rate of NUTS, in (0, 1).
    log_likelihood : bool, optional
        Keep log-likelihood values per query, for `arviz.loo`. By default they are kept up to 400 MB.

    Returns
    -------
    xarray.DataTree
        Groups ``posterior``, ``sample_stats``, ``log_likelihood`` (``signal`` and ``correct`` per query),
        ``observed_data`` and ``constant_data``.

    Raises
    ------
    CascadeError
        For bad options, or a log that `validate_log` rejects.

    Warns
    -----
    CascadeWarning
        When the log is so small or so one-sided that the prior decides, and when the sampler did not converge.
    """
    check_options(copula, margin, calibration)
    for name, value, least in (("draws", draws, 4), ("tune", tune, 10), ("chains", chains, 1)):
        if not isinstance(value, int | np.integer) or value < least:
            raise CascadeError(f"{name}={value!r} is not allowed; give a whole number of at least {least}.")
    if not 0.0 < target_accept < 1.0:
        raise CascadeError(f"target_accept={target_accept!r} is not allowed; give a number between 0 and 1.")
    design = build_design(log)
    _remark(design, log)
    if random_seed is None:
        random_seed = int(np.random.default_rng().integers(2**31))
    start = time.perf_counter()
    raw = sample(
        design,
        copula=copula,
        draws=draws,
        tune=tune,
        chains=chains,
        cores=cores,
        random_seed=random_seed,
        progressbar=progressbar,
        target_accept=target_accept,
    )
    tree = _assemble(raw, design, log, copula, log_likelihood, np.random.default_rng(random_seed))
    tree.attrs |= {
        "bayescascade_fit": 1,
        "copula": copula,
        "margin": margin,
        "calibration": calibration,
        "confidence_kind": design.kind,
        "random_seed": int(random_seed),
        "sampling_time": time.perf_counter() - start,
        "tuning_steps": int(tune),
        "target_accept": float(target_accept),
        "n_queries": int(log.sizes["query"]),
        "data_hash": data_hash(log),
        "versions": json.dumps(
            {p: version(p) for p in ("bayescascade", "pymc", "pytensor", "nutpie", "arviz", "xarray", "numpy")}
        ),
    }
    warn_unconverged(tree)
    return tree


def sample(
    design: Design,
    *,
    copula: str,
    draws: int,
    tune: int,
    chains: int,
    cores: int | None,
    random_seed: int,
    progressbar: bool,
    target_accept: float,
) -> xr.DataTree:
    """Run NUTS (nutpie) on a design with the compiled model of its structure."""
    import nutpie

    compiled = _compiled(len(design.stages), copula)
    used = {name: design.arrays[name] for name in (v.name for v in compiled.shared_var_keys)}
    compiled = compiled.with_data(**used)
    # not blocking: nutpie's own wait turns Ctrl-C into a result with too few draws
    sampler = nutpie.sample(
        compiled,
        draws=draws,
        tune=tune,
        chains=chains,
        cores=cores or min(chains, _n_cores()),
        seed=int(random_seed),
        progress_bar=progressbar,
        target_accept=target_accept,
        save_warmup=False,
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


@lru_cache(maxsize=16)
def _compiled(n_stages: int, copula: str) -> Any:
    """Compile the model of a structure, on a tiny placeholder log: data come later by `with_data`."""
    import nutpie

    rng = np.random.default_rng(0)
    names = [str(j) for j in range(n_stages)]
    shape = (12, n_stages)
    placeholder = xr.Dataset(
        {
            "confidence": (("query", "stage"), rng.uniform(0.1, 0.9, shape)),
            "correct": (("query", "stage"), np.indices(shape)[0] % 2.0),
            "cost": (("query", "stage"), np.ones(shape)),
        },
        coords={"query": np.arange(12), "stage": names},
        attrs={"confidence_kind": "probability"},
    )
    model = model_of_design(build_design(placeholder), get_family(copula))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Numba will use object mode")
        return nutpie.compile_pymc_model(model, var_names=list(_KEPT + _HYPER))


def _n_cores() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _remark(design: Design, log: xr.Dataset) -> None:
    """Say where the data are too thin for the posterior to be more than the prior."""
    n = int(log.sizes["query"])
    if n < 10:
        warnings.warn(
            f"the log has {n} queries; below 10 the prior dominates the posterior. Label more queries.",
            CascadeWarning,
            stacklevel=3,
        )
    stage, correct = design.arrays["label_stage"], design.arrays["label_correct"]
    for j, name in enumerate(design.stages):
        share = correct[stage == j].mean()
        if share in (0.0, 1.0):
            warnings.warn(
                f"stage {name!r}: all {np.sum(stage == j)} labelled answers are {'right' if share else 'wrong'}; "
                "its slope is decided by the prior and the other stages. Label more queries of this stage.",
                CascadeWarning,
                stacklevel=3,
            )
        if len(design.margins[j].low) == 1:
            warnings.warn(
                f"stage {name!r}: its confidence is constant and carries no information, so the stage can only "
                "accept everything or nothing. Log a confidence that varies, or leave the stage out.",
                CascadeWarning,
                stacklevel=3,
            )


def _assemble(
    raw: xr.DataTree,
    design: Design,
    log: xr.Dataset,
    copula: str,
    log_likelihood: bool | None,
    rng: np.random.Generator,
) -> xr.DataTree:
    raw_posterior = raw["posterior"].to_dataset()
    names = {"stage": design.stages, "link": design.links, "end": list(ENDS)}
    posterior = raw_posterior[[*_KEPT, *_HYPER]].assign_coords(
        {dim: np.asarray(values, dtype=object).astype(str) for dim, values in names.items()}
    )
    posterior = posterior.drop_vars([v for v in posterior.coords if v not in posterior.dims])
    split = posterior["margin_split"].transpose("chain", "draw", "stage", "split").values
    mass = draw_segment_masses(split.reshape(-1, *split.shape[2:]), design.margins, rng)
    mass = mass.reshape(*split.shape[:2], *mass.shape[1:])
    margins = xr.Dataset(
        {"segment_mass": (("chain", "draw", "stage", "segment"), mass)},
        coords={name: posterior[name] for name in ("chain", "draw", "stage")},
    )
    groups = {
        "posterior": posterior,
        "margins": margins,
        "sample_stats": raw["sample_stats"].to_dataset()[list(_STATS)].rename(_STATS),
        "observed_data": log[["confidence", "correct", "cost"]].assign_coords(stage=design.stages),
        "constant_data": constant_data(design),
    }
    size = posterior.sizes["chain"] * posterior.sizes["draw"] * log.sizes["query"]
    if log_likelihood or (log_likelihood is None and size <= _MAX_LOG_LIKELIHOOD):
        groups["log_likelihood"] = pointwise(posterior, design, log, copula)
    return xr.DataTree.from_dict(groups)


def pointwise(posterior: xr.Dataset, design: Design, log: xr.Dataset, copula: str) -> xr.Dataset:
    """Log-likelihood of each query's signals and of its labels, (chain, draw, query) each."""
    from bayescascade.calibration import logit_correct
    from bayescascade.copulas import NUMPY

    flat = posterior.stack(sample=("chain", "draw")).transpose("sample", ...)
    n_draws, n_queries = flat.sizes["sample"], log.sizes["query"]
    family, data = get_family(copula), design.arrays
    log_weight = log_leaf_weights(flat["margin_split"].values, design.margins)
    tau = flat["tau"].values
    signal = np.zeros((n_draws, n_queries))
    step = max(1, 200_000 // max(1, len(design.row_query)))
    by_query = _summing(design.row_query, n_queries)

    def run(block: slice) -> None:
        tail = {  # the draws are a trailing axis
            "row_place": data["row_place"][..., None],
            "leaf_used": data["leaf_used"][..., None],
            "row_unlinked": np.zeros((len(data["row_unlinked"]), len(tau[block]))),
        }
        rows = signal_logp(np.moveaxis(log_weight[block], 0, -1), tau[block].T, data | tail, family, NUMPY)
        signal[block] = (by_query @ rows).T

    with ThreadPoolExecutor(_n_cores()) as pool:
        list(pool.map(run, (slice(i, i + step) for i in range(0, n_draws, step))))
    stage = data["label_stage"]
    z, *ends = data["label_x"]
    offset = np.einsum("nre,er->nr", flat["atom_offset"].values[:, stage], np.stack(ends))
    logit = logit_correct(flat["intercept"].values[:, stage], flat["slope"].values[:, stage], offset, z)
    sign = 2.0 * data["label_correct"] - 1.0
    rows = -np.logaddexp(0.0, -sign * logit)
    correct = (_summing(design.label_query, n_queries) @ rows.T).T
    shape = (posterior.sizes["chain"], posterior.sizes["draw"], n_queries)
    dims = ("chain", "draw", "query")
    return xr.Dataset(
        {"signal": (dims, signal.reshape(shape)), "correct": (dims, correct.reshape(shape))},
        coords={"chain": posterior["chain"], "draw": posterior["draw"], "query": log["query"].values},
    )


def _summing(query: np.ndarray, n_queries: int) -> Any:
    """Sparse matrix (query, row) that adds up the rows of each query."""
    from scipy.sparse import csr_array

    return csr_array((np.ones(len(query)), (query, np.arange(len(query)))), shape=(n_queries, len(query)))


def warn_unconverged(tree: xr.DataTree) -> None:
    """Warn, with what to do, when R-hat exceeds 1.01 or a transition diverged (nutpie itself is silent)."""
    found = convergence(tree)
    troubles = []
    if found["rhat"] > 1.01:
        troubles.append(f"R-hat is {found['rhat']:.3f} for {found['rhat_name']} (at most 1.01 is wanted)")
    if found["divergences"]:
        troubles.append(f"{found['divergences']} transitions diverged (none is wanted)")
    if troubles:
        warnings.warn(
            f"sampling did not converge: {'; '.join(troubles)}. Fit again with more draws and tune, or a higher "
            "target_accept (0.95 to 0.99); if it stays so, call check(fit) and look at the margins.",
            CascadeWarning,
            stacklevel=3,
        )


def convergence(tree: xr.DataTree) -> dict[str, Any]:
    """Worst R-hat and its variable, smallest bulk and tail effective sample size, number of divergences."""
    from arviz_stats import ess, rhat

    posterior = tree["posterior"].to_dataset()
    diverging = int(tree["sample_stats"]["diverging"].sum())
    if posterior.sizes["chain"] < 2 or posterior.sizes["draw"] < 4:
        return {
            "rhat": np.nan,
            "rhat_name": "",
            "ess_bulk": np.nan,
            "ess_tail": np.nan,
            "divergences": diverging,
        }
    r = rhat(posterior)
    worst = max(r.data_vars, key=lambda name: float(r[name].max()))
    return {
        "rhat": float(r[worst].max()),
        "rhat_name": str(worst),
        "ess_bulk": min(float(v.min()) for v in ess(posterior, method="bulk").data_vars.values()),
        "ess_tail": min(float(v.min()) for v in ess(posterior, method="tail").data_vars.values()),
        "divergences": diverging,
    }
