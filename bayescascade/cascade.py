"""Error, cost and reach of threshold vectors: exactly under each posterior draw.

For one draw the signals are a Markov chain, and so are the segments they fall in. With D_j the share of each
segment that stage j defers and M_j the probability of each pair of segments (differences of the copula's C),
the mass that runs stage j + 1 is ``(a_j D_j / p_j) M_j``. That is the exact expectation, up to the position
within a segment; no search, no density, linear in the number of stages.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from bayescascade._cores import n_cores
from bayescascade.draws import Draws, cut_of, get_draws, is_one_point, to_positions
from bayescascade.links import Link
from bayescascade.scoring import read_rules

_BLOCK = 128  # draws at a time: the pair masses of a block stay in cache


@dataclass(frozen=True)
class Kernel:
    """Segment masses, pair masses, P(correct) and costs of some draws, ready for forward and backward passes.

    ``pair[j]`` is (draw, segment of j, segment of j + 1); ``mass`` and ``correct`` are (draw, stage, segment),
    ``cost`` is (draw, stage), all over all queries. Where correctness depends on the previous signal too,
    ``pair_right[j]`` is the part of ``pair[j]`` that is right at stage j + 1; where cost depends on the signals,
    ``next_cost[j]`` is the cost of stage j + 1, summed over the pairs of each segment of j. Else they are None.
    """

    draws: Draws
    mass: np.ndarray
    pair: list[np.ndarray]
    correct: np.ndarray
    cost: np.ndarray
    pair_right: list[np.ndarray] | None = None
    next_cost: list[np.ndarray] | None = None

    @cached_property
    def own(self) -> np.ndarray:
        """P(correct) of each segment by the own signal, the previous one at its mean (draw, stage, segment)."""
        return self.correct if self.pair_right is None else self.draws.segment_correct()

    def inverse_mass(self, stage: int) -> np.ndarray:
        """1 / mass, and 0 where there is none (draw, segment)."""
        return _inverse(self.mass[:, stage])

    def mean(self) -> Kernel:
        """A kernel of one draw with the means over draws; P(correct) is weighted by mass."""

        def mean(x: np.ndarray) -> np.ndarray:
            return x.mean(axis=0, keepdims=True)

        mass = mean(self.mass)
        return Kernel(
            replace(self.draws.mean(), mass=mass),
            mass,
            [mean(p) for p in self.pair],
            mean(self.mass * self.correct) * _inverse(mass),
            mean(self.cost),
            self.pair_right and [mean(p) for p in self.pair_right],
            self.next_cost and [mean(c) for c in self.next_cost],
        )


def _inverse(mass: np.ndarray) -> np.ndarray:
    return np.divide(1.0, mass, out=np.zeros_like(mass), where=mass > 1e-300)


def build_kernel(draws: Draws) -> Kernel:
    """Compute every pair mass of the given draws."""
    edges = draws.edges()
    mass, correct, cost = np.diff(edges, axis=2), draws.segment_correct(), draws.cost
    links = range(len(draws.stages) - 1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        pair = [_pair_masses(draws.link(j), edges[:, j], edges[:, j + 1]) for j in links]
    right = next_cost = None
    if draws.previous is not None:
        right = [pair[j] * draws.pair_correct(j) for j in links]
        for j in links:
            correct[:, j + 1] = right[j].sum(axis=1) * _inverse(mass[:, j + 1])
    if draws.cost_slope is not None:
        first = cost[:, 0] * np.einsum("ds,dbs->d", mass[:, 0], draws.relative_cost(0))
        next_cost = [
            cost[:, j + 1, None] * np.einsum("dbs,dbs->db", pair[j], draws.relative_cost(j + 1)) for j in links
        ]
        cost = np.stack([first, *(c.sum(axis=1) for c in next_cost)], axis=1)
    return Kernel(draws, mass, pair, correct, cost, right, next_cost)


def _pair_masses(link: Link, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    c = link.cdf(left[:, :, None], right[:, None, :])
    # exact at the ends, where the formula would lose the last digits
    c[:, 0, :], c[:, :, 0] = 0.0, 0.0
    c[:, -1, :], c[:, :, -1] = right, left
    return np.maximum(np.diff(np.diff(c, axis=1), axis=2), 0.0)


def deferred_share(positions: np.ndarray, n_segments: int) -> np.ndarray:
    """Share of each segment that is deferred (point, stage, segment)."""
    return np.clip(positions[..., None] - np.arange(n_segments), 0.0, 1.0)


def accepted_correct(kernel: Kernel, positions: np.ndarray) -> np.ndarray:
    """P(correct) of what each segment accepts (draw, point, stage, segment), the previous signal at its mean.

    Where a threshold cuts a segment, its upper part is more often right than the segment as a whole.
    """
    draws, (n_points, n_stages) = kernel.draws, positions.shape
    out = np.broadcast_to(kernel.own[:, None], (draws.n, n_points, *kernel.own.shape[1:])).copy()
    for j in range(n_stages - 1):
        margin = draws.margins[j]
        segment, fraction = cut_of(margin, positions[:, j])
        cut = np.flatnonzero((fraction > 0) & (fraction < 1) & ~margin.is_atom[segment])
        if len(cut):
            low, high = margin.low[segment[cut]], margin.high[segment[cut]]
            out[:, cut, j, segment[cut]] = draws.mean_correct(j, low + fraction[cut] * (high - low), high)
    return out


def forward(
    kernel: Kernel, positions: np.ndarray, *, lean: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Error (draw, point), cost (draw, point) and reach (draw, point, stage) of positions (point, stage).

    With ``lean``, the deferred part of a segment that a threshold cuts goes on as its lower part would, not as
    the segment as a whole does (see `_lean`). The search does without, for the sake of a simple gradient.
    """
    draws = kernel.draws
    n_stages = len(draws.stages)
    deferred = deferred_share(positions, draws.n_segments)
    deferred[:, -1] = 0.0
    correct = accepted_correct(kernel, positions)
    # how much more often the accepted part of a segment is right than the whole
    part = None if kernel.pair_right is None else correct * _inverse(kernel.own)[:, None]
    arriving_right = None
    cost = np.broadcast_to(kernel.cost[:, :1], (draws.n, len(positions))).copy()
    arriving = np.broadcast_to(kernel.mass[:, :1], (draws.n, len(positions), draws.n_segments))
    right = np.zeros((draws.n, len(positions)))
    reach = np.empty((draws.n, len(positions), n_stages))
    for j in range(n_stages):
        reach[..., j] = arriving.sum(axis=2)
        if arriving_right is None or part is None:
            answered_right = arriving * correct[:, :, j]
        else:
            answered_right = arriving_right * part[:, :, j]
        right += np.einsum("dps,ps->dp", answered_right, 1.0 - deferred[:, j])
        if j < n_stages - 1:
            ratio = arriving * deferred[None, :, j] * kernel.inverse_mass(j)[:, None]
            if lean:
                _lean(ratio, kernel, j, positions[:, j])
            arriving = np.maximum(ratio @ kernel.pair[j], 0.0)
            if kernel.pair_right is not None:
                arriving_right = np.maximum(ratio @ kernel.pair_right[j], 0.0)
            if kernel.next_cost is not None:
                cost += np.einsum("dps,ds->dp", ratio, kernel.next_cost[j])
    if kernel.next_cost is None:
        cost = np.einsum("dpj,dj->dp", reach, kernel.cost)
    return 1.0 - right, cost, reach


