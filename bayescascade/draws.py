"""Posterior draws as plain arrays: what the cascade and the tuner see in place of a PyMC model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from bayescascade._curves import history_of
from bayescascade._tilt import ratios
from bayescascade.calibration import N_ATOMS, Scaling, bent, logit_correct, ramps
from bayescascade.copulas import NUMPY, Family
from bayescascade.errors import CascadeError
from bayescascade.links import Link, read_families
from bayescascade.margins import Margin
from bayescascade.signals import KINDS, to_confidence, to_signal
from bayescascade.storage import check_fit, restore

# Three-point Gauss-Legendre on [0, 1]: exact for the quintic that a logistic curve is across one segment.
_NODES = np.array([0.5 - np.sqrt(0.15), 0.5, 0.5 + np.sqrt(0.15)])
_WEIGHTS = np.array([5.0, 8.0, 5.0]) / 18.0
_BY_DRAW = (
    *("which", "mass", "tau", "intercept", "slope", "offset", "cost"),
    *("bend", "previous", "cost_slope", "cost_previous", "latency", "tilt"),
)


@dataclass(frozen=True)
class Draws:
    """Draws of everything that decides error and cost. Chains are laid end to end along ``draw``.

    Attributes
    ----------
    stages : list of str
    kind : str
    families : tuple of Family
    which : ndarray of int (draw, link)
        Which of the families a link has.
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
    cost_slope, cost_previous : ndarray (draw, stage), optional
        Slopes of log cost on the stage's signal and on the previous one.
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
    families: tuple[Family, ...]
    which: np.ndarray
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
    cost_slope: np.ndarray | None = None
    cost_previous: np.ndarray | None = None
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
        return Link(self.families, self.which[:, j], self.tau[:, j])

    def _held(self) -> list[str]:
        return [name for name in _BY_DRAW if getattr(self, name) is not None]

    def take(self, index: np.ndarray | slice) -> Draws:
        """Keep some draws only."""
        held = {name: getattr(self, name)[index] for name in self._held()}
        return replace(self, **held, whole=self.whole and self.whole.take(index))

    def mean(self) -> Draws:
        """One draw with the means of the parameters; the first draw's families."""
        means = {
            name: getattr(self, name)[:1] if name == "which" else getattr(self, name).mean(axis=0, keepdims=True)
            for name in self._held()
        }
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
        by_stage = set(self._held()) - {"which", "tau", "tilt"}
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
            which=self.which[:, at],
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

    def relative_cost(self, stage: int) -> np.ndarray:
        """Factor on the stage's cost by the segments of the stage before and its own (draw, before, segment).

        The first stage has no stage before, so that axis has length one.
        """
        assert self.cost_slope is not None
        assert self.cost_previous is not None
        own = np.exp(self.cost_slope[:, stage, None] * self._middle_z(stage))
        if stage == 0:
            return self._padded(own[:, None], 1)
        self._check_adjacent(stage - 1)
        before = np.exp(self.cost_previous[:, stage, None] * self._middle_z(stage - 1))
        return self._padded(before[:, :, None] * own[:, None])

    def _middle_z(self, stage: int) -> np.ndarray:
        margin = self.margins[stage]
        return self.scalings[stage].standardise(0.5 * (margin.low + margin.high))

    def _padded(self, values: np.ndarray, first: int | None = None) -> np.ndarray:
        before = (first or self.n_segments) - values.shape[1]
        return np.pad(values, ((0, 0), (0, before), (0, self.n_segments - values.shape[2])))


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
    families, which = read_families(fit)
    tau = flat(posterior["tau"], "link")
    mass = flat(fit["margins"].to_dataset()["segment_mass"], "stage", "segment")
    return Draws(
        stages=[str(s) for s in posterior["stage"].values],
        kind=str(fit.attrs["confidence_kind"]),
        families=families,
        which=np.broadcast_to(which, tau.shape),
        margins=margins,
        scalings=scalings,
        mass=mass,
        tau=tau,
        intercept=flat(posterior["intercept"], "stage"),
        slope=flat(posterior["slope"], "stage"),
        offset=flat(posterior["atom_offset"], "stage", "atom"),
        cost=flat(posterior["cost"], "stage"),
        chains=posterior["chain"].values,
        bend=optional("bend", "stage", "piece"),
        previous=None if previous is None else np.pad(previous, ((0, 0), (1, 0))),
        cost_slope=optional("cost_slope", "stage"),
        cost_previous=optional("cost_previous", "stage"),
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


def to_positions(thresholds: np.ndarray, draws: Draws) -> np.ndarray:
    """Turn raw thresholds (..., stage) into positions on the segment axis (..., stage).

    Position 2.5 of a stage means: segments 0 and 1 defer, and so does the lower half of segment 2. An atom is
    accepted by a threshold at or below its value.
    """
    thresholds = np.asarray(thresholds, dtype=float)
    out = np.empty_like(thresholds)
    for j, margin in enumerate(draws.margins):
        raw = thresholds[..., j]
        t = to_signal(raw, draws.kind)
        # confidences beyond the float32 range share a signal with the end of the scale; one that is not the
        # end itself must not accept it
        lowest = to_signal(np.array([-np.inf]), draws.kind)[0] if draws.kind in ("logprob", "p_true") else -np.inf
        t = np.where((t == lowest) & (raw > -np.inf), np.nextafter(t, np.inf), t)
        segment = np.searchsorted(margin.high, t, side="left")
        inside = np.minimum(segment, len(margin.low) - 1)
        width = np.where(margin.is_atom, 1.0, margin.high - margin.low)[inside]
        fraction = np.where(margin.is_atom[inside], 0.0, np.clip((t - margin.low[inside]) / width, 0.0, 1.0))
        position = np.where(segment < len(margin.low), segment + fraction, float(len(margin.low)))
        out[..., j] = np.where(raw == -np.inf, 0.0, np.where(raw == np.inf, float(len(margin.low)), position))
    return out


def cut_of(margin: Margin, position: Any) -> tuple[np.ndarray, np.ndarray]:
    """Segment that each position of a stage falls in, and the fraction of it that is deferred."""
    segment = np.minimum(np.floor(position).astype(int), len(margin.low) - 1)
    return segment, np.clip(position - segment, 0.0, 1.0)


def to_thresholds(positions: np.ndarray, draws: Draws) -> np.ndarray:
    """Undo `to_positions`; 0 gives -inf (accept all) and the end of the axis gives +inf (accept none).

    A position inside an atom is moved to its lower end, so the atom is accepted.
    """
    positions = np.asarray(positions, dtype=float)
    out = np.empty_like(positions)
    for j, margin in enumerate(draws.margins):
        n = len(margin.low)
        segment = np.clip(np.floor(positions[..., j] + 1e-9).astype(int), 0, n - 1)
        fraction = np.clip(positions[..., j] - segment, 0.0, 1.0)
        t = margin.low[segment] + fraction * (margin.high - margin.low)[segment]
        # where an interval starts at an atom's value, a threshold of that value would accept the atom
        before = np.maximum(segment - 1, 0)
        at_atom = (segment > 0) & margin.is_atom[before] & (t <= margin.high[before])
        t = np.where(at_atom, np.nextafter(margin.high[before], np.inf), t)
        raw = to_confidence(t, draws.kind)
        raw = np.where(margin.is_atom[segment], _atom_raw(margin, segment, draws.kind), raw)
        out[..., j] = np.where(
            positions[..., j] <= 0.0, -np.inf, np.where(positions[..., j] >= n - 1e-9, np.inf, raw)
        )
    return out


def _atom_raw(margin: Margin, segment: np.ndarray, kind: str) -> np.ndarray:
    """Raw threshold that accepts an atom: halfway to the value below, where nothing was seen, to be safe from
    rounding."""
    below = np.where(segment > 0, margin.high[np.maximum(segment - 1, 0)], margin.low[segment])
    return to_confidence(0.5 * (below + margin.low[segment]), kind)


def draws_for(draws: Draws, thresholds: Any) -> Draws:
    """The draws of the stages that thresholds name, where these are fewer than the fit's, or in another order."""
    names = stages_named(thresholds, draws.stages)
    return draws if names == draws.stages else draws.restrict([draws.stages.index(name) for name in names])


def stages_named(thresholds: Any, stages: list[str]) -> list[str]:
    """The stages that thresholds name, if these are some of the given ones; else the given ones."""
    names = getattr(thresholds, "stages", None)
    if names is None:
        array = getattr(thresholds, "thresholds", thresholds)
        names = array["stage"].values if isinstance(array, xr.DataArray) and "stage" in array.coords else []
    names = [str(name) for name in names]
    return names if names and set(names) <= set(stages) else stages


def to_rows_of(thresholds: Any, draws: Draws) -> np.ndarray:
    """Rows of positions, as `cascade.forward` takes them, of whatever `check_thresholds` takes."""
    rows = to_positions(check_thresholds(thresholds, draws.stages, draws.kind), draws)
    reject = getattr(thresholds, "reject", None)
    if reject is None:
        return rows
    below = to_positions(np.atleast_2d(np.asarray(reject, dtype=float)), draws)
    return np.concatenate([rows, below], axis=1)


def is_one_point(thresholds: Any) -> bool:
    """Whether thresholds, in any form that `check_thresholds` takes, are of a single point (stage,)."""
    return np.ndim(getattr(thresholds, "thresholds", thresholds)) == 1


def check_thresholds(thresholds: Any, stages: list[str], kind: str) -> np.ndarray:
    """Return thresholds as an array (point, stage), or raise `CascadeError`.

    Anything with ``thresholds`` of its own, a `ThresholdSolution` or a `Policy`, stands for these. They have to be
    on the scale of confidences: those that decide by history go through `scoring.read_rules`.
    """
    if history_of(thresholds, len(stages)) is not None:
        raise CascadeError(
            "these thresholds are on P(correct) by history, which cannot be used here; tune without "
            "policy='history', or apply them with evaluate, score or a policy."
        )
    thresholds = getattr(thresholds, "thresholds", thresholds)
    if isinstance(thresholds, xr.DataArray):
        if "stage" in thresholds.coords:
            names = [str(s) for s in thresholds["stage"].values]
            if names != list(stages):
                raise CascadeError(f"the thresholds are for stages {names}, but this cascade has {list(stages)}.")
        thresholds = thresholds.transpose(..., "stage").values if "stage" in thresholds.dims else thresholds.values
    try:
        array = np.asarray(thresholds, dtype=float)
    except (TypeError, ValueError):
        raise CascadeError(
            f"thresholds came as {type(thresholds).__name__}; give numbers over (stage,) or (point, stage), "
            "a solution of tune, or a policy."
        ) from None
    if array.ndim not in (1, 2) or array.shape[-1] != len(stages):
        raise CascadeError(
            f"thresholds have shape {array.shape}; give one for each of the {len(stages)} stages {list(stages)}, "
            "as (stage,) or (point, stage), the last one -inf."
        )
    if np.isnan(array).any():
        raise CascadeError("thresholds contain NaN; use -inf to accept everything and +inf to accept nothing.")
    if not np.all(array[..., -1] == -np.inf):
        raise CascadeError(
            f"the last stage's threshold is {array[..., -1].ravel()[0]}, but the last stage answers whatever "
            "reaches it: give -inf."
        )
    low, high = KINDS[kind].lower, KINDS[kind].upper
    # as much over the end as read_log forgives a confidence
    off = np.isfinite(array) & ((array < low - 1e-6) | (array > high + 1e-6))
    if off.any():
        raise CascadeError(
            f"a threshold is {array[off][0]:g}, but a confidence of kind {kind!r} lies between {low:g} and "
            f"{high:g}; give thresholds on that scale, or -inf to accept everything and inf to accept nothing."
        )
    return np.atleast_2d(array)
