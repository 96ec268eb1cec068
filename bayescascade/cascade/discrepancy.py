"""Model discrepancy at given thresholds: its normal prior, updated by the labelled queries' own outcomes.

No model of signals and labels is exactly right, and a posterior that does not know this promises too much: its
bands are as narrow as if nothing but the parameters were unknown. Here error and cost of a threshold vector are

    error = model's error + delta,    delta ~ Normal(0, (spread * E[model's error])^2)  a priori,

and likewise for cost. The residual, what the labelled queries did under these thresholds less what the model
expects of them, updates delta by conjugate normal regression. With a spread of 0 the model is believed; with a
large one only the queries' own outcomes count. Where the log does not say what some queries would have done,
what is known is weighted (`labelled`); of what no query says anything, the discrepancy stays as wide as it was.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from scipy.optimize import isotonic_regression

from bayescascade._common.arrays import safe_divide
from bayescascade.cascade.evaluate import evaluate, forward_all
from bayescascade.cascade.labelled import LabelledQueries, Seen
from bayescascade.cascade.rules import DecisionRule
from bayescascade.cascade.single_stages import single_stages
from bayescascade.errors import bad_value
from bayescascade.logs.validate import validate_log
from bayescascade.posterior.draws import Draws, get_draws
from bayescascade.posterior.schema import observed_log, require

# Prior spreads without a difficulty, and with one. With these, bands covered and promises about errors were kept
# as often as asked on resplit real logs, see docs/evidence/bands.md and docs/evidence/promises.md.
BAND_SPREADS, PROMISE_SPREADS = (0.1, 0.05), (1.0, 0.2)
_MEAN_DRAWS = 512
# Below this share of errors the binomial's spread would vanish where no error was seen.
_LEAST_VARIANCE = 1e-3
_TINY = 1e-300


class Discrepancy(NamedTuple):
    """Posterior mean and standard deviation of the discrepancy given the labelled queries (point,)."""

    shift: np.ndarray
    sd: np.ndarray


def learn(expected: np.ndarray, seen: np.ndarray, noise: np.ndarray, spread: float) -> Discrepancy:
    """Conjugate normal update of a discrepancy with prior sd ``spread * expected`` (point,).

    The observation is the residual ``seen - expected``, with standard deviation ``noise``. The residual is
    in-sample, since the model was fitted to the same queries, so the estimated discrepancy is biased towards zero.
    """
    prior = (spread * expected) ** 2
    weight = prior / np.maximum(prior + noise**2, _TINY)
    return Discrepancy(weight * (seen - expected), np.sqrt(prior * (1.0 - weight)))


def noise_of_error(expected: np.ndarray, n: np.ndarray | int) -> np.ndarray:
    """Binomial standard deviation of the share of errors in ``n`` queries (point,)."""
    return np.sqrt(np.maximum(expected * (1.0 - expected), _LEAST_VARIANCE) / np.maximum(n, _TINY))


def learn_from(expected: np.ndarray, seen: Seen, noise: np.ndarray, spread: float) -> Discrepancy:
    """`learn`, where part of what was seen is the model's own expectation (point,).

    That part tells nothing of its discrepancy, which stays as wide as it was, and is taken to go together with
    that of the rest: the sum of two standard deviations is the most that their sum can have.
    """
    by_model = np.minimum(seen.by_model, expected)
    found = learn(expected - by_model, seen.mean - seen.by_model, noise, spread)
    return Discrepancy(found.shift, found.sd + spread * by_model)


def add_discrepancy(
    error: np.ndarray,
    seen: Seen,
    spread: float,
    rng: np.random.Generator,
    expected: np.ndarray | None = None,
    *,
    one_sided: bool = False,
) -> tuple[np.ndarray, Discrepancy]:
    """Posterior draws of the error with its discrepancy, clipped to [0, 1] (draw, point), and the discrepancy.

    ``error`` (draw, point) is the model's, ``seen`` the share of the labelled queries answered wrongly.
    ``expected`` (point,) is the error that the model expects on the mix of queries that were seen, where ``error``
    is of another mix: the discrepancy then keeps its share of the error. With ``one_sided`` its mean is at least
    0: where thresholds are searched for, a search ends where the labelled queries were lucky (winner's curse).
    """
    here = error.mean(axis=0)
    expected = here if expected is None else expected
    of_known = safe_divide(np.maximum(expected - seen.by_model, 0.0), seen.known)
    noise = seen.known * noise_of_error(np.minimum(of_known, 1.0), seen.n)
    found = learn_from(expected, seen, noise, spread)
    share = here / np.maximum(expected, _TINY)
    shift = np.maximum(found.shift, 0.0) if one_sided else found.shift
    found = Discrepancy(shift * share, found.sd * share)
    # one normal number a draw, common to all points: neighbouring thresholds are wrong together, and independent
    # numbers would let a search pick the point with the luckiest ones
    z = rng.standard_normal(len(error))[:, None]  # (draw, 1)
    return np.clip(error + found.shift + found.sd * z, 0.0, 1.0), found


def add_cost_discrepancy(
    cost: np.ndarray, paid: Seen, spread: float, rng: np.random.Generator
) -> tuple[np.ndarray, Discrepancy]:
    """Posterior draws of the cost with its discrepancy (draw, point), given what the queries' own cost."""
    noise = paid.known * paid.sd / np.sqrt(np.maximum(paid.n, _TINY))
    found = learn_from(cost.mean(axis=0), paid, noise, spread)
    return np.maximum(cost + found.shift + found.sd * rng.standard_normal(len(cost))[:, None], 0.0), found


@dataclass(frozen=True)
class ModelDiscrepancy:
    """What a fit's labelled queries add to what the model expects of any threshold rows.

    Attributes
    ----------
    queries : LabelledQueries
        Of the whole cascade.
    spread : float
        Prior standard deviation of the discrepancy, as a share of what the model expects.
    one_sided : bool
        Whether the discrepancy's mean is held at or above 0, see `add_discrepancy`.
    smooth_error : tuple of ndarray (point,), optional
        Expected errors in rising order, and a monotone regression of the empirical error on them: a lower bound
        on the empirical error that is believed.
    """

    queries: LabelledQueries
    spread: float
    one_sided: bool = False
    smooth_error: tuple[np.ndarray, np.ndarray] | None = None

    def smoothed(self, expected: np.ndarray, rows: np.ndarray, draws: Draws) -> ModelDiscrepancy:
        """The same, with the empirical error no lower than its isotonic regression along rows (point, row).

        ``expected`` (point,) is the rows' posterior mean error. Along a frontier the true error rises with it, so
        a point at which the labelled queries did better than the trend was lucky.
        """
        order = np.argsort(expected, kind="stable")
        seen = isotonic_regression(self.seen(rows, draws)[0].mean[order]).x
        return replace(self, smooth_error=(expected[order], seen))

    def error(
        self, error: np.ndarray, rows: np.ndarray, draws: Draws, expected: np.ndarray | None = None
    ) -> np.ndarray:
        """Posterior draws of the rows' error with the discrepancy added (draw, point), see `add_discrepancy`."""
        if expected is None and draws.tilt is not None:
            expected = self.expected(rows, draws)
        seen = self.seen(rows, draws)[0]
        if self.smooth_error is not None:
            trend = np.interp(error.mean(axis=0), *self.smooth_error)
            seen = seen._replace(mean=np.maximum(seen.mean, trend))
        # common random numbers: the same at each call, so that points of different calls compare
        rng = np.random.default_rng(0)
        return add_discrepancy(error, seen, self.spread, rng, expected, one_sided=self.one_sided)[0]

    def stages_alone(self, draws: Draws) -> np.ndarray:
        """Posterior draws of the error of each stage used alone, with the discrepancy added (draw, stage)."""
        error, all_of_it = single_stages(draws)[0], np.zeros((1, 1))
        each = [self.error(error[:, [j]], all_of_it, draws.restrict([j])) for j in range(len(draws.stages))]
        return np.concatenate(each, axis=1)

    def cost(self, cost: np.ndarray, rows: np.ndarray, draws: Draws) -> np.ndarray:
        """Posterior draws of the rows' cost with a discrepancy added (draw, point)."""
        return add_cost_discrepancy(cost, self.seen(rows, draws)[1], self.spread, np.random.default_rng(1))[0]

    def expected(self, rows: np.ndarray, draws: Draws) -> np.ndarray:
        """Posterior mean error of rows on the labelled queries' own mix, that is without drift (point,)."""
        return forward_all(draws.untilted().thin(_MEAN_DRAWS), rows).error.mean(axis=0)

    def seen(self, rows: np.ndarray, draws: Draws) -> tuple[Seen, Seen]:
        """What the queries did under rows of the stages that the draws run: errors and costs."""
        return self.queries.outcome(DecisionRule.from_positions(rows, draws), draws)


def read_discrepancy(fit: xr.DataTree, spread: float, *, one_sided: bool = False) -> ModelDiscrepancy | None:
    """The discrepancy that a fit's labelled queries teach; None for a spread of 0, which believes the model."""
    if not spread:
        return None
    queries = LabelledQueries.from_log(validate_log(observed_log(require(fit))))
    return ModelDiscrepancy(queries, float(spread), one_sided)


def band_spread(fit: xr.DataTree) -> float:
    """Spread of the discrepancy in bands of error and cost at given thresholds."""
    return BAND_SPREADS[bool(fit.attrs.get("difficulty", 0))]


def promise_spread(fit: xr.DataTree) -> float:
    """Spread of the discrepancy in promises about the error of thresholds that a search found."""
    return PROMISE_SPREADS[bool(fit.attrs.get("difficulty", 0))]


def default_discrepancy(fit: xr.DataTree) -> ModelDiscrepancy:
    """What promises of an error are made with: one-sided, `promise_spread`."""
    found = read_discrepancy(fit, promise_spread(fit), one_sided=True)
    assert found is not None
    return found


def evaluate_with_discrepancy(
    fit: xr.DataTree, thresholds: Any, *, spread: float = 0.2, one_sided: bool = False, random_seed: int = 0
) -> xr.Dataset:
    """`evaluate`, with a model discrepancy of error and cost added.

    Examples
    --------
    >>> import bayescascade as bc
    >>> fit = bc.fit(bc.load_example(), random_seed=1, progressbar=False)
    >>> thresholds = [0.9, 0.9, float("-inf")]
    >>> believed = bc.evaluate(fit, thresholds)["error"].std()
    >>> bool(evaluate_with_discrepancy(fit, thresholds, spread=0.3)["error"].std() > believed)
    True

    Parameters
    ----------
    fit : xarray.DataTree
    thresholds : array-like, DataArray, ThresholdSolution or Policy
        As for `evaluate`.
    spread : float
        Prior standard deviation of the discrepancy of error and cost, as a share of what the model expects. 0 is
        `evaluate`.
    one_sided : bool
        Whether the labelled queries can only raise the error, as in `tune`: for thresholds that a search found.
    random_seed : int
        Of the normal numbers that are added, one to each draw.

    Returns
    -------
    xarray.Dataset
        What `evaluate` returns, with the discrepancy in ``error`` and ``cost`` over (chain, draw[, point]), and
        ``error_shift``, ``error_sd``, ``cost_shift``, ``cost_sd`` over ([point]): what was added.

    Raises
    ------
    CascadeError
        For a negative spread or bad thresholds.

    Notes
    -----
    In the manner of Kennedy & O'Hagan (2001), doi:10.1111/1467-9868.00294, with a discrepancy of the prediction
    itself in the place of a Gaussian process. ``docs/evidence/promises.md`` shows what it does to promises on
    real logs.
    """
    if not (np.isfinite(spread) and spread >= 0.0):
        raise bad_value("spread", spread, "give a share of at least 0, such as 0.2")
    log = validate_log(observed_log(require(fit)))
    stages, kind = [str(s) for s in log["stage"].values], str(log.attrs["confidence_kind"])
    rule = DecisionRule.from_any(thresholds, stages, kind)
    expected = evaluate(fit, replace(rule, single=False))
    dims = ("chain", "draw", "point")
    error, cost = (expected[name].transpose(*dims).values for name in ("error", "cost"))
    shape, rng = error.shape, np.random.default_rng(random_seed)
    error, cost = error.reshape(-1, shape[2]), cost.reshape(-1, shape[2])
    seen, paid = LabelledQueries.from_log(log).outcome(rule, get_draws(fit))
    error, of_error = add_discrepancy(error, seen, spread, rng, one_sided=one_sided)
    cost, of_cost = add_cost_discrepancy(cost, paid, spread, rng)
    out = expected.assign(
        error=(dims, error.reshape(shape)),
        cost=(dims, cost.reshape(shape)),
        error_shift=("point", of_error.shift),
        error_sd=("point", of_error.sd),
        cost_shift=("point", of_cost.shift),
        cost_sd=("point", of_cost.sd),
    )
    return out.isel(point=0) if rule.single else out
