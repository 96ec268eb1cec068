"""The frontier: for every price of an error, the thresholds that backward induction finds, with bands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import xarray as xr

from bayescascade._ranges import check_batch, check_positive, check_prob
from bayescascade.cascade import Kernel, Outcome, build_kernel, forward, forward_all, split_positions
from bayescascade.discrepancy import read_doubt
from bayescascade.draws import Draws, get_draws, stage_numbers
from bayescascade.errors import CascadeError
from bayescascade.goals import scattered
from bayescascade.induction import induce, mean_kernel, with_latency
from bayescascade.moves import whole_atoms
from bayescascade.positions import to_thresholds, with_last
from bayescascade.published import check_factorisation, polish
from bayescascade.scoring import Rules
from bayescascade.wishes import check_doubt, check_policy

_N_PRICES = 400
_SEARCH_DRAWS = 512
_POLISH_DRAWS = 32


def frontier(
    fit: xr.DataTree,
    *,
    n_points: int = 50,
    ci_prob: float = 0.9,
    abstain_price: float | None = None,
    batch: int | None = None,
    stages: Sequence[str] | None = None,
    factorisation: str = "exact",
    policy: str = "own",
    doubt: float = 0.0,
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
        Points, evenly spaced in cost as far as atoms allow, from the cheapest stage alone to every query sent to
        the last stage.
    ci_prob : float
        Probability of the equal-tailed bands, in (0, 1).
    abstain_price : float, optional
        What leaving a query unanswered costs, in the log's currency: stages may then abstain.
    batch : int, optional
        Bands for what the next ``batch`` queries will show, in place of the long-run rate: binomial errors, normal
        mean costs, given the rate.
    stages : list of str, optional
        Run these stages only, in this order.
    factorisation : str
        ``"exact"``, or ``"published"`` for the published method: thresholds of least loss under its factorisation,
        found by L-BFGS-B from the exact ones, with the error and cost that it expects of them (see `evaluate`).
    policy : str
        ``"own"``, or ``"history"`` for decisions by a stage's confidence and the one before, as in `tune`.
    doubt : float
        Room for what the model misses of error and cost, from both sides, in the bands and their means. On resplit
        real logs 90% bands with 0.1 covered the held-out error 87% to 91% and the cost 90% to 92% of the time,
        without 80% to 87% and 81% to 84%. Not with another factorisation.

    Returns
    -------
    xarray.Dataset
        Over ``point``, by rising cost: ``error``, ``error_low``, ``error_high``, ``cost``, ``cost_low``,
        ``cost_high`` (mean and band over draws), ``price`` (cost at which one error less is worth it),
        ``efficient`` (False where a cheaper point errs as little or less);
        ``threshold`` and ``reach`` over (point, stage). With ``abstain_price`` also ``reject_threshold`` over
        (point, stage) and ``abstained``, ``abstained_low``, ``abstained_high`` over point.

    Raises
    ------
    CascadeError
        For ``n_points`` below 2, ``ci_prob`` outside (0, 1), a ``batch`` below 1, a price that is not positive,
        a stage that the fit does not have, or what the published factorisation does not cover.

    Notes
    -----
    Backward induction on the posterior mean of the segments' masses: V_k = phi_k and
    V_j = max(phi_j, -c_{j+1} / price + E[V_{j+1} | segment]). Bands come from all draws.
    """
    if n_points < 2:
        raise CascadeError(f"n_points={n_points} is too few; give at least 2.")
    check_prob("ci_prob", ci_prob)
    check_positive("abstain_price", abstain_price)
    check_batch(batch)
    published = None if factorisation == "exact" else factorisation
    check_doubt(doubt, factorisation=published)
    options = {"abstain_price": abstain_price, "stages": stages, "factorisation": published}
    if check_policy(policy, **options) == "history":
        from bayescascade.history import history_frontier

        return history_frontier(fit, n_points=n_points, ci_prob=ci_prob, batch=batch, doubt=doubt)
    draws = get_draws(fit)
    if stages is not None:
        draws = draws.restrict(stage_numbers(stages, draws.stages))
    check_factorisation(factorisation, draws)
    rows, prices = sweep(draws, n_points, abstain_price=abstain_price)
    check_factorisation(factorisation, draws, rows)
    if factorisation != "exact":
        rows = polished(draws, rows, prices, factorisation)
    rows = whole_atoms(draws, rows)
    outcome = forward_all(draws, rows, factorisation=factorisation)
    accept, reject = split_positions(rows, len(draws.stages))
    thresholds = with_last(to_thresholds(accept, draws))
    below = None if reject is None else to_thresholds(reject, draws)
    believed = read_doubt(fit, doubt)
    if believed is not None:
        error = believed.error(outcome.error, rows, draws)
        cost = believed.cost_of_rules(outcome.cost, Rules(thresholds, below), draws)
        outcome = outcome._replace(error=error, cost=cost)
    return as_curve(draws, thresholds, below, prices, outcome, ci_prob=ci_prob, batch=batch)


