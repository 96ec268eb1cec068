"""What the explorer of a report and of a notebook choose from: points of the frontier, with all that is shown."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from bayescascade._common.arrays import tail_probabilities
from bayescascade._common.pareto import efficient, lower_hull
from bayescascade._common.validation import check_prob
from bayescascade.cascade.discrepancy import evaluate_with_discrepancy, promise_spread
from bayescascade.cascade.evaluate import evaluate
from bayescascade.display.format import PER, priced, share, show_cut
from bayescascade.display.frontier import draw_frontier
from bayescascade.display.svg import svg_with_marker
from bayescascade.induction.price_sweep import sweep_subsets
from bayescascade.posterior.draws import get_draws
from bayescascade.reporting.text import spelled
from bayescascade.runtime.policy import Policy
from bayescascade.runtime.policy_file import to_json
from bayescascade.tuning.frontier import thresholds_of

_N_POINTS = 100
_SIZE = (6.6, 3.9)
_ENOUGH = 1e-3  # an error this near to the least one is as good as it


@dataclass(frozen=True)
class Explorer:
    """Points of the frontier by rising cost, none of them dominated, and the rules by which one is picked.

    Attributes
    ----------
    points : Dataset
        What `frontier` returns: posterior means and intervals. Beside them ``kept`` over point, the error not
        exceeded with probability ``prob``, with the safety margin that the attribute ``margin`` is; and
        ``answered``, ``answered_low``, ``answered_high`` over (point, stage).
    prob : float
        Probability of the promise that an error target is.
    currency : str, optional
        Of the costs.
    as_good : ndarray (stage, end), optional
        Between which values the user's own thresholds do as well.
    """

    points: xr.Dataset
    prob: float
    currency: str | None = None
    as_good: np.ndarray | None = None

    @property
    def stages(self) -> list[str]:
        """Names of the stages."""
        return [str(name) for name in self.points["stage"].values]

    @property
    def kind(self) -> str:
        """The kind of confidence that the thresholds compare."""
        return str(self.points.attrs["confidence_kind"])

    @property
    def price_range(self) -> tuple[float, float]:
        """Prices of an error between which the best point moves."""
        error, cost = (self.points[name].values for name in ("error", "cost"))
        if len(cost) == 1:
            return 0.5 * (float(cost[0]) or 1.0), 2.0 * (float(cost[0]) or 1.0)
        # what one error less costs on the way up from the cheapest point, and on the last way worth telling
        low = float(np.min((cost[1:] - cost[0]) / np.maximum(error[0] - error[1:], 1e-12)))
        near = max(int(np.flatnonzero(error <= error.min() + _ENOUGH)[0]), 1)
        before = np.arange(near)
        high = float(np.max((cost[near] - cost[before]) / np.maximum(error[before] - error[near], 1e-12)))
        return 0.5 * low, 2.0 * max(high, low)

    @property
    def target_range(self) -> tuple[float, float]:
        """The lowest error target that some point keeps, and one that every point keeps, in thousandths."""
        kept = self.points["kept"].values
        return tuple(float(np.ceil(1000.0 * end - 1e-9) / 1000.0) for end in (kept.min(), kept.max()))  # type: ignore[return-value]

    def hull_prices(self) -> np.ndarray:
        """Prices of an error between which each point is best (point, 2); NaN where it is best at none."""
        error, cost = (self.points[name].values for name in ("error", "cost"))
        out = np.full((len(cost), 2), np.nan)
        hull = lower_hull(cost, error)
        dear = -np.diff(cost[hull]) / np.diff(error[hull])
        out[hull] = np.column_stack([np.append(0.0, dear), np.append(dear, np.inf)])
        return out

    def prices(self) -> np.ndarray:
        """A price at which each point is about best, inside `price_range` (point,); NaN where there is none."""
        low, high = self.hull_prices().T
        least, most = self.price_range
        return np.sqrt(np.clip(low, least, most) * np.clip(high, least, most))

    def for_price(self, price: float) -> int:
        """The point of least expected loss where an error costs ``price``."""
        return int(np.argmin(self.points["error"].values * price + self.points["cost"].values))

    def for_target(self, target: float) -> tuple[int, bool]:
        """The cheapest point that keeps an error target, or the one that comes nearest; and whether it does."""
        kept = self.points["kept"].values
        able = np.flatnonzero(kept <= target)
        return (int(able[0]), True) if len(able) else (int(np.argmin(kept)), False)

    def money(self, at: xr.Dataset) -> str:
        """What 1,000 queries cost at a point."""
        return priced(float(at["cost"]), self.currency)

    def band(self, name: str, point: int, stage: int | None = None) -> str:
        """Mean and interval of an amount at a point, as text."""
        show = partial(priced, currency=self.currency) if name == "cost" else share
        at = self.points.isel(point=point) if stage is None else self.points.isel(point=point, stage=stage)
        mean, low, high = (float(at[f"{name}{end}"]) for end in ("", "_low", "_high"))
        return f"{show(mean)} ({show(low)} to {show(high)})"

    def spans(self, point: int) -> np.ndarray:
        """Between which values the thresholds of a point do as well (stage, end); NaN where that is not known."""
        if self.as_good is None or point != self.points.attrs["own"]:
            return np.full((len(self.stages), 2), np.nan)
        return self.as_good

    def rows(self, point: int) -> list[list[str]]:
        """Stage, threshold, share that runs it and share that it answers, as text."""
        at = self.points.isel(point=point)
        columns = zip(self.stages, at["threshold"].values, at["reach"].values, self.spans(point), strict=True)
        return [
            [
                name,
                show_cut(float(threshold), self.kind, *span),
                share(float(ran)),
                self.band("answered", point, j),
            ]
            if ran > 0.0
            else [name, "not run", "–", "–"]
            for j, (name, threshold, ran, span) in enumerate(columns)
        ]

    def sentence(self, point: int) -> str:
        """What a point sets, and what it brings."""
        at = self.points["threshold"].values[point]
        rules = "; ".join(spelled(self.stages, at, self.kind, self.spans(point)))
        return f"{rules}. Error {self.band('error', point)}, cost {self.band('cost', point)} per 1,000 queries."

    def policy(self, point: int, metadata: dict[str, object]) -> str:
        """The text of a policy file with a point's thresholds."""
        at = self.points["threshold"].isel(point=point)
        run = np.flatnonzero(~np.isnan(at.values))
        stages, thresholds = [self.stages[j] for j in run], [float(at[j]) for j in run]
        return to_json(vars(Policy(stages, thresholds, self.kind, metadata=metadata)))

    def sure(self, point: int) -> str:
        """What the error of a point stays below, with which probability."""
        kept = share(float(self.points["kept"][point]))
        return f"You can be {self.prob:.0%} sure that the error is at most {kept}, safety margin included."

    def figure(
        self, name: str, size: tuple[float, float] = _SIZE, css: str = "", **shown: Any
    ) -> tuple[str, np.ndarray]:
        """The frontier with a marker, and where the marker stands at each point: x, y and the ends of its bars.

        Returns the ``<svg>`` and (point, 6): x, y, left, right, lower and upper end, in its own units. ``shown``
        is what `draw_frontier` shows beside it.
        """
        ends = [("cost_low", "error"), ("cost_high", "error"), ("cost", "error_low"), ("cost", "error_high")]
        parts = [self.points[[x, y]].to_array().values.T for x, y in [("cost", "error"), *ends]]
        first, last = (self.points.isel(point=i) for i in (0, -1))
        svg, places = svg_with_marker(
            lambda ax: draw_frontier(ax, self.points, ci_prob=float(self.points.attrs["ci_prob"]), **shown),
            np.concatenate(parts) * [PER, 1.0],
            name=name,
            label=f"Error against cost along the frontier: from {share(float(first['error']))} at "
            f"{self.money(first)} per 1,000 queries to {share(float(last['error']))} at "
            f"{self.money(last)}, with its interval and a marker at the thresholds that are "
            "chosen; their numbers stand below.",
            size=size,
            css=css,
        )
        middle, left, right, lower, upper = np.split(places, 5)
        return svg, np.column_stack([middle, left[:, 0], right[:, 0], lower[:, 1], upper[:, 1]])


