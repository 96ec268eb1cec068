"""Logs of a running cascade: later stages are run for deferred queries only, and their signals are a selection.

The likelihood takes care of that by itself: what decides whether a stage runs is observed. But the segments of a
margin and the shares within its leaves are cut from the signals that were seen. Here each seen signal is given a
weight, the inverse of the probability that a query with this signal would have been seen there, under short fits:

    o_1 = 1,    o_j(s') = sum_s P(s | s') o_{j-1}(s) r_j(s),

where s and s' are segments of consecutive stages, P(s | s') comes from the copula, and r_j(s) is the observed
share of queries in s that went on to stage j. Inverse probability weighting (Horvitz & Thompson 1952,
doi:10.1080/01621459.1952.10483446).
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from bayescascade.inference.predictive import with_groups
from bayescascade.inference.sampling import SamplerConfig, fit_design
from bayescascade.logs.tasks import tasks_of
from bayescascade.model.design import Design, build_design
from bayescascade.model.options import Options, check_options, default_copula
from bayescascade.posterior.draws import get_draws
from bayescascade.posterior.kernel import build_kernel
from bayescascade.posterior.tasks import select_task
from bayescascade.signals.kinds import to_signal

_ROUNDS = 3
_DRAWS, _CHAINS = 200, 2
_RUN_SHARE = 0.9  # of the queries of the stage before, above which a log counts as complete
_LEAST_SEEN = 0.02


def fit_log(design: Design, log: xr.Dataset, config: SamplerConfig) -> xr.DataTree:
    """Fit a validated log and its design, which is built anew where the log is thinned."""
    weight = seen_weights(log, design.options, config, design.whole)
    if weight is not None:
        design = build_design(log, design.options, weight=weight, whole=design.whole)
    return with_groups(fit_design(design, log, config), design, config.random_seed)


def is_thinned(log: xr.Dataset) -> bool:
    """Whether some stage was run for clearly fewer queries than the stage before."""
    ran = np.isfinite(log["confidence"].transpose("query", "stage").values)
    both = (ran[:, 1:] & ran[:, :-1]).sum(axis=0)
    return bool(np.any(both < _RUN_SHARE * ran[:, :-1].sum(axis=0)))


def seen_weights(
    log: xr.Dataset, options: Options, config: SamplerConfig, whole: xr.Dataset | None = None
) -> np.ndarray | None:
    """How many queries each seen signal stands for (query, stage); None for a complete log.

    Where the log is a `subsample`, the short fits are of it, and the weights those of the ``whole`` log.
    """
    whole = log if whole is None else whole
    if not is_thinned(whole):
        return None
    if options.difficulty:  # the chain of links without it says as much about which queries went on
        n_links = len(options.copula)
        options = check_options(default_copula(False), options.margin, options.calibration, n_links)
    tasks, task = tasks_of(whole)
    weight = None
    for i in range(_ROUNDS):
        design = build_design(log, options, weight=weight, whole=whole)
        short = SamplerConfig(_DRAWS, _DRAWS, _CHAINS, config.cores, config.random_seed + i, log_likelihood=False)
        fit = fit_design(design, log, short)
        weight = np.ones((whole.sizes["query"], whole.sizes["stage"]))
        for t, name in enumerate(tasks or [""]):
            one = select_task(fit, name) if tasks else fit
            weight[task == t] = _weights(one, whole.isel(query=task == t))
    return weight


def _weights(fit: xr.DataTree, log: xr.Dataset) -> np.ndarray:
    draws = get_draws(fit)
    kernel = build_kernel(draws.thin(200)).mean()
    signal = to_signal(log["confidence"].transpose("query", "stage").values, draws.kind)
    ran = np.isfinite(signal)
    out = np.ones(signal.shape)
    seen = np.ones(kernel.mass.shape[2])
    for j in range(1, signal.shape[1]):
        before, here = draws.margins[j - 1], draws.margins[j]
        rows = ran[:, j - 1]
        segment = before.segment_of(signal[rows, j - 1])
        n = np.bincount(segment, minlength=len(before.low))
        went_on = np.bincount(segment, weights=ran[rows, j], minlength=len(before.low))
        middle = np.arange(len(n))
        share = np.interp(middle, middle[n > 0], (went_on / np.maximum(n, 1))[n > 0])
        passed = np.zeros(len(seen))
        passed[: len(n)] = seen[: len(n)] * share
        seen = passed @ kernel.pair[j - 1][0] * kernel.inverse_mass(j)[0]
        at = here.segment_of(signal[ran[:, j], j])
        out[ran[:, j], j] = 1.0 / np.maximum(seen[at], _LEAST_SEEN)
    return out
