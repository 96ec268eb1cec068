"""Which family for which link: every candidate is fitted, and PSIS-LOO decides, link by link or by stacking."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from bayescascade.copulas import FAMILIES
from bayescascade.design import Design, build_design
from bayescascade.errors import CascadeError
from bayescascade.links import family_table
from bayescascade.pointwise import held_out, model_masses, signal_rows
from bayescascade.sampling import Sampling, fit_design
from bayescascade.structure import Options
from bayescascade.thinning import seen_weights

CANDIDATES = tuple(FAMILIES)
# A short run of each candidate is enough to rank them.
_DRAWS, _CHAINS = 400, 2
_LEAST_WEIGHT = 0.01


def fit_auto(log: xr.Dataset, options: Options, how: Sampling) -> xr.DataTree:
    """Fit with the family of each link that has the best expected log predictive density."""
    weight = _weights(log, options, how)
    table = compare_families(log, options, how, weight)
    best = [str(table["family"].values[i]) for i in table["elpd"].values.argmax(axis=1)]
    tree = fit_design(build_design(log, _with(options, best), weight=weight), log, how)
    tree["comparison"] = xr.DataTree(table)
    tree.attrs["copula_choice"] = "auto"
    return tree


def fit_stack(log: xr.Dataset, options: Options, how: Sampling) -> xr.DataTree:
    """Mix draws of fits with one family throughout by their stacking weights."""
    seen = _weights(log, options, how)
    table = compare_families(log, options, how, seen)
    weight = table["weight"].values
    kept = np.flatnonzero(weight > _LEAST_WEIGHT)
    names = [str(table["family"].values[i]) for i in kept]
    share = weight[kept] / weight[kept].sum()
    n_links = log.sizes["stage"] - 1
    designs = [build_design(log, _with(options, [name] * n_links), weight=seen) for name in names]
    fits = [fit_design(design, log, how) for design in designs]
    # each draw comes from one of the fits, the first ones from the first fit, and so on within each chain
    rng = np.random.default_rng(how.random_seed)
    which = rng.choice(len(fits), size=(how.chains, how.draws), p=share)
    tree = fits[0].copy()
    for group in ("posterior", "margins", "sample_stats"):
        parts = xr.concat([fit[group].to_dataset() for fit in fits], dim="fit", join="override")
        tree[group] = xr.DataTree(_pick(parts, which))
    tree["copula"] = xr.DataTree(family_table(names, np.repeat(which[:, :, None], n_links, axis=2)))
    tree["comparison"] = xr.DataTree(table)
    if "log_likelihood" in tree.children:  # that of a mixture is not the average of its parts'
        del tree["log_likelihood"]
    tree.attrs |= {"copula": " + ".join(names), "copula_choice": "stack"}
    return tree


def _pick(parts: xr.Dataset, which: np.ndarray) -> xr.Dataset:
    """From each chain and draw, the values of the fit that was chosen for it."""
    index = xr.DataArray(which, dims=("chain", "draw"))
    chain = xr.DataArray(np.arange(which.shape[0]), dims="chain")
    draw = xr.DataArray(np.arange(which.shape[1]), dims="draw")
    out = parts.drop_vars(["chain", "draw"], errors="ignore").isel(fit=index, chain=chain, draw=draw)
    return out.transpose("chain", "draw", ...).assign_coords(chain=parts["chain"], draw=parts["draw"])


def compare_families(
    log: xr.Dataset, options: Options, how: Sampling, seen: np.ndarray | None = None
) -> xr.Dataset:
    """Expected log predictive density of every candidate at every link, and stacking weights over all links.

    Returns
    -------
    xarray.Dataset
        ``elpd``, ``se``, ``elpd_diff`` and ``dse`` (from the best of its link), ``worst_k`` (Pareto k-hat) over
        (link, family); ``weight`` over family.
    """
    import arviz as az

    n_links = log.sizes["stage"] - 1
    short = replace(how, draws=_DRAWS, chains=_CHAINS, log_likelihood=False, progressbar=False)
    by_link: dict[str, list[Any]] = {}
    whole: dict[str, Any] = {}
    links: list[str] = []
    for name in CANDIDATES:
        design = build_design(log, _with(options, [name] * n_links), weight=seen)
        if design.tasks:
            raise CascadeError(
                "copula='auto' and 'stack' compare families on one task; choose on one, and name the families."
            )
        links = design.links
        fit = fit_design(design, log, short)
        rows, column = _rows(fit, design)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a high k is in the table
            by_link[name] = [_loo(rows[..., column == j + 1]) for j in range(n_links)]
            whole[name] = _loo(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        weight = az.compare(whole, method="stacking", round_to="none")["weight"]
    rows_elpd = np.array([[loo.elpd for loo in by_link[name]] for name in CANDIDATES]).T
    se = np.array([[loo.se for loo in by_link[name]] for name in CANDIDATES]).T
    worst = np.array([[float(np.max(loo.pareto_k)) for loo in by_link[name]] for name in CANDIDATES]).T
    dse = np.zeros_like(se)
    for j in range(n_links):
        best = np.asarray(by_link[CANDIDATES[int(rows_elpd[j].argmax())]][j].elpd_i)
        for i, name in enumerate(CANDIDATES):
            gap = best - np.asarray(by_link[name][j].elpd_i)
            dse[j, i] = np.sqrt(len(gap) * np.var(gap))
    dims = ("link", "family")
    return xr.Dataset(
        {
            "elpd": (dims, rows_elpd),
            "se": (dims, se),
            "elpd_diff": (dims, rows_elpd - rows_elpd.max(axis=1, keepdims=True)),
            "dse": (dims, dse),
            "worst_k": (dims, worst),
            "weight": ("family", np.array([float(weight[name]) for name in CANDIDATES])),
        },
        coords={"link": links, "family": list(CANDIDATES)},
    )


def _weights(log: xr.Dataset, options: Options, how: Sampling) -> np.ndarray | None:
    """How many queries each seen signal stands for; the default family will do."""
    n_links = log.sizes["stage"] - 1
    return seen_weights(log, replace(options, copula=("gumbel",) * n_links), how)


def _with(options: Options, copula: list[str]) -> Options:
    # every candidate is part of the graph, so that one compiled model serves all of them
    return replace(options, copula=tuple(copula), candidates=CANDIDATES)


def _rows(fit: xr.DataTree, design: Design) -> tuple[np.ndarray, np.ndarray]:
    """Log-likelihood of each row that follows another (chain, draw, row), and its stage, in an order of their own.

    The design's order depends on the families.
    """
    posterior = fit["posterior"].to_dataset()
    tau = posterior["tau"].transpose("chain", "draw", "link").values
    rows = signal_rows(tau.reshape(-1, tau.shape[2]), model_masses(posterior, design), design) + held_out(design)
    order = np.lexsort((design.row_column, design.row_query))
    order = order[design.row_follows[order]]
    return rows.reshape(*tau.shape[:2], -1)[..., order], design.row_column[order]


def _loo(rows: np.ndarray) -> Any:
    import arviz as az

    tree = xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset({"x": (("chain", "draw"), np.zeros(rows.shape[:2]))}),
            "log_likelihood": xr.Dataset({"signal": (("chain", "draw", "row"), rows)}),
        }
    )
    return az.loo(tree, pointwise=True)
