"""Bayesian optimisation of the thresholds on the training loss, with the library ``bayesian-optimization``."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from bayescascade.rivals.base import LogArrays, ThresholdDecisions, complete_arrays
from bayescascade.rivals.common import check_count, extra, frontier_of, run_points


@dataclass(frozen=True)
class BayesianOptimisation:
    """Minimise train error + λ cost over quantile levels of the thresholds, by Gaussian processes.

    One search for each λ of a sweep; all vectors that any search tried are kept in common, and the best of them
    is taken for each λ of a finer sweep over the same range.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.rivals.thresholds.bayes_opt import BayesianOptimisation
    >>> log = bc.simulate(100, n_stages=3, random_seed=1)
    >>> quick = BayesianOptimisation(n_prices=2, n_initial=4, n_iterations=2)
    >>> quick.fit(log, random_seed=1).thresholds.shape[1]
    3

    Attributes
    ----------
    n_prices : int
        λ in the sweep: from where no stage is worth its cost to where every one is.
    n_initial, n_iterations : int
        Random vectors at first, and vectors that the Gaussian process then asks for, for each λ.
    n_points : int
        λ of the finer sweep.

    Raises
    ------
    CascadeError
        From ``fit``, where the extra ``bayescascade[compare]`` is not installed.

    References
    ----------
    Nogueira (2014), Bayesian Optimization: open source constrained global optimization tool for Python.
    """

    n_prices: int = 8
    n_initial: int = 10
    n_iterations: int = 20
    n_points: int = 50
    name: str = "bayesian_optimisation"
    needs_text: bool = False
    sees_test: bool = False

    def fit(self, train: xr.Dataset, *, random_seed: int = 0) -> ThresholdDecisions:
        """The best vectors tried; the seed is that of the random vectors and of the Gaussian processes."""
        for name in ("n_prices", "n_initial", "n_iterations", "n_points"):
            check_count(name, getattr(self, name))
        known = complete_arrays(train)
        low, high = _price_range(known)
        prices = np.geomspace(low, high, self.n_prices)
        seeds = np.random.default_rng(random_seed).integers(2**31, size=self.n_prices)
        tried = np.concatenate([self._search(known, p, int(seed)) for p, seed in zip(prices, seeds, strict=True)])
        points = np.unique(thresholds_at(known.confidence, tried), axis=0)
        error, cost = run_points(known.confidence, known.wrong, known.cost, points)
        fine = np.geomspace(low, high, self.n_points)
        best = np.unique((error + fine[:, None] * cost).argmin(axis=1))
        return frontier_of(points[best], known, known.wrong, None)

    def _search(self, known: LogArrays, price: float, seed: int) -> np.ndarray:
        """Levels that one search tried (vector, stage - 1)."""
        library = extra("bayes_opt", "bayesian-optimization")
        names = [f"stage{j}" for j in range(len(known.cost) - 1)]
        options = {"acquisition_function": _acquisition(), "random_state": seed, "verbose": 0}
        search = library.BayesianOptimization(f=None, pbounds=dict.fromkeys(names, (0.0, 1.0)), **options)
        # one start in place of six: hundreds of these processes are fitted, and they are what takes the time
        search.set_gp_params(n_restarts_optimizer=0, alpha=1e-4)
        rng = np.random.default_rng(seed)
        tried = rng.uniform(size=(self.n_initial, len(names)))
        for level, value in zip(tried, _values(known, tried, price), strict=True):
            search.register(dict(zip(names, level, strict=True)), value)
        for _ in range(self.n_iterations):
            with warnings.catch_warnings():
                # a process cannot follow the steps of a training loss, and says so
                warnings.simplefilter("ignore")
                found = search.suggest()
            level = np.array([found[name] for name in names], dtype=float)
            if (tried == level).all(axis=1).any():
                # asked again for what is known, it would learn nothing
                level = rng.uniform(size=len(names))
            tried = np.concatenate([tried, level[None]])
            search.register(dict(zip(names, level, strict=True)), _values(known, level[None], price)[0])
        return tried


def _values(known: LogArrays, levels: np.ndarray, price: float) -> np.ndarray:
    """What is maximised (vector,)."""
    points = thresholds_at(known.confidence, levels)
    error, cost = run_points(known.confidence, known.wrong, known.cost, points)
    return -(error + price * cost)


def _acquisition() -> Any:
    """Expected improvement, sought from fewer points than the library's 10,000, which took most of the time."""
    base = extra("bayes_opt.acquisition", "bayesian-optimization").ExpectedImprovement

    class Improvement(base):  # type: ignore[misc, valid-type]
        def suggest(self, *args: Any, **options: Any) -> np.ndarray:
            return super().suggest(*args, **{"n_random": 1000, "n_smart": 2, **options})

    return Improvement(xi=0.0)


def thresholds_at(confidence: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Thresholds (vector, stage) that defer given shares (vector, stage - 1) of what each stage saw."""
    n = len(confidence)
    values = np.concatenate([np.sort(confidence, axis=0), np.full((1, confidence.shape[1]), np.inf)])
    ranks = np.floor(levels * (n + 1)).astype(int).clip(0, n)
    chosen = values[ranks, np.arange(levels.shape[1])]
    return np.column_stack([chosen, np.full(len(levels), -np.inf)])


def _price_range(known: LogArrays) -> tuple[float, float]:
    """λ from where 2% of errors are worth all further stages, to where half are not worth the cheapest of them."""
    further = known.cost[1:][known.cost[1:] > 0.0]
    return (0.02 / further.sum(), 0.5 / further.min()) if len(further) else (1.0, 1.0)