def _lean(ratio: np.ndarray, kernel: Kernel, stage: int, position: np.ndarray) -> None:
    """Shift deferred mass of a cut segment from the segment above it to the one below, in place.

    What follows a signal is taken as linear in u across neighbouring segments. The mean u of the deferred
    fraction f of a segment of mass p lies (1 - f) p / 2 below the segment's own. ``ratio`` is
    (draw, point, segment), per unit of segment mass; the deferred mass itself stays the same.
    """
    mass, inverse = kernel.mass[:, stage], kernel.inverse_mass(stage)
    middle = np.cumsum(mass, axis=1) - 0.5 * mass
    last = len(kernel.draws.margins[stage].low) - 1
    segment, fraction = cut_of(kernel.draws.margins[stage], position)
    point = np.flatnonzero((fraction > 0) & (fraction < 1) & (last > 0))
    s, f = segment[point], fraction[point]
    above, below = np.minimum(s + 1, last), np.maximum(s - 1, 0)
    moved = ratio[:, point, s] * mass[:, s]
    step = moved * 0.5 * (1.0 - f) * mass[:, s] / np.maximum(middle[:, above] - middle[:, below], 1e-300)
    ratio[:, point, above] -= step * inverse[:, above]
    ratio[:, point, below] += step * inverse[:, below]


