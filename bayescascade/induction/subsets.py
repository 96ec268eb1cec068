"""Which stages to keep: the best parts of a cascade for a price of errors.

A dynamic programme runs over *suffixes*, the tuples of stages from one on, by backward induction: what a suffix is
worth is a vector over its first stage's segments. Stages put before it see no more of it than that, and gain where
it grows, since expectations and maxima are monotone. So a suffix that n others from the same stage match on every
segment is in none of the n best subsets, whatever is put before it, and is dropped. That is exact, and it keeps
the suffixes few, where subsets are exponentially many.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from bayescascade.cascade.forward import forward
from bayescascade.induction.backward_induction import induce
from bayescascade.induction.backward_pass import make_grids, over_nodes
from bayescascade.induction.segment_decisions import Thresholds, best_thresholds, best_value, value_of
from bayescascade.posterior.kernel import Kernel, compose, restrict_kernel, with_latency

# Suffixes kept for each first stage; on real logs and simulated ones there are rarely more.
_MAX_SUFFIXES = 64
# The best by backward induction that thresholds decide between, as a multiple of those wanted.
_SHORTLIST = 2
_SAME = 1e-12

Keep = tuple[int, ...]


class Ranked(NamedTuple):
    """Subsets in the order of their loss, best first.

    ``exact`` is False where so many suffixes were worth keeping that some were dropped by their mean, and where
    queries have a difficulty: what a stage should do then depends on who arrives, and the shortlist is a guess.
    """

    keeps: list[Keep]
    losses: np.ndarray
    exact: bool


class _Suffixes(NamedTuple):
    """Suffixes from one stage, and what each segment of that is worth to them (node, suffix, segment)."""

    keeps: list[Keep]
    value: np.ndarray


def best_subsets(
    kernel: Kernel,
    prices: float | Iterable[float],
    n: int = 5,
    *,
    abstain_price: float | None = None,
    latency_price: float | None = None,
) -> list[Keep]:
    """The n best subsets for each price of an error, without repeats, those of the first price first.

    ``kernel`` is a one-draw kernel of all stages, as `mean_kernel` makes it. A subset is a tuple of
    stage numbers, for `Draws.restrict`; single stages are subsets too.
    """
    given = np.atleast_1d(np.asarray(prices, dtype=float))
    found = [
        rank_subsets(kernel, float(p), n, abstain_price=abstain_price, latency_price=latency_price) for p in given
    ]
    return list(dict.fromkeys(keep for ranked in found for keep in ranked.keeps))


def rank_subsets(
    kernel: Kernel,
    price: float,
    n: int = 5,
    *,
    abstain_price: float | None = None,
    latency_price: float | None = None,
) -> Ranked:
    """The n best subsets for one price of an error, by the loss of their thresholds.

    A subset with a stage that nothing reaches, or that would answer nothing, stands for the smaller one without.
    """
    kernel = with_latency(kernel, latency_price)
    task = _Task(kernel, price, abstain_price)
    listed, exact = _shortlist(task, _SHORTLIST * n)
    losses = {keep: threshold_loss(kernel, keep, price, abstain_price) for keep in listed}
    best = sorted(losses, key=losses.__getitem__)[:n]
    return Ranked(best, np.array([losses[keep] for keep in best]), exact)


def threshold_loss(kernel: Kernel, keep: Keep, price: float, abstain_price: float | None = None) -> float:
    """Loss of stages of a whole one-draw kernel, by backward induction's thresholds."""
    part = restrict_kernel(kernel, keep)
    out = forward(part, induce(part, np.array([price]), abstain_price))
    abstained = 0.0 if out.abstained is None else float(out.abstained[0, 0]) * (abstain_price or 0.0)
    return float(out.error[0, 0]) * price + float(out.cost[0, 0]) + abstained


