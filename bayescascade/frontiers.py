"""The frontier: for every price of an error, the thresholds that backward induction finds, with bands."""

from __future__ import annotations

import numpy as np
import xarray as xr

from bayescascade.cascade import Kernel, build_kernel, forward, forward_all
from bayescascade.draws import Draws, cut_of, get_draws, to_thresholds
from bayescascade.errors import CascadeError

_N_PRICES = 400
_SEARCH_DRAWS = 512


def frontier(fit: xr.DataTree, *, n_points: int = 50, ci_prob: float = 0.9) -> xr.Dataset:
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

    Returns
    -------
    xarray.Dataset
        Over ``point``, by rising cost: ``error``, ``error_low``, ``error_high``, ``cost``, ``cost_low``,
        ``cost_high`` (mean and band over draws), ``price`` (cost at which one error less is worth it),
        ``efficient`` (False where a cheaper point errs as little or less);
        ``threshold`` and ``reach`` over (point, stage).

    Raises
    ------
    CascadeError
        For ``n_points`` below 2 or ``ci_prob`` outside (0, 1).

    Notes
    -----
    Backward induction on the posterior mean of the segments' masses: V_k = phi_k and
    V_j = max(phi_j, -c_{j+1} / price + E[V_{j+1} | segment]). Bands come from all draws.
    """
    if n_points < 2:
        raise CascadeError(f"n_points={n_points} is too few; give at least 2.")
    check_prob("ci_prob", ci_prob)
    draws = get_draws(fit)
    positions, prices = sweep(draws, n_points)
    positions = _whole_atoms(draws, positions)
    error, cost, reach = forward_all(draws, positions)
    thresholds = with_last(to_thresholds(positions, draws))
    return as_curve(draws.stages, thresholds, prices, error, cost, reach, ci_prob)


def as_curve(
    stages: list[str],
    thresholds: np.ndarray,
    prices: np.ndarray,
    error: np.ndarray,
    cost: np.ndarray,
    reach: np.ndarray,
    ci_prob: float,
) -> xr.Dataset:
    """What `frontier` returns of thresholds (point, stage) with error, cost, reach (draw, point[, stage])."""
    order = np.argsort(cost.mean(axis=0), kind="stable")
    thresholds, prices = thresholds[order], prices[order]
    error, cost, reach = error[:, order], cost[:, order], reach[:, order]
    tails = [(1.0 - ci_prob) / 2.0, (1.0 + ci_prob) / 2.0]
    error_band, cost_band = np.quantile(error, tails, axis=0), np.quantile(cost, tails, axis=0)
    return xr.Dataset(
        {
            "threshold": (("point", "stage"), thresholds),
            "reach": (("point", "stage"), reach.mean(axis=0)),
            "error": ("point", error.mean(axis=0)),
            "error_low": ("point", error_band[0]),
            "error_high": ("point", error_band[1]),
            "cost": ("point", cost.mean(axis=0)),
            "cost_low": ("point", cost_band[0]),
            "cost_high": ("point", cost_band[1]),
            "price": ("point", prices),
            # by rising cost, a point is efficient when none before it errs as little
            "efficient": ("point", _falls(error.mean(axis=0))),
        },
        coords={"stage": stages},
        attrs={"ci_prob": ci_prob},
    )


def _falls(error: np.ndarray) -> np.ndarray:
    before = np.minimum.accumulate(error)
    return np.append(True, error[1:] < before[:-1])


def check_prob(name: str, value: float) -> None:
    """Raise `CascadeError` unless ``value`` lies strictly between 0 and 1."""
    if not 0.0 < value < 1.0:
        raise CascadeError(f"{name}={value!r} is not allowed; give a probability strictly between 0 and 1.")


def with_last(thresholds: np.ndarray) -> np.ndarray:
    """Set the last stage's threshold to -inf: it answers whatever reaches it."""
    out = np.array(thresholds, dtype=float)
    out[..., -1] = -np.inf
    return out


