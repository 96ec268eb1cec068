"""Segment masses, pair masses, P(correct) and costs under posterior draws: all that a cascade is computed from."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from bayescascade._common.arrays import safe_divide
from bayescascade._common.parallel import n_cores
from bayescascade.model.copulas.link import Link
from bayescascade.posterior.draws import Draws, refuse_difficulty

_BLOCK = 128  # draws at a time: the pair masses of a block stay in cache


def compose(kernel: Kernel, first: int, last: int) -> np.ndarray:
    """Pair masses of stages ``first <= last`` (draw, segment of first, segment of last)."""
    if first == last:
        return kernel.mass[:, first, :, None] * np.eye(kernel.mass.shape[2])
    pair = kernel.pair[first]
    for j in range(first + 1, last):
        pair = (pair * kernel.inverse_mass(j)[:, None]) @ kernel.pair[j]
    return pair


def restricted_parts(kernel: Kernel, keep: tuple[int, ...]) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
    """``pair`` and ``pair_right`` of a kernel of whole stages, for the stages ``keep`` only.

    Where a stage is run after one that follows it in the chain, correctness there is averaged by its own signal:
    the signal that its correctness depends on comes before both.
    """
    pair, right = [], []
    for a, c in pairwise(keep):
        if a > c:
            pair.append(np.swapaxes(compose(kernel, c, a), 1, 2))
            right.append(pair[-1] * kernel.correct[:, None, c])
            continue
        pair.append(compose(kernel, a, c))
        if kernel.pair_right is not None:
            # what is right at c depends on the stage just before it
            to_before = compose(kernel, a, c - 1) * kernel.inverse_mass(c - 1)[:, None]
            right.append(to_before @ kernel.pair_right[c - 1])
    return pair, None if kernel.pair_right is None else right


def tilted(kernel: Kernel, ratio: np.ndarray) -> Kernel:
    """The kernel after the first stage's masses have changed by ``ratio`` (draw, segment).

    What happens after a signal of the first stage is as before: rows of pair masses are rescaled, and the later
    stages' masses are what then arrives. Margins change and so do the copulas, which is why this is not the same
    as new margins under the old copulas.
    """
    mass, correct = kernel.mass.copy(), kernel.correct.copy()
    right = None if kernel.pair_right is None else list(kernel.pair_right)
    mass[:, 0] *= ratio
    mass[:, 0] /= mass[:, 0].sum(axis=1, keepdims=True)
    pair = []
    for j, old in enumerate(kernel.pair):
        change = mass[:, j] * kernel.inverse_mass(j)
        pair.append(old * change[:, :, None])
        mass[:, j + 1] = pair[j].sum(axis=1)
        if right is not None:
            right[j] = right[j] * change[:, :, None]
            total = mass[:, j + 1]
            correct[:, j + 1] = safe_divide(right[j].sum(axis=1), total)
    return replace(kernel, mass=mass, pair=pair, correct=correct, pair_right=right)


@dataclass(frozen=True)
class Kernel:
    """Segment masses, pair masses, P(correct) and costs of some draws, ready for forward and backward passes.

    ``pair[j]`` is (draw, segment of j, segment of j + 1); ``mass`` and ``correct`` are (draw, stage, segment),
    ``cost`` is (draw, stage), all over all queries. Where correctness depends on the previous signal too,
    ``pair_right[j]`` is the part of ``pair[j]`` that is right at stage j + 1; else it is None.
    ``averaged`` says that ``correct`` is a mean over draws, which is not quite what the mean parameters give.
    """

    draws: Draws
    mass: np.ndarray
    pair: list[np.ndarray]
    correct: np.ndarray
    cost: np.ndarray
    pair_right: list[np.ndarray] | None = None
    averaged: bool = False

    @cached_property
    def own(self) -> np.ndarray:
        """P(correct) of each segment by the own signal, the previous one at its mean (draw, stage, segment)."""
        return self.correct if self.pair_right is None else self.draws.segment_correct()

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
            self.pair_right and [mean(p) for p in self.pair_right],
            averaged=True,
        )


def build_kernel(draws: Draws) -> Kernel:
    """Compute every pair mass of the given draws; of a restricted cascade, by way of the stages between."""
    refuse_difficulty(draws)
    if draws.whole is not None:
        # correctness of the first stage kept may depend on the stage before it; a tilt is of the first
        first, last = max(min(draws.keep) - 1, 0) if draws.whole.tilt is None else 0, max(draws.keep)
        between = build_kernel(draws.whole.pick(range(first, last + 1)))
        return _restricted(between, draws, tuple(j - first for j in draws.keep))
    edges = draws.edges()
    mass, correct = np.diff(edges, axis=2), draws.segment_correct()
    links = range(len(draws.stages) - 1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        pair = [_pair_masses(draws.link(j), edges[:, j], edges[:, j + 1]) for j in links]
    right = None
    if draws.previous is not None:
        right = [pair[j] * draws.pair_correct(j) for j in links]
        for j in links:
            correct[:, j + 1] = safe_divide(right[j].sum(axis=1), mass[:, j + 1])
    kernel = Kernel(draws, mass, pair, correct, draws.cost, right)
    return kernel if draws.tilt is None else tilted(kernel, draws.tilt)


def restrict_kernel(kernel: Kernel, keep: tuple[int, ...]) -> Kernel:
    """The kernel of the cascade that runs only the stages ``keep``, in that order, from that of the whole."""
    draws = kernel.draws.restrict(keep)
    return kernel if draws is kernel.draws else _restricted(kernel, draws, keep)


def _restricted(kernel: Kernel, draws: Draws, keep: tuple[int, ...]) -> Kernel:
    index = list(keep)
    pair, right = restricted_parts(kernel, keep)
    return Kernel(draws, kernel.mass[:, index], pair, kernel.correct[:, index], kernel.cost[:, index], right)


def _pair_masses(link: Link, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    c = np.zeros((len(left), left.shape[1], right.shape[1]))
    # exact at the ends, where the formula would lose the last digits
    c[:, -1, :], c[:, :, -1] = right, left
    c[:, 1:-1, 1:-1] = link.cdf(left[:, 1:-1, None], right[:, None, 1:-1])
    return np.maximum(np.diff(np.diff(c, axis=1), axis=2), 0.0)


def blocks(n: int, size: int = _BLOCK) -> Iterator[slice]:
    """Slices that cover ``range(n)``."""
    return (slice(i, min(i + size, n)) for i in range(0, n, size))


def against_the_chain(draws: Draws) -> bool:
    """Whether draws are of stages in an order in which their signals are no Markov chain."""
    return list(draws.keep) != sorted(draws.keep)


def build_kernels(draws: Draws) -> list[Kernel] | None:
    """Kernels of all draws, block by block; None where they would take more than 256 MB.

    None also for an order of stages against the chain, of which `forward_all` has more exact things to say.
    """
    if against_the_chain(draws) or draws.n * (len(draws.stages) - 1) * draws.n_segments**2 * 8 > 256e6:
        return None
    with ThreadPoolExecutor(n_cores()) as pool:
        return list(pool.map(lambda block: build_kernel(draws.take(block)), blocks(draws.n)))


def mean_kernel(draws: Draws) -> Kernel:
    """One-draw kernel with the posterior means of the masses, block by block."""
    slices = list(blocks(draws.n))
    parts = [build_kernel(draws.take(block)).mean() for block in slices]
    share = np.array([block.stop - block.start for block in slices]) / draws.n

    def mean(values: list[np.ndarray]) -> np.ndarray:
        return np.einsum("b,b...->...", share, np.stack(values))

    mass = mean([k.mass for k in parts])
    links = range(len(draws.stages) - 1)
    correct = mean([k.mass * k.correct for k in parts])
    first = parts[0]
    return Kernel(
        replace(draws.mean(), mass=mass),
        mass,
        [mean([k.pair[j] for k in parts]) for j in links],
        safe_divide(correct, mass),
        mean([k.cost for k in parts]),
        None if first.pair_right is None else [mean([(k.pair_right or [])[j] for k in parts]) for j in links],
        averaged=True,
    )


def with_latency(kernel: Kernel, latency_price: float | None) -> Kernel:
    """A kernel whose costs hold the price of latency too."""
    latency = getattr(kernel.draws, "latency", None)
    if latency_price is None or latency is None:
        return kernel
    return replace(kernel, cost=kernel.cost + latency_price * latency)
