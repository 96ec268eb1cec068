"""Backward induction over two signals, and the groups of cells between which thresholds on P(correct) move.

For each price the best policy of any kind is V_j(x', x) = max(phi_j(x', x), -c_{j+1} / price +
E[V_{j+1}(x, X) | x]), as the signals are a Markov chain (see `induction`). What waiting is worth depends
on a stage's own signal, so that policy has a threshold on phi_j for each x. Here there is one for each stage: that
of greatest expected gain given those of later stages, with the mass that earlier ones let through.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bayescascade._curves import History
from bayescascade.cascade import Kernel
from bayescascade.draws import Draws
from bayescascade.frontiers import price_range, spread
from bayescascade.two_signals import Cells, build_cells, deferred_share, forward, pair_masses, to_threshold

# A stage's cells are sorted by P(correct) and put in so many groups of like mass; thresholds move between groups.
_N_GROUPS = 64
_N_PASSES = 2  # the second knows what the first lets through to each stage


@dataclass(frozen=True)
class Scale:
    """Where one stage's threshold can stand: at 0 all is accepted, at the end nothing, between group by group.

    Attributes
    ----------
    levels : ndarray (group + 2,)
        Logit of P(correct) at each whole position, rising; the ends lie outside of all cells.
    order : ndarray of int (cell,)
        Cells with any mass by rising logit.
    starts : ndarray of int (group,)
        Where each group starts in `order`.
    share : ndarray (group,)
        Of the queries, if all of them ran the stage.
    """

    cells: Cells
    levels: np.ndarray
    order: np.ndarray
    starts: np.ndarray
    share: np.ndarray

    @property
    def top(self) -> float:
        """Position from which on nothing is accepted."""
        return float(len(self.levels) - 1)

    def to_levels(self, position: np.ndarray) -> np.ndarray:
        """Logits at which positions accept."""
        return np.interp(position, np.arange(len(self.levels)), self.levels)

    def to_thresholds(self, position: np.ndarray) -> np.ndarray:
        """Thresholds on P(correct); the ends are infinite."""
        inner = to_threshold(self.to_levels(position))
        return np.where(position <= 0.0, -np.inf, np.where(position >= self.top, np.inf, inner))

    def heaviest(self, position: float, other: float) -> float:
        """Share of the largest group between two positions."""
        low, high = sorted((position, other))
        groups = self.share[max(int(np.ceil(low)) - 1, 0) : max(int(np.floor(high)), 0)]
        return float(groups.max(initial=0.0))

    def by_group(self, values: np.ndarray) -> np.ndarray:
        """Sums of values over the cells of each group (..., before, segment) to (..., group)."""
        flat = values.reshape(*values.shape[:-2], -1)[..., self.order]
        return np.add.reduceat(flat, self.starts, axis=-1)


def build_scale(draws: Draws, history: History, mean: Kernel, stage: int) -> Scale:
    """Group the cells of a stage, under the masses of a one-draw kernel."""
    cells = build_cells(draws, history, stage)
    level, mass = cells.middle.ravel(), _cell_masses(mean, cells, stage)[0].ravel()
    order = np.argsort(level, kind="stable")
    order = order[mass[order] > 0.0]
    level, mass = level[order], mass[order] / mass.sum()
    # an atom, or a segment of the first stage, is a group of its own; what is equal stays together
    heavy = mass > 1.0 / _N_GROUPS
    label = np.floor(_N_GROUPS * (np.cumsum(mass) - 0.5 * mass))
    new = (np.diff(label) > 0) | heavy[1:] | heavy[:-1]
    starts = np.append(0, np.flatnonzero(new & (np.diff(level) > 1e-9)) + 1)
    share = np.add.reduceat(mass, starts)
    inner = np.add.reduceat(mass * level, starts) / share
    ends = (float(cells.low.min()) - 1e-6, float((cells.low + cells.rise.sum(axis=0)).max()) + 1e-6)
    return Scale(cells, np.concatenate([ends[:1], inner, ends[1:]]), order, starts, share)


def _cell_masses(kernel: Kernel, cells: Cells, stage: int) -> tuple[np.ndarray, np.ndarray]:
    n_before, n_own = cells.low.shape
    mass, right = (x[0, :n_before, :n_own] for x in pair_masses(kernel, stage))
    return mass, right


def to_thresholds(scales: list[Scale], positions: np.ndarray) -> np.ndarray:
    """Thresholds on P(correct) (point, stage) of positions (point, stage - 1); the last stage accepts all."""
    inner = [scale.to_thresholds(positions[:, j]) for j, scale in enumerate(scales)]
    return np.stack([*inner, np.full(len(positions), -np.inf)], axis=1)


def induce_history(kernel: Kernel, scales: list[Scale], prices: np.ndarray) -> np.ndarray:
    """Positions (price, stage - 1) of the best thresholds, by backward induction on a one-draw kernel."""
    arriving = [np.ones((len(prices), scale.cells.low.shape[0])) for scale in scales]
    for _ in range(_N_PASSES):
        positions, shares = _backward(kernel, scales, prices, arriving)
        for j, scale in enumerate(scales[:-1]):
            mass, _ = _cell_masses(kernel, scale.cells, j)
            going = np.einsum("ps,st,pst->pt", arriving[j], mass, shares[j])
            arriving[j + 1] = going * kernel.inverse_mass(j)[0, : mass.shape[1]]
    return positions


def _backward(
    kernel: Kernel, scales: list[Scale], prices: np.ndarray, arriving: list[np.ndarray]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Thresholds' positions (price, stage - 1), and the shares of each stage's cells that they defer.

    ``arriving`` says how much of each previous segment is run (price, before) at each stage.
    """
    n_links = len(scales)
    positions, shares = np.zeros((len(prices), n_links)), list[np.ndarray]()
    # expected value still to come, over the whole of each segment of the stage before
    value = np.broadcast_to(pair_masses(kernel, n_links)[1][0].sum(axis=1), (len(prices), kernel.mass.shape[2]))
    for j in range(n_links - 1, -1, -1):
        scale, inverse = scales[j], kernel.inverse_mass(j)[0]
        mass, right = _cell_masses(kernel, scale.cells, j)
        wait = mass * (value * inverse - kernel.cost[0, j + 1] / prices[:, None])[:, None, : mass.shape[1]]
        weight = arriving[j][:, :, None]
        positions[:, j] = _best_position(scale.by_group(weight * (right - wait)), scale.by_group(weight * mass))
        deferred = deferred_share(scale.cells, scale.to_levels(positions[:, j]))
        shares.insert(0, deferred)
        value = _padded((right + deferred * (wait - right)).sum(axis=2), kernel)
    return positions, shares


