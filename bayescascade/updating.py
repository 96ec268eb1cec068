"""An earlier fit brought up to date with new queries: its draws are reweighted, or, if that fails, drawn anew."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import xarray as xr

from bayescascade.data import validate_log
from bayescascade.design import Design, build_design, draw_means
from bayescascade.errors import CascadeError, CascadeWarning
from bayescascade.margins import Margin
from bayescascade.pointwise import label_rows, model_masses, signal_rows
from bayescascade.sampling import Sampling, assemble, fit_design, warn_unconverged
from bayescascade.storage import check_fit, options_of, own_log, restore
from bayescascade.thinning import fit_log, is_thinned

_MAX_K = 0.7
_LEAST_SHARE = 0.1  # of the draws that must still count after reweighting


def update(previous: xr.DataTree, new: xr.Dataset, how: Sampling) -> xr.DataTree:
    """Posterior given the queries of an earlier fit and new ones; see `fit`."""
    check_fit(previous)
    for name in ("repriced", "drift"):
        if name in previous.attrs:
            raise CascadeError(
                f"this fit was changed after sampling ({name}: {previous.attrs[name]}); update the fit that it "
                "came from, and change the result."
            )
    if previous.attrs.get("method") == "map":
        raise CascadeError("a point estimate has no draws to update; fit all queries again with method='map'.")
    if "task" in previous.attrs:
        raise CascadeError(
            f"this is the fit of the task {previous.attrs['task']!r} alone; update the fit of all tasks, and "
            "select the task again."
        )
    log, n_old = _joined(own_log(previous), new)
    options = options_of(previous)
    posterior = previous["posterior"].to_dataset()
    how = replace(how, draws=posterior.sizes["draw"], chains=posterior.sizes["chain"])
    margins, scalings = restore(previous["constant_data"].to_dataset())
    whole = build_design(log, options)
    if whole.tasks != _tasks(previous):
        raise CascadeError(f"the new queries bring the tasks to {whole.tasks}; fit all queries together.")
    if is_thinned(log):
        # what a seen signal stands for depends on all queries, so the segments have to be cut anew
        tree = fit_log(whole, log, how)
        warn_unconverged(tree)
        return _with_history(tree, previous, {"update": "sampled anew"})
    design = build_design(log, options, replace(whole, margins=margins, scalings=scalings))
    log_ratio = _new_log_likelihood(posterior, design, n_old)
    weight, k = psis(log_ratio)
    share = _share(weight, posterior["tau"].transpose("chain", "draw", ...).values.reshape(len(weight), -1))
    if not (k <= _MAX_K and share >= _LEAST_SHARE):
        warnings.warn(
            f"{log.sizes['query'] - n_old} new queries move the posterior too far to reweight its draws (Pareto "
            f"k-hat {k:.2f}, at most {_MAX_K} is wanted; {share:.0%} of the draws would count), so all "
            f"{log.sizes['query']} queries were sampled anew. Update with fewer queries at a time to avoid it.",
            CascadeWarning,
            stacklevel=3,
        )
        tree = fit_design(whole, log, how)
        warn_unconverged(tree)
        return _with_history(tree, previous, {"update": "sampled anew", "update_k": k})
    index = resample(weight, np.random.default_rng(how.random_seed))
    design = replace(design, margins=_counted(design))
    tree = assemble(
        _with_costs(picked(posterior, index), design, how),
        picked(previous["sample_stats"].to_dataset(), index),
        design,
        log,
        how,
    )
    kept = {name: previous.attrs[name] for name in ("sampling_time", "tuning_steps", "target_accept")}
    return _with_history(tree, previous, kept | {"update": "reweighted", "update_k": k, "update_share": share})


def _with_history(tree: xr.DataTree, previous: xr.DataTree, attrs: dict[str, object]) -> xr.DataTree:
    """Note how the fit came about, and how the earlier one had chosen its families."""
    tree.attrs |= attrs
    if "copula_choice" in previous.attrs:
        tree.attrs["copula_choice"] = previous.attrs["copula_choice"]
    if "comparison" in previous.children:
        tree["comparison"] = previous["comparison"].copy()
    return tree


def _tasks(fit: xr.DataTree) -> list[str]:
    posterior = fit["posterior"].to_dataset()
    return [str(t) for t in posterior["task"].values] if "task" in posterior.dims else []


def _joined(old: xr.Dataset, new: xr.Dataset) -> tuple[xr.Dataset, int]:
    """Old and new queries in one log, and how many are old."""
    if not isinstance(new, xr.Dataset) or "stage" not in new.coords or "query" not in new.coords:
        raise CascadeError(
            "new queries come as a log, an xarray Dataset over query and stage; make one with read_log."
        )
    names = ["confidence", "correct", "cost"]
    for name in names:
        if name not in new.data_vars or set(new[name].dims) != {"query", "stage"}:
            raise CascadeError(
                f"the new queries have no {name!r} over query and stage; make the log with read_log."
            )
    stages = [[str(s) for s in log["stage"].values] for log in (old, new)]
    if stages[0] != stages[1]:
        raise CascadeError(f"the new queries are for stages {stages[1]}, but the fit is for {stages[0]}.")
    if new.attrs.get("confidence_kind") != old.attrs["confidence_kind"]:
        raise CascadeError(
            f"the new queries' confidences are of kind {new.attrs.get('confidence_kind')!r}, but the fit's are of "
            f"kind {old.attrs['confidence_kind']!r}."
        )
    again = set(old["query"].values.tolist()) & set(new["query"].values.tolist())
    if again:
        raise CascadeError(
            f"{len(again)} of the new queries are part of the fit already (first: {min(again, key=str)!r}); pass "
            "new queries only, with query ids of their own."
        )
    if ("task" in old.coords) != ("task" in new.coords):
        raise CascadeError(
            "of the fit's log and the new queries one has tasks and one has not; name the task in both."
        )
    both = [old[names], new[names].transpose("query", "stage")]
    if "latency" in old or "latency" in new:
        both = [part.assign(latency=latency) for part, latency in zip(both, _latencies(old, new), strict=True)]
    joined = xr.concat(both, dim="query", join="override")
    return validate_log(joined.assign_attrs(old.attrs)), old.sizes["query"]


def _latencies(old: xr.Dataset, new: xr.Dataset) -> list[xr.DataArray]:
    """Latencies of old and new queries; unknown in a log that has none."""
    found = [log["latency"] for log in (old, new) if "latency" in log]
    units = [latency.attrs.get("units") for latency in found]
    if len(set(units)) > 1:
        raise CascadeError(
            f"the fit's latencies are in {units[0] or 'a unit not named'}, but those of the new queries in "
            f"{units[1] or 'a unit not named'}; bring them to one unit, or leave them out with "
            "log.drop_vars('latency')."
        )
    return [
        log.get("latency", xr.full_like(log["cost"], np.nan).drop_attrs()).assign_attrs(found[0].attrs)
        for log in (old, new)
    ]


def _new_log_likelihood(posterior: xr.Dataset, design: Design, n_old: int) -> np.ndarray:
    """Log-likelihood of all new queries together under each draw (draw,)."""
    flat = posterior.stack(sample=("chain", "draw")).transpose("sample", ...)
    rows = signal_rows(flat["tau"].values, model_masses(posterior, design), design)
    total = rows[:, design.row_query >= n_old].sum(axis=1)
    total = total + label_rows(flat, design)[:, design.label_query >= n_old].sum(axis=1)
    return total


def psis(log_ratio: np.ndarray) -> tuple[np.ndarray, float]:
    """Pareto-smoothed weights (draw,), which sum to one, and k-hat."""
    from arviz_stats.base import array_stats

    # ArviZ's function takes the log-likelihood of what is left out, so it turns the sign itself
    log_weight, k = array_stats.psislw(-log_ratio)
    weight = np.exp(log_weight - log_weight.max())
    return weight / weight.sum(), float(k)


def _share(weight: np.ndarray, values: np.ndarray) -> float:
    """Share of the draws that count (Kish); copies of a draw, left by an earlier update, count as one."""
    owner = np.unique(values, axis=0, return_inverse=True)[1].reshape(-1)
    return 1.0 / float(np.sum(np.bincount(owner, weight) ** 2) * len(weight))


def resample(weight: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Systematic resampling; copies of a draw stay side by side, so that effective sample sizes see them."""
    n = len(weight)
    return np.minimum(np.searchsorted(np.cumsum(weight), (rng.uniform() + np.arange(n)) / n), n - 1)


