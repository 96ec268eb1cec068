"""Budgets of a running cascade: for each query, for each period, and for a stream of queries."""

from __future__ import annotations

import math
import time
from bisect import insort
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from bayescascade.errors import CascadeError, bad_value
from bayescascade.runtime.policy import Decision
from bayescascade.runtime.two_tier import ROUNDING, Dynamic, pays_dearest, pays_rest
from bayescascade.signals.responses import number


class BudgetSpent(CascadeError):
    """There is no money to start a query with.

    Examples
    --------
    >>> raise BudgetSpent("the budget of this day is spent; wait, or raise it")
    Traceback (most recent call last):
    ...
    bayescascade.runtime.budget.BudgetSpent: the budget of this day is spent; wait, or raise it
    """


@dataclass(frozen=True)
class Budget:
    """Most money that queries may cost.

    Examples
    --------
    >>> from bayescascade import Budget
    >>> Budget(per_query=0.01, per_period=20.0).when_spent
    'abstain'

    Parameters
    ----------
    per_query : float, optional
        Most that the calls of one query may cost.
    per_period : float, optional
        Most that all calls of any ``period`` may cost.
    period : float
        Its length in seconds, a day by default; infinite for all calls in the log. The period slides: the calls of
        the last ``period`` count.
    when_spent : {"abstain", "accept"}
        What happens if a query should be deferred but the next call is not affordable: no answer, or the answer so
        far, if its confidence is known.

    Notes
    -----
    The cost of a call is known only afterwards. Until then its expected cost counts. So a budget is overspent by
    no more than the running calls cost above their expected cost.
    """

    per_query: float | None = None
    per_period: float | None = None
    period: float = 86_400.0
    when_spent: Literal["abstain", "accept"] = "abstain"

    def __post_init__(self) -> None:
        if self.per_query is None and self.per_period is None:
            raise CascadeError("a budget has per_query, per_period or both; give one")
        for name in ("per_query", "per_period", "period"):
            value = getattr(self, name)
            endless = name == "period" and value == math.inf
            if value is not None and not endless and not number(value) > 0.0:
                raise bad_value(name, value, "give a number above 0")
        if self.when_spent not in ("abstain", "accept"):
            raise bad_value("when_spent", self.when_spent, "choose 'abstain' or 'accept'")

    def start(self, expected: Sequence[float], past: Iterable[Call] = ()) -> Spending:
        """An account for a cascade whose calls cost ``expected``, after the calls ``past`` of its log."""
        return Spending(self, expected, past)


