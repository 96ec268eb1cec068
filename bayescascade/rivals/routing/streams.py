"""A stream of queries, two stages and a budget: who may be escalated, and what it costs.

Every method of `routing` gives a query a score, high where the small model will do; what is done with scores is
the same for all of them and stands here. It is the dynamic threshold of Ramirez, Birch & Titov (2024),
arXiv:2405.02134.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bayescascade.errors import CascadeError
from bayescascade.runtime.two_tier import ROUNDING, Dynamic, check_costs, large_share, pays_dearest, pays_rest


class Rule(Protocol):
    """Below which score a query is escalated."""

    def threshold(self, seen: list[float], share: float) -> float:
        """The threshold, from the sorted scores seen so far, this query's too, and the share to escalate."""
        ...


@dataclass(frozen=True)
class Fixed:
    """A threshold that stays as it is, such as a quantile of training scores.

    Examples
    --------
    >>> from bayescascade.rivals.routing.streams import Fixed
    >>> Fixed(0.3).threshold([0.1, 0.9], 0.5)
    0.3
    """

    value: float

    def threshold(self, seen: list[float], share: float) -> float:
        """The same for every query."""
        return self.value


def play_stream(
    scores: np.ndarray, budget: float, costs: tuple[float, float], *, cascade: bool, rule: Rule | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Play queries one after another, without a look ahead, under a budget.

    Examples
    --------
    >>> from bayescascade.rivals.routing.streams import Fixed, play_stream
    >>> answered, run = play_stream([0.9, 0.2, 0.8, 0.7], 2.5, (1.0, 5.0), cascade=True, rule=Fixed(0.5))
    >>> answered.tolist()
    [0, 1, 0, 0]
    >>> run.tolist()
    [[True, True, True, True], [False, True, False, False]]

    Parameters
    ----------
    scores : array (query,)
        How well the small model will do; queries below the threshold are escalated. Scores of a cascade are those
        of the small model's answers, and are not looked at where that is not called.
    budget : float
        Money for each query; the stream has this times its length, which is known beforehand.
    costs : tuple
        Of a call to the small and to the large model.
    cascade : bool
        Whether the small model is called before a query is escalated (both are paid), or the score is known
        without.
    rule : Dynamic or Fixed, optional
        Where the threshold is. By default `Dynamic`, which starts at the tenth query.

    Returns
    -------
    answered : ndarray of int (query,)
        0 for the small model, 1 for the large one.
    run : ndarray of bool (2, query)
        Which models are called.

    Raises
    ------
    CascadeError
        If the small model is not the cheaper one, the budget does not pay for it, or a score is missing.

    Notes
    -----
    Two guards. A query is escalated only if the money left then still pays the small model for the queries to
    come; so the budget is never overspent. Where the money left pays the large model for all queries to come, it
    is called straight away. The scores seen are kept sorted.

    References
    ----------
    Ramirez, Birch & Titov (2024), Optimising calls to large language models with uncertainty-based two-tier
    selection, arXiv:2405.02134.
    """
    small, large = check_costs(costs)
    scores = np.asarray(scores, dtype=float)
    if np.isnan(scores).any():
        raise CascadeError(
            f"{np.isnan(scores).sum()} of {len(scores)} queries have no score; each query needs one."
        )
    if not budget >= small * (1.0 - ROUNDING):
        raise CascadeError(
            f"the budget per query is {budget:g}, but the small model alone costs {small:g}; raise it."
        )
    rule = Dynamic() if rule is None else rule
    share, n = large_share(budget, costs, cascade=cascade), len(scores)
    run, seen = np.zeros((2, n), dtype=bool), list[float]()
    answered = np.zeros(n, dtype=int)
    total = budget * n
    slack, dear = ROUNDING * total, small + large if cascade else large
    n_small = n_large = 0  # calls so far: their costs are not added up one by one, which would round
    for i, score in enumerate(scores.tolist()):
        left, money = n - i, total - n_small * small - n_large * large + slack
        if pays_dearest(money, left, large):
            # paying the large model leaves this as true as it was: so it is to the end
            run[1, i:], answered[i:] = True, 1
            break
        insort(seen, score)
        up = score < rule.threshold(seen, share) and pays_rest(money, dear, left, small)
        run[1, i], answered[i] = up, up
        run[0, i] = cascade or not up
        n_small += bool(run[0, i])
        n_large += up
    return answered, run
