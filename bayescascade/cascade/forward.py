"""Error, cost and reach of threshold vectors: exactly under each posterior draw.

For one draw the signals are a Markov chain, and so are the segments they fall in. With D_j the share of each
segment that stage j defers and M_j the probability of each pair of segments (differences of the copula's C),
the mass that runs stage j + 1 is ``(a_j D_j / p_j) M_j``. That is the exact expectation, up to the position
within a segment; no search, no density, linear in the number of stages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from bayescascade._common.arrays import safe_divide
from bayescascade.cascade.positions import cut_of
from bayescascade.posterior.kernel import Kernel

# (right, stage, arriving, ratio): adds to ``right`` (draw, point) what a stage accepts and gets right of the mass
# that arrives there; ``ratio`` is what the stage before defers, per unit of its mass (draw, point, segment).
AddRight = Callable[[np.ndarray, int, np.ndarray, np.ndarray], None]


class Outcome(NamedTuple):
    """What positions come to: (draw, point) each, ``reach`` (draw, point, stage).

    ``abstained`` is None without rejecting positions, ``latency`` where the fit knows none.
    """

    error: np.ndarray
    cost: np.ndarray
    reach: np.ndarray
    abstained: np.ndarray | None = None
    latency: np.ndarray | None = None

    def take(self, points: np.ndarray | int) -> Outcome:
        """The same of some of the points."""
        return Outcome._make(None if part is None else part[:, points] for part in self)

    @classmethod
    def concat(cls, parts: Iterable[Outcome]) -> Outcome:
        """The same points under the draws of all parts, one after another."""
        joined = zip(*parts, strict=True)
        return cls._make(None if some[0] is None else np.concatenate(some) for some in joined)


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


def forward(kernel: Kernel, positions: np.ndarray) -> Outcome:
    """What positions (point, stage) come to; (point, 2 * stage) where the second half rejects.

    A query is abstained from below the rejecting position, deferred between, accepted from the accepting position
    on; the last stage accepts from its rejecting position on. The deferred part of a segment that a threshold
    cuts goes on as that part would, not as the segment as a whole does (see `lean_cut`).
    """
    draws = kernel.draws
    n_stages = len(draws.stages)
    deferred, rejected = shares(positions, n_stages, draws.n_segments)
    accepted = 1.0 - deferred if rejected is None else 1.0 - deferred - rejected
    add_right = (_by_both_signals if kernel.uses_previous else _by_own_signal)(kernel, positions, accepted)
    arriving = ratio = np.broadcast_to(kernel.mass[:, :1], (draws.n, len(positions), draws.n_segments))
    right = np.zeros((draws.n, len(positions)))
    abstained = None if rejected is None else np.zeros_like(right)
    reach = np.empty((draws.n, len(positions), n_stages))
    for j in range(n_stages):
        reach[..., j] = arriving.sum(axis=2)
        add_right(right, j, arriving, ratio)
        if abstained is not None and rejected is not None:
            abstained += np.einsum("dps,ps->dp", arriving, rejected[:, j])
        if j < n_stages - 1:
            ratio = arriving * deferred[None, :, j]
            ratio *= kernel.inverse_mass(j)[:, None]
            lean_cut(ratio, kernel, j, positions)
            arriving = ratio @ kernel.pair[j]
            np.maximum(arriving, 0.0, out=arriving)
    cost = np.einsum("dpj,dj->dp", reach, kernel.cost)
    latency = None if draws.latency is None else np.einsum("dpj,dj->dp", reach, draws.latency)
    return Outcome(1.0 - right if abstained is None else 1.0 - abstained - right, cost, reach, abstained, latency)


def _by_own_signal(kernel: Kernel, positions: np.ndarray, accepted: np.ndarray) -> AddRight:
    """Count right answers where P(correct) depends on the stage's own signal."""
    cuts = {j: cut for j, *cut in cut_correct(kernel, positions)}

    def add_right(right: np.ndarray, j: int, arriving: np.ndarray, ratio: np.ndarray) -> None:
        answered = arriving * accepted[:, j]
        right += (answered @ kernel.own[:, j, :, None])[..., 0]
        if j in cuts:
            cut, segment, upper = cuts[j]
            right[:, cut] += answered[:, cut, segment] * (upper - kernel.own[:, j, segment])

    return add_right


def _by_both_signals(kernel: Kernel, positions: np.ndarray, accepted: np.ndarray) -> AddRight:
    """Count right answers where P(correct) depends on the previous stage's signal, too."""
    # how much more often the accepted part of a segment is right than the whole
    part = safe_divide(accepted_correct(kernel, positions), kernel.own[:, None])
    # a restricted cascade may start at a stage whose correctness is an average over the signal before
    first = kernel.mass[:, :1] * kernel.correct[:, :1]

    def add_right(right: np.ndarray, j: int, arriving: np.ndarray, ratio: np.ndarray) -> None:
        arriving_right = np.maximum(ratio @ kernel.pair_right[j - 1], 0.0) if j > 0 else first
        right += np.einsum("dps,ps->dp", arriving_right * part[:, :, j], accepted[:, j])

    return add_right


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
