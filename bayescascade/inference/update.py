"""An earlier fit brought up to date with new queries: its draws are reweighted, or, if that fails, drawn anew."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import xarray as xr

from bayescascade.errors import PACKAGE, CascadeError, CascadeWarning, bad_value, call, in_python
from bayescascade.inference.deferral_weights import fit_log, is_thinned
from bayescascade.inference.importance import psis, resample, take_draws
from bayescascade.inference.pointwise import log_likelihood_blocks
from bayescascade.inference.predictive import with_groups
from bayescascade.inference.sampling import SamplerConfig, assemble, fit_design, warn_unconverged
from bayescascade.inference.shift import compare_with_new
from bayescascade.logs.validate import validate_log
from bayescascade.model.costs import draw_means
from bayescascade.model.design import Design, build_design
from bayescascade.model.margins.segments import Margin
from bayescascade.posterior.draws import get_draws
from bayescascade.posterior.schema import margins_and_scalings, observed_log, options_of, require
from bayescascade.posterior.tasks import select_task

_MAX_K = 0.7
_LEAST_SHARE = 0.1  # of the draws that must still count after reweighting


def update(previous: xr.DataTree, new: xr.Dataset, config: SamplerConfig, old_share: float = 1.0) -> xr.DataTree:
    """Posterior given the queries of an earlier fit and new ones; see `fit`."""
    if not (isinstance(old_share, int | float) and 0.0 < old_share <= 1.0):
        raise bad_value("old_share", old_share, "give a share above 0 and at most 1")
    require(
        previous,
        tasks="any",
        apart=" alone; update the fit of all tasks, and select the task again.",
        unchanged="update the fit that it came from, and change the result.",
    )
    log, n_old = _joined(_some(observed_log(previous), old_share, config.random_seed), new)
    fresh = log.isel(query=slice(n_old, None))
    options = options_of(previous)
    posterior = previous["posterior"].to_dataset()
    config = replace(config, draws=posterior.sizes["draw"], chains=posterior.sizes["chain"])
    margins, scalings = margins_and_scalings(previous["constant_data"].to_dataset())
    joined = build_design(log, options)
    if joined.tasks != _tasks(previous):
        raise CascadeError(f"the new queries bring the tasks to {joined.tasks}; fit all queries together.")
    if is_thinned(log) or old_share < 1.0:
        # what a seen signal stands for depends on all queries, so the segments have to be cut anew; and draws that
        # have seen the queries left out cannot be made to forget them
        tree = fit_log(joined, log, config)
        warn_unconverged(tree)
        return _with_history(tree, previous, {"update": "sampled anew", "old_share": float(old_share)}, fresh)
    design = build_design(log, options, replace(joined, margins=margins, scalings=scalings))
    log_ratio = _new_log_likelihood(posterior, design, log.sizes["query"], n_old)
    weight, k = psis(log_ratio)
    share = _share(weight, posterior["tau"].transpose("chain", "draw", ...).values.reshape(len(weight), -1))
    if not (k <= _MAX_K and share >= _LEAST_SHARE):
        warnings.warn(
            f"{log.sizes['query'] - n_old} new queries move the posterior too far to reweight its draws (Pareto "
            f"k-hat {k:.2f}, at most {_MAX_K} is wanted; {share:.0%} of the draws would count), so all "
            f"{log.sizes['query']} queries were sampled again. Update with fewer queries at a time to avoid it.",
            CascadeWarning,
            skip_file_prefixes=PACKAGE,
        )
        tree = with_groups(fit_design(joined, log, config), joined, config.random_seed)
        warn_unconverged(tree)
        return _with_history(tree, previous, {"update": "sampled anew", "update_k": k}, fresh)
    index = resample(weight, np.random.default_rng(config.random_seed))
    design = replace(design, margins=recount_margins(design))
    tree = assemble(
        _with_costs(take_draws(posterior, index), design, config),
        take_draws(previous["sample_stats"].to_dataset(), index),
        design,
        log,
        config,
    )
    tree = with_groups(tree, design, config.random_seed)
    kept = {name: previous.attrs[name] for name in ("sampling_time", "tuning_steps", "target_accept")}
    return _with_history(
        tree, previous, kept | {"update": "reweighted", "update_k": k, "update_share": share}, fresh
    )


def _some(log: xr.Dataset, share: float, seed: int) -> xr.Dataset:
    """A share of a log's queries, at least one, drawn at random and left in their order."""
    if share == 1.0:
        return log
    n = log.sizes["query"]
    kept = np.random.default_rng([seed, 2]).choice(n, max(1, round(share * n)), replace=False)
    return log.isel(query=np.sort(kept))


def _with_history(
    tree: xr.DataTree, previous: xr.DataTree, attrs: dict[str, object], fresh: xr.Dataset
) -> xr.DataTree:
    """Note how the fit came about, whether its new queries were expected, and how families had been chosen."""
    labelled = int(fresh["correct"].notnull().any("stage").sum())
    n_new = fresh.sizes["query"]
    tree.attrs |= attrs | {"update_old": tree.attrs["n_queries"] - n_new, "update_new": n_new}
    tree.attrs |= {"update_labelled": labelled}
    observed = tree["observed_data"].to_dataset()
    if "represents" in observed.coords:  # the earlier fit was of a sample of a longer log
        n_queries = round(float(observed["represents"].sum()))
        tree.attrs |= {"n_queries": n_queries, "n_modelled": observed.sizes["query"]}
    tree["update"] = xr.DataTree(_compared(previous, fresh, int(tree.attrs["random_seed"])))
    if "copula_choice" in previous.attrs:
        tree.attrs["copula_choice"] = previous.attrs["copula_choice"]
    if "comparison" in previous.children:
        tree["comparison"] = previous["comparison"].copy()
    return tree