def sweep(draws: Draws, n_points: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions (point, stage) along the frontier, evenly spaced in expected cost, and their prices (point,)."""
    kernel = mean_kernel(draws.thin(_SEARCH_DRAWS))
    prices = price_range(kernel)
    positions = induce(kernel, prices)
    ends = np.zeros((2, positions.shape[1]))
    ends[1, :-1] = [len(m.low) for m in draws.margins[:-1]]
    positions = np.concatenate([ends[:1], positions, ends[1:]])
    prices = np.concatenate([[0.0], prices, [np.inf]])
    _, expected, _ = forward(kernel, positions)
    return spread(expected[0], positions, prices, n_points)


def price_range(kernel: Kernel) -> np.ndarray:
    """Prices from one at which no error is worth the second stage to one at which every error is (price,)."""
    cost = kernel.cost[0]
    return np.geomspace(1e-3 * cost[cost > 0].min(), 1e6 * cost.sum(), _N_PRICES) if cost.any() else np.ones(1)


def spread(
    cost: np.ndarray, positions: np.ndarray, prices: np.ndarray, n_points: int
) -> tuple[np.ndarray, np.ndarray]:
    """Points of a sweep, given what each costs, that are evenly spaced in cost: positions and prices."""
    order = np.argsort(cost, kind="stable")
    target = np.linspace(cost.min(), cost.max(), n_points)
    nearest = np.abs(cost[order] - target[:, None]).argmin(axis=1)
    # where the sweep jumps, walk between its neighbours rather than repeat a point
    return _fill(cost[order], positions[order], target), prices[order][nearest]


def _fill(cost: np.ndarray, positions: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Interpolate positions (price, stage) at the target costs."""
    cost, first = np.unique(cost, return_index=True)
    return np.stack([np.interp(target, cost, positions[first, j]) for j in range(positions.shape[1])], axis=1)


def _whole_atoms(draws: Draws, positions: np.ndarray) -> np.ndarray:
    """Move positions inside an atom, which no threshold can realise, to its nearer end (point, stage)."""
    positions = positions.copy()
    for j, margin in enumerate(draws.margins):
        segment, _ = cut_of(margin, positions[:, j])
        positions[:, j] = np.where(margin.is_atom[segment], np.round(positions[:, j]), positions[:, j])
    return positions


def mean_kernel(draws: Draws) -> Kernel:
    """One-draw kernel with the posterior means of the masses."""
    return build_kernel(draws).mean()


def induce(kernel: Kernel, prices: np.ndarray) -> np.ndarray:
    """Best positions (price, stage) for each price of an error, by backward induction on a one-draw kernel.

    Where the set of segments that should accept is not a half-line, the threshold is the best half-line under
    the stage's own margin. Where correctness depends on the previous signal too, accepting is judged by its
    average.
    """
    n_stages = len(kernel.draws.stages)
    positions = np.zeros((len(prices), n_stages))
    shape = (len(prices), kernel.correct.shape[2])
    accepts, later = np.ones(shape, dtype=bool), np.zeros(shape)
    for j in range(n_stages - 2, -1, -1):
        pair, inverse = kernel.pair[j][0], kernel.inverse_mass(j)[0]
        right = pair * kernel.correct[0, j + 1] if kernel.pair_right is None else kernel.pair_right[j][0]
        cost = kernel.cost[0, j + 1] if kernel.next_cost is None else kernel.next_cost[j][0] * inverse
        wait = (accepts @ right.T + later @ pair.T) * inverse - cost / prices[:, None]
        accept = np.broadcast_to(kernel.correct[0, j], wait.shape)
        n = len(kernel.draws.margins[j].low)
        positions[:, j] = _half_line(
            accept[:, :n] - wait[:, :n], kernel.mass[0, j, :n], kernel.draws.margins[j].is_atom
        )
        accepts = accept >= wait
        later = np.where(accepts, 0.0, wait)
    return positions


def _half_line(gain: np.ndarray, mass: np.ndarray, is_atom: np.ndarray) -> np.ndarray:
    """Where to start accepting, given the gain of accepting each segment (price, segment)."""
    weighted = gain * mass
    from_here = np.cumsum(weighted[:, ::-1], axis=1)[:, ::-1]
    from_here = np.concatenate([from_here, np.zeros((len(gain), 1))], axis=1)
    edge = from_here.argmax(axis=1)
    # within the two segments at the edge, the gain is taken as linear between their middles
    row, n = np.arange(len(gain)), gain.shape[1]
    left, right = np.clip(edge - 1, 0, n - 1), np.clip(edge, 0, n - 1)
    below, above = gain[row, left], gain[row, right]
    inner = (edge > 0) & (edge < n) & ~is_atom[left] & ~is_atom[right] & (below < 0) & (above > 0)
    shift = np.divide(-below, above - below, out=np.full(len(gain), 0.5), where=inner)
    return edge - np.where(inner, 0.5 - shift, 0.0)
