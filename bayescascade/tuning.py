"""Choose thresholds over all posterior draws: least expected loss, or least cost or error under a promise.

Backward induction on the posterior mean gives starting points for a sweep of prices; SciPy's SLSQP finishes on
a few hundred draws with analytic gradients, the forward mass at a threshold times the backward difference
between accepting and deferring there (see `search`). The promise P(error <= x) >= prob is a bound on the
prob-quantile over draws, smoothed by the Harrell-Davis estimator (doi:10.1093/biomet/69.3.635) while searching.
All draws then decide between the finalists.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from bayescascade.cascade import build_kernel, build_kernels, forward_all
from bayescascade.draws import get_draws, to_thresholds
from bayescascade.errors import CascadeError
from bayescascade.frontiers import check_prob, with_last
from bayescascade.search import Goal, between, candidates, settle
from bayescascade.solution import ThresholdSolution, describe, remark_on_idle

_SEARCH_DRAWS = 300


def tune(
    fit: xr.DataTree,
    *,
    error_price: float | None = None,
    max_error: float | None = None,
    max_cost: float | None = None,
    prob: float = 0.9,
) -> ThresholdSolution:
    """Choose thresholds for one stated goal, so that they stay good under every posterior draw.

    Examples
    --------
    >>> import bayescascade as bc
    >>> fit = bc.fit(bc.load_example(), random_seed=1, progressbar=False)
    >>> solution = bc.tune(fit, max_error=0.3, prob=0.9)
    >>> solution.feasible
    True

    Parameters
    ----------
    fit : xarray.DataTree
    error_price : float
        What one wrong answer costs, in the log's currency: minimise E[error] * error_price + E[cost].
    max_error : float
        Minimise E[cost] subject to P(error <= max_error) >= prob.
    max_cost : float
        Cost per query, in the log's currency: minimise E[error] subject to P(cost <= max_cost) >= prob.
    prob : float
        Posterior probability with which the long-run rate must keep the bound, in (0, 1).

    Returns
    -------
    ThresholdSolution
        With ``feasible`` False, and the best reachable said in ``text``, when no thresholds keep the promise.

    Raises
    ------
    CascadeError
        Unless exactly one goal is given, or for a goal or probability that is out of range.
    """
    stated, goal = _check_goal(error_price, max_error, max_cost, prob)
    draws = get_draws(fit)
    kernels = build_kernels(draws)
    points = candidates(draws, build_kernel(draws.thin(_SEARCH_DRAWS)), goal, kernels)
    error, cost, _ = forward_all(draws, points, kernels)
    order, keeps, _ = goal.rank(error, cost)
    reachable = _reachable(goal, error, cost)
    closer = between(draws, points, order, keeps, goal.wanted(error, cost).mean(axis=0))
    points = np.concatenate([points[order[:1]], closer])
    if goal.error_price is None:
        error, cost, _ = forward_all(draws, points, kernels)
        points = settle(draws, points[goal.rank(error, cost)[0][0]], goal, kernels)[None]
    error, cost, reach = forward_all(draws, points, kernels)
    order, keeps, sure = goal.rank(error, cost)
    best = int(order[0])
    feasible = goal.error_price is not None or bool(keeps[best])
    kept = float("nan") if goal.error_price is not None else float(sure[best])
    text = describe(stated, feasible, kept, error[:, best], cost[:, best], reachable)
    text += remark_on_idle(draws.stages, reach[:, best].mean(axis=0))
    shape = (len(draws.chains), -1)

    def folded(values: np.ndarray, *dims: str) -> xr.DataArray:
        coords = {"chain": draws.chains, **({"stage": draws.stages} if dims else {})}
        return xr.DataArray(
            values.reshape(*shape, *values.shape[1:]), dims=("chain", "draw", *dims), coords=coords
        )

    return ThresholdSolution(
        thresholds=xr.DataArray(
            with_last(to_thresholds(points[best], draws)), dims="stage", coords={"stage": draws.stages}
        ),
        error=folded(error[:, best]),
        cost=folded(cost[:, best]),
        reach=folded(reach[:, best], "stage"),
        feasible=feasible,
        goal=stated,
        kept=kept,
        text=text,
        confidence_kind=draws.kind,
        provenance={
            "data_hash": str(fit.attrs.get("data_hash", "")),
            "copula": str(fit.attrs["copula"]),
            "n_queries": int(fit.attrs.get("n_queries", 0)),
            **({"task": str(fit.attrs["task"])} if "task" in fit.attrs else {}),
        },
    )


def _check_goal(
    error_price: float | None, max_error: float | None, max_cost: float | None, prob: float
) -> tuple[dict[str, float], Goal]:
    given = {"error_price": error_price, "max_error": max_error, "max_cost": max_cost}
    stated = {name: float(value) for name, value in given.items() if value is not None}
    if len(stated) != 1:
        came = ", ".join(f"{name}={value:g}" for name, value in stated.items()) or "none"
        raise CascadeError(f"give exactly one of error_price, max_error, max_cost; {came} came.")
    (name, value), *_ = stated.items()
    if not (np.isfinite(value) and value > 0.0):
        raise CascadeError(f"{name}={value!r} is not allowed; give a positive, finite number.")
    if name == "max_error" and value >= 1.0:
        raise CascadeError(
            f"max_error={value!r} is not allowed; give a share of wrong answers below 1, such as 0.1."
        )
    check_prob("prob", prob)
    goal = Goal(**{name: value, "prob": float(prob)})
    return (stated if name == "error_price" else {**stated, "prob": float(prob)}), goal


def _reachable(goal: Goal, error: np.ndarray, cost: np.ndarray) -> str:
    if goal.error_price is not None:
        return ""
    name = "error" if goal.bounds_error else "cost"
    level = np.quantile(goal.bounded(error, cost), goal.prob, axis=0).min()
    return f"The lowest {name} that can be promised with probability {goal.prob:g} is {level:.4g}."
