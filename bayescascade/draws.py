"""Posterior draws as plain arrays: what the cascade and the tuner see in place of a PyMC model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from bayescascade._tilt import ratios
from bayescascade.calibration import N_ATOMS, Scaling, bent, logit_correct, ramps
from bayescascade.copulas import NUMPY, Family
from bayescascade.errors import CascadeError
from bayescascade.links import Link, read_families
from bayescascade.margins import Margin
from bayescascade.storage import check_fit, restore

# Three-point Gauss-Legendre on [0, 1]: exact for the quintic that a logistic curve is across one segment.
_NODES = np.array([0.5 - np.sqrt(0.15), 0.5, 0.5 + np.sqrt(0.15)])
_WEIGHTS = np.array([5.0, 8.0, 5.0]) / 18.0
_BY_DRAW = (
    *("mass", "tau", "intercept", "slope", "offset", "cost"),
    *("bend", "previous", "latency", "tilt"),
)


@dataclass(frozen=True)
class Draws:
    """Draws of everything that decides error and cost. Chains are laid end to end along ``draw``.

    Attributes
    ----------
    stages : list of str
    kind : str
    families : list of Family, one for each link
    margins, scalings : list, one for each stage
    mass : ndarray (draw, stage, segment)
    tau : ndarray (draw, link)
    intercept, slope, cost : ndarray (draw, stage)
    offset : ndarray (draw, stage, atom)
    chains : ndarray (chain,)
        Labels of the chains, to fold the draws back.
    bend : ndarray (draw, stage, piece), optional
        Log of how much steeper a monotone curve is in each interval.
    previous : ndarray (draw, stage), optional
        Slope of the previous stage's signal; 0 at the first stage.
    latency : ndarray (draw, stage), optional
        Mean latency of a call; NaN at stages where none is known.
    cost_sd, latency_sd : ndarray (stage,), optional
        How much cost and latency of one call vary between the queries of a stage: standard deviations.
    tilt : ndarray (draw, segment), optional
        Density ratio of the mix of queries to the fitted one, by segment of the first stage.
    whole : Draws, optional
        Draws of the cascade that these are a part of; see `restrict`.
    keep : tuple of int
        Which stages of ``whole`` these are, in the order in which they are run; empty without ``whole``.
    """

    stages: list[str]
    kind: str
    families: list[Family]
    margins: list[Margin]
    scalings: list[Scaling]
    mass: np.ndarray
    tau: np.ndarray
    intercept: np.ndarray
    slope: np.ndarray
    offset: np.ndarray
    cost: np.ndarray
    chains: np.ndarray
    bend: np.ndarray | None = None
    previous: np.ndarray | None = None
    latency: np.ndarray | None = None
    cost_sd: np.ndarray | None = None
    latency_sd: np.ndarray | None = None
    tilt: np.ndarray | None = None
    whole: Draws | None = None
    keep: tuple[int, ...] = ()

    @property
    def n(self) -> int:
        """Number of draws."""
        return len(self.tau)

    @property
    def n_segments(self) -> int:
        """Segments of the stage that has most."""
        return self.mass.shape[2]

    def link(self, j: int) -> Link:
        """The copula between stage ``j`` and the next."""
        self._check_adjacent(j)
        return Link(self.families[j], self.tau[:, j])

    def _held(self) -> list[str]:
        return [name for name in _BY_DRAW if getattr(self, name) is not None]

    def take(self, index: np.ndarray | slice) -> Draws:
        """Keep some draws only."""
        held = {name: getattr(self, name)[index] for name in self._held()}
        return replace(self, **held, whole=self.whole and self.whole.take(index))

    def mean(self) -> Draws:
        """One draw with the means of the parameters."""
        means = {name: getattr(self, name).mean(axis=0, keepdims=True) for name in self._held()}
        return replace(self, **means, whole=self.whole and self.whole.mean())

    def thin(self, n: int) -> Draws:
        """At most ``n`` draws, evenly spaced."""
        return self if self.n <= n else self.take(self.spread(n))

    def spread(self, n: int) -> np.ndarray:
        """Numbers of at most ``n`` draws, evenly spaced."""
        return np.linspace(0, self.n - 1, min(n, self.n)).round().astype(int)

    def restrict(self, keep: Sequence[int]) -> Draws:
        """Draws of the cascade that runs only some of the stages, in the order given; all of them give ``self``.

        The copula between two stages that are not neighbours has no family of its own: `cascade.build_kernel`
        composes it from the links between them. `link` refuses such a link.
        """
        keep = tuple(int(j) for j in keep)
        n_stages = len(self.stages)
        if not keep or len(set(keep)) < len(keep) or not set(keep) <= set(range(n_stages)):
            raise ValueError(f"keep={keep} are not distinct stages among the {n_stages} there are")
        if keep == tuple(range(n_stages)):
            return self
        if self.whole is not None:
            return self.whole.restrict([self.keep[j] for j in keep])
        return replace(self.pick(keep), whole=self, keep=keep)

    def pick(self, stages: Sequence[int]) -> Draws:
        """The stages' own arrays, without what lies between them: for neighbours, these are a chain again."""
        index = np.asarray(stages, dtype=int)
        by_stage = set(self._held()) - {"tau", "tilt"}
        held = {name: getattr(self, name)[:, index] for name in by_stage}
        held |= {
            name: value[index] for name in ("cost_sd", "latency_sd") if (value := getattr(self, name)) is not None
        }
        before, adjacent = index[:-1], np.diff(index) == 1
        at = np.where(adjacent, before, 0)
        return replace(
            self,
            **held,
            stages=[self.stages[j] for j in index],
            margins=[self.margins[j] for j in index],
            scalings=[self.scalings[j] for j in index],
            families=[self.families[j] for j in at],
            tau=np.where(adjacent, self.tau[:, at], np.nan),
            tilt=self.tilt if index[0] == 0 else None,
        )

    def _check_adjacent(self, link: int) -> None:
        if self.whole is not None and self.keep[link + 1] != self.keep[link] + 1:
            raise ValueError(
                f"stages {self.stages[link]!r} and {self.stages[link + 1]!r} are not neighbours in the fit, so no "
                "copula of its own joins them; use the pair masses of build_kernel"
            )

    def edges(self) -> np.ndarray:
        """F at the segments' ends (draw, stage, segment + 1)."""
        total = np.cumsum(self.mass, axis=2)
        return np.concatenate([np.zeros_like(total[..., :1]), np.minimum(total / total[..., -1:], 1.0)], axis=2)

    def p_correct(self, stage: int, signal: np.ndarray, previous: np.ndarray | None = None) -> np.ndarray:
        """P(correct | signal) at one stage for signals of any shape (draw, ...).

        ``previous`` holds the previous stage's signals, NaN where that was not run; by default they are at their
        mean. Only a sequential calibration looks at them.
        """
        signal = np.asarray(signal, dtype=float)
        shape = (-1, *(1,) * signal.ndim)
        scaling = self.scalings[stage]
        atom = scaling.which_atom(signal)
        offset: np.ndarray | float = 0.0
        if (atom < N_ATOMS).any():
            offset = np.pad(self.offset[:, stage], ((0, 0), (0, 1)))[:, atom]
        intercept, slope = self.intercept[:, stage].reshape(shape), self.slope[:, stage].reshape(shape)
        curve = scaling.standardise(signal)
        if self.bend is not None:
            bend = self.bend[:, stage].reshape((-1, *(1,) * signal.ndim, self.bend.shape[2]))
            curve = bent(ramps(curve, scaling.knots), bend, NUMPY)
        effect: np.ndarray | float = 0.0
        if self.previous is not None and stage > 0 and previous is not None:
            z = np.nan_to_num(self.scalings[stage - 1].standardise(previous))
            effect = self.previous[:, stage].reshape(shape) * z
        return 1.0 / (1.0 + np.exp(-logit_correct(intercept, slope, offset, curve, effect)))

    def mean_correct(self, stage: int, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Mean of P(correct) over intervals, or at atoms where ``low == high`` (draw, ...)."""
        low, high = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
        nodes = low[..., None] + (high - low)[..., None] * _NODES
        return self.p_correct(stage, nodes) @ _WEIGHTS

    def segment_correct(self) -> np.ndarray:
        """Mean of P(correct) in every segment (draw, stage, segment); 0 in padding."""
        out = np.zeros_like(self.mass)
        for j, margin in enumerate(self.margins):
            out[:, j, : len(margin.low)] = self.mean_correct(j, margin.low, margin.high)
        return out

    def pair_correct(self, link: int) -> np.ndarray:
        """Mean of P(correct) at a link's later stage by both segments (draw, segment before, segment)."""
        self._check_adjacent(link)
        before, here = self.margins[link], self.margins[link + 1]
        nodes = here.low[:, None] + (here.high - here.low)[:, None] * _NODES
        previous = np.broadcast_to(
            (0.5 * (before.low + before.high))[:, None, None], (len(before.low), *nodes.shape)
        )
        p = self.p_correct(link + 1, np.broadcast_to(nodes, previous.shape), previous) @ _WEIGHTS
        return self._padded(p)

    def _padded(self, values: np.ndarray) -> np.ndarray:
        n = self.n_segments
        return np.pad(values, ((0, 0), (0, n - values.shape[1]), (0, n - values.shape[2])))


def get_draws(fit: xr.DataTree) -> Draws:
    """Read a fit's draws into arrays."""
    check_fit(fit)
    refuse_tasks(fit)
    posterior = fit["posterior"].to_dataset()
    constant = fit["constant_data"].to_dataset()
    margins, scalings = restore(constant)

    def flat(values: xr.DataArray, *dims: str) -> np.ndarray:
        array = values.transpose("chain", "draw", *dims).values
        return array.reshape(-1, *array.shape[2:])

    def optional(name: str, *dims: str) -> np.ndarray | None:
        return flat(posterior[name], *dims) if name in posterior else None

    previous = optional("previous_slope", "link")
    mass = flat(fit["margins"].to_dataset()["segment_mass"], "stage", "segment")
    return Draws(
        stages=[str(s) for s in posterior["stage"].values],
        kind=str(fit.attrs["confidence_kind"]),
        families=read_families(fit),
        margins=margins,
        scalings=scalings,
        mass=mass,
        tau=flat(posterior["tau"], "link"),
        intercept=flat(posterior["intercept"], "stage"),
        slope=flat(posterior["slope"], "stage"),
        offset=flat(posterior["atom_offset"], "stage", "atom"),
        cost=flat(posterior["cost"], "stage"),
        chains=posterior["chain"].values,
        bend=optional("bend", "stage", "piece"),
        previous=None if previous is None else np.pad(previous, ((0, 0), (1, 0))),
        latency=optional("latency", "stage"),
        cost_sd=constant["cost_sd"].values if "cost_sd" in constant else None,
        latency_sd=constant["latency_sd"].values if "latency_sd" in constant else None,
        tilt=ratios(mass[:, 0], float(fit.attrs["drift"])) if "drift" in fit.attrs else None,
    )


def refuse_tasks(fit: xr.DataTree) -> None:
    """Raise `CascadeError` for a fit of several tasks, of which one has to be chosen."""
    posterior = fit["posterior"].to_dataset()
    if "task" in posterior.dims:
        names = [str(name) for name in posterior["task"].values]
        raise CascadeError(
            f"this fit has the tasks {names}; choose one first, with select_task(fit, {names[0]!r})."
        )


def stage_numbers(wanted: Sequence[str], stages: list[str]) -> list[int]:
    """Numbers of named stages, or raise `CascadeError`."""
    names = [str(name) for name in wanted]
    unknown = [name for name in names if name not in stages]
    if unknown:
        raise CascadeError(f"there is no stage {unknown[0]!r}; the fit has {', '.join(map(repr, stages))}.")
    if len(set(names)) < max(2, len(names)):
        raise CascadeError(f"stages={names!r} is not a cascade; name two stages or more, each once.")
    return [stages.index(name) for name in names]
