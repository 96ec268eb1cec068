"""Which stages to keep, and in which order: the best parts of a cascade for a price of errors.

A dynamic programme runs over *suffixes*, the tuples of stages from one on, by backward induction: what a suffix is
worth is a vector over its first stage's segments. Stages put before it see no more of it than that, and gain where
it grows, since expectations and maxima are monotone. So a suffix that n others from the same stage match on every
segment is in none of the n best subsets, whatever is put before it, and is dropped. That is exact, and it keeps
the suffixes few, where subsets are exponentially many.

Orders against the chain come from the same step, taken as if the signals were a chain in that order too, with only
the best of each length and first stage held: a beam search. What it finds is then judged exactly.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

import numpy as np

from bayescascade._backward import make_grids
from bayescascade._branches import Lines, best_split
from bayescascade._orders import evaluate_order
from bayescascade._skips import restricted_parts
from bayescascade.cascade import Kernel, forward, restrict_kernel
from bayescascade.induction import induce, with_latency

# Suffixes kept for each first stage; on real logs and simulated ones there are rarely more.
_MAX_SUFFIXES = 64
# The best by backward induction that thresholds decide between, as a multiple of those wanted.
_SHORTLIST = 2
# Sequences in any order that are held for each first stage and length, and how many are judged exactly.
_BEAM, _N_SEQUENCES = 8, 8
# Subsets whose neighbours are swapped, and by how much of the loss another order must be better.
_N_SWAPPED, _BETTER = 2, 1e-4
_SAME = 1e-12

Keep = tuple[int, ...]


class Ranked(NamedTuple):
    """Subsets in the order of their loss, best first.

    ``exact`` is False where so many suffixes were worth keeping that some were dropped by their mean.
    """

    keeps: list[Keep]
    losses: np.ndarray
    exact: bool


class _Suffixes(NamedTuple):
    """Suffixes from one stage: how often each segment is accepted and right, and what else it is worth."""

    keeps: list[Keep]
    right: np.ndarray
    rest: np.ndarray


def best_subsets(
    kernel: Kernel,
    prices: float | Iterable[float],
    n: int = 5,
    *,
    abstain_price: float | None = None,
    latency_price: float | None = None,
    orders: bool = True,
) -> list[Keep]:
    """The n best subsets for each price of an error, without repeats, those of the first price first.

    ``kernel`` is a one-draw kernel of all stages, as `frontiers.mean_kernel` makes it. A subset is a tuple of
    stage numbers in the order to be run, for `Draws.restrict`; single stages are subsets too.
    """
    given = np.atleast_1d(np.asarray(prices, dtype=float))
    found = [
        rank_subsets(kernel, float(p), n, abstain_price=abstain_price, latency_price=latency_price, orders=orders)
        for p in given
    ]
    return list(dict.fromkeys(keep for ranked in found for keep in ranked.keeps))


def rank_subsets(
    kernel: Kernel,
    price: float,
    n: int = 5,
    *,
    abstain_price: float | None = None,
    latency_price: float | None = None,
    orders: bool = True,
) -> Ranked:
    """The n best subsets for one price of an error, by the loss of their thresholds.

    A subset with a stage that nothing reaches, or that would answer nothing, stands for the smaller one without.
    With ``orders``, orders against the chain that beat all subsets along it are among them, and so is the best of
    these. Their losses are exact, but which are tried is a matter of search, and their thresholds are those of a
    chain in that order: an even better one may be missed.
    """
    kernel = with_latency(kernel, latency_price)
    task = _Task(kernel, price, abstain_price)
    listed, exact = _along_the_chain(task, _SHORTLIST * n)
    losses = {keep: task.loss(keep) for keep in listed}
    first = min(losses, key=losses.__getitem__)
    if orders:
        tried = {keep: task.loss(keep) for keep in (*listed, *_sequences(task, _N_SEQUENCES))}
        for keep in sorted(tried, key=tried.__getitem__)[:_N_SWAPPED]:
            better = _swapped(task, keep)
            tried[better] = task.loss(better)
        losses |= {keep: loss for keep, loss in tried.items() if loss < losses[first] * (1.0 - _BETTER)}
    best = sorted(losses, key=losses.__getitem__)[:n]
    if first not in best:
        best[-1] = first
    return Ranked(best, np.array([losses[keep] for keep in best]), exact)


def threshold_loss(kernel: Kernel, keep: Keep, price: float, abstain_price: float | None = None) -> float:
    """Loss of stages of a whole one-draw kernel, in the order given, by backward induction's thresholds."""
    part = restrict_kernel(kernel, keep)
    rows = induce(part, np.array([price]), abstain_price)
    out = forward(part, rows) if list(keep) == sorted(keep) else evaluate_order(kernel, keep, rows)
    abstained = 0.0 if out.abstained is None else float(out.abstained[0, 0]) * (abstain_price or 0.0)
    return float(out.error[0, 0]) * price + float(out.cost[0, 0]) + abstained


