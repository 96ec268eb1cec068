"""What the model misses at given thresholds: allowed for, and learnt from the labelled queries' own outcomes.

No model of signals and labels is exactly right, and a posterior that does not know this promises too much: its
bands are as narrow as if nothing but the parameters were unknown. Here error and cost of a threshold vector are
the model's plus a discrepancy of unknown size, with a normal prior whose standard deviation is a share of what the
model expects. What the labelled queries did under these thresholds, beside what the model expects of them, updates
it. With a share of 0 the model is believed; with a large one only the queries' own outcomes count.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from scipy.optimize import isotonic_regression

from bayescascade.cascade.evaluate import evaluate, forward_all
from bayescascade.cascade.rules import DecisionRule
from bayescascade.errors import CascadeError
from bayescascade.logs.complete import complete_rows
from bayescascade.logs.validate import validate_log
from bayescascade.posterior.draws import Draws
from bayescascade.posterior.schema import own_log, require

# With this, promises about the error were kept as often as asked on resplit logs, see docs/evidence/promises.md.
SPREAD = 1.0
_MEAN_DRAWS = 512
# Below this share of errors the binomial's spread would vanish where no error was seen.
_LEAST_VARIANCE = 1e-3


class Discrepancy(NamedTuple):
    """Mean and standard deviation of what the model misses (point,), after the labelled queries were seen."""

    shift: np.ndarray
    sd: np.ndarray


def learn(expected: np.ndarray, seen: np.ndarray, noise: np.ndarray, spread: float) -> Discrepancy:
    """Normal update of a discrepancy with prior sd ``spread * expected`` by a residual with sd ``noise`` (point,).

    The model was fitted to the same queries, so the residual is smaller than one of new queries would be: the
    shift is on the timid side.
    """
    prior = (spread * expected) ** 2
    weight = prior / np.maximum(prior + noise**2, 1e-300)
    return Discrepancy(weight * (seen - expected), np.sqrt(prior * (1.0 - weight)))


def noise_of_error(expected: np.ndarray, n: int) -> np.ndarray:
    """Binomial standard deviation of the share of errors in ``n`` queries (point,)."""
    return np.sqrt(np.maximum(expected * (1.0 - expected), _LEAST_VARIANCE) / n)


def allow(
    error: np.ndarray,
    seen: np.ndarray,
    n: int,
    spread: float,
    rng: np.random.Generator,
    expected: np.ndarray | None = None,
    *,
    one_sided: bool = False,
) -> tuple[np.ndarray, Discrepancy]:
    """Draws of error (draw, point) with the discrepancy added, in [0, 1], and the discrepancy.

    ``expected`` is the error that the model expects on the mix of queries that were seen (point,), where ``error``
    is of another mix: the discrepancy then keeps its share of the error. With ``one_sided`` it never lowers the
    error: where thresholds are searched for, the queries were lucky at those that a search finds.
    """
    here = error.mean(axis=0)
    expected = here if expected is None else expected
    found = learn(expected, seen, noise_of_error(expected, n), spread)
    share = here / np.maximum(expected, 1e-300)
    shift = np.maximum(found.shift, 0.0) if one_sided else found.shift
    found = Discrepancy(shift * share, found.sd * share)
    # one number for each draw, common to all points: neighbouring thresholds are wrong together
    wrong = rng.standard_normal(len(error))[:, None]
    return np.clip(error + found.shift + found.sd * wrong, 0.0, 1.0), found


def allow_cost(
    cost: np.ndarray, paid: np.ndarray, spread: float, rng: np.random.Generator
) -> tuple[np.ndarray, Discrepancy]:
    """`allow` for cost (draw, point), by what the queries paid (point, query)."""
    noise = paid.std(axis=1) / np.sqrt(paid.shape[1])
    found = learn(cost.mean(axis=0), paid.mean(axis=1), noise, spread)
    return np.maximum(cost + found.shift + found.sd * rng.standard_normal(len(cost))[:, None], 0.0), found


def fared(
    confidence: np.ndarray, wrong: np.ndarray, price: np.ndarray, rule: DecisionRule
) -> tuple[np.ndarray, np.ndarray]:
    """The share of queries that a rule answers wrongly (point,), and what each query pays (point, query)."""
    route = rule.apply(confidence)
    return route.loss(wrong).mean(axis=1), np.einsum("psq,s->pq", route.reach, price)


@dataclass(frozen=True)
class Doubt:
    """What a fit's labelled queries did, to allow for what the model misses of any rows of positions.

    ``confidence`` and ``wrong`` are (query, stage) of the whole cascade, ``price`` (stage,) the mean costs,
    ``spread`` as in `evaluate_doubted`; ``line``, if any, is the least share of errors that is believed, by the
    error that is expected.
    """

    confidence: np.ndarray
    wrong: np.ndarray
    price: np.ndarray
    spread: float
    one_sided: bool = False
    line: tuple[np.ndarray, np.ndarray] | None = None

    def smoothed(self, expected: np.ndarray, rows: np.ndarray, draws: Draws) -> Doubt:
        """The same, by at least the queries' errors smoothed along a path of rows with these expected errors.

        By isotonic regression: along a path the errors rise with those that the model expects.
        """
        order = np.argsort(expected, kind="stable")
        seen = isotonic_regression(self._fared(rows, draws)[0][order]).x
        return replace(self, line=(expected[order], seen))

    def error(
        self, error: np.ndarray, rows: np.ndarray, draws: Draws, expected: np.ndarray | None = None
    ) -> np.ndarray:
        """The error of rows under all draws (draw, point), with the discrepancy added, as `allow` does."""
        if expected is None and draws.tilt is not None:
            expected = self.expected(rows, draws)
        seen = self._fared(rows, draws)[0]
        if self.line is not None:
            seen = np.maximum(seen, np.interp(error.mean(axis=0), *self.line))
        # the same numbers each time, so that points compare
        rng = np.random.default_rng(0)
        return allow(error, seen, len(self.wrong), self.spread, rng, expected, one_sided=self.one_sided)[0]

    def cost(self, cost: np.ndarray, rows: np.ndarray, draws: Draws) -> np.ndarray:
        """The cost of rows under all draws (draw, point), with a discrepancy added."""
        return allow_cost(cost, self._fared(rows, draws)[1], self.spread, np.random.default_rng(1))[0]

    def _fared(self, rows: np.ndarray, draws: Draws) -> tuple[np.ndarray, np.ndarray]:
        keep = list(draws.keep) or list(range(len(draws.stages)))
        rule = DecisionRule.from_positions(rows, draws)
        return fared(self.confidence[:, keep], self.wrong[:, keep], self.price[keep], rule)

    def expected(self, rows: np.ndarray, draws: Draws) -> np.ndarray:
        """The error of rows (point,) that the model expects on the labelled queries' own mix, without drift."""
        whole = None if draws.whole is None else replace(draws.whole, tilt=None)
        return forward_all(replace(draws, tilt=None, whole=whole).thin(_MEAN_DRAWS), rows).error.mean(axis=0)


