"""What more labels are worth where errors have a price: better thresholds lose less on every query served."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from bayescascade._common.arrays import tail_probabilities
from bayescascade.analysis.evsi import Space, contenders, gains, learn, leave_one_out, make_space, mcse
from bayescascade.analysis.refits import Decisions
from bayescascade.cascade.positions import to_positions
from bayescascade.display.format import CI_PROB
from bayescascade.induction.backward_induction import induce
from bayescascade.induction.free_positions import split_at_atoms
from bayescascade.posterior.draws import Draws
from bayescascade.posterior.kernel import mean_kernel
from bayescascade.tuning.tune import tune

THOUSAND = 1000.0  # queries served, whose worth is told
_N_TUNED = 32  # draws whose own best thresholds are candidates
_STEPS = (1 / 3, 2 / 3, 1.0)  # of the way from the thresholds that are best now to a draw's own


@dataclass(frozen=True)
class ByPrice:
    """The worth of labels where errors have a price: better decisions lose less.

    Attributes
    ----------
    price : float
    decisions : Decisions
        That some draw finds best.
    error, cost : ndarray (draw, decision)
    space : Space
    n_chains : int
    """

    price: float
    decisions: Decisions
    error: np.ndarray
    cost: np.ndarray
    space: Space
    n_chains: int

    @classmethod
    def from_fit(cls, fit: xr.DataTree, draws: Draws, price: float) -> ByPrice:
        decisions = decisions_of(fit, draws, price)
        error, cost = decisions.outcomes(draws)
        keep = contenders(-(error * price + cost))
        decisions, error, cost = decisions.take(keep), error[:, keep], cost[:, keep]
        return cls(price, decisions, error, cost, make_space(-(error * price + cost)), len(draws.chains))

    @property
    def score(self) -> np.ndarray:
        """By which draws are spread that make new queries (draw,)."""
        # without directions no decision can be better: labels are worth nothing, whichever draws they come from
        return self.space.z[:, 0] if self.space.z.shape[1] else np.zeros(len(self.space.z))

    def widths(self) -> list[float]:
        """Widths of today's intervals of error and cost."""
        return [interval_width(x[:, self.space.best]) for x in (self.error, self.cost)]

    def measure(self, draws: Draws) -> tuple[list[float], np.ndarray]:
        """Of a refit: the widths, and the covariance in the directions of the space."""
        error, cost = self.decisions.outcomes(draws)
        widths = [interval_width(x[:, self.space.best]) for x in (error, cost)]
        return widths, self.space.covariance(-(error * self.price + cost))

    def worth(
        self, size: np.ndarray, covariance: np.ndarray, sizes: np.ndarray, *, all_stages: bool
    ) -> dict[str, np.ndarray]:
        """Worth of ``sizes`` (size,) of labels and its Monte Carlo error, of draws and of refits together."""
        del all_stages  # which stages are labelled is known from the refits
        learning = learn(size, covariance)
        better = np.array([gains(self.space, learning, m) for m in sizes])
        spread = leave_one_out(self.space, size, covariance, sizes)
        return {
            "evsi": THOUSAND * better.mean(axis=1),
            "evsi_mcse": THOUSAND * np.hypot(mcse(better, self.n_chains), spread),
        }

    def everything(self) -> float:
        """What it would be worth to know everything, per query."""
        return float((self.space.mean + self.space.z @ self.space.load).max(axis=1).mean())

    def attrs(self) -> dict[str, float]:
        return {"error_price": self.price}


def decisions_of(fit: xr.DataTree, draws: Draws, price: float) -> Decisions:
    """What is compared: the thresholds best now, those that single draws prefer, the way between; stages alone."""
    best = to_positions(tune(fit, error_price=price, stages=draws.stages).thresholds.values, draws)
    best[-1] = 0.0
    some = draws.thin(_N_TUNED)
    own = [induce(mean_kernel(some.take(slice(i, i + 1))), np.array([price]))[0] for i in range(some.n)]
    points = [best[None], *(best + step * (np.array(own) - best) for step in _STEPS)]
    return Decisions(
        np.unique(split_at_atoms(draws, np.concatenate(points)), axis=0), list(range(len(draws.stages)))
    )


def interval_width(values: np.ndarray) -> float:
    """Width of the 90% interval of draws (draw,)."""
    low, high = np.quantile(values, tail_probabilities(CI_PROB))
    return float(high - low)


def describe_price(data: xr.Dataset, evpi: float) -> list[str]:
    """Put the worth of labels into some sentences."""
    first, last = data.isel(labelled=0, n_labels=0), data.isel(labelled=0, n_labels=-1)
    few, many = int(first["n_labels"]), int(last["n_labels"])
    kind = "more" if data.attrs["queries"] == "new" else "of the logged"
    said = "" if few == many else f"; {many} are worth {float(last['evsi']):.3g} ({float(last['evsi_mcse']):.1g})"
    sentences = [
        f"{few} {kind} queries, labelled at {first['labelled'].item()}, are worth {float(first['evsi']):.3g} per "
        f"1,000 queries served (Monte Carlo error {float(first['evsi_mcse']):.1g}){said}, where an error costs "
        f"{data.attrs['error_price']:g}. Knowing everything would be worth {evpi:.3g}.",
        f"With {many} the 90% interval of the error, now {100 * data.attrs['error_width_now']:.1f} points wide, "
        f"would be {100 * float(last['error_width']):.1f} wide in expectation.",
    ]
    alone = data.isel(n_labels=-1, labelled=slice(1, None))
    if alone.sizes["labelled"]:
        at = alone.isel(labelled=int(np.argmax(alone["evsi"].values)))
        sentences.append(
            f"Of labels at a single stage those at {at['labelled'].item()} tell most: {many} are worth "
            f"{float(at['evsi']):.3g} ({float(at['evsi_mcse']):.1g})."
        )
    return sentences
