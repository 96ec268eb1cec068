"""Posterior draws as plain arrays: what the cascade and the tuner see in place of a PyMC model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import expit, softmax

from bayescascade._common.parallel import cut
from bayescascade.errors import CascadeError, bad_value, option
from bayescascade.model.calibration import N_ATOMS, Calibration, Scaling, get_calibration
from bayescascade.model.copulas.family import Family
from bayescascade.model.copulas.gaussian import normal_cdf, normal_score
from bayescascade.model.copulas.link import Link
from bayescascade.model.copulas.namespace import NUMPY
from bayescascade.model.factor import DECISION_EASE, EASE, LOG_WEIGHT, conditional_rank, conditional_score
from bayescascade.model.margins.segments import Margin
from bayescascade.posterior.schema import margins_and_scalings, read_families, require
from bayescascade.posterior.tilt import density_ratios

# Three-point Gauss-Legendre on [0, 1]: exact for the quintic that a logistic curve is across one segment.
_NODES = np.array([0.5 - np.sqrt(0.15), 0.5, 0.5 + np.sqrt(0.15)])
_WEIGHTS = np.array([5.0, 8.0, 5.0]) / 18.0
# Most draws times nodes of one block, and memory of its pair masses.
_MOST_STATES, _BLOCK_BYTES = 1024, 2**25
_LEAST_WIDTH = 1e-14  # of ranks, which are exact to 1e-16
_BY_DRAW = ("mass", "score", "tau", "cost", "loading", "discrimination", "unanswerable", "latency", "tilt")


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
    cost : ndarray (draw, stage)
    calibration : Calibration
        What to make of ``curve``.
    curve : dict of str to ndarray (draw, stage, ...)
        The calibration's variables by name.
    chains : ndarray (chain,)
        Labels of the chains, to fold the draws back.
    loading, discrimination : ndarray (draw, stage), optional
        How much a query's ease raises the stage's signals and the log odds of its answers; None where queries
        have no difficulty. See `bayescascade.model.factor`.
    unanswerable : ndarray (draw, 1), optional
        Share of queries that every stage gets wrong, whatever its confidence; None where it is not modelled, and
        in draws given that a query can be answered.
    latency : ndarray (draw, stage), optional
        Mean latency of a call; NaN at stages where none is known.
    cost_sd, latency_sd : ndarray (stage,), optional
        How much cost and latency of one call vary between the queries of a stage: standard deviations.
    score : ndarray (draw, stage, segment + 1), optional
        Normal scores of the segments' ends, where they are at hand: in draws given the ease.
    tilt : ndarray (draw, segment), optional
        Density ratio of the mix of queries to the fitted one, by segment of the first stage.
    parent : Draws, optional
        Draws of the cascade that these are a part of; see `restrict`.
    keep : tuple of int
        Which stages of ``parent`` these are, in rising order; empty without ``parent``.
    """

    stages: list[str]
    kind: str
    families: list[Family]
    margins: list[Margin]
    scalings: list[Scaling]
    mass: np.ndarray
    tau: np.ndarray
    cost: np.ndarray
    calibration: Calibration
    curve: dict[str, np.ndarray]
    chains: np.ndarray
    loading: np.ndarray | None = None
    discrimination: np.ndarray | None = None
    unanswerable: np.ndarray | None = None
    latency: np.ndarray | None = None
    cost_sd: np.ndarray | None = None
    latency_sd: np.ndarray | None = None
    score: np.ndarray | None = None
    tilt: np.ndarray | None = None
    parent: Draws | None = None
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
        if self.parent is not None and self.keep[j + 1] != self.keep[j] + 1:
            raise ValueError(
                f"stages {self.stages[j]!r} and {self.stages[j + 1]!r} are not neighbours in the fit, so no "
                "copula of its own joins them; use the pair masses of build_kernel"
            )
        return Link(self.families[j], self.tau[:, j])

    def _mapped(self, each: Callable[[np.ndarray], np.ndarray], without: tuple[str, ...] = ()) -> Draws:
        """Draws with every array over draws replaced, but for some."""
        held = {name: getattr(self, name) for name in _BY_DRAW if name not in without}
        held = {name: each(value) for name, value in held.items() if value is not None}
        return replace(self, **held, curve={name: each(value) for name, value in self.curve.items()})

    @property
    def n_nodes(self) -> int:
        """Nodes of ease that expectations are sums over: one where queries have no difficulty."""
        return 1 if self.loading is None else len(DECISION_EASE)

    def given_ease(self) -> Draws:
        """The draws given that all queries have the ease of a node, each node in turn (draw x node).

        Given the ease, signals are a Markov chain with the conditional ranks' links, and the ease is part of the
        calibration's intercept: these draws have no difficulty. See `bayescascade.model.factor`.
        """
        if self.loading is None or self.discrimination is None:
            return self
        ease, n = DECISION_EASE[:, None, None], self.n_nodes
        # the scores that a rank needs are those of the draw, whatever the node
        score = conditional_score(normal_score(self.edges(), NUMPY)[:, None], ease, self.loading[:, None, :, None])
        score = score.reshape(-1, *score.shape[2:])
        given = self._mapped(lambda x: np.repeat(x, n, axis=0))
        discrimination = np.repeat(self.discrimination, n, axis=0)
        return replace(
            given,
            mass=np.diff(normal_cdf(score, NUMPY), axis=2),
            score=score,
            curve=given.curve
            | {"intercept": given.curve["intercept"] + discrimination * np.tile(DECISION_EASE, self.n)[:, None]},
            loading=None,
            discrimination=None,
        )

    def part_given_ease(self, stage: int, segment: np.ndarray, fraction: np.ndarray) -> np.ndarray:
        """Share of segments (cut,) below fractions of them, given the ease of each node (draw x node, cut)."""
        assert self.loading is not None
        edge = self.edges()[:, stage]
        low, high = edge[:, segment], edge[:, segment + 1]
        u = np.stack([low, low + fraction * (high - low), high])[:, :, None]
        rank = conditional_rank(u, DECISION_EASE[:, None], self.loading[:, stage, None, None])
        low, at, high = rank.reshape(3, -1, len(segment))
        # where next to nothing of a segment has this ease, its ranks are told apart by rounding only
        whole = np.maximum(high - low, _LEAST_WIDTH)
        return np.where(high - low > _LEAST_WIDTH, np.clip((at - low) / whole, 0.0, 1.0), fraction)

    def blocks(self) -> Iterator[slice]:
        """Slices of draws: enough for a block that arrays and not Python take the time, in bounded memory."""
        links = max(1, len((self.parent or self).stages) - 1)
        states = min(_MOST_STATES, _BLOCK_BYTES // (8 * links * self.n_segments**2))
        return cut(self.n, max(1, states // self.n_nodes))

    def take(self, index: np.ndarray | slice) -> Draws:
        """Keep some draws only."""
        return replace(self._mapped(lambda x: x[index]), parent=self.parent and self.parent.take(index))

    def untilted(self) -> Draws:
        """The same draws on the fitted mix of queries."""
        return replace(self, tilt=None, parent=self.parent and replace(self.parent, tilt=None))

    def mean(self) -> Draws:
        """One draw with the means of the parameters."""
        means = self._mapped(lambda x: x.mean(axis=0, keepdims=True))
        return replace(means, parent=self.parent and self.parent.mean())

    def thin(self, n: int) -> Draws:
        """At most ``n`` draws, evenly spaced."""
        return self if self.n <= n else self.take(self.spread(n))

    def spread(self, n: int) -> np.ndarray:
        """Numbers of at most ``n`` draws, evenly spaced."""
        return np.linspace(0, self.n - 1, min(n, self.n)).round().astype(int)

    def restrict(self, keep: Sequence[int]) -> Draws:
        """Draws of the cascade that runs only some of the stages, in their order; all of them give ``self``.

        Raises `CascadeError` for another order, in which the signals are no Markov chain. The copula between two
        stages that are not neighbours has no family of its own: `build_kernel` composes it from the links between
        them. `link` refuses such a link.
        """
        keep = tuple(int(j) for j in keep)
        n_stages = len(self.stages)
        if not keep or len(set(keep)) < len(keep) or not set(keep) <= set(range(n_stages)):
            raise ValueError(f"keep={keep} are not distinct stages among the {n_stages} there are")
        if list(keep) != sorted(keep):
            raise _another_order([self.stages[j] for j in keep], self.stages)
        if len(keep) == n_stages:
            return self
        if self.parent is not None:
            return self.parent.restrict([self.keep[j] for j in keep])
        return replace(self.pick(keep), parent=self, keep=keep)

    def pick(self, stages: Sequence[int]) -> Draws:
        """The stages' own arrays, without what lies between them: for neighbours, these are a chain again."""
        index = np.asarray(stages, dtype=int)
        held = {
            name: value[index] for name in ("cost_sd", "latency_sd") if (value := getattr(self, name)) is not None
        }
        before, adjacent = index[:-1], np.diff(index) == 1
        at = np.where(adjacent, before, 0)
        return replace(
            self._mapped(lambda x: x[:, index], without=("tau", "unanswerable", "tilt")),
            **held,
            stages=[self.stages[j] for j in index],
            margins=[self.margins[j] for j in index],
            scalings=[self.scalings[j] for j in index],
            families=[self.families[j] for j in at],
            tau=np.where(adjacent, self.tau[:, at], np.nan),
            tilt=self.tilt if index[0] == 0 else None,
        )

    def edges(self) -> np.ndarray:
        """F at the segments' ends (draw, stage, segment + 1)."""
        total = np.cumsum(self.mass, axis=2)
        return np.concatenate([np.zeros_like(total[..., :1]), np.minimum(total / total[..., -1:], 1.0)], axis=2)

    def cdf(self, stage: int, signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """P(X < signal) and P(X <= signal) at one stage, (draw, query) each; they differ at atoms only."""
        margin = self.margins[stage]
        segment = margin.segment_of(signal)
        width = np.where(margin.is_atom, 1.0, margin.high - margin.low)[segment]
        inside = np.clip((signal - margin.low[segment]) / width, 0.0, 1.0)
        edges = self.edges()[:, stage]
        below, above = edges[:, segment], edges[:, segment + 1]
        low = below + inside * (above - below)
        return low, np.where(margin.is_atom[segment], above, low)

    def quantile(self, stage: int, level: np.ndarray) -> np.ndarray:
        """Signals of one stage at levels of F (draw, query); each row of levels belongs to one draw."""
        margin = self.margins[stage]
        edges = self.edges()[:, stage, : len(margin.low) + 1]
        out = np.empty_like(level)
        for i, (edge, u) in enumerate(zip(edges, level, strict=True)):
            segment = np.clip(np.searchsorted(edge, u, side="right") - 1, 0, len(margin.low) - 1)
            width = np.maximum(np.diff(edge), 1e-300)[segment]
            inside = np.clip((u - edge[segment]) / width, 0.0, 1.0)
            out[i] = margin.low[segment] + inside * (margin.high - margin.low)[segment]
        return out

    def p_correct(self, stage: int, signal: np.ndarray, ease: np.ndarray | float | None = None) -> np.ndarray:
        """P(correct | signal) at one stage for signals of any shape (draw, ...).

        ``ease`` (draw, ...) is how easy the queries are, where they have a difficulty; by default P(correct) is
        averaged over the ease of queries with that signal, and always over whether they can be answered.
        """
        signal = np.asarray(signal, dtype=float)
        values: dict[str, Any] = {
            name: value[:, stage].reshape((-1, *(1,) * signal.ndim, *value.shape[2:]))
            for name, value in self.curve.items()
        }
        atom = self.scalings[stage].which_atom(signal)
        values["atom_offset"] = 0.0
        if (atom < N_ATOMS).any():
            values["atom_offset"] = np.pad(self.curve["atom_offset"][:, stage], ((0, 0), (0, 1)))[:, atom]
        logit = self.calibration.logit(values, self.inputs(stage, signal), NUMPY)
        one = (-1, *(1,) * signal.ndim)
        answerable = 1.0 if self.unanswerable is None else 1.0 - self.unanswerable.reshape(one)
        if self.discrimination is None:
            return answerable * expit(logit)
        discrimination = self.discrimination[:, stage].reshape(one)
        if ease is not None:
            return answerable * expit(logit + discrimination * ease)
        right: Any = 0.0
        for node, share in zip(EASE, self._ease_given(stage, signal), strict=True):
            right = right + share * expit(logit + discrimination * node)
        return answerable * right

    def draw_answerable(self, n: int, rng: np.random.Generator) -> tuple[Draws, np.ndarray]:
        """These draws given that a query can be answered, and which of ``n`` queries can be (draw, n)."""
        if self.unanswerable is None:
            return self, np.ones((self.n, n), dtype=bool)
        return replace(self, unanswerable=None), rng.uniform(size=(self.n, n)) >= self.unanswerable

    def _ease_given(self, stage: int, signal: np.ndarray) -> np.ndarray:
        """P(node | signal at one stage) for signals (...) that have a difficulty (node, draw, ...)."""
        assert self.loading is not None
        low, high = self.cdf(stage, signal.reshape(-1))
        loading = self.loading[:, stage, None]
        z, scale = normal_score(low, NUMPY), np.sqrt((1.0 - loading) * (1.0 + loading))
        log_weight = np.empty((len(EASE), *low.shape))
        for i, (node, log_share) in enumerate(zip(EASE, LOG_WEIGHT, strict=True)):
            # an atom tells an interval of ranks, any other signal one rank
            inside = conditional_rank(high, node, loading) - conditional_rank(low, node, loading)
            here = -0.5 * ((z - loading * node) / scale) ** 2
            log_weight[i] = log_share + np.where(high > low, np.log(np.maximum(inside, 1e-300)), here)
        # at the end of a margin the score is far out: only quotients of the weights are numbers
        weight = softmax(log_weight, axis=0)
        return weight.reshape(*weight.shape[:2], *signal.shape)

    def inputs(self, stage: int, signal: np.ndarray) -> dict[str, np.ndarray]:
        """What the calibration reads of signals at one stage (...) or (..., piece)."""
        return self.calibration.inputs(self.scalings[stage].standardise(signal), self.scalings[stage])

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


def get_draws(fit: xr.DataTree) -> Draws:
    """Read the draws of a fit of one task into arrays."""
    require(fit)
    posterior = fit["posterior"].to_dataset()
    constant = fit["constant_data"].to_dataset()
    margins, scalings = margins_and_scalings(constant)
    if len(margins) != posterior.sizes["stage"]:
        raise CascadeError(
            f"this fit has {posterior.sizes['stage']} stages in its posterior and {len(margins)} in its constant "
            "data; it was changed after it was made, so fit its log again."
        )

    def flat(values: xr.DataArray, *dims: str) -> np.ndarray:
        array = values.transpose("chain", "draw", *dims).values
        return array.reshape(-1, *array.shape[2:])

    calibration = get_calibration(str(fit.attrs["calibration"]))
    mass = flat(fit["margins"].to_dataset()["segment_mass"], "stage", "segment")
    return Draws(
        stages=[str(s) for s in posterior["stage"].values],
        kind=str(fit.attrs["confidence_kind"]),
        families=read_families(fit),
        margins=margins,
        scalings=scalings,
        mass=mass,
        tau=flat(posterior["tau"], "link"),
        cost=flat(posterior["cost"], "stage"),
        calibration=calibration,
        curve={name: flat(posterior[name], *dims) for name, dims in calibration.variables.items()},
        chains=posterior["chain"].values,
        loading=flat(posterior["loading"], "stage") if "loading" in posterior else None,
        discrimination=flat(posterior["discrimination"], "stage") if "discrimination" in posterior else None,
        unanswerable=flat(posterior["unanswerable"])[:, None] if "unanswerable" in posterior else None,
        latency=flat(posterior["latency"], "stage") if "latency" in posterior else None,
        cost_sd=constant["cost_sd"].values if "cost_sd" in constant else None,
        latency_sd=constant["latency_sd"].values if "latency_sd" in constant else None,
        tilt=density_ratios(mass[:, 0], float(fit.attrs["drift"])) if "drift" in fit.attrs else None,
    )


def _another_order(came: list[str], stages: list[str]) -> CascadeError:
    return CascadeError(
        f"the stages came in the order {', '.join(map(repr, came))}, but the fit's log has them in the order "
        f"{', '.join(map(repr, stages))}; give them in the log's order, or fit a log that is read with "
        + option("stages", came)
        + ".",
        parameter="stages",
        value=came,
    )


def stage_numbers(wanted: Sequence[str], stages: list[str]) -> list[int]:
    """Numbers of named stages, or raise `CascadeError`."""
    names = [str(name) for name in wanted]
    unknown = [name for name in names if name not in stages]
    if unknown:
        raise CascadeError(f"there is no stage {unknown[0]!r}; the fit has {', '.join(map(repr, stages))}.")
    if not names or len(set(names)) < len(names):
        raise bad_value("stages", names, "name one stage or more, each once", "is not a cascade")
    return [stages.index(name) for name in names]