def picked(group: xr.Dataset, index: np.ndarray) -> xr.Dataset:
    chain, draw = np.divmod(index, group.sizes["draw"])
    shape = (group.sizes["chain"], group.sizes["draw"])
    pick = {"chain": chain.reshape(shape), "draw": draw.reshape(shape)}
    out = group.drop_vars(["chain", "draw"]).isel({dim: (("c", "d"), at) for dim, at in pick.items()})
    out = out.rename(c="chain", d="draw").assign_coords(chain=group["chain"], draw=group["draw"])
    return out.transpose("chain", "draw", ...)


def _counted(design: Design) -> list[Margin]:
    """The margins with the segments' counts of all queries."""
    out = []
    for column, margin in enumerate(design.margins):
        seen = np.bincount(design.row_segment[design.row_column == column], minlength=len(margin.low))
        out.append(replace(margin, count=np.maximum(seen, 1e-3 * margin.count)))
    return out


def _with_costs(posterior: xr.Dataset, design: Design, how: Sampling) -> xr.Dataset:
    """Mean costs drawn anew, as their posterior is known in closed form."""
    known, cost = design.arrays["cost_known"], posterior["cost"]
    rng = np.random.default_rng([how.random_seed, 1])
    lead = design.lead
    drawn = draw_means(known, cost.sizes["chain"] * cost.sizes["draw"], rng)
    drawn = drawn.reshape([cost.sizes[dim] for dim in ("chain", "draw", *lead)])
    return posterior.assign(cost=(("chain", "draw", *lead), drawn))
