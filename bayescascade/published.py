"""The factorisation of the published method, to set its results beside the exact ones.

Rational tuning of cascades (Zellinger & Thomson 2025, arXiv:2501.09345) takes what happens at a stage to depend on
the *event* that the stage before deferred, and on nothing before that:

    P(stage j + 1 is run) = P(D_1) P(D_2 | D_1) .. P(D_j | D_{j-1}),
    P(accepted and right at j) = P(stage j is run) P(accepted and right at j | D_{j-1}),

where D_j says that stage j's signal is below its threshold. With two stages that is exact. With three it is not,
even where the signals are a Markov chain: given D_2, the signal of stage 2 still depends on D_1. Everything here
comes from differences of the copulas' C at the thresholds.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bayescascade.draws import Draws
from bayescascade.errors import CascadeError
from bayescascade.links import Link
from bayescascade.positions import cut_of

FACTORISATIONS = ("exact", "published")
_STEP = 1e-3  # of a segment, for differences of the loss
_MAX_ITERATIONS = 60


def forward_published(
    draws: Draws, positions: np.ndarray, correct: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Error, cost (draw, point) and reach (draw, point, stage) of positions (point, stage), as published.

    ``correct`` is P(correct) of what each segment accepts (draw, point, stage, segment).
    """
    n_stages = len(draws.stages)
    edges = draws.edges()
    cut = _levels(draws, edges, positions)  # (draw, point, stage)
    cut[..., -1] = 0.0
    reach = np.ones((draws.n, len(positions), n_stages))
    right = np.zeros(reach.shape[:2])
    for j in range(n_stages):
        level = np.maximum(edges[:, None, j], cut[..., j, None])  # (draw, point, segment + 1)
        if j > 0:
            before = cut[..., j - 1]
            deferred = before if j == 1 else _below(draws.link(j - 2), cut[..., j - 2], before)
            reach[..., j] = reach[..., j - 1] * deferred
            level = _below(draws.link(j - 1), before[..., None], level)
        right += reach[..., j] * np.einsum("dps,dps->dp", np.diff(level, axis=2), correct[:, :, j])
    return 1.0 - right, np.einsum("dpj,dj->dp", reach, draws.cost), reach


def _levels(draws: Draws, edges: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """F at each position (draw, point, stage); linear within a segment."""
    out = np.empty((draws.n, *positions.shape))
    for j, margin in enumerate(draws.margins):
        segment, fraction = cut_of(margin, positions[:, j])
        low, high = edges[:, j, segment], edges[:, j, segment + 1]
        out[..., j] = low + fraction * (high - low)
    return out


def _below(link: Link, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """P(V <= v | U <= u); 0 where nobody is deferred."""
    u, v = np.broadcast_arrays(u, v)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        joint = link.cdf(u, v)
    # exact at the ends, where the formula would lose the last digits
    joint = np.where(v <= 0.0, 0.0, np.where(v >= 1.0, u, np.where(u >= 1.0, v, joint)))
    return np.divide(joint, u, out=np.zeros_like(joint), where=u > 0.0)


def check_factorisation(name: str, draws: Draws, positions: np.ndarray | None = None) -> None:
    """Raise `CascadeError` for an unknown name, or for what the published method does not cover."""
    if name not in FACTORISATIONS:
        raise CascadeError(
            f"factorisation={name!r} is not known; choose one of {', '.join(map(repr, FACTORISATIONS))}."
        )
    if name == "exact":
        return
    n_stages = len(draws.stages)
    troubles = (
        (draws.previous is not None, "correctness that depends on the previous signal (calibration='sequential')"),
        (draws.whole is not None, "a part of the stages: fit the log with these stages only"),
        (draws.tilt is not None, "a drifted mix of queries"),
        (positions is not None and positions.shape[1] > n_stages, "rejecting thresholds"),
    )
    for found, what in troubles:
        if found:
            raise CascadeError(f"factorisation='published' does not cover {what}; use factorisation='exact'.")


def polish(
    expected: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    positions: np.ndarray,
    prices: np.ndarray,
    top: np.ndarray,
) -> np.ndarray:
    """Move each point (point, stage) to where price times error plus cost is least, by L-BFGS-B from where it is.

    ``expected`` gives mean error and cost (point,) of positions (point, stage). The last stage's position stays,
    ``top`` (stage - 1,) bounds the others, and points with a price of 0 or infinity stay, too.
    """
    from scipy.optimize import minimize

    n = len(top)
    step = _STEP * np.concatenate([np.zeros((1, n)), np.eye(n), -np.eye(n)])
    out = positions.copy()
    for i in np.flatnonzero((prices > 0.0) & np.isfinite(prices)):
        price = prices[i]

        def loss(x: np.ndarray, price: float = price, last: float = positions[i, -1]) -> tuple[float, np.ndarray]:
            # a difference that would leave the box is one-sided
            at = np.clip(x + step, 0.0, top)
            error, cost = expected(np.column_stack([at, np.full(len(at), last)]))
            value = (price * error + cost) / price if price > 1.0 else price * error + cost
            width = np.diagonal(at[1 : n + 1]) - np.diagonal(at[n + 1 :])
            return float(value[0]), (value[1 : n + 1] - value[n + 1 :]) / width

        bounds = [(0.0, t) for t in top]
        options = {"maxiter": _MAX_ITERATIONS}
        found = minimize(loss, positions[i, :-1], jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        if np.all(np.isfinite(found.x)) and found.fun <= loss(positions[i, :-1])[0]:
            out[i, :-1] = found.x
    return out
