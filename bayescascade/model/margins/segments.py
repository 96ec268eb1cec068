"""Margins: the distribution of one stage's signal, as a finite Polya tree over ordered segments.

The line is cut into *segments*: an atom (one value) or an interval between two quantiles of the observed
signal. A balanced binary tree divides the segments into ``2**DEPTH`` leaves; each split of the tree is a free
probability with a beta prior worth two queries, and within a leaf the mass is spread as observed. The splits are
the only parameters, F is linear in the leaf weights, and under the tree's own likelihood the splits are
independent, which is what makes the sampler quick (Lavine 1992, doi:10.1214/aos/1176348767).

This module is plain NumPy and knows nothing of PyMC.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bayescascade.model.margins.tree import N_LEAVES, lay_tree

_MAX_SEGMENTS = 32
_MAX_ATOMS = 24


@dataclass(frozen=True)
class Margin:
    """Segments of one stage's signal, in increasing order, and their place in the tree.

    Attributes
    ----------
    low, high : ndarray (segment,)
        Ends on the signal scale; equal for an atom.
    leaf : ndarray of int (segment,)
    count : ndarray (segment,)
        Observed values that a segment holds; intervals are counted by rank, so not in whole numbers.
    split_used : ndarray of bool (split,)
        False where a split has nothing to divide.
    """

    low: np.ndarray
    high: np.ndarray
    leaf: np.ndarray
    count: np.ndarray
    split_used: np.ndarray

    @property
    def is_atom(self) -> np.ndarray:
        """True for each segment that is a single value (segment,)."""
        return self.low == self.high

    @property
    def share(self) -> np.ndarray:
        """Share of its leaf's weight that a segment holds; sums to 1 within a leaf (segment,)."""
        return self.count / np.bincount(self.leaf, weights=self.count, minlength=N_LEAVES)[self.leaf]

    @property
    def before(self) -> np.ndarray:
        """Share of the leaf that lies below each segment (segment,)."""
        total = np.cumsum(self.share) - self.share
        first = np.searchsorted(self.leaf, self.leaf, side="left")
        return total - total[first]

    def segment_of(self, signal: np.ndarray) -> np.ndarray:
        """The segment of each signal, the outermost one for signals beyond the ends."""
        segment = np.clip(np.searchsorted(self.low, signal, side="right") - 1, 0, len(self.low) - 1)
        # an atom and the interval that starts at it share their lower end: the atom comes first
        before = np.maximum(segment - 1, 0)
        tie = (segment > 0) & (self.low[before] == signal) & ~self.is_atom[segment] & self.is_atom[before]
        return np.where(tie, segment - 1, segment)

    def cell_of(self, signal: np.ndarray, by: str = "leaf") -> np.ndarray:
        """The cell of each signal: a leaf of the tree, or a segment (``by="segment"``)."""
        segment = self.segment_of(signal)
        return segment if by == "segment" else self.leaf[segment]

    def locate(self, signal: np.ndarray, by: str = "leaf") -> dict[str, np.ndarray]:
        """Place signals in cells, the tree's leaves or the segments (``by="segment"``).

        Returns arrays over the signals: ``cell``; ``low`` and ``high``, the share of the cell below the value,
        without and with the value itself (equal for a continuous value); ``atom``; and ``log_shape``, the log
        density (or mass) of the value within its cell. A value beyond the ends lies where half a query of its
        segment would be left outside: at rank 0 or 1 it would have no finite normal score.
        """
        signal = np.asarray(signal, dtype=float)
        segment = self.segment_of(signal)
        atom = self.is_atom[segment]
        width = np.where(atom, 1.0, self.high[segment] - self.low[segment])
        inside = np.clip((signal - self.low[segment]) / width, 0.0, 1.0)
        room = 0.5 / (1.0 + self.count[segment])
        inside = np.where(signal <= self.low[0], room, inside)
        inside = np.where(signal >= self.high[-1], 1.0 - room, inside)
        one, none = np.ones(len(segment)), np.zeros(len(segment))
        before, share = (none, one) if by == "segment" else (self.before[segment], self.share[segment])
        low = before + np.where(atom, 0.0, share * inside)
        high = before + np.where(atom, share, share * inside)
        log_shape = np.log(share) - np.where(atom, 0.0, np.log(width))
        return {"cell": self.cell_of(signal, by), "low": low, "high": high, "atom": atom, "log_shape": log_shape}