def _padded(value: np.ndarray, kernel: Kernel) -> np.ndarray:
    return np.pad(value, ((0, 0), (0, kernel.mass.shape[2] - value.shape[1])))


def _best_position(gain: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Where to start accepting, given the gain of accepting each group and what arrives there (price, group)."""
    n = gain.shape[1]
    from_here = np.cumsum(gain[:, ::-1], axis=1)[:, ::-1]
    from_here = np.concatenate([from_here, np.zeros((len(gain), 1))], axis=1)
    edge = from_here.argmax(axis=1)
    # between the two groups at the edge, the gain is taken as linear
    row, left, right = np.arange(len(gain)), np.clip(edge - 1, 0, n - 1), np.clip(edge, 0, n - 1)
    each = np.divide(gain, mass, out=np.zeros_like(gain), where=mass > 1e-300)
    below, above = each[row, left], each[row, right]
    inner = (edge > 0) & (edge < n)
    shift = np.divide(
        -below, above - below, out=np.full(len(gain), 0.5), where=inner & (below < 0.0) & (above > 0.0)
    )
    return np.where(edge == 0, 0.0, np.where(edge == n, n + 1.0, edge + shift))


def sweep_history(
    kernel: Kernel, history: History, scales: list[Scale], n_points: int
) -> tuple[np.ndarray, np.ndarray]:
    """Positions (point, stage - 1) evenly spaced in cost under a one-draw kernel, and prices (point,)."""
    prices = price_range(kernel)
    ends = np.stack([np.zeros(len(scales)), [scale.top for scale in scales]])
    positions = np.concatenate([ends[:1], induce_history(kernel, scales, prices), ends[1:]])
    prices = np.concatenate([[0.0], prices, [np.inf]])
    cost = forward(kernel, history, to_thresholds(scales, positions)).cost[0]
    return spread(cost, positions, prices, n_points)
