"""Error, cost and reach of threshold vectors: exactly under each posterior draw.

For one draw, and one node of ease where queries have a difficulty, the signals are a Markov chain, and so are the
segments they fall in. Write a_j(s) for the probability that a query runs stage j with its signal in segment s
there, p_j(s) for the margin's P(s), D_j(s) for the share of the segment that stage j defers, and M_j(s, t) for the
probability of a pair of segments (differences of the copula's C). Then

    a_1 = p_1,    a_{j+1}(t) = sum_s a_j(s) D_j(s) / p_j(s) M_j(s, t),

    P(right) = sum_j sum_s a_j(s) A_j(s) P(correct at j | s),    E[cost] = sum_j c_j sum_s a_j(s),

with A_j(s) the share that stage j accepts. That is the exact expectation, up to the position within a segment; no
search, no density, linear in the number of stages. Where there are several nodes, their masses are joint with the
node, and error and reach are sums over nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from bayescascade._common.arrays import concatenated
from bayescascade.cascade.positions import cut_of
from bayescascade.posterior.kernel import Kernel


class Outcome(NamedTuple):
    """Error, cost, reach, abstention and latency of threshold vectors under each draw.

    Expectations per query given the draw, (draw, point) each; ``reach``, the probability that a stage is run, is
    (draw, point, stage). ``abstained`` is None without rejecting positions, ``latency`` where the fit knows none.
    """

    error: np.ndarray
    cost: np.ndarray
    reach: np.ndarray
    abstained: np.ndarray | None = None
    latency: np.ndarray | None = None

    def take(self, points: np.ndarray | int) -> Outcome:
        """The same of some of the points."""
        return Outcome._make(None if part is None else part[:, points] for part in self)

    @staticmethod
    def join(parts: Iterable[Outcome]) -> Outcome:
        """The points of all parts, one after another, under the same draws."""
        return concatenated(parts, axis=1)

    @staticmethod
    def concat(parts: Iterable[Outcome]) -> Outcome:
        """The same points under the draws of all parts, one after another."""
        return concatenated(parts)


def deferred_share(positions: np.ndarray, n_segments: int) -> np.ndarray:
    """Share of each segment that lies below a position (point, stage, segment).

    A position is the number of whole segments below it plus the fraction of the next that is.
    """
    return np.clip(positions[..., None] - np.arange(n_segments), 0.0, 1.0)


def split_positions(positions: np.ndarray, n_stages: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Accepting positions, and rejecting ones if any (point, stage)."""
    if positions.shape[1] == n_stages:
        return positions, None
    accept, reject = positions[:, :n_stages], positions[:, n_stages:]
    # where they cross, rejecting wins: a query below the rejecting position is not answered
    return np.maximum(accept, reject), reject


def share_below(kernel: Kernel, stage: int, positions: np.ndarray) -> np.ndarray:
    """Share of each segment of a stage that lies below a position (state, point, segment), or (1, ...) for all.

    The signals in a segment are spread evenly. Those of queries of one ease are not: there it is the share of
    their conditional ranks.
    """
    draws = kernel.draws
    share = deferred_share(positions, draws.n_segments)[None]
    segment, fraction = cut_of(draws.margins[stage], positions)
    cut = np.flatnonzero((fraction > 0) & (fraction < 1) & ~draws.margins[stage].is_atom[segment])
    if draws.loading is None or not len(cut):
        return share
    share = np.repeat(share, len(kernel.mass), axis=0)
    share[:, cut, segment[cut]] = draws.part_given_ease(stage, segment[cut], fraction[cut])
    return share


