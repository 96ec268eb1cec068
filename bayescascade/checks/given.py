"""What the model expects of a stage given the signals of the stages before it, of the same queries.

A log whose later stages ran only after a deferral selects queries by exactly those signals, so what is replicated
given them is comparable with what was observed, where replicates of whole queries would not be. Of a Markov chain
the stage before tells all; where queries have a difficulty, all earlier signals tell of the ease, and the stage
before tells more, given the ease. One walk along the stages serves both: a Markov chain has a single node of ease.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bayescascade.model.copulas.gaussian import normal_cdf, normal_score
from bayescascade.model.copulas.namespace import NUMPY
from bayescascade.model.factor import EASE, LOG_WEIGHT, conditional_score, rank_of_conditional
from bayescascade.posterior.draws import Draws

_MOST = 500_000  # draws times queries that are walked along at once
_TINY = 1e-300


class Ends(NamedTuple):
    """Ranks below and up to signals (draw, query): the same but at atoms, and 0 and 1 where nothing was seen."""

    low: np.ndarray
    high: np.ndarray

    @property
    def lumped(self) -> np.ndarray:
        """Whether a signal tells an interval of ranks, at an atom or where it was not seen (query,)."""
        return (self.high > self.low).any(axis=0)

    @property
    def seen(self) -> np.ndarray:
        """Whether a signal was seen (query,)."""
        return ((self.low > 0.0) | (self.high < 1.0)).any(axis=0)


@dataclass(frozen=True)
class Earlier:
    """What the signals of the first stages say of queries.

    Attributes
    ----------
    draws : Draws
    stage : int
        The stage that comes next.
    last : list of Ends
        Ranks of the last of the signals given the ease, at each node.
    weight : ndarray (node, draw, query)
        P(node | signals).
    """

    draws: Draws
    stage: int
    last: list[Ends]
    weight: np.ndarray

    def cdf(self, level: np.ndarray) -> np.ndarray:
        """P(F of the next stage's signal <= level | earlier signals), (draw, query)."""
        loading = self.draws.loading
        if loading is None:
            out = given_neighbour(self.draws, self.stage - 1, self.last[0], level)
            return np.clip(out, 0.0, 1.0)
        out, score = np.zeros_like(self.weight[0]), normal_score(level, NUMPY)
        for share, last, ease in zip(self.weight, self.last, EASE, strict=True):
            rank = normal_cdf(conditional_score(score, ease, loading[:, self.stage, None]), NUMPY)
            out += share * given_neighbour(self.draws, self.stage - 1, last, rank)
        return np.clip(out, 0.0, 1.0)

    def replicate(self, rng: np.random.Generator) -> np.ndarray:
        """Draw the next stage's signal given the earlier ones (draw, query)."""
        shape, node = self.weight[0].shape, self._node(rng)
        low, high = (np.choose(node, [ends[i] for ends in self.last]) for i in (0, 1))
        v = np.clip(randomise(low, high, rng), 1e-15, 1.0 - 1e-15)
        u = self.draws.link(self.stage - 1).hinv1(rng.uniform(size=shape), v)
        if self.draws.loading is not None:
            u = rank_of_conditional(u, EASE[node], self.draws.loading[:, self.stage, None])
        return self.draws.quantile(self.stage, u)

    def ease(self, rng: np.random.Generator) -> np.ndarray | None:
        """Draw how easy queries are, given their signals (draw, query); None where they have no difficulty."""
        return None if self.draws.loading is None else EASE[self._node(rng)]

    def _node(self, rng: np.random.Generator) -> np.ndarray:
        above = rng.uniform(size=self.weight[0].shape) > np.cumsum(self.weight, axis=0)
        return np.minimum(above.sum(axis=0), len(self.weight) - 1)


def given_earlier(draws: Draws, signal: np.ndarray) -> Earlier:
    """Look at the signals of the first stages (query, stage); NaN where a stage was not run."""
    loadings, n_nodes = draws.loading, 1 if draws.loading is None else len(EASE)
    nothing = np.zeros((draws.n, len(signal)))
    log_weight = np.stack([nothing + (LOG_WEIGHT[i] if n_nodes > 1 else 0.0) for i in range(n_nodes)])
    last = [Ends(nothing, nothing + 1.0)] * n_nodes
    for j, x in enumerate(signal.T):
        seen = np.isfinite(x)
        low, high = draws.cdf(j, np.where(seen, x, 0.0))
        ends = Ends(np.where(seen, low, 0.0), np.where(seen, high, 1.0))
        if loadings is None:
            last = [ends]
            continue
        scores, lumped = [normal_score(level, NUMPY) for level in ends], ends.lumped
        for i in range(n_nodes):
            loading = loadings[:, j, None]
            rank = normal_cdf(conditional_score(scores[0], EASE[i], loading), NUMPY)
            here = Ends(rank, rank.copy())  # the same, but at atoms
            above = conditional_score(scores[1][:, lumped], EASE[i], loading)
            here.high[:, lumped] = normal_cdf(above, NUMPY)
            log_weight[i] += _log_chance(draws, j, last[i], here)
            last[i] = here
    weight = np.exp(log_weight - log_weight.max(axis=0))
    return Earlier(draws, signal.shape[1], last, weight / weight.sum(axis=0))


def p_correct_given(draws: Draws, stage: int, signal: np.ndarray) -> np.ndarray:
    """P(correct at a stage | its signal and those before), of signals (query, stage): (draw, query)."""
    if draws.loading is None:
        return draws.p_correct(stage, signal[:, stage])
    parts = []
    for some in np.array_split(signal[:, : stage + 1], 1 + draws.n * len(signal) // _MOST):
        weight = given_earlier(draws, some).weight
        at = zip(weight, EASE, strict=True)
        parts.append(sum(share * draws.p_correct(stage, some[:, stage], ease) for share, ease in at))
    return np.concatenate(parts, axis=1)


def given_neighbour(draws: Draws, link: int, last: Ends, level: np.ndarray) -> np.ndarray:
    """P(V <= level | U lies in (low, high], or equals both), (draw, query), of conditional ranks of a link."""
    copula, out = draws.link(link), np.array(level)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        free = ~last.lumped
        if free.any():
            out[:, free] = copula.hfunc1(last.low[:, free], out[:, free])
        tied = last.lumped & last.seen
        if tied.any():
            low, high, level = last.low[:, tied], last.high[:, tied], out[:, tied]
            mass = copula.cdf(high, level) - copula.cdf(low, level)
            out[:, tied] = mass / np.maximum(high - low, _TINY)
    return np.clip(out, 0.0, 1.0)


def randomise(low: np.ndarray, high: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A uniform point of each interval."""
    return low + (high - low) * rng.uniform(size=low.shape)


def _log_chance(draws: Draws, stage: int, last: Ends, here: Ends) -> np.ndarray:
    """Log of P(a signal | the one before, ease) but for what is the same at every node (draw, query)."""
    low, high = here
    # the score of the rounded rank, which is also what the link's density sees
    out = np.where(here.lumped, np.log(np.maximum(high - low, _TINY)), -0.5 * normal_score(low, NUMPY) ** 2)
    tied = last.seen & here.seen  # else the link says nothing
    if stage == 0 or not tied.any():
        return out
    density, copula, free = np.ones_like(out), draws.link(stage - 1), tied & ~here.lumped
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        if (of := free & ~last.lumped).any():
            density[:, of] = copula.pdf(last.low[:, of], low[:, of])
        if (of := free & last.lumped).any():
            # every family is exchangeable, so that either side may be given
            ends = [copula.hfunc1(low[:, of], end[:, of]) for end in last]
            density[:, of] = (ends[1] - ends[0]) / np.maximum(last.high - last.low, _TINY)[:, of]
    if (of := tied & here.lumped).any():
        before = Ends(*(end[:, of] for end in last))
        ends = [given_neighbour(draws, stage - 1, before, end[:, of]) for end in here]
        density[:, of] = (ends[1] - ends[0]) / np.maximum(high - low, _TINY)[:, of]
    return out + np.log(np.maximum(np.nan_to_num(density), _TINY))
