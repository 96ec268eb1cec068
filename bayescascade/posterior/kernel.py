"""Segment masses, pair masses, P(correct) and costs under posterior draws: all that a cascade is computed from.

Where queries have a difficulty, signals are a Markov chain given the ease only. So arrays run over *states*: each
draw at each node of ease, the nodes of a draw in turn. Masses are joint ones, of the node and the segment, and
what a cascade expects is a sum over a draw's nodes. Without a difficulty there is one node, and a state is a draw.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from bayescascade._common.arrays import safe_divide
from bayescascade._common.parallel import map_blocks
from bayescascade.model.factor import DECISION_LOG_WEIGHT
from bayescascade.posterior.draws import Draws

# Pair masses are exact to 1e-16: where a segment has less than this, they say nothing of what follows it.
_LEAST_MASS = 1e-14
_FREE = 1e-3  # what a free call counts for, as a share of the least that another costs


def compose(kernel: Kernel, first: int, last: int) -> np.ndarray:
    """Pair masses of stages ``first <= last`` (state, segment of first, segment of last)."""
    if first == last:
        return kernel.mass[:, first, :, None] * np.eye(kernel.mass.shape[2])
    pair = kernel.pair[first]
    for j in range(first + 1, last):
        pair = (pair * kernel.inverse_mass(j)[:, None]) @ kernel.pair[j]
    return pair


def tilted(kernel: Kernel, ratio: np.ndarray) -> Kernel:
    """The kernel after the first stage's masses have changed by ``ratio`` (draw, segment).

    What happens after a signal of the first stage is as before: rows of pair masses are rescaled, and the later
    stages' masses are what then arrives. Margins change and so do the copulas, which is why this is not the same
    as new margins under the old copulas.
    """
    mass = kernel.mass.copy()
    mass[:, 0] *= kernel.by_state(ratio)
    mass[:, 0] /= kernel.by_state(kernel.over_nodes(mass[:, 0].sum(axis=1, keepdims=True)))
    pair = []
    for j, old in enumerate(kernel.pair):
        change = mass[:, j] * kernel.inverse_mass(j)
        pair.append(old * change[:, :, None])
        mass[:, j + 1] = pair[j].sum(axis=1)
    return replace(kernel, mass=mass, pair=pair)


@dataclass(frozen=True)
class Kernel:
    """Segment masses, pair masses, P(correct) and costs of some draws, ready for forward and backward passes.

    Attributes
    ----------
    draws, given : Draws
        The draws, and the same for each state: given the ease.
    mass : ndarray (state, stage, segment)
        P(node, segment). Of a draw's nodes and a stage's segments together they sum to one.
    pair : list of ndarray (state, segment of j, segment of j + 1)
        P(node, segment, next segment).
    correct : ndarray (state, stage, segment)
        P(correct | node, segment).
    cost : ndarray (draw, stage)
    averaged : bool
        Whether ``correct`` is a mean over draws, which is not quite what the mean parameters give.
    """

    draws: Draws
    given: Draws
    mass: np.ndarray
    pair: list[np.ndarray]
    correct: np.ndarray
    cost: np.ndarray
    averaged: bool = False

    @cached_property
    def _inverse_mass(self) -> np.ndarray:
        return safe_divide(1.0, self.mass, where=self.mass > _LEAST_MASS)

    def inverse_mass(self, stage: int) -> np.ndarray:
        """1 / mass, and 0 where there is none (state, segment)."""
        return self._inverse_mass[:, stage]

    def over_nodes(self, values: np.ndarray) -> np.ndarray:
        """Sums over each draw's nodes (draw, ...) of values (state, ...)."""
        n = self.draws.n_nodes
        return values if n == 1 else values.reshape(len(values) // n, n, *values.shape[1:]).sum(axis=1)

    def by_state(self, values: np.ndarray) -> np.ndarray:
        """Values (draw, ...) for each state (state, ...)."""
        n = self.draws.n_nodes
        return values if n == 1 else np.repeat(values, n, axis=0)

    def take(self, index: slice) -> Kernel:
        """The kernel of some draws."""
        n = self.draws.n_nodes
        draws, states = self.draws.take(index), slice(index.start * n, index.stop * n)
        pair = [p[states] for p in self.pair]
        given, mass, correct = self.given.take(states), self.mass[states], self.correct[states]
        return replace(
            self, draws=draws, given=given, mass=mass, pair=pair, correct=correct, cost=self.cost[index]
        )

    def mean(self) -> Kernel:
        """A kernel of one draw with the means over draws; P(correct) is weighted by mass."""

        def mean(x: np.ndarray) -> np.ndarray:
            return x.reshape(-1, self.draws.n_nodes, *x.shape[1:]).mean(axis=0)  # (node, ...)

        return _averaged(
            self.draws,
            mean(self.mass),
            [mean(p) for p in self.pair],
            mean(self.mass * self.correct),
            self.cost.mean(axis=0, keepdims=True),
        )


def _averaged(
    draws: Draws, mass: np.ndarray, pair: list[np.ndarray], right: np.ndarray, cost: np.ndarray
) -> Kernel:
    """The kernel of means over draws, each (node, ...); ``right`` is P(node, segment, correct)."""
    one = draws.mean()
    given, one = one.given_ease(), replace(one, mass=mass.sum(axis=0, keepdims=True))
    correct = safe_divide(right, mass, where=mass > _LEAST_MASS)
    return Kernel(one, given, mass, pair, correct, cost, averaged=True)


def build_kernel(draws: Draws) -> Kernel:
    """Compute every pair mass of the given draws; of a restricted cascade, by way of the stages between."""
    if draws.parent is not None:
        # a tilt is of the first stage, and reaches those kept by way of all between
        first, last = draws.keep[0] if draws.parent.tilt is None else 0, draws.keep[-1]
        between = build_kernel(draws.parent.pick(range(first, last + 1)))
        return _restricted(between, draws, tuple(j - first for j in draws.keep))
    given, weight = draws.given_ease(), node_weights(draws)
    edges, score = given.edges(), given.score
    pair = []
    for j in range(len(draws.stages) - 1):
        scores = None if score is None else (score[:, j], score[:, j + 1])
        pair.append(weight * given.link(j).cell_masses(edges[:, j], edges[:, j + 1], scores))
    kernel = Kernel(draws, given, weight * np.diff(edges, axis=2), pair, given.segment_correct(), draws.cost)
    return kernel if draws.tilt is None else tilted(kernel, draws.tilt)


def node_weights(draws: Draws) -> np.ndarray:
    """P(node) of each state (state, 1, 1)."""
    weight = np.ones(1) if draws.n_nodes == 1 else np.exp(DECISION_LOG_WEIGHT)
    return np.tile(weight, draws.n)[:, None, None]


def stages_alone(draws: Draws) -> np.ndarray:
    """Error of sending every query to one stage only, on the fitted mix of queries (draw, stage)."""

    def error(block: slice) -> np.ndarray:
        some = draws.take(block)
        given = some.given_ease()
        right = node_weights(some)[..., 0] * np.sum(
            np.diff(given.edges(), axis=2) * given.segment_correct(), axis=2
        )
        return 1.0 - right.reshape(some.n, some.n_nodes, -1).sum(axis=1)

    return np.concatenate(map_blocks(error, draws.blocks()))


def restrict_kernel(kernel: Kernel, keep: tuple[int, ...]) -> Kernel:
    """The kernel of the cascade that runs only the stages ``keep``, from that of the whole."""
    draws = kernel.draws.restrict(keep)
    return kernel if draws is kernel.draws else _restricted(kernel, draws, keep)


def _restricted(kernel: Kernel, draws: Draws, keep: tuple[int, ...]) -> Kernel:
    index = list(keep)
    pair = [compose(kernel, a, c) for a, c in pairwise(keep)]
    given, averaged = kernel.given.pick(keep), kernel.averaged
    mass, correct, cost = kernel.mass[:, index], kernel.correct[:, index], kernel.cost[:, index]
    return Kernel(draws, given, mass, pair, correct, cost, averaged)


def build_kernels(draws: Draws) -> list[Kernel] | None:
    """Kernels of all draws, block by block; None where they would take more than 512 MB."""
    if draws.n * draws.n_nodes * (len(draws.stages) - 1) * draws.n_segments**2 * 8 > 512e6:
        return None
    return map_blocks(lambda block: build_kernel(draws.take(block)), draws.blocks())


def mean_kernel(draws: Draws) -> Kernel:
    """One-draw kernel with the posterior means of the masses, block by block."""
    blocks = list(draws.blocks())
    parts = map_blocks(lambda block: build_kernel(draws.take(block)).mean(), blocks)
    share = np.array([block.stop - block.start for block in blocks]) / draws.n

    def mean(values: list[np.ndarray]) -> np.ndarray:
        return np.einsum("b,b...->...", share, np.stack(values))

    return _averaged(
        draws,
        mean([k.mass for k in parts]),
        [mean([k.pair[j] for k in parts]) for j in range(len(draws.stages) - 1)],
        mean([k.mass * k.correct for k in parts]),
        mean([k.cost for k in parts]),
    )


def with_free_calls(kernel: Kernel) -> Kernel:
    """A one-draw kernel in which a call that costs nothing costs next to nothing: fewer calls are better.

    Where all are free each costs 1, and cost is the number of calls.
    """
    paid = kernel.cost[kernel.cost > 0]
    least = _FREE * paid.min() if paid.size else 1.0
    return replace(kernel, cost=np.where(kernel.cost > 0, kernel.cost, least))


def with_latency(kernel: Kernel, latency_price: float | None) -> Kernel:
    """A kernel whose costs hold the price of latency too."""
    latency = kernel.draws.latency
    if latency_price is None or latency is None:
        return kernel
    return replace(kernel, cost=kernel.cost + latency_price * latency)
