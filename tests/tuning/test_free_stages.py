"""Stages that cost nothing: the least error comes, and of equal ones the fewest calls."""

import re
from dataclasses import replace

import numpy as np
import pytest
from helpers.brute_force import edges_grid
from helpers.draws import make_draws, tune_by_hand

import bayescascade as bc
from bayescascade.cascade.evaluate import forward_all
from bayescascade.posterior.kernel import mean_kernel, with_free_calls
from bayescascade.tuning.frontier import frontier_draws


def draws_costing(*cost):
    draws = make_draws(3, "no atoms", n_draws=20)
    return replace(draws, cost=np.zeros_like(draws.cost) + np.array(cost, dtype=float))


GOALS = [{"max_error": 0.5}, {"max_cost": 1.0}, {"error_price": 0.01}, {"max_error": 0.5, "error_price": 0.01}]


@pytest.mark.parametrize("goal", GOALS, ids=repr)
def test_the_least_error_there_is_comes(goal):
    draws = draws_costing(0, 0, 0)
    least = forward_all(draws, edges_grid(draws)).error.mean(axis=0).min()
    found = tune_by_hand(draws, stages=None, **goal)
    assert found.feasible
    assert float(found.error.mean()) < least + 1e-3
    assert float(found.cost.max()) == 0.0


def test_a_limit_that_nothing_keeps_says_how_low_it_can_be():
    draws = draws_costing(0, 0, 0)
    found = tune_by_hand(draws, max_error=0.01)
    assert not found.feasible
    lowest = np.quantile(forward_all(draws, edges_grid(draws)).error, 0.9, axis=0, method="inverted_cdf").min()
    said = float(re.search(r"at 90% is ([\d.]+)%", found.text).group(1)) / 100
    assert said == pytest.approx(lowest, abs=0.005)


def test_the_frontier_is_one_point():
    least = forward_all(draws_costing(0, 0, 0), edges_grid(draws_costing(0, 0, 0))).error.mean(axis=0).min()
    for stages in (True, False):
        curve = frontier_draws(draws_costing(0, 0, 0), subsets=stages)
        assert curve.sizes["point"] == 1
        assert float(curve["error"][0]) < least + 1e-3


def test_a_cascade_of_the_free_stages_alone_has_their_least_error():
    draws = draws_costing(1, 0, 0)
    found = tune_by_hand(draws, stages=None, max_error=0.5)
    assert list(found.thresholds["stage"].values) == ["s1", "s2"]
    free = draws.restrict([1, 2])
    least = forward_all(free, edges_grid(free)).error.mean(axis=0).min()
    assert float(found.error.mean()) == pytest.approx(least, abs=1e-3)


@pytest.mark.parametrize("price", [0.01, 0.1, 1.0])
def test_a_free_call_that_answers_nothing_is_not_made(price):
    draws = draws_costing(0, 0.0004, 0.002)
    intercept = draws.curve["intercept"] - np.array([30.0, 0.0, 0.0])
    found = tune_by_hand(
        replace(draws, curve={**draws.curve, "intercept": intercept}), stages=None, error_price=price
    )
    assert list(found.thresholds["stage"].values) == ["s1", "s2"]


def test_a_free_call_counts_for_little_where_others_cost():
    for costs, counted in (((0, 0, 0), [1.0, 1.0, 1.0]), ((0, 2, 5), [0.002, 2.0, 5.0])):
        kernel = with_free_calls(mean_kernel(draws_costing(*costs)))
        np.testing.assert_allclose(kernel.cost[0], counted)


def test_an_error_that_no_call_lowers_is_had_with_one_call():
    """All stages answer alike, whatever their signals: of equal errors the fewest calls win."""
    draws = draws_costing(0, 0, 0)
    flat = {name: 0.0 * value for name, value in draws.curve.items()}
    found = tune_by_hand(replace(draws, curve=flat), stages=None, max_error=0.6)
    assert float(found.reach.mean(("chain", "draw")).sum()) == pytest.approx(1.0)


def test_rivals_are_compared_by_calls():
    log = bc.load_example()
    free = log.assign(cost=log["cost"] * 0.0)
    counted = log.assign(cost=log["cost"] * 0.0 + 1.0)
    how = {"methods": ["ascent_raw", "random_mix"], "seeds": 1, "n_replicates": 5}
    found, same = (bc.compare(some, **how) for some in (free, counted))
    assert found.table()["auc"].notna().all()
    np.testing.assert_allclose(found.table()["auc"], same.table()["auc"])