def as_curve(
    draws: Draws,
    thresholds: np.ndarray,
    reject: np.ndarray | None,
    prices: np.ndarray,
    outcome: Outcome,
    *,
    ci_prob: float,
    batch: int | None,
) -> xr.Dataset:
    """What `frontier` returns, of thresholds (point, stage) and what comes of them."""
    order = np.argsort(outcome.cost.mean(axis=0), kind="stable")
    outcome = Outcome._make(None if part is None else part[:, order] for part in outcome)
    seen = outcome if batch is None else scattered(outcome, draws, batch)
    tails = [(1.0 - ci_prob) / 2.0, (1.0 + ci_prob) / 2.0]
    out = xr.Dataset(
        {
            "threshold": (("point", "stage"), thresholds[order]),
            "reach": (("point", "stage"), outcome.reach.mean(axis=0)),
        },
        coords={"stage": draws.stages},
        attrs={
            "ci_prob": ci_prob,
            "confidence_kind": draws.kind,
            **({} if batch is None else {"batch": int(batch)}),
        },
    )
    for name in ("error", "cost", *(["abstained"] if reject is not None else [])):
        low, high = np.quantile(getattr(seen, name), tails, axis=0)
        mean = getattr(outcome, name).mean(axis=0)
        out = out.assign({name: ("point", mean), f"{name}_low": ("point", low), f"{name}_high": ("point", high)})
    if reject is not None:
        out["reject_threshold"] = (("point", "stage"), reject[order])
    out["price"] = ("point", prices[order])
    out["efficient"] = ("point", undominated(outcome.error, outcome.cost, outcome.abstained))
    return out


def undominated(*amounts: np.ndarray | None) -> np.ndarray:
    """Whether no point before is as good by the mean of all these amounts (draw, point), where they are known."""
    means = np.stack([part.mean(axis=0) for part in amounts if part is not None], axis=1)
    as_good = (means[:, None] <= means[None]).all(axis=2)
    return ~np.triu(as_good, 1).any(axis=0)


def polished(draws: Draws, rows: np.ndarray, prices: np.ndarray, factorisation: str) -> np.ndarray:
    """Points of the frontier (point, stage), moved to the least loss that a factorisation expects."""
    few = draws.take(draws.spread(_POLISH_DRAWS))
    kernels = [build_kernel(few)] if factorisation == "exact" else None

    def expected(at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        out = forward_all(few, at, kernels, factorisation=factorisation)
        return out.error.mean(axis=0), out.cost.mean(axis=0)

    top = np.array([len(margin.low) for margin in draws.margins[:-1]], dtype=float)
    return polish(expected, rows, prices, top)


def sweep(
    draws: Draws,
    n_points: int,
    *,
    abstain_price: float | None = None,
    latency_price: float | None = None,
    by: str = "cost",
) -> tuple[np.ndarray, np.ndarray]:
    """Rows along the frontier, evenly spaced in expected cost, and their prices (point,).

    ``by="latency"`` takes latency in the place of cost.
    """
    kernel = with_latency(mean_kernel(draws.thin(_SEARCH_DRAWS)), latency_price)
    if by == "latency":
        assert kernel.draws.latency is not None
        kernel = replace(kernel, cost=kernel.draws.latency)
    prices, n = price_range(kernel), len(draws.stages)
    if abstain_price is not None:
        # where an error is hardly worse than none, nothing would be answered
        prices = np.maximum(prices, abstain_price * (1.0 + 1e-6))
    rows = induce(kernel, prices, abstain_price)
    ends = np.zeros((2, rows.shape[1]))
    ends[1, : n - 1] = [len(m.low) for m in draws.margins[:-1]]
    rows = np.concatenate([ends[:1], rows, ends[1:]])
    prices = np.concatenate([[0.0], prices, [np.inf]])
    return spread(forward(kernel, rows).cost[0], rows, prices, n_points)


def price_range(kernel: Kernel) -> np.ndarray:
    """Prices from one at which no error is worth the second stage to one at which every error is (price,)."""
    cost = kernel.cost[0]
    return np.geomspace(1e-3 * cost[cost > 0].min(), 1e6 * cost.sum(), _N_PRICES) if cost.any() else np.ones(1)


def spread(
    expected: np.ndarray, rows: np.ndarray, prices: np.ndarray, n_points: int
) -> tuple[np.ndarray, np.ndarray]:
    """Points of a sweep, given what each costs, that are evenly spaced in cost: rows and prices."""
    order = np.argsort(expected, kind="stable")
    target = np.linspace(expected.min(), expected.max(), n_points)
    nearest = np.abs(expected[order] - target[:, None]).argmin(axis=1)
    # where the sweep jumps, walk between its neighbours rather than repeat a point
    return _fill(expected[order], rows[order], target), prices[order][nearest]


def _fill(cost: np.ndarray, positions: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Interpolate positions (price, row) at the target costs."""
    cost, first = np.unique(cost, return_index=True)
    return np.stack([np.interp(target, cost, positions[first, j]) for j in range(positions.shape[1])], axis=1)