@dataclass(frozen=True)
class StreamBudget:
    """Money for a stream of queries of known length, spent on those that need it most.

    Examples
    --------
    >>> from bayescascade import StreamBudget
    >>> StreamBudget(per_query=0.004, queries=1000).share([0.001, 0.01])
    0.3

    Parameters
    ----------
    per_query : float
        Money for each query on average.
    queries : int
        Length of the stream.
    warm_up : int
        Queries that a stage answers before any is deferred.

    Notes
    -----
    A dynamic threshold replaces the policy's accepting ones: a stage defers the least sure share of the queries
    that it has seen. With two stages this is the rule of Ramirez, Birch & Titov (2024),
    arXiv:2405.02134. With more, each stage defers the same share p of what it sees, where the expected costs
    c1 + p c2 + p² c3 + ... are the money for a query. Rejecting thresholds stay as they are. There are two guards.
    A query is deferred only if the remaining money pays for the first stage of all future queries. If it pays for
    the last stage of all of them, they go there directly.
    """

    per_query: float
    queries: int
    warm_up: int = 10

    def __post_init__(self) -> None:
        if not number(self.per_query) > 0.0:
            raise bad_value("per_query", self.per_query, "give a number above 0")
        for name in ("queries", "warm_up"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise bad_value(name, value, "give a whole number of at least 1")

    def share(self, costs: Sequence[float]) -> float:
        """Share of the queries a stage sees that it may defer, in [0, 1]."""
        if len(costs) == 2:
            return min(max((self.per_query - costs[0]) / costs[1], 0.0), 1.0)
        low, high = 0.0, 1.0
        for _ in range(60):  # the cost rises with the share, so halving finds it to the last bit
            middle = (low + high) / 2
            spent = sum(cost * middle**place for place, cost in enumerate(costs))
            low, high = (middle, high) if spent <= self.per_query else (low, middle)
        return high if high == 1.0 else low

    def start(self, expected: Sequence[float], past: Iterable[Call] = ()) -> StreamSpending:
        """An account for a cascade whose calls cost ``expected``, after the calls ``past`` of its log."""
        return StreamSpending(self, expected, past)


class Call(NamedTuple):
    """A call of an earlier run: the place of its stage, its confidence and cost, when it was, and for what."""

    query: str
    stage: int
    confidence: float
    cost: float
    when: float
    explored: bool


class Spending:
    """What has been spent, and whether one more call is affordable; see `Budget`.

    Examples
    --------
    >>> spending = Budget(per_query=1.5).start([1.0, 1.0])
    >>> spending.first(), spending.affords(1, spent=1.0)
    (0, False)
    """

    def __init__(
        self,
        budget: Budget,
        expected: Sequence[float],
        past: Iterable[Call] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.when_spent: str = budget.when_spent
        self._budget, self._expected, self._clock = budget, expected, clock
        self._paid: deque[tuple[float, float]] = deque()  # when, and how much
        self._sum = self._reserved = 0.0
        for call in past:
            self._pay(known_or(call.cost, expected[call.stage]), call.when)

    def first(self) -> int:
        """Where a query starts; raises `BudgetSpent` where nothing is affordable."""
        if not self.affords(0, 0.0):
            raise BudgetSpent(
                f"the budget pays no call of the first stage, which costs about {self._expected[0]:g}; "
                "wait until the period is over, or raise it"
            )
        return 0

    def affords(self, stage: int, spent: float) -> bool:
        """Whether a query that has cost ``spent`` may call a stage."""
        cost, budget = self._expected[stage], self._budget
        if budget.per_query is not None and spent + cost > budget.per_query * (1.0 + ROUNDING):
            return False
        if budget.per_period is None:
            return True
        self._forget(self._clock() - budget.period)
        return self._sum + self._reserved + cost <= budget.per_period * (1.0 + ROUNDING)

    def decide(self, stage: int, confidence: float, decision: Decision) -> Decision:
        """The policy's decision stands."""
        return decision

    def reserve(self, stage: int) -> None:
        """Put the expected cost of a call aside, until it is known."""
        self._reserved += self._expected[stage]

    def settle(self, stage: int, cost: float) -> None:
        """What the call has cost in truth; as much as expected where that is not known, as of a failed one."""
        self._reserved -= self._expected[stage]
        self._pay(known_or(cost, self._expected[stage]), self._clock())

    def _pay(self, cost: float, when: float) -> None:
        self._paid.append((when, cost))
        self._sum += cost

    def _forget(self, until: float) -> None:
        """Leave out what was paid before the present period."""
        if self._paid and self._paid[0][0] <= until:
            self._paid = deque(item for item in self._paid if item[0] > until)
            self._sum = math.fsum(cost for _, cost in self._paid)


class StreamSpending:
    """What a stream of queries has spent, and its dynamic thresholds; see `StreamBudget`.

    Examples
    --------
    >>> spending = StreamBudget(per_query=1.7, queries=10, warm_up=2).start([1.0, 2.0])
    >>> for confidence in (0.9, 0.5, 0.2):
    ...     stage = spending.first()
    ...     spending.reserve(stage)
    ...     spending.settle(stage, 1.0)
    ...     print(stage, spending.decide(0, confidence, "accept"), spending.affords(1, spent=1.0))
    0 accept True
    0 accept True
    0 defer True
    """

    when_spent: str = "accept"

    def __init__(self, budget: StreamBudget, expected: Sequence[float], past: Iterable[Call] = ()) -> None:
        self._expected, self._share = expected, budget.share(expected)
        self._rule = Dynamic(budget.warm_up)
        self._seen: list[list[float]] = [[] for _ in expected]
        self._left = budget.queries  # those that have not started
        total = budget.per_query * budget.queries
        self._money = total * (1.0 + ROUNDING)
        known: set[str] = set()
        for call in past:
            known.add(call.query)
            self._money -= known_or(call.cost, expected[call.stage])
            if not call.explored and not math.isnan(call.confidence):
                insort(self._seen[call.stage], call.confidence)
        self._left -= len(known)

    def first(self) -> int:
        """Where a query starts: at the last stage, if the money left pays that for all to come."""
        if self._left < 1:
            raise BudgetSpent("the stream's budget is for fewer queries than came; raise queries")
        if pays_dearest(self._money, self._left, self._expected[-1]):
            place = len(self._expected) - 1
        elif self._money >= self._expected[0]:
            place = 0
        else:
            raise BudgetSpent("the stream's budget is spent; raise per_query")
        self._left -= 1
        return place

    def affords(self, stage: int, spent: float) -> bool:
        """Whether a query may call a further stage, so that the first one is still paid for those to come."""
        return pays_rest(self._money, self._expected[stage], self._left + 1, self._expected[0])

    def decide(self, stage: int, confidence: float, decision: Decision) -> Decision:
        """Defer below the dynamic threshold; an abstention stands, and so does what the last stage says."""
        insort(self._seen[stage], confidence)
        if decision == "abstain" or stage == len(self._expected) - 1:
            return decision
        return "defer" if confidence < self._rule.threshold(self._seen[stage], self._share) else "accept"

    def reserve(self, stage: int) -> None:
        """Pay a call's expected cost, until it is known."""
        self._money -= self._expected[stage]

    def settle(self, stage: int, cost: float) -> None:
        """What the call has cost in truth; as much as expected where that is not known."""
        self._money += self._expected[stage] - known_or(cost, self._expected[stage])


def known_or(cost: float, expected: float) -> float:
    """What a call has cost, as much as expected where that is not known.

    Examples
    --------
    >>> known_or(0.2, 0.1), known_or(math.nan, 0.1)
    (0.2, 0.1)
    """
    return expected if math.isnan(cost) else cost