def default_doubt(fit: xr.DataTree) -> float:
    """The doubt that promises of an error are made with: `SPREAD`, unless the labelled queries cannot tell."""
    require(fit)
    try:
        complete_rows(validate_log(own_log(fit)))
    except CascadeError:
        return 0.0
    return SPREAD


def read_doubt(fit: xr.DataTree, spread: float, *, one_sided: bool = False) -> Doubt | None:
    """The doubt of a fit; None for a spread of 0, which believes the model."""
    if not spread:
        return None
    return Doubt(*complete_rows(validate_log(own_log(fit))), float(spread), one_sided)


def evaluate_doubted(
    fit: xr.DataTree, thresholds: Any, *, spread: float = 0.2, one_sided: bool = False, random_seed: int = 0
) -> xr.Dataset:
    """`evaluate`, with room for what the model misses.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.cascade.discrepancy import evaluate_doubted
    >>> fit = bc.fit(bc.load_example(), random_seed=1, progressbar=False)
    >>> thresholds = [0.9, 0.9, float("-inf")]
    >>> believed = bc.evaluate(fit, thresholds)["error"].std()
    >>> bool(evaluate_doubted(fit, thresholds, spread=0.3)["error"].std() > believed)
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
        For a negative spread, bad thresholds, or when a labelled query of the fit's log misses a stage.

    Notes
    -----
    In the manner of Kennedy & O'Hagan (2001), doi:10.1111/1467-9868.00294, with a discrepancy of the prediction
    itself in the place of a Gaussian process. ``docs/evidence/promises.md`` shows what it does to promises on
    real logs.
    """
    if not (np.isfinite(spread) and spread >= 0.0):
        raise CascadeError(f"spread={spread!r} is not allowed; give a share of at least 0, such as 0.2.")
    log = validate_log(own_log(require(fit)))
    stages, kind = [str(s) for s in log["stage"].values], str(log.attrs["confidence_kind"])
    rule = DecisionRule.from_any(thresholds, stages, kind)
    confidence, wrong, price = complete_rows(log.sel(stage=rule.stages))
    expected = evaluate(fit, replace(rule, single=False))
    dims = ("chain", "draw", "point")
    error, cost = (expected[name].transpose(*dims).values for name in ("error", "cost"))
    shape, rng = error.shape, np.random.default_rng(random_seed)
    error, cost = error.reshape(-1, shape[2]), cost.reshape(-1, shape[2])
    seen, paid = fared(confidence, wrong, price, rule)
    error, of_error = allow(error, seen, len(wrong), spread, rng, one_sided=one_sided)
    cost, of_cost = allow_cost(cost, paid, spread, rng)
    out = expected.assign(
        error=(dims, error.reshape(shape)),
        cost=(dims, cost.reshape(shape)),
        error_shift=("point", of_error.shift),
        error_sd=("point", of_error.sd),
        cost_shift=("point", of_cost.shift),
        cost_sd=("point", of_cost.sd),
    )
    return out.isel(point=0) if rule.single else out