def cut_correct(kernel: Kernel, positions: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    """P(correct | accepted) of segments that are cut: stage, points, segments (cut,), values (state, cut).

    The upper part of such a segment is more often right than the segment as a whole. At most one is cut for each
    stage and point.
    """
    draws, n_stages = kernel.given, kernel.correct.shape[1]
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
                # P(correct | segment) is an average over draws: keep its level, take the shape only
                whole = draws.mean_correct(j, low, high)
                upper *= kernel.correct[:, j, segment[cut]] / np.maximum(whole, 1e-300)
            yield j, cut, segment[cut], upper


def forward(kernel: Kernel, positions: np.ndarray) -> Outcome:
    """Outcome of positions (point, stage), or (point, 2 * stage) where the second half rejects, by the recursion.

    A query is abstained from below the rejecting position, deferred between, accepted from the accepting position
    on; the last stage accepts from its rejecting position on. The deferred part of a segment that a threshold
    cuts goes on as that part would, not as the segment as a whole does (see `correct_within_segment`).
    """
    draws = kernel.draws
    n_stages = len(draws.stages)
    accept, reject = split_positions(positions, n_stages)
    cuts = {j: cut for j, *cut in cut_correct(kernel, positions)}
    # a_j(s), (state, point, segment)
    arriving = np.broadcast_to(kernel.mass[:, :1], (len(kernel.mass), len(positions), draws.n_segments))
    right = np.zeros((len(kernel.mass), len(positions)))
    abstained = None if reject is None else np.zeros_like(right)
    reach = np.empty((draws.n, len(positions), n_stages))
    for j in range(n_stages):
        reach[..., j] = kernel.over_nodes(arriving.sum(axis=2))
        rejected = None if reject is None else share_below(kernel, j, reject[:, j])
        # the last stage has nowhere to defer to
        unanswered = rejected if j == n_stages - 1 else share_below(kernel, j, accept[:, j])
        answered = arriving if unanswered is None else arriving * (1.0 - unanswered)
        right += (answered @ kernel.correct[:, j, :, None])[..., 0]
        if j in cuts:
            cut, segment, upper = cuts[j]
            right[:, cut] += answered[:, cut, segment] * (upper - kernel.correct[:, j, segment])
        if abstained is not None and rejected is not None:
            abstained += np.sum(arriving * rejected, axis=2)
        if unanswered is not None and j < n_stages - 1:
            # a_j D_j / p_j: the deferred share of a segment in which signals are spread as in the margin
            ratio = arriving * (unanswered if rejected is None else unanswered - rejected)
            ratio *= kernel.inverse_mass(j)[:, None]
            correct_within_segment(ratio, kernel, j, positions, unanswered, rejected)
            arriving = ratio @ kernel.pair[j]
            # the correction may take more from a neighbouring segment than there is
            np.maximum(arriving, 0.0, out=arriving)
    right = kernel.over_nodes(right)
    abstained = None if abstained is None else kernel.over_nodes(abstained)
    cost = np.einsum("dpj,dj->dp", reach, kernel.cost)
    latency = None if draws.latency is None else np.einsum("dpj,dj->dp", reach, draws.latency)
    return Outcome(1.0 - right if abstained is None else 1.0 - abstained - right, cost, reach, abstained, latency)


def correct_within_segment(
    ratio: np.ndarray,
    kernel: Kernel,
    stage: int,
    positions: np.ndarray,
    below: np.ndarray,
    rejected: np.ndarray | None,
) -> None:
    """Correct deferred mass for its place within a segment that a threshold cuts: first order in u, in place.

    What follows a signal, E[. | u], is taken as linear in u across neighbouring segments. Where what is deferred
    of a segment of mass p lies between its fractions g and f, its mean u lies (1 - f - g) p / 2 below the
    segment's own. Moving that much mass, over the distance of the neighbours' midpoints, from the segment above to
    the one below shifts the mean by as much and leaves the total as it is. ``ratio`` is (state, point, segment),
    per unit of segment mass; ``below`` and ``rejected`` are the shares that `share_below` gives.
    """
    mass, inverse = kernel.mass[:, stage], kernel.inverse_mass(stage)
    middle = np.cumsum(mass, axis=1) - 0.5 * mass
    margin = kernel.draws.margins[stage]
    last, points = len(margin.low) - 1, np.arange(len(positions))
    if last == 0:
        return
    accept, reject = split_positions(positions, len(kernel.draws.stages))
    segment = cut_of(margin, accept[:, stage])[0]
    fraction, none = below[:, points, segment], np.zeros(1)
    cuts = [(segment, fraction, none)]
    if reject is not None and rejected is not None:
        # both thresholds may cut the same segment: then what is deferred lies between them, else each has its own
        low_segment = cut_of(margin, reject[:, stage])[0]
        low_fraction, same = rejected[:, points, low_segment], low_segment == segment
        cuts = [
            (segment, fraction, np.where(same, low_fraction, 0.0)),
            (low_segment, np.where(same, 0.0, 1.0)[None], np.where(same, 0.0, low_fraction)),
        ]
    for at, f, g in cuts:
        point = np.flatnonzero(((f - g > 0) & (f - g < 1)).any(axis=0))
        s, lower = at[point], (1.0 - f - g)[:, point]
        above, under = np.minimum(s + 1, last), np.maximum(s - 1, 0)
        moved = ratio[:, point, s] * mass[:, s]
        step = moved * 0.5 * lower * mass[:, s] / np.maximum(middle[:, above] - middle[:, under], 1e-300)
        ratio[:, point, above] -= step * inverse[:, above]
        ratio[:, point, under] += step * inverse[:, under]