def blocks(n: int, size: int = _BLOCK) -> Iterator[slice]:
    """Slices that cover ``range(n)``."""
    return (slice(i, min(i + size, n)) for i in range(0, n, size))


def forward_all(
    draws: Draws, positions: np.ndarray, kernels: list[Kernel] | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`forward` over all draws, block by block on all cores, in memory that does not grow with the draws.

    ``kernels`` are those of `build_kernels`, where the same draws are asked more than once.
    """

    def run(block: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return forward(build_kernel(draws.take(block)), positions)

    with ThreadPoolExecutor(n_cores()) as pool:
        if kernels is None:
            parts = list(pool.map(run, blocks(draws.n)))
        else:
            parts = list(pool.map(lambda kernel: forward(kernel, positions), kernels))
    error, cost, reach = (np.concatenate(part) for part in zip(*parts, strict=True))
    return error, cost, reach


def build_kernels(draws: Draws) -> list[Kernel] | None:
    """Kernels of all draws, block by block; None where they would take more than 256 MB."""
    if draws.n * (len(draws.stages) - 1) * draws.n_segments**2 * 8 > 256e6:
        return None
    with ThreadPoolExecutor(n_cores()) as pool:
        return list(pool.map(lambda block: build_kernel(draws.take(block)), blocks(draws.n)))


def evaluate(fit: xr.DataTree, thresholds: Any) -> xr.Dataset:
    """Error, cost and reach that the model expects of thresholds, one value for each posterior draw.

    Examples
    --------
    >>> import bayescascade as bc
    >>> fit = bc.fit(bc.load_example(), random_seed=1, progressbar=False)
    >>> out = bc.evaluate(fit, [0.9, 0.9, float("-inf")])
    >>> dict(out["reach"].sizes)
    {'chain': 4, 'draw': 1000, 'stage': 3}

    Parameters
    ----------
    fit : xarray.DataTree
    thresholds : array-like, DataArray, ThresholdSolution or Policy
        (stage,) or (point, stage), on the raw confidence scale; a stage accepts when confidence >= threshold.
        The last stage's is -inf. Thresholds on P(correct) by history bring their curves along.

    Returns
    -------
    xarray.Dataset
        ``error`` (share of queries answered wrongly), ``cost`` (per query, in the log's currency) and ``reach``
        (share that runs each stage), over (chain, draw[, point][, stage]).

    Raises
    ------
    CascadeError
        For thresholds of the wrong length or with NaN, or a last one other than -inf.
    """
    draws = get_draws(fit)
    rules = read_rules(thresholds, draws.stages, draws.kind)
    if rules.history is not None:
        from bayescascade.two_signals import forward_all as by_history

        error, cost, reach = by_history(draws, rules.history, rules.thresholds)
    else:
        error, cost, reach = forward_all(draws, to_positions(rules.thresholds, draws))
    return _fold(draws, is_one_point(thresholds), error=error, cost=cost, reach=reach)


def _fold(draws: Draws, single: bool, **values: np.ndarray) -> xr.Dataset:
    shape = (len(draws.chains), draws.n // len(draws.chains))
    dims = ("chain", "draw", "point", "stage")
    out = xr.Dataset(
        {
            name: (dims[: value.ndim + 1], value.reshape(*shape, *value.shape[1:]))
            for name, value in values.items()
        },
        coords={"chain": draws.chains, "stage": draws.stages, "draw": np.arange(shape[1])},
    )
    return out.isel(point=0) if single else out
