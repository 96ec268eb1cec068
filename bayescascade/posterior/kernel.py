"""Segment masses, pair masses, P(correct) and costs under posterior draws: all that a cascade is computed from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from bayescascade._common.arrays import safe_divide
from bayescascade._common.parallel import cut, map_blocks
from bayescascade.model.copulas.link import Link
from bayescascade.posterior.draws import Draws, refuse_difficulty


def compose(kernel: Kernel, first: int, last: int) -> np.ndarray:
    """Pair masses of stages ``first <= last`` (draw, segment of first, segment of last)."""
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
    mass[:, 0] *= ratio
    mass[:, 0] /= mass[:, 0].sum(axis=1, keepdims=True)
    pair = []
    for j, old in enumerate(kernel.pair):
        change = mass[:, j] * kernel.inverse_mass(j)
        pair.append(old * change[:, :, None])
        mass[:, j + 1] = pair[j].sum(axis=1)
    return replace(kernel, mass=mass, pair=pair)


@dataclass(frozen=True)
class Kernel:
    """Segment masses, pair masses, P(correct) and costs of some draws, ready for forward and backward passes.

    ``pair[j]`` is (draw, segment of j, segment of j + 1); ``mass`` and ``correct`` are (draw, stage, segment),
    ``cost`` is (draw, stage), all over all queries. ``averaged`` says that ``correct`` is a mean over draws, which
    is not quite what the mean parameters give.
    """

    draws: Draws
    mass: np.ndarray
    pair: list[np.ndarray]
    correct: np.ndarray
    cost: np.ndarray
    averaged: bool = False

    @cached_property
    def _inverse_mass(self) -> np.ndarray:
        return safe_divide(1.0, self.mass)

    def inverse_mass(self, stage: int) -> np.ndarray:
        """1 / mass, and 0 where there is none (draw, segment)."""
        return self._inverse_mass[:, stage]

    def mean(self) -> Kernel:
        """A kernel of one draw with the means over draws; P(correct) is weighted by mass."""

        def mean(x: np.ndarray) -> np.ndarray:
            return x.mean(axis=0, keepdims=True)

        mass = mean(self.mass)
        return Kernel(
            replace(self.draws.mean(), mass=mass),
            mass,
            [mean(p) for p in self.pair],
            safe_divide(mean(self.mass * self.correct), mass),
            mean(self.cost),
            averaged=True,
        )


def build_kernel(draws: Draws) -> Kernel:
    """Compute every pair mass of the given draws; of a restricted cascade, by way of the stages between."""
    refuse_difficulty(draws)
    if draws.parent is not None:
        # a tilt is of the first stage, and reaches those kept by way of all between
        first, last = draws.keep[0] if draws.parent.tilt is None else 0, draws.keep[-1]
        between = build_kernel(draws.parent.pick(range(first, last + 1)))
        return _restricted(between, draws, tuple(j - first for j in draws.keep))
    edges = draws.edges()
    links = range(len(draws.stages) - 1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        pair = [_pair_masses(draws.link(j), edges[:, j], edges[:, j + 1]) for j in links]
    kernel = Kernel(draws, np.diff(edges, axis=2), pair, draws.segment_correct(), draws.cost)
    return kernel if draws.tilt is None else tilted(kernel, draws.tilt)


def restrict_kernel(kernel: Kernel, keep: tuple[int, ...]) -> Kernel:
    """The kernel of the cascade that runs only the stages ``keep``, from that of the whole."""
    draws = kernel.draws.restrict(keep)
    return kernel if draws is kernel.draws else _restricted(kernel, draws, keep)


def _restricted(kernel: Kernel, draws: Draws, keep: tuple[int, ...]) -> Kernel:
    index = list(keep)
    pair = [compose(kernel, a, c) for a, c in pairwise(keep)]
    return Kernel(draws, kernel.mass[:, index], pair, kernel.correct[:, index], kernel.cost[:, index])


def _pair_masses(link: Link, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    c = np.zeros((len(left), left.shape[1], right.shape[1]))
    # exact at the ends, where the formula would lose the last digits
    c[:, -1, :], c[:, :, -1] = right, left
    c[:, 1:-1, 1:-1] = link.cdf(left[:, 1:-1, None], right[:, None, 1:-1])
    return np.maximum(np.diff(np.diff(c, axis=1), axis=2), 0.0)


def build_kernels(draws: Draws) -> list[Kernel] | None:
    """Kernels of all draws, block by block; None where they would take more than 256 MB."""
    if draws.n * (len(draws.stages) - 1) * draws.n_segments**2 * 8 > 256e6:
        return None
    return map_blocks(lambda block: build_kernel(draws.take(block)), cut(draws.n))


def mean_kernel(draws: Draws) -> Kernel:
    """One-draw kernel with the posterior means of the masses, block by block."""
    slices = list(cut(draws.n))
    parts = [build_kernel(draws.take(block)).mean() for block in slices]
    share = np.array([block.stop - block.start for block in slices]) / draws.n

    def mean(values: list[np.ndarray]) -> np.ndarray:
        return np.einsum("b,b...->...", share, np.stack(values))

    mass = mean([k.mass for k in parts])
    links = range(len(draws.stages) - 1)
    correct = mean([k.mass * k.correct for k in parts])
    return Kernel(
        replace(draws.mean(), mass=mass),
        mass,
        [mean([k.pair[j] for k in parts]) for j in links],
        safe_divide(correct, mass),
        mean([k.cost for k in parts]),
        averaged=True,
    )


def with_latency(kernel: Kernel, latency_price: float | None) -> Kernel:
    """A kernel whose costs hold the price of latency too."""
    latency = kernel.draws.latency
    if latency_price is None or latency is None:
        return kernel
    return replace(kernel, cost=kernel.cost + latency_price * latency)
