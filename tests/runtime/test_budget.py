"""Budgets of a running cascade, beside the published rule for two stages."""

import asyncio
import math

import numpy as np
import pytest

from bayescascade import Budget, Cascade, CascadeError, Endpoint, Policy, Reply, StreamBudget
from bayescascade.rivals.routing.streams import play_stream
from bayescascade.runtime.budget import BudgetSpent, Call, Spending
from bayescascade.runtime.reply import Reply as PlainReply
from bayescascade.runtime.two_tier import Dynamic

INF = math.inf


class Scripted(Endpoint):
    """An endpoint that says a confidence which the prompt holds for its stage."""

    def client(self):
        return Client()

    async def ask(self, client, messages):
        if self.model == "broken":
            return PlainReply(reason="the answer is empty")
        return PlainReply(self.model, float(messages.split()[int(self.model)]), self.price)


class Client:
    async def close(self):
        pass


def stream(scores, costs, budget, log=None, start=0, policy=None):
    """Results for rows of confidences, one query after another."""
    names = [str(j) for j in range(len(costs))]
    policy = policy or Policy(names, [0.5] * (len(costs) - 1) + [-INF], "probability")
    stages = {
        name: Scripted(name, price=cost, signal="answer_probability")
        for name, cost in zip(names, costs, strict=True)
    }

    async def run():
        async with Cascade(policy, stages, budget=budget, log=log) as cascade:
            return [await cascade.answer(" ".join(map(str, row)), f"q{start + i}") for i, row in enumerate(scores)]

    return asyncio.run(run())


def rows(n, k, seed=1):
    return np.random.default_rng(seed).uniform(size=(n, k)).tolist()


@pytest.mark.parametrize("falling", [False, True], ids=["at random", "each less sure than the last"])
@pytest.mark.parametrize("money", [1.0, 1.5, 3.3, 499 / 150, 5.5, 9.9, 10.0, 12.0])
def test_two_stages_are_the_published_rule(money, falling):
    # falling scores would all be deferred, so that the guard has to hold money back
    scores, costs = sorted(rows(150, 2), reverse=True) if falling else rows(150, 2), (1.0, 10.0)
    results = stream(scores, costs, StreamBudget(per_query=money, queries=150))
    answered, run = play_stream([row[0] for row in scores], money, costs, cascade=True)
    assert [int(result.stage) for result in results] == answered.tolist()
    assert [len(result.decisions) for result in results] == run.sum(0).tolist()
    assert sum(result.cost for result in results) <= money * 150 * (1 + 1e-9)


def test_a_stream_that_goes_on_after_a_stop(tmp_path):
    scores, costs, budget = rows(100, 2), (1.0, 10.0), StreamBudget(per_query=4.0, queries=100)
    whole = stream(scores, costs, budget)
    log = tmp_path / "log.jsonl"
    parts = stream(scores[:37], costs, budget, log) + stream(scores[37:], costs, budget, log, start=37)
    assert [result.stage for result in parts] == [result.stage for result in whole]


def test_three_stages_keep_the_budget_and_use_it():
    scores, costs = rows(400, 3), (1.0, 4.0, 20.0)
    results = stream(scores, costs, StreamBudget(per_query=6.0, queries=400))
    spent = sum(result.cost for result in results)
    assert spent <= 6.0 * 400 * (1 + 1e-9)
    assert spent > 0.9 * 6.0 * 400
    assert {result.stage for result in results} == {"0", "1", "2"}


def test_the_share_of_three_stages_costs_what_a_query_has():
    costs = (1.0, 4.0, 20.0)
    share = StreamBudget(per_query=6.0, queries=1).share(costs)
    assert costs[0] + share * costs[1] + share**2 * costs[2] == pytest.approx(6.0)
    assert StreamBudget(per_query=30.0, queries=1).share(costs) == 1.0
    assert StreamBudget(per_query=0.5, queries=1).share(costs) == 0.0


def test_a_stream_is_over_after_its_queries():
    with pytest.raises(BudgetSpent, match="for fewer queries than came"):
        stream(rows(3, 2), (1.0, 2.0), StreamBudget(per_query=1.5, queries=2))
    with pytest.raises(BudgetSpent, match="the stream's budget is spent"):
        stream(rows(3, 2), (1.0, 2.0), StreamBudget(per_query=0.4, queries=3))


def test_abstention_stands_in_a_stream():
    policy = Policy(["0", "1"], [0.5, -INF], "probability", reject=[0.2, -INF])
    (result,) = stream([[0.1, 0.9]], (1.0, 2.0), StreamBudget(per_query=1.5, queries=1), policy=policy)
    assert result.decision == "abstain"


def test_a_period_slides():
    now = [1000.0]
    past = [Call("old", 0, 0.5, 3.0, 800.0, False), Call("new", 0, 0.5, math.nan, 950.0, False)]
    spending = Spending(Budget(per_period=3.0, period=100.0), [1.0, 1.0], past, clock=lambda: now[0])
    assert spending.first() == 0
    spending.reserve(0)
    spending.settle(0, 1.5)  # with the 1.0 that the call without a known cost counts for
    with pytest.raises(BudgetSpent):
        spending.first()
    now[0] = 1051.0
    assert spending.first() == 0


def test_calls_under_way_count():
    spending = Spending(Budget(per_period=2.0), [1.0, 1.0])
    spending.reserve(0)
    spending.reserve(0)
    with pytest.raises(BudgetSpent):
        spending.first()


def test_the_expected_cost_of_a_call_that_failed_is_paid():
    policy = Policy(["0", "1"], [0.5, -INF], "probability")
    stages = {"0": Scripted("broken", price=1.0, signal="answer_probability"), "1": lambda messages: Reply("x")}

    async def run():
        async with Cascade(policy, stages, budget=Budget(per_period=1.5)) as cascade:
            first = await cascade.answer("a")
            with pytest.raises(BudgetSpent):
                await cascade.answer("b")
            return first

    assert asyncio.run(run()).answer == "x"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Budget(),
        lambda: Budget(per_query=0.0),
        lambda: Budget(per_query=-INF),
        lambda: Budget(per_period="1"),
        lambda: Budget(per_query=1.0, when_spent="guess"),
        lambda: StreamBudget(per_query=0.0, queries=3),
        lambda: StreamBudget(per_query=1.0, queries=0),
        lambda: StreamBudget(per_query=1.0, queries=3, warm_up=True),
    ],
)
def test_budgets_that_cannot_be(make):
    with pytest.raises(CascadeError):
        make()


def test_no_query_is_deferred_before_the_warm_up():
    assert Dynamic(10).threshold([0.5] * 9, 0.9) == -INF
    results = stream(rows(9, 2), (1.0, 10.0), StreamBudget(per_query=5.0, queries=100))
    assert {result.stage for result in results} == {"0"}
