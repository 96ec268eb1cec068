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
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from bayescascade._cores import n_cores
from bayescascade._curves import history_of
from bayescascade._skips import restricted_parts
from bayescascade._tilt import tilted
from bayescascade.draws import Draws, get_draws
from bayescascade.links import Link
from bayescascade.positions import cut_of, draws_for, is_one_point, to_rows_of
from bayescascade.published import check_factorisation, forward_published

_BLOCK = 128  # draws at a time: the pair masses of a block stay in cache


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
        return _inverse(self.mass)

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
            mean(self.mass * self.correct) * _inverse(mass),
            mean(self.cost),
            self.pair_right and [mean(p) for p in self.pair_right],
            averaged=True,
        )


def _inverse(mass: np.ndarray) -> np.ndarray:
    return np.divide(1.0, mass, out=np.zeros_like(mass), where=mass > 1e-300)


def build_kernel(draws: Draws) -> Kernel:
    """Compute every pair mass of the given draws; of a restricted cascade, by way of the stages between."""
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
            correct[:, j + 1] = right[j].sum(axis=1) * _inverse(mass[:, j + 1])
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


class Outcome(NamedTuple):
    """What positions come to: (draw, point) each, ``reach`` (draw, point, stage).

    ``abstained`` is None without rejecting positions, ``latency`` where the fit knows none.
    """

    error: np.ndarray
    cost: np.ndarray
    reach: np.ndarray
    abstained: np.ndarray | None = None
    latency: np.ndarray | None = None


def deferred_share(positions: np.ndarray, n_segments: int) -> np.ndarray:
    """Share of each segment that is deferred (point, stage, segment)."""
    return np.clip(positions[..., None] - np.arange(n_segments), 0.0, 1.0)