def bars(place: np.ndarray) -> str:
    """A path along both intervals of a marker (x, y, left, right, lower, upper)."""
    x, y, left, right, lower, upper = place
    return f"M{left:.1f} {y:.1f}H{right:.1f}M{x:.1f} {lower:.1f}V{upper:.1f}"


def make_explorer(
    fit: xr.DataTree,
    *,
    ci_prob: float = 0.9,
    prob: float = 0.9,
    own: np.ndarray | None = None,
    as_good: np.ndarray | None = None,
    currency: str | None = None,
) -> Explorer:
    """Work the frontier of a fit out, once, so that a slider only has to look things up.

    Error and cost are the posterior's; error targets have the same safety margin as the promises of `tune`.
    Thresholds of one's own (stage,) join the points, unless one of these is better; their number is the attribute
    ``own`` of the points, -1 without. Between ``as_good`` (stage, end) each of them does as well.
    """
    check_prob("ci_prob", ci_prob)
    check_prob("prob", prob)
    draws = get_draws(fit)
    thresholds, _ = thresholds_of(draws, sweep_subsets(draws, _N_POINTS))
    if own is not None:
        thresholds = np.concatenate([own[None], thresholds])
    curve = xr.DataArray(thresholds, dims=("point", "stage"), coords={"stage": draws.stages})
    plain = evaluate(fit, curve)
    promised = evaluate_with_discrepancy(fit, curve, spread=promise_spread(fit), one_sided=True)
    over = ("chain", "draw")
    tails = tail_probabilities(ci_prob)
    reach = plain["reach"].transpose(..., "stage")
    # what goes on from a stage is what reaches the next one that the point runs, the most that any later one sees
    later = np.maximum.accumulate(reach.values[..., :0:-1], axis=-1)[..., ::-1]
    amounts = {
        "error": plain["error"],
        "cost": plain["cost"],
        "answered": (reach - np.pad(later, [(0, 0)] * (later.ndim - 1) + [(0, 1)])).clip(min=0.0),
    }
    points = xr.Dataset({"threshold": curve, "reach": reach.mean(over)})
    for name, values in amounts.items():
        ends = values.quantile(tails, over)
        points[name] = values.mean(over)
        points[f"{name}_low"], points[f"{name}_high"] = (ends.isel(quantile=i, drop=True) for i in (0, 1))
    points["kept"] = promised["error"].quantile(prob, over, method="inverted_cdf").drop_vars("quantile")
    # without what costs more and errs no less; points that many prices share come more than once
    keep = efficient(points["error"].values, points["cost"].values)
    points = points.isel(point=keep).transpose("point", "stage")
    place = -1 if own is None or 0 not in keep else int(np.argmin(keep))
    attrs = {
        "ci_prob": ci_prob,
        "prob": prob,
        "own": place,
        "confidence_kind": draws.kind,
        "margin": promise_spread(fit),
    }
    attrs["data_hash"] = str(fit.attrs.get("data_hash", ""))
    return Explorer(points.assign_attrs(attrs), prob, currency, as_good)
