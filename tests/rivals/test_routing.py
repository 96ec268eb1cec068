"""Streams under budgets, the scores of the methods that route, and how they are measured."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import xarray as xr
from helpers.draws import TOP, gumbel_conditional, make_draws, redraw_atoms, signals_at

import bayescascade as bc
from bayescascade.cascade.rules import Route
from bayescascade.errors import CascadeError
from bayescascade.rivals.base import StageDecisions
from bayescascade.rivals.routing.gains import PosteriorGain, PosteriorScore, expected_gain
from bayescascade.rivals.routing.routers import MarginSampling, RandomRouting
from bayescascade.rivals.routing.streams import Fixed, play_stream
from bayescascade.runtime.two_tier import Dynamic, large_share
from studies.common.metrics import budget_area, mixed_stream


@pytest.fixture(scope="module")
def logs():
    train, test = (bc.simulate(n, n_stages=3, top_atom=0.1, random_seed=seed) for n, seed in ((150, 1), (1500, 2)))
    return train, test


def test_a_cascade_worked_by_hand():
    # share (1.8 - 1) / 4 = 0.2; money 10.8 for 6 queries; thresholds from the third score on
    scores = [0.5, 0.9, 0.1, 0.3, 0.05, 0.7]
    # 3 seen (.1 .5 .9), place floor(.6) = 0: threshold .1, and .1 is not below it
    # 4 seen (.1 .3 .5 .9), place floor(.8) = 0: threshold .1, and .3 is not below it
    # 5 seen (.05 .1 .3 .5 .9), place 1: threshold .1, and .05 is below: 6.8 - 5 pays for one more small call
    # the last: .7 is not below .1
    answered, run = play_stream(scores, 1.8, (1.0, 4.0), cascade=True, rule=Dynamic(warm_up=3))
    assert answered.tolist() == [0, 0, 0, 0, 1, 0]
    assert run.tolist() == [[True] * 6, [False] * 4 + [True, False]]


def test_money_for_the_large_model_is_spent_straight_away():
    # 10 for 4 queries: after two small calls 8 are left for 2, which is what the large model costs
    answered, run = play_stream([0.5, 0.6, 0.7, 0.8], 2.5, (1.0, 4.0), cascade=True, rule=Fixed(0.1))
    assert answered.tolist() == [0, 0, 1, 1]
    assert run.tolist() == [[True, True, False, False], [False, False, True, True]]


def test_a_router_worked_by_hand():
    # share (2 - 1) / (3 - 1) = 0.5; money 10 for 5 queries
    scores = [0.5, 0.2, 0.1, 0.6, 0.7]
    # .5: place floor(.5) = 0, threshold .5: small, 9 left
    # .2: seen .2 .5, place 1, threshold .5: large, 6 left for 3
    # .1: seen .1 .2 .5, place 1, threshold .2: large, 3 left for 2
    # .6: seen .1 .2 .5 .6, place 2, threshold .5: small, 2 left for 1, less than the large model costs
    # .7: small
    answered, run = play_stream(scores, 2.0, (1.0, 3.0), cascade=False, rule=Dynamic(warm_up=1))
    assert answered.tolist() == [0, 1, 1, 0, 0]
    np.testing.assert_array_equal(run, [answered == 0, answered == 1])


def test_money_runs_out_before_low_scores_do():
    # all three score low, but 6 for 3 queries pays one call to both (1 + 3) and two small ones
    answered, run = play_stream([0.0, 0.0, 0.0], 2.0, (1.0, 3.0), cascade=True, rule=Fixed(0.5))
    assert answered.tolist() == [1, 0, 0]
    assert run.tolist() == [[True, True, True], [True, False, False]]


@pytest.mark.parametrize("cascade", [True, False])
def test_the_ends_are_all_small_and_all_large(cascade):
    scores = np.random.default_rng(1).uniform(size=300)
    costs = (0.1, 0.7)  # sums of these round
    answered, run = play_stream(scores, 0.1, costs, cascade=cascade)
    assert not answered.any()
    assert run.sum() == 300
    answered, run = play_stream(scores, 0.7, costs, cascade=cascade)
    assert answered.all()
    assert not run[0].any()


@pytest.mark.parametrize("seed", range(60))
def test_budgets_are_never_overspent_and_everyone_is_answered(seed):
    rng = np.random.default_rng(seed)
    n, small = int(rng.integers(1, 200)), rng.uniform(0.01, 1.0)
    large = small * rng.uniform(1.01, 60.0)
    budget = rng.uniform(small, 1.3 * large)
    # adverse streams too: with ties, and with scores that fall all the way, so that each is below the threshold
    scores = [rng.normal(size=n), rng.integers(0, 3, n) * 1.0, -np.arange(n) * 1.0][seed % 3]
    rule = Dynamic(int(rng.integers(1, 22))) if seed % 2 else Fixed(float(rng.normal()))
    cascade = bool(rng.integers(2))
    answered, run = play_stream(scores, budget, (small, large), cascade=cascade, rule=rule)
    assert run.sum(axis=1) @ np.array([small, large]) <= budget * n * (1 + 1e-8)
    assert run[answered, np.arange(n)].all()
    if not cascade:
        assert (run.sum(axis=0) == 1).all()


@pytest.mark.parametrize("cascade", [True, False])
@pytest.mark.parametrize("at", [0.15, 0.5, 0.85])
def test_the_share_of_large_calls_is_what_the_budget_allows(cascade, at):
    costs, n = (1.0, 8.0), 4000
    budget = 1.0 + 7.0 * at
    share = large_share(budget, costs, cascade=cascade)
    assert share == pytest.approx((budget - 1.0) / (8.0 if cascade else 7.0))
    _, run = play_stream(np.random.default_rng(3).normal(size=n), budget, costs, cascade=cascade)
    # at the end of a cascade what is left may pay the large model straight away
    assert run[1].mean() == pytest.approx(share, abs=0.015)
    assert run.sum(axis=1) @ np.array(costs) > 0.98 * budget * n


def test_the_warm_up_keeps_to_the_small_model():
    answered, _ = play_stream(-np.arange(40.0), 3.0, (1.0, 8.0), cascade=True, rule=Dynamic(21))
    assert not answered[:20].any()
    assert answered[20]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"costs": (2.0, 2.0)}, "another pair of stages"),
        ({"budget": 0.5}, "the small model alone costs 1"),
        ({"scores": [0.1, np.nan]}, "1 of 2 queries have no score"),
    ],
)
def test_mistakes_of_a_stream_are_told(change, message):
    given = {"scores": [0.1, 0.2], "budget": 2.0, "costs": (1.0, 3.0)} | change
    with pytest.raises(CascadeError, match=message):
        play_stream(**given, cascade=True)


def test_margin_sampling_is_thresholding_at_a_quantile(logs):
    train, test = logs
    decisions = MarginSampling(n_points=5).fit(train)
    played, confidence = decisions.decide(test), test["confidence"].values[:, 0]
    for point, budget in enumerate(decisions.budgets[1:4], start=1):
        share = large_share(budget, decisions.costs, cascade=True)
        below = confidence < np.quantile(confidence, share)
        late = slice(500, 1400)  # the threshold has settled, and money is not short yet
        assert (played.accepted[point, 2] == below)[late].mean() > 0.96
    # a threshold from the training log: one cut, at its quantile
    fixed = MarginSampling(n_points=5, threshold="fixed").fit(train).decide(test)
    cut = np.sort(train["confidence"].values[:, 0])[int(150 * share)]
    assert fixed.accepted[3, 2][:1000].tolist() == (confidence < cut)[:1000].tolist()


def test_the_stages_between_are_never_run(logs):
    train, test = logs
    for pair, unused in (((0, -1), 1), ((1, 2), 0)):
        played = MarginSampling(pair=pair).fit(train).decide(test)
        assert not played.reach[:, unused].any()
        assert set(np.flatnonzero(played.accepted.any(axis=(0, 2)))) == set(np.arange(3)[list(pair)])
    with pytest.raises(CascadeError, match="one stage twice"):
        MarginSampling(pair=(2, -1)).fit(train)
    with pytest.raises(CascadeError, match="numbers of two of the log's 3 stages"):
        MarginSampling(pair=(0, 3)).fit(train)
    with pytest.raises(CascadeError, match="'sometimes' is not known"):
        MarginSampling(threshold="sometimes").fit(train)


def test_random_routing_does_not_look(logs):
    train, test = logs
    decisions = RandomRouting().fit(train, random_seed=3)
    played = decisions.decide(test)
    np.testing.assert_allclose(played.accepted[:, 2].mean(axis=1), decisions.shares, atol=0.04)
    blind = test.assign(confidence=test["confidence"] * 0.0)
    np.testing.assert_array_equal(decisions.decide(blind).accepted, played.accepted)
    right = test["correct"].values[:, [0, 2]].mean(axis=0)
    assert budget_area(played, test) == pytest.approx(right.mean(), abs=0.01)


def test_a_cascade_needs_the_small_model_to_have_run(logs):
    train, test = logs
    holed = test.copy(deep=True)
    holed["confidence"].values[3, 0] = np.nan
    with pytest.raises(CascadeError, match="was not run for some queries"):
        MarginSampling().fit(train).decide(holed)
    RandomRouting().fit(train).decide(holed)


def test_area_against_a_sum_over_budgets(logs):
    _, test = logs
    rng = np.random.default_rng(4)
    played = MarginSampling(n_points=8).fit(test).decide(test)
    mean, right = test["cost"].mean("query").values, test["correct"].values
    spent = np.einsum("psq,s->p", played.reach, mean) / test.sizes["query"]
    accuracy = [right[answers.T].mean() for answers in played.accepted]
    at, y = np.append(spent, mean[[0, 2]]), np.append(accuracy, right[:, [0, 2]].mean(axis=0))
    fine = np.linspace(mean[0], mean[2], 200_001)
    height = np.zeros_like(fine)
    order = np.argsort(at, kind="stable")
    for a, b in pairwise(order):  # piecewise by hand; equal costs only at the ends, where accuracies agree
        inside = (fine >= at[a]) & (fine <= at[b])
        if at[b] > at[a]:
            height[inside] = y[a] + (fine[inside] - at[a]) / (at[b] - at[a]) * (y[b] - y[a])
    assert budget_area(played, test) == pytest.approx(height.mean(), abs=1e-5)
    shuffled = rng.permutation(8)
    again = Route(played.reach[shuffled], played.accepted[shuffled])
    assert budget_area(again, test) == pytest.approx(budget_area(played, test))


def test_area_against_the_budget_that_was_given(logs):
    _, test = logs
    played = StageDecisions(np.array([2])).decide(test)  # always large: at a budget of half the way, a gift
    right = test["correct"].mean("query").values
    expected = 0.5 * (right[0] + right[2]) / 2 + 0.5 * right[2]
    assert budget_area(played, test, shares=np.array([0.5])) == pytest.approx(expected)
    with pytest.raises(CascadeError, match="one share for each"):
        budget_area(played, test, shares=np.array([0.5, 0.6]))


@pytest.mark.parametrize("pattern", ["no atoms", "both atoms", "discrete"])
def test_expected_gain_against_simulated_queries(pattern):
    # parts of segments, so that where a signal lies within its segment no longer matters
    draws = make_draws(2, pattern, n_draws=2, seed=5)
    rng, n = np.random.default_rng(6), 40_000
    one = draws.take(slice(0, 1))
    for level in (0.03, 0.3, 0.6, 0.97):
        signal = signals_at(one, 0, np.array([level]))
        u = np.full(n, level)
        if pattern != "no atoms":
            u = redraw_atoms(one, 0, u, rng)
        v = gumbel_conditional(rng.uniform(size=n), u, one.tau[0, 0])
        later = one.p_correct(1, signals_at(one, 1, v))[0]
        expected = later.mean() - one.p_correct(0, signal)[0, 0]
        found = expected_gain(draws, signal)
        assert found.shape == (2, 1)
        assert found[0, 0] == pytest.approx(expected, abs=5e-3)


def test_the_gain_of_many_signals_is_that_of_each():
    draws = make_draws(2, "both atoms", n_draws=40, seed=7)
    signal = signals_at(draws, 0, np.linspace(0.001, 0.999, 2500))
    found = expected_gain(draws, signal)
    for i in (0, 700, 1200, 2499):
        np.testing.assert_allclose(found[:, i], expected_gain(draws, signal[i : i + 1])[:, 0], rtol=1e-12)
    alone = replace(draws, tau=np.full_like(draws.tau, 1e-9))  # nothing to be learnt from the first signal
    later = expected_gain(alone, signal) + alone.p_correct(0, signal)
    np.testing.assert_allclose(later, later[:, :1] * np.ones(2500), atol=1e-6)


@pytest.mark.slow
@pytest.mark.long
def test_our_score_escalates_where_most_is_to_be_gained(logs):
    train, test = logs
    method = PosteriorGain(n_points=5)
    decisions = method.fit(train, random_seed=1)
    played = decisions.decide(test)
    assert budget_area(played, test) > budget_area(RandomRouting().fit(train).decide(test), test) + 0.01
    two = test.isel(stage=[0, 2])
    scores = decisions.score(two)
    order = np.argsort(scores)
    gained = test["correct"].values[order, 2] - test["correct"].values[order, 0]
    assert gained[:300].mean() > gained[-300:].mean() + 0.1
    scrambled = test.copy(deep=True)
    scrambled["correct"].values[:] = 1.0 - scrambled["correct"].values
    np.testing.assert_array_equal(decisions.decide(scrambled).accepted, played.accepted)


def test_scores_are_mean_gains_of_each_task():
    draws = {name: make_draws(2, "top atom", n_draws=30, seed=seed) for seed, name in enumerate(("a", "b"))}
    task = np.array(["a", "b", "b", "a", "a", "b"])
    confidence = np.column_stack([[-1.0, 0.5, TOP, 2.0, TOP, 0.5], np.zeros(6)])
    dims = ("query", "stage")
    log = xr.Dataset({"confidence": (dims, confidence)}, coords={"task": ("query", task)})
    score = PosteriorScore(draws)(log)
    for i, (name, signal) in enumerate(zip(task, confidence[:, 0], strict=True)):
        d = draws[name]
        gain = expected_gain(d, np.array([signal])).mean() / d.cost[:, 1].mean()
        assert score[i] == pytest.approx(-gain, rel=1e-10)
    assert score[1] == score[5] != score[0]
    with pytest.raises(CascadeError, match="'b' was not in the training log, which had a"):
        PosteriorScore({"a": draws["a"]})(log)
    one = PosteriorScore({"": draws["a"]})(log)  # a fit without tasks does not ask
    np.testing.assert_allclose(one[[0, 3, 4]], score[[0, 3, 4]])


@pytest.mark.slow
@pytest.mark.long
def test_our_score_knows_tasks(logs):
    train, test = logs
    # the second task's small model is always sure, and hardly ever right
    odd = train.copy(deep=True)
    odd["correct"].values[:, 0] = np.random.default_rng(1).uniform(size=150) < 0.1
    mixed = mixed_stream({"plain": train, "odd": odd}, random_seed=1)
    decisions = PosteriorGain().fit(mixed, random_seed=1)
    two = mixed.isel(stage=[0, 2])
    score, task = decisions.score(two), two["task"].values
    assert score[task == "odd"].mean() < score[task == "plain"].mean()
    with pytest.raises(CascadeError, match="was not in the training log"):
        decisions.decide(mixed_stream({"new": test}, random_seed=1))
    with pytest.raises(CascadeError, match="no coord 'task'"):
        decisions.decide(test)


def test_a_mixed_stream_holds_every_query_once():
    law = bc.simulate(40, n_stages=2, random_seed=1)
    medicine = bc.simulate(60, n_stages=2, confidence_kind="logprob", random_seed=2)
    mixed = mixed_stream({"law": law, "medicine": medicine}, random_seed=3)
    assert mixed.attrs["confidence_kind"] == "probability"
    assert mixed["task"].values[:40].tolist().count("law") < 40  # not one after the other
    for name, log, back in (("law", law, np.asarray), ("medicine", medicine, np.exp)):
        mine = mixed.isel(query=mixed["task"].values == name)
        mine = mine.isel(query=np.argsort([int(q.split("/")[1]) for q in mine["query"].values]))
        np.testing.assert_allclose(mine["confidence"].values, back(log["confidence"].values))
        np.testing.assert_array_equal(mine["correct"].values, log["correct"].values)
        np.testing.assert_array_equal(mine["cost"].values, log["cost"].values)
    same = mixed_stream({"a": medicine, "b": medicine})
    assert same.attrs["confidence_kind"] == "logprob"
    with pytest.raises(CascadeError, match="no common scale"):
        mixed_stream({"a": law, "b": bc.simulate(20, n_stages=2, confidence_kind="score")})
    with pytest.raises(CascadeError, match="share their stages"):
        mixed_stream({"a": law, "b": bc.simulate(20, n_stages=3)})
