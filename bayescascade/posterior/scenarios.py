"""A fit as it would be under other prices, or for another mix of queries, without sampling again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from bayescascade._common.validation import check_positive
from bayescascade.errors import CascadeError, bad_value, option
from bayescascade.posterior.draws import get_draws
from bayescascade.posterior.schema import require
from bayescascade.posterior.tilt import drift_bounds


def reprice(
    fit: xr.DataTree, cost: Mapping[str, float] | None = None, *, factor: Mapping[str, float] | float | None = None
) -> xr.DataTree:
    """Put other prices into a fit, at once and without sampling again.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.posterior.scenarios import reprice
    >>> fit = bc.fit(bc.load_example(), random_seed=1, progressbar=False)
    >>> dearer = reprice(fit, factor={"large": 2.0})
    >>> bool(bc.tune(dearer, error_price=0.01).cost.mean() < bc.tune(fit, error_price=0.01).cost.mean())
    True

    Parameters
    ----------
    fit : xarray.DataTree
    cost : mapping of str to float, optional
        New price of one call, by stage, in the log's currency. It is exactly known from then on, and the same for
        every query.
    factor : float or mapping of str to float, optional
        What to multiply the cost of all stages by, or of some. What is uncertain about a cost stays in proportion.

    Returns
    -------
    xarray.DataTree
        A fit like any other, which shares all but costs with the one given. The costs of its log are the new ones
        too; ``attrs["repriced"]`` says in words what was changed. The argument is left as it is.

    Raises
    ------
    CascadeError
        Without a price or factor, for a stage that the fit does not have or that is named in both, and for a
        price or factor that is not a positive, finite number.
    """
    require(fit, tasks="any")
    stages = [str(s) for s in fit["posterior"].to_dataset()["stage"].values]
    prices = _by_stage("cost", cost, stages)
    every = isinstance(factor, int | float | np.number) and not isinstance(factor, bool)
    factors = _by_stage("factor", dict.fromkeys(stages, factor) if every else factor, stages)
    twice = [name for name in prices if name in factors]
    if twice and not every:
        raise CascadeError(f"stage {twice[0]!r} is given a new cost and a factor; give one of them.")
    if not prices and not factors:
        raise CascadeError(
            "give new prices, {}, or {}; none came.",
            (option("cost", {"large": 0.002}), option("factor", {"large": 0.5})),
        )
    factors = {name: value for name, value in factors.items() if name not in prices}
    scale = xr.DataArray([factors.get(s, 1.0) for s in stages], dims="stage", coords={"stage": stages})
    price = scale.copy(data=[prices.get(s, np.nan) for s in stages])
    return _with_cost(fit, scale, price, _told(prices, factors))


def _by_stage(name: str, values: Any, stages: list[str]) -> dict[str, float]:
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise bad_value(name, values, "name stages, as in " + option(name, {stages[-1]: 2.0}))
    for stage, value in values.items():
        if stage not in stages:
            raise CascadeError(f"{name} names a stage {stage!r}; the fit has {', '.join(map(repr, stages))}.")
        check_positive(f"{name}[{stage!r}]", np.nan if value is None or isinstance(value, bool) else value)
    return {stage: float(value) for stage, value in values.items()}


def _told(prices: dict[str, float], factors: dict[str, float]) -> str:
    said = [f"{stage} costs {price:g}" for stage, price in prices.items()]
    return ", ".join([*said, *(f"{stage} costs {value:g} times as much" for stage, value in factors.items())])


def _with_cost(fit: xr.DataTree, scale: xr.DataArray, price: xr.DataArray, told: str) -> xr.DataTree:
    given = price.notnull()
    posterior, constant = fit["posterior"].to_dataset(), fit["constant_data"].to_dataset()
    observed = fit["observed_data"].to_dataset()

    def renewed(cost: xr.DataArray) -> xr.DataArray:
        new = xr.where(given, price, cost * scale, keep_attrs=False)
        return new.transpose(*cost.dims).assign_attrs(cost.attrs)

    new_cost = renewed(posterior["cost"])
    # a call that was not made, or not logged, has no cost to change
    seen = observed["cost"]
    cost = renewed(seen).where(seen.notnull() | (given & observed["confidence"].notnull()))
    groups: dict[str, xr.Dataset | None] = {
        "posterior": posterior.assign(cost=new_cost),
        "observed_data": observed.assign(cost=cost),
    }
    if "predictions" in fit.children:
        groups["predictions"] = fit["predictions"].to_dataset().assign(cost=new_cost)
    if "cost_sd" in constant:
        groups["constant_data"] = constant.assign(cost_sd=(constant["cost_sd"] * scale).where(~given, 0.0))
    before = fit.attrs.get("repriced")
    return replaced(fit, groups, {"repriced": told if before is None else f"{before}; then {told}"})


def drift(fit: xr.DataTree, amount: float) -> xr.DataTree:
    """Let the mix of queries drift towards those of which the first stage is less sure.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.posterior.scenarios import drift
    >>> fit = bc.fit(bc.load_example(), random_seed=1, progressbar=False)
    >>> thresholds = [0.9, 0.9, float("-inf")]
    >>> now, then = (bc.evaluate(f, thresholds)["cost"].mean() for f in (fit, drift(fit, 0.2)))
    >>> bool(then > now)  # more queries are deferred
    True

    Parameters
    ----------
    fit : xarray.DataTree
    amount : float
        Fraction by which the mean of u falls, where u = F(confidence of the first stage) under the fit: from 1/2
        to (1 - amount) / 2. In (-1, 1); below 0 the mix drifts towards queries of which it is surer. An amount of
        0.25 weighs queries at the lower end 2.0 times as much as before, and those at the upper end 0.4 times.

    Returns
    -------
    xarray.DataTree
        A fit like any other for `evaluate`, `tune` and `frontier`, which shares all with the one given;
        ``attrs["drift"]`` holds the amount. `check` and `report` compare a fit with its log and refuse it.

    Raises
    ------
    CascadeError
        For an amount that is not a number in (-1, 1), or one that the first stage's confidences do not allow: if a
        third of them equal the lowest value, no mix has a mean u below 1/6. For a fit that has already drifted.

    Notes
    -----
    Each draw's density of the first signal is multiplied by a constant times exp(-delta u), with the delta that
    gives the stated mean: of all mixes with this mean, the one nearest to the fit. Everything that follows given
    the first signal (later signals, correctness, costs) stays as fitted.
    """
    require(fit, undrifted=" already; drift the fit that it came from.")
    try:
        amount = float(amount)
    except (TypeError, ValueError):
        amount = np.nan
    if not -1.0 < amount < 1.0:
        raise CascadeError(
            f"a drift of {amount!r} is not allowed; give the fraction by which the mean rank of the first "
            "confidence falls, above -1 and below 1, such as 0.25."
        )
    draws = get_draws(fit)
    least, most = drift_range(draws.mass)
    stage = draws.stages[0]
    if most <= 0.0:
        raise CascadeError(f"a drift of {amount:g} is out of reach: {no_drift(stage)}")
    if not least < amount < most:
        raise CascadeError(
            f"a drift of {amount:g} is out of reach: with the confidences of stage {stage!r} as they are, a mix "
            f"of queries can drift by {least:.2g} to {most:.2g}, both exclusive."
        )
    stale = dict.fromkeys(("posterior_predictive", "predictions"))  # of the mix before the drift
    return replaced(fit, stale, {"drift": amount})


def no_drift(stage: str) -> str:
    """Why queries cannot drift where the range of drifts is empty."""
    return f"the confidence of stage {stage!r} is constant, so it tells no mix of queries from another."


def drift_range(mass: np.ndarray) -> tuple[float, float]:
    """Least and largest drift, both exclusive, that all draws (draw, stage, segment) allow."""
    least, most = drift_bounds(mass[:, 0])
    return float(least.max()), float(most.min())


def replaced(fit: xr.DataTree, groups: Mapping[str, xr.Dataset | None], attrs: dict[str, Any]) -> xr.DataTree:
    """A fit with some groups and attributes replaced, or dropped for None; the rest is shared with ``fit``."""
    kept = {name: node.to_dataset() for name, node in fit.children.items()}
    tree = xr.DataTree.from_dict({name: group for name, group in {**kept, **groups}.items() if group is not None})
    tree.attrs |= fit.attrs | attrs
    return tree