def _compared(previous: xr.DataTree, fresh: xr.Dataset, random_seed: int) -> xr.Dataset:
    """`compare_with_new`, task by task where there are several."""
    tasks = _tasks(previous)
    if not tasks:
        return compare_with_new(get_draws(previous), fresh, random_seed)
    of_query = fresh["task"].values
    parts = [
        compare_with_new(get_draws(select_task(previous, name)), fresh.isel(query=of_query == name), random_seed)
        for name in tasks
    ]
    return xr.concat(parts, xr.Variable("task", tasks))


def _tasks(fit: xr.DataTree) -> list[str]:
    posterior = fit["posterior"].to_dataset()
    return [str(t) for t in posterior["task"].values] if "task" in posterior.dims else []


def _joined(old: xr.Dataset, new: xr.Dataset) -> tuple[xr.Dataset, int]:
    """Old and new queries in one log, and how many are old."""
    if not isinstance(new, xr.Dataset) or "stage" not in new.coords or "query" not in new.coords:
        raise CascadeError(
            "new queries come as a log, an xarray Dataset over query and stage; make one with {}.",
            (call("read_log"),),
        )
    names = ["confidence", "correct", "cost"]
    for name in names:
        if name not in new.data_vars or set(new[name].dims) != {"query", "stage"}:
            raise CascadeError(
                "the new queries have no {!r} over query and stage; make the log with {}.",
                (name, call("read_log")),
            )
    stages = [[str(s) for s in log["stage"].values] for log in (old, new)]
    if stages[0] != stages[1]:
        raise CascadeError(
            f"the new queries are for stages {stages[1]}, but the fit is for {stages[0]}; give queries of these."
        )
    if new.attrs.get("confidence_kind") != old.attrs["confidence_kind"]:
        raise CascadeError(
            f"the new queries' confidences are of kind {new.attrs.get('confidence_kind')!r}, but the fit's are of "
            f"kind {old.attrs['confidence_kind']!r}; read the new log as that kind, or fit all queries again."
        )
    made, before = new.attrs.get("signal"), old.attrs.get("signal")
    if made is not None and before is not None and made != before:
        raise CascadeError(
            f"the new queries' confidences are made by the signal {made!r}, but the fit's by "
            f"{before!r}; make them by the fit's, or fit all queries again."
        )
    if old["query"].dtype.kind != new["query"].dtype.kind:  # no file holds numbers and names in one array
        old, new = (log.assign_coords(query=[str(q) for q in log["query"].values]) for log in (old, new))
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
    if "sampled" in old.coords:  # the earlier log was thinned; of the new one all queries count
        n = new.sizes["query"]
        both[1] = both[1].assign_coords(
            sampled=("query", np.ones(n, dtype=np.int8)), represents=("query", np.ones(n))
        )
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
            f"{units[1] or 'a unit not named'}; bring them to one unit, or leave them out"
            + in_python(" with log.drop_vars('latency')")
            + "."
        )
    return [
        log.get("latency", xr.full_like(log["cost"], np.nan).drop_attrs()).assign_attrs(found[0].attrs)
        for log in (old, new)
    ]


def _new_log_likelihood(posterior: xr.Dataset, design: Design, n_queries: int, n_old: int) -> np.ndarray:
    """Log-likelihood of all new queries together under each draw (draw,)."""
    blocks = log_likelihood_blocks(posterior, design, n_queries)
    return np.concatenate([parts["joint"][:, n_old:].sum(axis=1) for _, parts in blocks])


def _share(weight: np.ndarray, values: np.ndarray) -> float:
    """Share of the draws that count (Kish); copies of a draw, left by an earlier update, count as one."""
    owner = np.unique(values, axis=0, return_inverse=True)[1].reshape(-1)
    return 1.0 / float(np.sum(np.bincount(owner, weight) ** 2) * len(weight))


def recount_margins(design: Design) -> list[Margin]:
    """The margins with the segments' counts of all queries."""
    out = []
    for column, margin in enumerate(design.margins):
        here = (design.row_column == column) & design.sampled[design.row_query]
        seen = np.bincount(design.row_segment[here], minlength=len(margin.low))
        out.append(replace(margin, count=np.maximum(seen, 1e-3 * margin.count)))
    return out


def _with_costs(posterior: xr.Dataset, design: Design, config: SamplerConfig) -> xr.Dataset:
    """Mean costs drawn anew, as their posterior is known in closed form."""
    known, cost = design.arrays["cost_known"], posterior["cost"]
    rng = np.random.default_rng([config.random_seed, 1])
    lead = design.column_dims
    drawn = draw_means(known, cost.sizes["chain"] * cost.sizes["draw"], rng)
    drawn = drawn.reshape([cost.sizes[dim] for dim in ("chain", "draw", *lead)])
    return posterior.assign(cost=(("chain", "draw", *lead), drawn))
