"""The dynamic threshold of two-tier selection: who may be escalated in a stream of queries with a budget.

Ramirez, Birch & Titov (2024), Optimising calls to large language models with uncertainty-based two-tier selection,
arXiv:2405.02134.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bayescascade.errors import CascadeError

ROUNDING = 1e-9  # sums of costs are compared up to this share of the whole budget


@dataclass(frozen=True)
class Dynamic:
    """The score that as large a share of those seen so far lies below as may be escalated.

    Examples
    --------
    >>> from bayescascade.runtime.two_tier import Dynamic
    >>> Dynamic(warm_up=3).threshold([0.1, 0.2, 0.7, 0.9], 0.5)
    0.7
    >>> Dynamic(warm_up=5).threshold([0.1, 0.2, 0.7, 0.9], 0.5)
    -inf

    Attributes
    ----------
    warm_up : int
        There is a threshold from this many scores on, and no escalation by score before: 10 in the paper, 21 in
        its code.
    """

    warm_up: int = 10

    def threshold(self, seen: list[float], share: float) -> float:
        """``seen[floor(n share)]``; infinite where everything may be escalated."""
        if len(seen) < self.warm_up:
            return -np.inf
        place = int(len(seen) * share + ROUNDING)
        return seen[place] if place < len(seen) else np.inf


def check_costs(costs: tuple[float, float]) -> tuple[float, float]:
    """Costs of a call to the small and to the large model, or `CascadeError` where there is nothing to save.

    Examples
    --------
    >>> check_costs((1, 10))
    (1.0, 10.0)
    """
    small, large = float(costs[0]), float(costs[1])
    if not 0.0 <= small < large < np.inf:
        raise CascadeError(
            f"a call to the small model costs {small:g} and one to the large model {large:g}; a budget between "
            "them needs a small model that is cheaper. Choose another pair of stages."
        )
    return small, large


def large_share(budget: float, costs: tuple[float, float], *, cascade: bool) -> float:
    """Share of queries that a budget per query lets the large model see, in [0, 1].

    Examples
    --------
    >>> large_share(5.5, (1.0, 10.0), cascade=False)
    0.5
    >>> large_share(5.5, (1.0, 10.0), cascade=True)  # which has paid for the small model already
    0.45
    """
    small, large = check_costs(costs)
    return float(np.clip((budget - small) / (large if cascade else large - small), 0.0, 1.0))


def pays_dearest(money: float, left: int, dearest: float) -> bool:
    """Whether the money left pays the dearest model for all queries left: then it is called straight away.

    Examples
    --------
    >>> pays_dearest(20.0, 2, 10.0), pays_dearest(20.0, 3, 10.0)
    (True, False)
    """
    return money >= left * dearest


def pays_rest(money: float, dear: float, left: int, cheapest: float) -> bool:
    """Whether, once a query has cost ``dear``, the cheapest model is still paid for the others of the ``left``.

    Examples
    --------
    >>> pays_rest(12.0, 10.0, 3, 1.0), pays_rest(11.0, 10.0, 3, 1.0)
    (True, False)
    """
    return money - dear >= (left - 1) * cheapest
