"""What more labels are worth where the goal is a limit: it can be lower, or kept for less, once more is known.

The expected error lies below a limit that is promised, by a distance for what is not known. Labels make it
shorter, in both of its parts: the posterior's spread, of which refits tell how fast it shrinks (`evsi`), and the
safety margin, whose discrepancy is learned by conjugate normal updates (`cascade.discrepancy`). Labels also show
whether error and discrepancy are above or below what is expected, and each draw says what they may show. So each
draw tells what could then be promised at the points of the frontier, and which of them `tune` would choose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import ndtri

from bayescascade._common.arrays import safe_divide, tail_probabilities
from bayescascade.analysis.evsi import Learning, Space, jackknife, learn, make_space, mcse
from bayescascade.analysis.label_price import THOUSAND, interval_width
from bayescascade.cascade.discrepancy import ModelDiscrepancy, add_discrepancy, noise_of_error
from bayescascade.cascade.evaluate import forward_subsets
from bayescascade.cascade.forward import Outcome
from bayescascade.display.format import CI_PROB, chance, money, share
from bayescascade.induction.price_sweep import Path, sweep_subsets
from bayescascade.posterior.draws import Draws
from bayescascade.tuning.solution import ThresholdSolution
from bayescascade.tuning.spec import TuningSpec

_N_POINTS = 100
_MOST_STATES = 11_000  # draws times nodes of ease, about a second's worth
_SURE = 0.99  # probability from which on it is not worth a sentence
_OUTLOOK = ("limit", "lowest", "cost", "p_kept")


@dataclass(frozen=True)
class Frontier:
    """Rows along the frontier over subsets of the stages, by rising cost, and what is not known of their errors.

    Attributes
    ----------
    paths : list of Path
    order : ndarray (row,)
        Of the paths' rows laid end to end, by rising cost.
    cost, error : ndarray (row,)
        Posterior means.
    variance : ndarray (row,)
        Posterior variance of the error.
    shift, sd : ndarray (row,)
        Mean and standard deviation of the error's discrepancy, before the mean is held at or above 0; 0 where the
        model is believed.
    width : ndarray (row,)
        Distance of the promise from the error's mean and shift, in standard deviations of error and discrepancy.
    space : Space
        Directions of the errors; its first decision has none, so that all others are measured from there.
    """

    paths: list[Path]
    order: np.ndarray
    cost: np.ndarray
    error: np.ndarray
    variance: np.ndarray
    shift: np.ndarray
    sd: np.ndarray
    width: np.ndarray
    space: Space

    @classmethod
    def from_draws(cls, draws: Draws, discrepancy: ModelDiscrepancy | None, prob: float) -> Frontier:
        """The frontier of the posterior mean, with its safety margin as `tune` has it."""
        paths = sweep_subsets(draws, _N_POINTS)
        found = forward_subsets(draws, paths)
        every = Outcome.join(found)
        judged, shift, sd = every.error, np.zeros(every.error.shape[1]), np.zeros(every.error.shape[1])
        if discrepancy is not None:
            parts = [
                _margin(out.error, path.rows, draws.restrict(path.keep), discrepancy)
                for path, out in zip(paths, found, strict=True)
            ]
            judged, shift, sd = (np.concatenate(part, axis=-1) for part in zip(*parts, strict=True))
        error, variance = every.error.mean(axis=0), every.error.var(axis=0)
        far = np.quantile(judged, prob, axis=0) - error - np.maximum(shift, 0.0)
        width = far / np.sqrt(np.maximum(variance + sd**2, 1e-300))
        cost = every.cost.mean(axis=0)
        order = np.argsort(cost, kind="stable")
        space = make_space(_net(every.error[:, order]))
        cost, error, variance, shift, sd, width = (x[order] for x in (cost, error, variance, shift, sd, width))
        return cls(paths, order, cost, error, variance, shift, sd, width, space)

    def outcome(self, draws: Draws) -> Outcome:
        """What the rows come to under other draws, of a refit with the same segments (draw, row)."""
        return Outcome.join(forward_subsets(draws, self.paths)).take(self.order)

    def limits(self, learning: Learning | None, m: float, z: np.ndarray, *, all_stages: bool = True) -> np.ndarray:
        """Limits that each row can be promised after ``m`` labels, for what each draw says they show (draw, row).

        Where ``learning`` is None nothing was labelled, and all draws are alike. ``z`` (draw,) are the standard
        normal numbers of what the labels show of the discrepancy, which they do where all stages are labelled.
        """
        if learning is None:
            now = self.error + np.maximum(self.shift, 0.0) + self.width * np.sqrt(self.variance + self.sd**2)
            return np.broadcast_to(now, (len(z), len(now)))
        factor = learning.basis * np.sqrt(learning.share(m)) @ learning.basis.T
        moved = factor @ self.space.load[:, 1:]  # (direction, row)
        error = self.error - self.space.z @ moved
        left = np.maximum(self.variance - np.sum(moved**2, axis=0), 0.0)
        sd = self.sd
        if all_stages:
            told = noise_of_error(self.error, np.full(len(self.error), m))
            sd = self.sd * told / np.sqrt(told**2 + self.sd**2)
        shift = self.shift + np.sqrt(self.sd**2 - sd**2) * z[:, None]
        return error + np.maximum(shift, 0.0) + self.width * np.sqrt(left + sd**2)

    def outlook(self, limits: np.ndarray, limit: float, cost: float) -> dict[str, np.ndarray]:
        """What could be made of limits that rows can be promised (draw, row), each (draw,).

        ``limit``, the lowest at a cost of ``cost``; ``lowest``, at any cost; ``cost`` of the cheapest row that
        keeps a ``limit``, or comes nearest to it; ``p_kept``, whether one keeps it. Between rows all is linear.
        """
        lowest = np.minimum.accumulate(limits, axis=1)
        kept = lowest[:, -1] <= limit
        first = np.where(kept, np.argmax(lowest <= limit, axis=1), np.argmin(limits, axis=1))
        before, at = np.maximum(first - 1, 0), np.arange(len(limits))
        gap = lowest[at, before] - lowest[at, first]
        back = np.where(kept, safe_divide(limit - lowest[at, first], gap), 0.0)
        spent = self.cost[first] - back * (self.cost[first] - self.cost[before])
        place = np.interp(cost, self.cost, np.arange(len(self.cost)))
        low, high = lowest[:, int(place)], lowest[:, int(np.ceil(place))]
        same = low + (place - int(place)) * (high - low)
        return {"limit": same, "lowest": lowest[:, -1], "cost": spent, "p_kept": kept.astype(float)}


@dataclass(frozen=True)
class ByLimit:
    """The worth of labels where the error has a limit that is promised.

    Attributes
    ----------
    frontier : Frontier
    max_error, prob : float
    solution : ThresholdSolution
        Today's, for this limit.
    limit : float
        ``max_error`` on the frontier's own scale: it is of some draws, all of which would have tuned to this.
    z : ndarray (draw,)
        Standard normal numbers: what labels show of the discrepancy.
    draws : Draws
    """

    frontier: Frontier
    max_error: float
    prob: float
    solution: ThresholdSolution
    limit: float
    z: np.ndarray
    draws: Draws

    @classmethod
    def from_draws(
        cls,
        draws: Draws,
        spec: TuningSpec,
        discrepancy: ModelDiscrepancy | None,
        solution: ThresholdSolution,
        seed: int,
    ) -> ByLimit:
        assert spec.max_error is not None
        frontier = Frontier.from_draws(draws, discrepancy, spec.prob)
        rank = np.random.default_rng([seed, 2]).permutation(draws.n)
        z = ndtri((rank + 0.5) / draws.n)
        here = frontier.outlook(frontier.limits(None, 0, z[:1]), spec.max_error, _mean(solution.cost))
        limit = spec.max_error + float(here["limit"][0]) - solution.upper_bounds["error"]
        return cls(frontier, spec.max_error, spec.prob, solution, limit, z, draws)

    @property
    def score(self) -> np.ndarray:
        """By which draws are spread that make new queries (draw,)."""
        return self.frontier.space.z[:, 0]

    @property
    def row(self) -> int:
        """That of the frontier which costs what today's thresholds do."""
        return int(np.argmin(np.abs(self.frontier.cost - _mean(self.solution.cost))))

    def widths(self) -> list[float]:
        """Widths of today's intervals of error and cost."""
        return self._widths(self.frontier.outcome(self.draws))

    def measure(self, draws: Draws) -> tuple[list[float], np.ndarray]:
        """Of a refit: the widths, and the covariance of errors in the directions of the space."""
        outcome = self.frontier.outcome(draws)
        return self._widths(outcome), self.frontier.space.covariance(_net(outcome.error))

    def _widths(self, outcome: Outcome) -> list[float]:
        return [interval_width(x[:, self.row]) for x in (outcome.error, outcome.cost)]

    def _outlook(self, learning: Learning | None, m: float, *, all_stages: bool = True) -> dict[str, np.ndarray]:
        limits = self.frontier.limits(learning, m, self.z, all_stages=all_stages)
        return self.frontier.outlook(limits, self.limit, _mean(self.solution.cost))

    def now(self) -> dict[str, float]:
        """Today's outlook by the frontier, on its own scale."""
        return {name: float(of[0]) for name, of in self._outlook(None, 0).items()}

    def worth(
        self, size: np.ndarray, covariance: np.ndarray, sizes: np.ndarray, *, all_stages: bool
    ) -> dict[str, np.ndarray]:
        """The outlook after ``sizes`` (size,) of labels, with Monte Carlo errors of draws and refits together."""

        def after(learning: Learning) -> np.ndarray:
            """Outlook (name, size, draw)."""
            each = [self._outlook(learning, m, all_stages=all_stages) for m in sizes]
            return np.array([[one[name] for one in each] for name in _OUTLOOK])

        found = after(learn(size, covariance))
        spread = jackknife(size, covariance, lambda learning: after(learning).mean(axis=2))
        moved = {"limit": self.max_error - self.limit, "lowest": self.lowest_now - self.now()["lowest"]}
        out: dict[str, np.ndarray] = {}
        for name, values, error in zip(_OUTLOOK, found, spread, strict=True):
            scale, offset = THOUSAND if name == "cost" else 1.0, moved.get(name, 0.0)
            out[name] = scale * values.mean(axis=1) + offset
            out[f"{name}_mcse"] = scale * np.hypot(mcse(values, len(self.draws.chains)), error)
            if name != "p_kept":
                ends = np.quantile(values, tail_probabilities(CI_PROB), axis=1)
                out[f"{name}_low"], out[f"{name}_high"] = scale * ends + offset
        saved = THOUSAND * self.now()["cost"] - out["cost"]
        out["evsi"] = saved if self.solution.feasible else np.full(len(sizes), np.nan)
        out["evsi_mcse"] = out["cost_mcse"]
        return out

    @property
    def lowest_now(self) -> float:
        """The lowest limit that can be promised today: as `tune` says it, where the goal made it look."""
        by_frontier = self.now()["lowest"] + self.max_error - self.limit
        return self.solution.lowest_limits.get("error", by_frontier)

    def everything(self) -> float:
        """What keeping the limit would cost less, per query, if all were known; NaN where it is not kept."""
        n = self.frontier.space.load.shape[0]
        known = self._outlook(Learning(np.eye(n), np.ones(n), np.zeros(n)), 1e12)
        return self.now()["cost"] - float(known["cost"].mean()) if self.solution.feasible else float("nan")

    def attrs(self) -> dict[str, Any]:
        now = self.now()
        return {
            "max_error": self.max_error,
            "prob": self.prob,
            "feasible_now": int(self.solution.feasible),
            "limit_now": self.solution.upper_bounds["error"],
            "lowest_now": self.lowest_now,
            "cost_now": THOUSAND * now["cost"],
        }


