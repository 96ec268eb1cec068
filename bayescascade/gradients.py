"""Amounts of one vector of positions under some draws, with analytic gradients: one forward and one backward pass.

The gradient at a threshold is the mass that arrives there times the difference of what follows on its two sides:
accepting or deferring, deferring or abstaining.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bayescascade.cascade import Kernel, shares, split_positions
from bayescascade.draws import Draws
from bayescascade.goals import stage_amount
from bayescascade.moves import to_rows


@dataclass(frozen=True)
class Slopes:
    """Amounts of free positions by name (draw,), and their gradients (draw, free)."""

    amounts: dict[str, np.ndarray]
    slopes: dict[str, np.ndarray]


def amounts_and_slopes(kernel: Kernel, free: np.ndarray, names: list[str]) -> Slopes:
    """Error and the other named amounts of free positions (see `moves`), with gradients."""
    draws = kernel.draws
    n = len(draws.stages)
    rows = to_rows(free, n)
    deferred, rejected = (None if s is None else s[0] for s in shares(rows, n, draws.n_segments))
    assert deferred is not None
    accepted = 1.0 - deferred if rejected is None else 1.0 - deferred - rejected
    accept_at, reject_at = (None if p is None else p[0] for p in split_positions(rows, n))
    assert accept_at is not None
    n_cuts = n - 1 if reject_at is None else n
    at, upper, at_threshold = _cuts(draws, accept_at[:n_cuts])
    sums = [name for name in names if name not in ("error", "abstained")]
    per_stage = [stage_amount(kernel, name) for name in sums]
    flow, edge = _forward(kernel, deferred, at, at_threshold)
    # What is still to come from each segment of a stage at which a query has just arrived (draw, segment, amount):
    # error, the sums, abstained. What is right is taken off the error a step earlier, since it may depend on the
    # segment before; `counts` is how much of it is accepted.
    own, abstained = kernel.own, 1 + len(sums)
    to_go = np.zeros((*kernel.mass[:, -1].shape, abstained + (rejected is not None)))
    to_go[..., 0] = accepted[-1]
    if rejected is not None:
        to_go[..., abstained] = rejected[-1]
    counts = _counts(accepted[-1], own[:, -1], at, upper, n - 1)
    by_accept, by_reject = (np.zeros((draws.n, n, to_go.shape[2])) for _ in range(2))
    if rejected is not None and reject_at is not None:
        density = flow[-1][:, at[-1]]
        by_reject[:, -1, 0] = -density * (1.0 - edge[:, -1])
        by_reject[:, -1, abstained] = density
    for j in range(n - 2, -1, -1):
        inverse = kernel.inverse_mass(j)
        if kernel.pair_right is None:
            to_go[..., 0] -= counts * kernel.correct[:, j + 1]
        wait = np.matmul(kernel.pair[j], to_go) * inverse[..., None]
        if kernel.pair_right is not None:
            wait[..., 0] -= np.matmul(kernel.pair_right[j], counts[..., None])[..., 0] * inverse
        for i, amount in enumerate(per_stage):
            wait[..., 1 + i] += amount[:, j + 1, None]
        here = wait[:, at[j]].copy()
        here[:, 0] -= 1.0 - edge[:, j]
        by_accept[:, j] = flow[j][:, at[j], None] * here
        to_go = deferred[j][:, None] * wait
        to_go[..., 0] += accepted[j]
        if rejected is not None and reject_at is not None:
            low = min(int(reject_at[j]), len(draws.margins[j].low) - 1)
            away = -wait[:, low]
            away[:, abstained] += 1.0
            by_reject[:, j] = flow[j][:, low, None] * away
            to_go[..., abstained] += rejected[j]
        counts = _counts(accepted[j], own[:, j], at, upper, j)
    to_go[..., 0] -= counts * kernel.correct[:, 0]
    totals = np.einsum("ds,dsq->dq", kernel.mass[:, 0], to_go)
    order = ["error", *sums, *(["abstained"] if rejected is not None else [])]
    slopes = by_accept[:, :-1] if rejected is None else np.concatenate([by_accept[:, :-1], by_reject], axis=1)
    amounts = {name: totals[:, i] for i, name in enumerate(order)}
    for name, first in zip(sums, per_stage, strict=True):
        amounts[name] = amounts[name] + first[:, 0]
    return Slopes(amounts, {name: slopes[..., i] for i, name in enumerate(order)})


def _forward(
    kernel: Kernel, deferred: np.ndarray, at: np.ndarray, at_threshold: np.ndarray
) -> tuple[list[np.ndarray], np.ndarray]:
    """Mass that arrives in each segment of each stage, and P(correct) of what arrives at each threshold."""
    arriving, flow, edge = kernel.mass[:, 0], [kernel.mass[:, 0]], at_threshold.copy()
    if kernel.pair_right is not None and len(at):
        # the first stage of a restricted cascade may have a stage before it that is not run
        edge[:, 0] *= kernel.correct[:, 0, at[0]] / np.maximum(kernel.own[:, 0, at[0]], 1e-300)
    for j in range(len(deferred) - 1):
        ratio = arriving * deferred[j] * kernel.inverse_mass(j)
        arriving = np.matmul(ratio[:, None], kernel.pair[j])[:, 0]
        flow.append(arriving)
        if kernel.pair_right is not None and j + 1 < len(at):
            # how much more often what arrives is right than the segment with the previous signal at its mean
            s = at[j + 1]
            right = np.einsum("db,db->d", ratio, kernel.pair_right[j][:, :, s])
            edge[:, j + 1] *= right / np.maximum(arriving[:, s] * kernel.own[:, j + 1, s], 1e-300)
    return flow, edge


def _counts(accepted: np.ndarray, own: np.ndarray, at: np.ndarray, upper: np.ndarray, stage: int) -> np.ndarray:
    """Accepted share of each segment, times how much more often that part is right than the segment."""
    counts = np.broadcast_to(accepted, own.shape).copy()
    if stage < len(at):
        whole = own[:, at[stage]]
        counts[:, at[stage]] *= np.divide(upper[:, stage], whole, out=np.ones_like(whole), where=whole > 0)
    return counts


def _cuts(draws: Draws, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Segment that each threshold cuts, P(correct) of its upper part, and P(correct) at the threshold."""
    sizes = np.array([len(margin.low) for margin in draws.margins[: len(positions)]])
    at = np.minimum(np.floor(positions).astype(int), sizes - 1)
    upper, at_threshold = np.empty((2, draws.n, len(positions)))
    for j, (segment, x) in enumerate(zip(at, positions, strict=True)):
        low, high = draws.margins[j].low[segment], draws.margins[j].high[segment]
        t = low + min(x - segment, 1.0) * (high - low)
        upper[:, j] = draws.mean_correct(j, np.array(t), np.array(high))
        at_threshold[:, j] = draws.p_correct(j, np.array(t))
    return at, upper, at_threshold