class _Task:
    """A one-draw kernel and a price, with what every step of the search needs of them."""

    def __init__(self, kernel: Kernel, price: float, abstain_price: float | None) -> None:
        self.kernel, self.price, self.abstain_price = kernel, price, abstain_price
        self.stages = range(len(kernel.draws.stages))
        self.grids = make_grids(kernel)
        self.refuse = None if abstain_price is None else np.array([[1.0 - abstain_price / price]])
        # not to answer is worth nothing, or what abstaining is
        shape = (len(kernel.mass), 1, kernel.mass.shape[2])
        wait = np.full(shape, 0.0 if self.refuse is None else self.refuse[0, 0])
        self.alone = [_Suffixes([(i,)], self._value(i, wait, None)) for i in self.stages]

    def worth(self, suffixes: _Suffixes) -> np.ndarray:
        """What a query is worth that is sent to the first stage of each suffix (suffix,)."""
        stage = suffixes.keeps[0][0]
        mass, cost = self.kernel.mass[:, stage], self.kernel.cost[0, stage]
        return np.einsum("nks,ns->k", suffixes.value, mass) - cost / self.price

    def preceded(self, stage: int, after: _Suffixes) -> _Suffixes:
        """Suffixes with a stage put before them, but for those that it does not use, or that do not use it."""
        following = after.keeps[0][0]
        mass, inverse = self.kernel.mass[:, None, stage], self.kernel.inverse_mass(stage)[:, None]
        ahead = after.value @ np.swapaxes(compose(self.kernel, stage, following), 1, 2)
        cost = self.kernel.cost[0, following] * mass
        wait = (ahead - cost / self.price) * inverse
        value = self._value(stage, wait, self.refuse)

        def differs(other: np.ndarray) -> np.ndarray:
            return ((np.abs(value - other) > _SAME) & (inverse > 0)).any(axis=(0, 2))

        index = np.flatnonzero(differs(self.alone[stage].value) & differs(wait))
        return _Suffixes([(stage, *after.keeps[k]) for k in index], value[:, index])

    def _value(self, stage: int, wait: np.ndarray, refuse: np.ndarray | None) -> np.ndarray:
        """What each segment is worth under the best policy (node, suffix, segment), given what waiting is worth.

        Waiting is taken as level within a segment: with a rise, what is worth more in the middle could gain less.
        Where queries have a difficulty, the policy is that of thresholds which every query comes to.
        """
        grid, kernel = self.grids[stage], self.kernel
        values = grid.values(wait, 0.0 * wait, refuse)
        if kernel.draws.n_nodes == 1:
            best = best_value(values)
        else:
            mass = np.broadcast_to(kernel.mass[:, None, stage], wait.shape)[..., grid.segment] * grid.width
            chosen = best_thresholds(*over_nodes(kernel, values, mass))
            best = value_of(Thresholds(*map(kernel.by_state, chosen)), values)
        return grid.mean(best, kernel.mass.shape[2])


def _shortlist(task: _Task, n: int) -> tuple[list[Keep], bool]:
    """The n best subsets by the best policy of any kind for each, and whether that is certain."""
    kept: dict[int, _Suffixes] = {}
    exact = True
    totals: dict[Keep, float] = {}
    for i in reversed(task.stages):
        found = _joined([task.alone[i], *(task.preceded(i, after) for after in kept.values())])
        kept[i], whole = _undominated(task, found, n)
        exact &= whole
        totals.update(zip(kept[i].keeps, task.worth(kept[i]), strict=True))
    return sorted(totals, key=totals.__getitem__, reverse=True)[:n], exact


def _undominated(task: _Task, found: _Suffixes, n: int) -> tuple[_Suffixes, bool]:
    """Suffixes that fewer than n others match on every segment, up to `_MAX_SUFFIXES`; and whether that is all."""
    there = task.kernel.inverse_mass(found.keeps[0][0]) > 0
    value = np.swapaxes(found.value, 1, 2)[there].T  # (suffix, node and segment)
    kept: list[int] = []
    for k in np.argsort(-task.worth(found), kind="stable"):
        if (value[kept] >= value[k] - _SAME).all(axis=1).sum() < n:
            kept.append(int(k))
    some = kept[:_MAX_SUFFIXES]
    certain = some == kept and task.kernel.draws.n_nodes == 1
    return _Suffixes([found.keeps[k] for k in some], found.value[:, some]), certain


def _joined(parts: list[_Suffixes]) -> _Suffixes:
    keeps = [keep for part in parts for keep in part.keeps]
    return _Suffixes(keeps, np.concatenate([part.value for part in parts], axis=1))
