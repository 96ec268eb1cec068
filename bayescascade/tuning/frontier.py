"""The frontier: for every price of an error, the thresholds that backward induction finds, with bands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from bayescascade._common.arrays import tail_probabilities
from bayescascade._common.pareto import lower_hull, undominated
from bayescascade._common.validation import check_batch, check_doubt, check_positive, check_prob
from bayescascade.cascade.discrepancy import ModelDiscrepancy, band_spread, read_discrepancy
from bayescascade.cascade.evaluate import forward_subsets
from bayescascade.cascade.forward import Outcome, split_positions
from bayescascade.cascade.positions import to_thresholds, with_last
from bayescascade.cascade.predictive import batch_predictive
from bayescascade.errors import bad_value
from bayescascade.induction.free_positions import round_to_atoms
from bayescascade.induction.price_sweep import Path, sweep, sweep_subsets
from bayescascade.posterior.draws import Draws, get_draws, stage_numbers

# Bands come from no more than so many draws times nodes of ease, about a second's worth.
_MOST_STATES = 11_000


def frontier(
    fit: xr.DataTree,
    *,
    n_points: int = 50,
    ci_prob: float = 0.9,
    abstain_price: float | None = None,
    batch: int | None = None,
    stages: Sequence[str] | None = None,
    doubt: float | None = None,
) -> xr.Dataset:
    """Threshold vectors of least expected loss for a sweep of prices, with credible bands of error and cost.

    Examples
    --------
    >>> import bayescascade as bc
    >>> fit = bc.fit(bc.load_example(), random_seed=1, progressbar=False)
    >>> curve = bc.frontier(fit, n_points=5)
    >>> dict(curve["threshold"].sizes)
    {'point': 5, 'stage': 3}

    Parameters
    ----------
    fit : xarray.DataTree
    n_points : int
        Highest number of points, about evenly spaced in cost.
    ci_prob : float
        Probability of the equal-tailed bands, in (0, 1).
    abstain_price : float, optional
        What leaving a query unanswered costs, in the log's currency: stages may then abstain.
    batch : int, optional
        Bands for the next ``batch`` queries instead of the long-run rate. Given the rate, errors are binomial and
        mean costs normal.
    stages : list of str, optional
        Run these stages, named in the log's order. By default every point runs the stages that are best for it.
    doubt : float, optional
        Widens the bands for what the model may miss: a discrepancy of this prior standard deviation, as a share of
        error and cost, which the labelled queries update. The default is 0.05, or 0.1 for a fit without a
        difficulty. With these, 90% bands covered on resplit real logs as they should (see the page on bands). 0
        gives the posterior's own bands.

    Returns
    -------
    xarray.Dataset
        Over ``point``, by rising cost: ``error``, ``error_low``, ``error_high``, ``cost``, ``cost_low``,
        ``cost_high`` (mean and band over draws), ``price`` (of an error, at which the point is best, or NaN);
        ``threshold`` and ``reach`` over (point, stage), NaN and 0 at stages that the point does not run, which
        `evaluate` and `score` take. A point that costs more than another and errs no less is left out. With
        ``abstain_price`` also ``reject_threshold`` over (point, stage) and ``abstained``, ``abstained_low``,
        ``abstained_high`` over point.

    Raises
    ------
    CascadeError
        For ``n_points`` below 2, ``ci_prob`` outside (0, 1), a ``batch`` below 1, a price that is not positive,
        a stage that the fit does not have, or stages in another order than the log's.

    Notes
    -----
    Backward induction on the posterior mean of the segments' masses: V_k = phi_k and
    V_j = max(phi_j, -c_{j+1} / price + E[V_{j+1} | segment]). Bands come from all draws.
    """
    if n_points < 2:
        raise bad_value("n_points", n_points, "give at least 2", "is too few")
    check_prob("ci_prob", ci_prob)
    check_positive("abstain_price", abstain_price)
    check_batch(batch)
    doubt = band_spread(fit) if doubt is None else doubt
    check_doubt(doubt)
    draws = get_draws(fit)
    if stages is not None:
        draws = draws.restrict(stage_numbers(stages, draws.stages))
    return frontier_draws(
        draws,
        n_points=n_points,
        ci_prob=ci_prob,
        abstain_price=abstain_price,
        batch=batch,
        subsets=stages is None,
        discrepancy=read_discrepancy(fit, doubt),
    )


def frontier_draws(
    draws: Draws,
    *,
    n_points: int = 50,
    ci_prob: float = 0.9,
    abstain_price: float | None = None,
    batch: int | None = None,
    subsets: bool = True,
    discrepancy: ModelDiscrepancy | None = None,
) -> xr.Dataset:
    """`frontier` as a function of posterior draws; a model discrepancy widens the bands, and moves no mean.

    Over subsets of the draws' stages, or of all of these.
    """
    if subsets:
        paths = sweep_subsets(draws, n_points, abstain_price=abstain_price)
    else:
        rows = round_to_atoms(draws, sweep(draws, n_points, abstain_price=abstain_price)[0])
        paths = [Path(tuple(range(len(draws.stages))), rows)]
    draws = draws.thin(_MOST_STATES // draws.n_nodes)
    found = forward_subsets(draws, paths)
    outcome = wide = Outcome.join(found)
    if discrepancy is not None:
        of_path = [(path.rows, draws.restrict(path.keep)) for path in paths]
        wide = Outcome.join(
            out._replace(error=discrepancy.error(out.error, *at), cost=discrepancy.cost(out.cost, *at))
            for out, at in zip(found, of_path, strict=True)
        )
    # of points that cost the same the best comes first, and alone stays
    order = np.lexsort([part.mean(axis=0) for part in (outcome.reach.sum(axis=2), outcome.error, outcome.cost)])
    outcome = outcome.take(order)
    best = undominated(outcome.error, outcome.cost, outcome.abstained)
    outcome, order = outcome.take(best), order[best]
    wide = wide.take(order)
    seen = wide if batch is None else batch_predictive(wide, draws, batch)
    tails = tail_probabilities(ci_prob)
    accept, reject = thresholds_of(draws, paths)
    out = xr.Dataset(
        {
            "threshold": (("point", "stage"), accept[order]),
            "reach": (("point", "stage"), outcome.reach.mean(axis=0)),
        },
        coords={"stage": draws.stages},
        attrs={"ci_prob": ci_prob, "confidence_kind": draws.kind},
    )
    if discrepancy is not None:
        out.attrs["doubt"] = discrepancy.spread
    if batch is not None:
        out.attrs["batch"] = int(batch)
    for name in ("error", "cost", *(["abstained"] if reject is not None else [])):
        low, high = np.quantile(getattr(seen, name), tails, axis=0)
        mean = getattr(outcome, name).mean(axis=0)
        out = out.assign({name: ("point", mean), f"{name}_low": ("point", low), f"{name}_high": ("point", high)})
    if reject is not None:
        out["reject_threshold"] = (("point", "stage"), reject[order])
    out["price"] = ("point", _prices(out["error"].values, out["cost"].values))
    return out


def thresholds_of(draws: Draws, paths: list[Path]) -> tuple[np.ndarray, np.ndarray | None]:
    """Accepting and any rejecting thresholds of paths (point, stage), NaN at stages that a point does not run."""
    both = []
    for path in paths:
        some = draws.restrict(path.keep)
        accept, reject = split_positions(path.rows, len(path.keep))
        given = [with_last(to_thresholds(accept, some))]
        given += [] if reject is None else [to_thresholds(reject, some)]
        full = np.full((len(given), len(path.rows), len(draws.stages)), np.nan)
        full[..., list(path.keep)] = given
        both.append(full)
    joined = np.concatenate(both, axis=1)
    return joined[0], joined[1] if len(joined) > 1 else None


def _prices(error: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """A price of an error at which each point of a frontier is best (point,), NaN where there is none.

    A corner of the lower hull is best between the slopes on both sides of it; the middle of these on the scale of
    logarithms, and at an end the one slope there is.
    """
    price = np.full(len(error), np.nan)
    hull = lower_hull(cost, error)
    if len(hull) > 1:
        slope = np.diff(cost[hull]) / -np.diff(error[hull])
        price[hull] = np.sqrt(np.append(slope[0], slope) * np.append(slope, slope[-1]))
    return price
