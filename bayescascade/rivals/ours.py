"""This package's own decisions, behind the interface of its rivals."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np
import xarray as xr

from bayescascade._common.pareto import efficient
from bayescascade.cascade.forward import forward
from bayescascade.cascade.positions import to_thresholds, with_last
from bayescascade.errors import CascadeWarning
from bayescascade.induction.backward_induction import induce
from bayescascade.induction.price_sweep import price_range
from bayescascade.induction.subsets import best_subsets
from bayescascade.inference.fit import fit
from bayescascade.posterior.draws import get_draws, stage_numbers
from bayescascade.posterior.kernel import mean_kernel
from bayescascade.posterior.schema import data_hash
from bayescascade.rivals.base import Decisions, SubsetDecisions, ThresholdDecisions, spread
from bayescascade.tuning.frontier import frontier

_N_DRAWS = 512  # that the mean over draws is taken of, as `frontier` does
_N_SWEEP = 80  # prices at which stages are chosen
_MAX_SUBSETS = 64  # that are all tried; of more, the best at some prices


@dataclass(frozen=True)
class Bayes:
    """Thresholds of least expected loss under the posterior, for a sweep of prices: `fit`, then `frontier`.

    ``options`` go to `fit`, as pairs. ``point`` replaces the posterior by one draw, its mean. ``subsets`` leaves
    stages out wherever the posterior expects to gain by it, and keeps ``largest`` of them at most. One fit of all
    stages of the log serves all of its cascades, unless ``refit`` fits each of them by itself.
    """

    name: str = "bayes"
    options: tuple[tuple[str, Any], ...] = ()
    point: bool = False
    subsets: bool = False
    largest: int | None = None
    refit: bool = False
    n_points: int = 50
    needs_text: bool = field(default=False, repr=False)
    sees_test: bool = field(default=False, repr=False)

    @property
    def sees_whole(self) -> bool:
        """Whether `fit` takes all stages of the log, besides those of the cascade."""
        return not self.refit

    def fit(self, train: xr.Dataset, *, random_seed: int = 0, whole: xr.Dataset | None = None) -> Decisions:
        """Sample the posterior of a log, of all its stages if given, and take the cascade's frontier."""
        learns = train if whole is None else whole
        posterior = _fit(_Keyed(learns), self.options, random_seed)
        stages = None if len(learns["stage"]) == len(train["stage"]) else [str(s) for s in train["stage"].values]
        if self.subsets:
            return _with_subsets(posterior, stages, self.n_points, self.largest)
        if self.point:
            posterior = posterior_mean(posterior)
        names = [str(name) for name in train["stage"].values]
        curve = frontier(posterior, n_points=self.n_points, stages=names, doubt=0.0)
        return ThresholdDecisions(curve["threshold"].values)


class _Keyed:
    """A log that equals another of the same numbers, kind and stages: the same posterior is sampled once."""

    def __init__(self, log: xr.Dataset) -> None:
        self.log = log
        self.key = (data_hash(log), str(log.attrs["confidence_kind"]), *map(str, log["stage"].values))

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Keyed) and self.key == other.key


@lru_cache(maxsize=4)
def _fit(log: _Keyed, options: tuple[tuple[str, Any], ...], random_seed: int) -> xr.DataTree:
    settings = {"draws": 500, "chains": 4, **dict(options)}
    with warnings.catch_warnings():
        # in a comparison of hundreds of fits nobody can act on a remark about one
        warnings.simplefilter("ignore", CascadeWarning)
        return fit(log.log, random_seed=random_seed, progressbar=False, log_likelihood=False, **settings)


def posterior_mean(posterior: xr.DataTree) -> xr.DataTree:
    """A fit whose one draw is the mean of all: a point estimate."""
    out = posterior.copy()
    mean = posterior["posterior"].to_dataset().mean(("chain", "draw"), keep_attrs=True)
    out["posterior"] = xr.DataTree(mean.expand_dims(chain=[0], draw=[0]))
    return out


def _with_subsets(
    posterior: xr.DataTree, stages: list[str] | None, n_points: int, largest: int | None
) -> SubsetDecisions:
    """The best stages and thresholds for each of a sweep of prices."""
    draws = get_draws(posterior)
    if stages is not None:
        draws = draws.restrict(stage_numbers(stages, draws.stages))
    kernel = mean_kernel(draws.thin(_N_DRAWS))
    prices = price_range(kernel)
    prices = prices[:: max(1, len(prices) // _N_SWEEP)]
    sizes = range(1, 1 + min(largest or len(draws.stages), len(draws.stages)))
    keeps = [keep for size in sizes for keep in combinations(range(len(draws.stages)), size)]
    if len(keeps) > _MAX_SUBSETS:
        keeps = [k for k in best_subsets(kernel, prices[::4], 1) if len(k) <= max(sizes)]
    error, cost = np.empty((2, len(keeps), len(prices)))
    thresholds = []
    for i, keep in enumerate(keeps):
        some = draws.restrict(keep)
        part = mean_kernel(some.thin(_N_DRAWS))
        rows = induce(part, prices)
        expected = forward(part, rows)
        error[i], cost[i] = expected.error[0], expected.cost[0]
        thresholds.append(with_last(to_thresholds(rows, some)))
    best = (prices * error + cost).argmin(axis=0)
    at = np.arange(len(prices))
    points = [(error[i, j], cost[i, j], keeps[i], thresholds[i][j]) for i, j in zip(best, at, strict=True)]
    wrong, spent = np.array([point[:2] for point in points]).T
    chosen = [points[i] for i in spread(efficient(wrong, spent), spent, n_points)]
    # the curve ends, as that of all stages does, with the most accurate stage for every query: what a stage
    # before it would gain at the highest prices is too little to be sure of
    alone = [(error[i, 0], cost[i, 0], keep) for i, keep in enumerate(keeps) if len(keep) == 1]
    last = min(alone, default=None)
    if last is not None and last[1] > max(point[1] for point in chosen):
        chosen.append((*last, np.array([-np.inf])))
    return SubsetDecisions([point[2] for point in chosen], [point[3] for point in chosen])