def some_draws(draws: Draws) -> Draws:
    """So many draws as the frontier's rows are judged by."""
    return draws.thin(_MOST_STATES // draws.n_nodes)


def _mean(values: xr.DataArray) -> float:
    return float(values.mean())


def _margin(
    error: np.ndarray, rows: np.ndarray, draws: Draws, discrepancy: ModelDiscrepancy
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Errors that a promise is judged by (draw, row), and the discrepancy's own mean and deviation (row,)."""
    expected = error.mean(axis=0)
    smoothed = discrepancy.smoothed(expected, rows, draws)
    assert smoothed.smooth_error is not None
    seen = smoothed.seen(rows, draws)[0]
    seen = seen._replace(mean=np.maximum(seen.mean, np.interp(expected, *smoothed.smooth_error)))
    found = add_discrepancy(error, seen, discrepancy.spread, np.random.default_rng(0))[1]
    return smoothed.error(error, rows, draws), found.shift, found.sd


def _net(error: np.ndarray) -> np.ndarray:
    """Net benefits for a `Space` of errors (draw, row): a decision that never errs comes first (draw, 1 + row)."""
    return np.column_stack([np.zeros(len(error)), -error])


def describe_limit(data: xr.Dataset) -> list[str]:
    """Put what labels would do to a promise into some sentences."""
    now, at = data.attrs, data.isel(labelled=0, n_labels=-1)
    value = {str(name): float(of) for name, of in at.data_vars.items()}
    name, today = ("limit", now["limit_now"]) if now["feasible_now"] else ("lowest", now["lowest_now"])
    error, asked = value[f"{name}_mcse"], f"{100.0 * now['max_error']:.4g}%"
    kind = "more queries" if now["queries"] == "new" else "of the logged queries"
    after = f"With {int(at['n_labels'])} {kind}, labelled at {at['labelled'].item()},"
    found = f"{share(value[name])} (Monte Carlo error {100.0 * error:.1g} points)"
    span = f"{share(value[f'{name}_low'])} to {share(value[f'{name}_high'])}"
    if now["feasible_now"]:
        cost = f"{money(value['cost'])} ({value['cost_mcse']:.1g}) per 1,000 queries"
        sentences = [
            f"{after} you could promise an error of at most {found} at today's cost, today {share(today)}.",
            f"Keeping {asked} would cost {cost}, today {money(now['cost_now'])}.",
        ]
        if value["p_kept"] < _SURE:
            sentences[-1] += (
                f" With a probability of {chance(1.0 - value['p_kept'])} the labels would show that no thresholds "
                "keep it; of these the nearest are counted."
            )
    else:
        sentences = [
            f"An error of at most {asked} cannot be promised today; the lowest that can is {share(today)}.",
            f"{after} the lowest would be {found}, and {asked} could be promised with a probability of "
            f"{chance(value['p_kept'])}.",
        ]
    sentences.append(
        f"These are expected values, from {now['n_simulations']} simulated refits: what the labels show may put "
        f"the limit anywhere from {span} (90% interval)."
    )
    if today - value[name] < 2.0 * error:
        sentences.insert(0, "More labels are not expected to help here.")
    return sentences