class _Task:
    """A one-draw kernel and a price, with what every step of the search needs of them."""

    def __init__(self, kernel: Kernel, price: float, abstain_price: float | None) -> None:
        self.kernel, self.price, self.abstain_price = kernel, price, abstain_price
        self.stages = range(len(kernel.draws.stages))
        self.grids = make_grids(kernel)
        self.refuse = None if abstain_price is None else np.array([[1.0 - abstain_price / price]])
        self.parts = cache(lambda i, j: restricted_parts(kernel, (i, j)))
        self.loss = cache(lambda keep: threshold_loss(kernel, keep, price, abstain_price))
        # not to answer is worth nothing, or what abstaining is
        wait = np.full((1, 1, kernel.mass.shape[2]), 0.0 if self.refuse is None else self.refuse[0, 0])
        self.alone = [_Suffixes([(i,)], *self._split(i, wait, None)) for i in self.stages]

    def worth(self, suffixes: _Suffixes) -> np.ndarray:
        """What a query is worth that is sent to the first stage of each suffix (suffix,)."""
        stage = suffixes.keeps[0][0]
        mass, cost = self.kernel.mass[0, stage], self.kernel.cost[0, stage]
        return (suffixes.right + suffixes.rest) @ mass - cost / self.price

    def preceded(self, stage: int, after: _Suffixes) -> list[_Suffixes]:
        """Suffixes with a stage put before them, but for those that it does not use, or that do not use it."""
        following = after.keeps[0][0]
        pair, pair_right = self.parts(stage, following)
        mass, inverse = self.kernel.mass[0, stage], self.kernel.inverse_mass(stage)[0]
        if pair_right is None:
            ahead = (after.right + after.rest) @ pair[0][0].T
        else:
            correct = self.kernel.correct[0, following]
            share = np.divide(after.right, correct, out=np.zeros_like(after.right), where=correct > 0)
            ahead = after.rest @ pair[0][0].T + share @ pair_right[0][0].T
        cost = self.kernel.cost[0, following] * mass
        wait = ((ahead - cost / self.price) * inverse)[None]
        right, rest = self._split(stage, wait, self.refuse)
        alone, there = self.alone[stage], mass > 0
        used = (np.abs(right + rest - alone.right - alone.rest)[:, there] > _SAME).any(axis=1)
        answers = (np.abs(right + rest - wait[0])[:, there] > _SAME).any(axis=1)
        index = np.flatnonzero(used & answers)
        return (
            [_Suffixes([(stage, *after.keeps[k]) for k in index], right[index], rest[index])] if len(index) else []
        )

    def _split(self, stage: int, wait: np.ndarray, refuse: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """What the best sets make of each segment (suffix, segment).

        Waiting is taken as level within a segment: with a rise, what is worth more in the middle could gain less.
        """
        grid = self.grids[stage]
        lines = Lines(*grid.accept(self.kernel.correct[:, None, stage]), *grid.line(wait, 0.0 * wait), refuse)
        right, rest = best_split(lines)
        n_segments = self.kernel.mass.shape[2]
        return grid.mean(right, n_segments)[0], grid.mean(rest, n_segments)[0]


def _along_the_chain(task: _Task, n: int) -> tuple[list[Keep], bool]:
    """The n best subsets by the best policy of any kind for each, and whether that is certain."""
    kept: dict[int, _Suffixes] = {}
    exact = True
    totals: dict[Keep, float] = {}
    for i in reversed(task.stages):
        longer = [part for j in kept for part in task.preceded(i, kept[j])]
        kept[i], whole = _undominated(task, _joined([task.alone[i], *longer]), n)
        exact &= whole
        totals.update(zip(kept[i].keeps, task.worth(kept[i]), strict=True))
    return sorted(totals, key=totals.__getitem__, reverse=True)[:n], exact


def _undominated(task: _Task, found: _Suffixes, n: int) -> tuple[_Suffixes, bool]:
    """Suffixes that fewer than n others match on every segment, up to `_MAX_SUFFIXES`; and whether that is all."""
    there = task.kernel.mass[0, found.keeps[0][0]] > 0
    worth = [found.right + found.rest]
    if task.kernel.pair_right is not None:
        # what is accepted counts for more or less by the signal before: both parts have to be matched
        worth = [found.right, found.rest]
    features = np.concatenate([w[:, there] for w in worth], axis=1)
    kept: list[int] = []
    for k in np.argsort(-task.worth(found), kind="stable"):
        if (features[kept] >= features[k] - _SAME).all(axis=1).sum() < n:
            kept.append(int(k))
    return _picked(found, kept[:_MAX_SUFFIXES]), len(kept) <= _MAX_SUFFIXES


def _sequences(task: _Task, n: int) -> list[Keep]:
    """The n best sequences against the chain, as if the signals were a chain in their order, by beam search."""
    totals: dict[Keep, float] = {}
    held, most, before = dict(enumerate(task.alone)), -np.inf, -np.inf
    while held and (most > before or not totals):
        before = most
        grown: dict[int, _Suffixes] = {}
        for i in task.stages:
            without = [_picked(s, [k for k, keep in enumerate(s.keeps) if i not in keep]) for s in held.values()]
            longer = [new for part in without if part.keeps for new in task.preceded(i, part)]
            if longer:
                found = _joined(longer)
                worth = task.worth(found)
                best = np.argsort(-worth, kind="stable")[:_BEAM]
                grown[i] = _picked(found, list(best))
                totals.update(zip(grown[i].keeps, worth[best], strict=True))
                most = max(most, worth[best[0]])
        held = grown
    against = [keep for keep in totals if list(keep) != sorted(keep)]
    return sorted(against, key=totals.__getitem__, reverse=True)[:n]


def _swapped(task: _Task, keep: Keep) -> Keep:
    """Swap neighbours as long as that makes the loss smaller by more than rounding."""
    better = True
    while better:
        better = False
        for i in range(len(keep) - 1):
            swapped = (*keep[:i], keep[i + 1], keep[i], *keep[i + 2 :])
            if task.loss(swapped) < task.loss(keep) * (1.0 - _BETTER):
                keep, better = swapped, True
    return keep


def _joined(parts: list[_Suffixes]) -> _Suffixes:
    right, rest = (np.concatenate([getattr(part, name) for part in parts]) for name in ("right", "rest"))
    return _Suffixes([keep for part in parts for keep in part.keeps], right, rest)


def _picked(suffixes: _Suffixes, index: list[int]) -> _Suffixes:
    return _Suffixes([suffixes.keeps[k] for k in index], suffixes.right[index], suffixes.rest[index])