def split_positions(positions: np.ndarray, n_stages: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Accepting positions, and rejecting ones if any (point, stage); no stage rejects what it accepts."""
    if positions.shape[1] == n_stages:
        return positions, None
    accept, reject = positions[:, :n_stages], positions[:, n_stages:]
    return np.maximum(accept, reject), reject


def shares(positions: np.ndarray, n_stages: int, n_segments: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Shares of each segment that are deferred, and those that are rejected (point, stage, segment)."""
    accept, reject = split_positions(positions, n_stages)
    deferred = deferred_share(accept, n_segments)
    rejected = None if reject is None else deferred_share(reject, n_segments)
    if rejected is not None:
        deferred = deferred - rejected
    deferred[:, -1] = 0.0
    return deferred, rejected


def accepted_correct(kernel: Kernel, positions: np.ndarray) -> np.ndarray:
    """P(correct) of what each segment accepts (draw, point, stage, segment), the previous signal at its mean.

    Where a threshold cuts a segment, its upper part is more often right than the segment as a whole.
    """
    own = kernel.own
    out = np.broadcast_to(own[:, None], (len(own), len(positions), *own.shape[1:])).copy()
    for j, cut, segment, upper in cut_correct(kernel, positions):
        out[:, cut, j, segment] = upper
    return out


def cut_correct(kernel: Kernel, positions: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    """Where `accepted_correct` is not the segment's own: stage, points, segments, P(correct) (draw, cut)."""
    draws, n_stages = kernel.draws, kernel.own.shape[1]
    accept, reject = split_positions(positions, n_stages)
    for j in range(n_stages if reject is not None else n_stages - 1):
        margin = draws.margins[j]
        cuts = accept if reject is None or j < n_stages - 1 else reject
        segment, fraction = cut_of(margin, cuts[:, j])
        cut = np.flatnonzero((fraction > 0) & (fraction < 1) & ~margin.is_atom[segment])
        if len(cut):
            low, high = margin.low[segment[cut]], margin.high[segment[cut]]
            upper = draws.mean_correct(j, low + fraction[cut] * (high - low), high)
            if kernel.averaged:
                upper *= kernel.own[:, j, segment[cut]] / np.maximum(draws.mean_correct(j, low, high), 1e-300)
            yield j, cut, segment[cut], upper


def forward(kernel: Kernel, positions: np.ndarray, *, lean: bool = True) -> Outcome:
    """What positions (point, stage) come to; (point, 2 * stage) where the second half rejects.

    A query is abstained from below the rejecting position, deferred between, accepted from the accepting position
    on; the last stage accepts from its rejecting position on. With ``lean``, the deferred part of a segment that a
    threshold cuts goes on as that part would, not as the segment as a whole does (see `lean_cut`). The search does
    without, for the sake of a simple gradient.
    """
    draws = kernel.draws
    n_stages = len(draws.stages)
    deferred, rejected = shares(positions, n_stages, draws.n_segments)
    accepted = 1.0 - deferred if rejected is None else 1.0 - deferred - rejected
    part, cuts = None, {}
    if kernel.pair_right is None:
        cuts = {j: cut for j, *cut in cut_correct(kernel, positions)}
    else:  # how much more often the accepted part of a segment is right than the whole
        part = accepted_correct(kernel, positions) * _inverse(kernel.own)[:, None]
    # a restricted cascade may start at a stage whose correctness is an average over the signal before
    arriving_right = None if part is None else (kernel.mass[:, :1] * kernel.correct[:, :1])
    arriving = np.broadcast_to(kernel.mass[:, :1], (draws.n, len(positions), draws.n_segments))
    right = np.zeros((draws.n, len(positions)))
    abstained = None if rejected is None else np.zeros_like(right)
    reach = np.empty((draws.n, len(positions), n_stages))
    for j in range(n_stages):
        reach[..., j] = arriving.sum(axis=2)
        if arriving_right is None or part is None:
            answered = arriving * accepted[:, j]
            right += (answered @ kernel.own[:, j, :, None])[..., 0]
            if j in cuts:
                cut, segment, upper = cuts[j]
                right[:, cut] += answered[:, cut, segment] * (upper - kernel.own[:, j, segment])
        else:
            right += np.einsum("dps,ps->dp", arriving_right * part[:, :, j], accepted[:, j])
        if abstained is not None and rejected is not None:
            abstained += np.einsum("dps,ps->dp", arriving, rejected[:, j])
        if j < n_stages - 1:
            ratio = arriving * deferred[None, :, j]
            ratio *= kernel.inverse_mass(j)[:, None]
            if lean:
                lean_cut(ratio, kernel, j, positions)
            arriving = ratio @ kernel.pair[j]
            np.maximum(arriving, 0.0, out=arriving)
            if kernel.pair_right is not None:
                arriving_right = np.maximum(ratio @ kernel.pair_right[j], 0.0)
    cost = np.einsum("dpj,dj->dp", reach, kernel.cost)
    latency = None if draws.latency is None else np.einsum("dpj,dj->dp", reach, draws.latency)
    return Outcome(1.0 - right if abstained is None else 1.0 - abstained - right, cost, reach, abstained, latency)


def lean_cut(ratio: np.ndarray, kernel: Kernel, stage: int, positions: np.ndarray) -> None:
    """Shift deferred mass of a cut segment between the segments above and below it, in place.

    What follows a signal is taken as linear in u across neighbouring segments. Where what is deferred of a segment
    of mass p lies between its fractions g and f, its mean u lies (1 - f - g) p / 2 below the segment's own.
    ``ratio`` is (draw, point, segment), per unit of segment mass; the deferred mass itself stays the same.
    """
    mass, inverse = kernel.mass[:, stage], kernel.inverse_mass(stage)
    middle = np.cumsum(mass, axis=1) - 0.5 * mass
    margin = kernel.draws.margins[stage]
    last = len(margin.low) - 1
    if last == 0:
        return
    accept, reject = split_positions(positions, len(kernel.draws.stages))
    segment, fraction = cut_of(margin, accept[:, stage])
    none = np.zeros_like(fraction)
    cuts = [(segment, fraction, none)]
    if reject is not None:
        low_segment, low_fraction = cut_of(margin, reject[:, stage])
        same = low_segment == segment
        cuts = [
            (segment, fraction, np.where(same, low_fraction, 0.0)),
            (low_segment, np.where(same, 0.0, 1.0), np.where(same, 0.0, low_fraction)),
        ]
    for at, f, g in cuts:
        point = np.flatnonzero((f - g > 0) & (f - g < 1))
        s, lower = at[point], (1.0 - f - g)[point]
        above, below = np.minimum(s + 1, last), np.maximum(s - 1, 0)
        moved = ratio[:, point, s] * mass[:, s]
        step = moved * 0.5 * lower * mass[:, s] / np.maximum(middle[:, above] - middle[:, below], 1e-300)
        ratio[:, point, above] -= step * inverse[:, above]
        ratio[:, point, below] += step * inverse[:, below]


def blocks(n: int, size: int = _BLOCK) -> Iterator[slice]:
    """Slices that cover ``range(n)``."""
    return (slice(i, min(i + size, n)) for i in range(0, n, size))


def published(draws: Draws, positions: np.ndarray) -> Outcome:
    """`forward` under the published factorisation, see `bayescascade.published`."""
    own = draws.segment_correct()
    # what a segment accepts does not depend on pairs
    alone = Kernel(draws, np.diff(draws.edges(), axis=2), [], own, draws.cost)
    error, cost, reach = forward_published(draws, positions, accepted_correct(alone, positions))
    latency = None if draws.latency is None else np.einsum("dpj,dj->dp", reach, draws.latency)
    return Outcome(error, cost, reach, None, latency)


def forward_all(
    draws: Draws, positions: np.ndarray, kernels: list[Kernel] | None = None, *, factorisation: str = "exact"
) -> Outcome:
    """`forward` over all draws, block by block on all cores, in memory that does not grow with the draws.

    ``kernels`` are those of `build_kernels`, where the same draws are asked more than once.
    """

    from bayescascade._orders import evaluate_order

    def run(block: slice) -> Outcome:
        some = draws.take(block)
        if factorisation != "exact":
            return published(some, positions)
        if some.whole is not None and against_the_chain(some):
            return evaluate_order(build_kernel(some.whole), some.keep, positions)
        return forward(build_kernel(some), positions)

    with ThreadPoolExecutor(n_cores()) as pool:
        if kernels is None:
            parts = list(pool.map(run, blocks(draws.n)))
        else:
            parts = list(pool.map(lambda kernel: forward(kernel, positions), kernels))
    return Outcome._make(None if part[0] is None else np.concatenate(part) for part in zip(*parts, strict=True))


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


def evaluate(fit: xr.DataTree, thresholds: Any, *, factorisation: str = "exact") -> xr.Dataset:
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
        The last stage's is -inf. A solution may have rejecting thresholds, and run some of the stages only.
        Thresholds on P(correct) by history bring their curves along.
    factorisation : str
        ``"exact"``, or ``"published"``: each stage conditions on the event that the one before deferred, as in
        arXiv:2501.09345, which is biased from three stages on. To reproduce published results only.

    Returns
    -------
    xarray.Dataset
        ``error`` (share of queries answered wrongly), ``cost`` (per query, in the log's currency) and ``reach``
        (share that runs each stage), over (chain, draw[, point][, stage]). Also ``abstained`` (share left
        unanswered) where thresholds reject, and ``latency`` (per query) where the log has one for each stage.

    Raises
    ------
    CascadeError
        For thresholds of the wrong length or with NaN, or a last one other than -inf; and for what the published
        factorisation does not cover.
    """
    draws = draws_for(get_draws(fit), thresholds)
    if history_of(thresholds, len(draws.stages)) is not None:
        from bayescascade.two_signals import outcome_of_history

        out = outcome_of_history(draws, thresholds, factorisation)._asdict()
    else:
        rows = to_rows_of(thresholds, draws)
        check_factorisation(factorisation, draws, rows)
        out = forward_all(draws, rows, factorisation=factorisation)._asdict()
    known = {name: values for name, values in out.items() if values is not None and np.isfinite(values).all()}
    return _fold(draws, is_one_point(thresholds), **known)


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