def find_atoms(signal: np.ndarray, *, discrete: bool = False) -> np.ndarray:
    """Return the values that are atoms, sorted: those that repeat far more than rounding explains.

    A value is an atom when at least 2% of the queries, and at least four, share it. Signals with few distinct
    values (votes, verbalised confidences) are atoms throughout.
    """
    values, counts = np.unique(signal, return_counts=True)
    if discrete or (len(values) <= 20 and len(signal) >= 3 * len(values)) or len(values) == 1:
        return values
    heavy = counts >= max(4.0, 0.02 * len(signal))
    if heavy.sum() > _MAX_ATOMS:
        heavy &= counts >= np.sort(counts)[-_MAX_ATOMS]
    return values[heavy]


def build_margin(
    signal: np.ndarray,
    *,
    discrete: bool = False,
    bounds: tuple[float, float],
    weight: np.ndarray | None = None,
) -> Margin:
    """Cut one stage's observed signals into segments and lay the tree over them.

    Parameters
    ----------
    signal : ndarray (query,)
        Finite signals of the queries for which the stage was run; at least one.
    discrete : bool
        Every observed value is an atom (votes).
    bounds : tuple of float
        Range of the signal scale; no segment reaches beyond it.
    weight : ndarray (query,), optional
        How many queries each one stands for, where some kinds of queries were seen less often than they occur;
        one on average.
    """
    order = np.argsort(np.asarray(signal, dtype=float), kind="stable")
    signal = np.asarray(signal, dtype=float)[order]
    weight = np.ones(len(signal)) if weight is None else np.asarray(weight, dtype=float)[order]
    # the end of the scale is an event of its own (a probability of exactly 1), however rare
    ends = signal[np.isin(signal, bounds)]
    atoms = np.union1d(find_atoms(signal, discrete=discrete), ends)
    is_free = ~np.isin(signal, atoms)
    free, free_weight = signal[is_free], weight[is_free]
    n_segments = int(np.clip(len(free) // 2, 2, _MAX_SEGMENTS))
    low, high, count = [], [], []
    cuts = np.searchsorted(free, atoms)
    for i, (block, heavy) in enumerate(zip(np.split(free, cuts), np.split(free_weight, cuts), strict=True)):
        if len(block):
            floor = atoms[i - 1] if i > 0 else bounds[0]
            ceiling = atoms[i] if i < len(atoms) else bounds[1]
            edges = _edges(block, heavy, floor, ceiling, max(1, round(n_segments * len(block) / len(free))))
            low += list(edges[:-1])
            high += list(edges[1:])
            count += list(_counts(block, heavy, edges))
        if i < len(atoms):
            low.append(atoms[i])
            high.append(atoms[i])
            count.append(np.sum(weight[signal == atoms[i]]))
    mass = np.asarray(count, dtype=float)
    leaf, used = lay_tree(mass)
    return Margin(np.asarray(low), np.asarray(high), leaf, mass, used)


def _edges(block: np.ndarray, weight: np.ndarray, floor: float, ceiling: float, n: int) -> np.ndarray:
    """Quantile edges of a run of continuous values, finer in the tails, a little wider than the run."""
    i = np.arange(n + 1) / n
    level = 0.5 * i + 0.25 * (1.0 - np.cos(np.pi * i))
    edges = np.interp(level, (np.cumsum(weight) - 0.5 * weight) / weight.sum(), block)
    span = edges[-1] - edges[0]
    gap = span / len(block) if span > 0 else max(1e-6, 1e-3 * abs(block[0]))
    edges[0] = max(edges[0] - gap, floor)
    edges[-1] = min(edges[-1] + gap, ceiling)
    return np.unique(edges)


def _counts(block: np.ndarray, weight: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """How many values each interval holds, spread by rank so that no interval is empty."""
    rank = np.interp(edges, *_ecdf(block, weight))
    rank[0], rank[-1] = 0.0, 1.0
    return weight.sum() * np.maximum(np.diff(rank), 1e-3 / len(edges))


def _ecdf(block: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values, at = np.unique(block, return_inverse=True)
    counts = np.bincount(at, weights=weight)
    return values, (np.cumsum(counts) - 0.5 * counts) / weight.sum()
