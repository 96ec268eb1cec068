"""Learn-then-test: exact p-values, a family-wise error that holds, and the cheapest of what is certified."""

import numpy as np
import pytest
from scipy.stats import binomtest

import bayescascade as bc
from bayescascade.cascade.rules import route
from bayescascade.rivals.empirical_risk import descend, price_range
from bayescascade.rivals.thresholds.learn_then_test import PATHS, certify, learn_then_test, p_values, plan_tests


def pieces(log):
    log = log.transpose("query", "stage")
    return log["confidence"].values, 1.0 - log["correct"].values, log["cost"].mean("query").values


def test_p_values_are_those_of_a_binomial_test():
    got = p_values(np.array([0, 3, 11, 40]), 40, 0.27)
    want = [binomtest(x, 40, 0.27, alternative="less").pvalue for x in (0, 3, 11, 40)]
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_running_agrees_with_score():
    log = bc.simulate(120, n_stages=3, top_atom=[0.3, 0.0, 0.2], random_seed=4)
    confidence, wrong, cost = pieces(log)
    rng = np.random.default_rng(1)
    points = np.column_stack(
        [rng.choice(confidence[:, 0], 9), rng.choice(confidence[:, 1], 9), np.full(9, -np.inf)]
    )
    scored = bc.score(log, points)
    np.testing.assert_allclose(route(confidence, points).loss(wrong).mean(axis=1), scored["error"])
    np.testing.assert_allclose(route(confidence, points).reach.mean(axis=2), scored["reach"])
    np.testing.assert_allclose(route(confidence, points).reach.mean(axis=2) @ cost, scored["cost"])


@pytest.mark.parametrize("n_stages", [2, 3])
def test_coordinate_descent_finds_what_brute_force_finds(n_stages):
    """Every combination of every threshold, on small logs; at three stages it may stop at a local optimum."""
    gaps = []
    for seed in range(5):
        log = bc.simulate(25, n_stages=n_stages, random_seed=seed)
        confidence, wrong, cost = pieces(log)
        values = [np.append(np.unique(c), np.inf) for c in confidence.T[:-1]]
        grid = np.stack([x.ravel() for x in np.meshgrid(*values, indexing="ij")], axis=1)
        grid = np.column_stack([grid, np.full(len(grid), -np.inf)])
        prices = price_range(cost, 7)

        def loss(points, confidence=confidence, wrong=wrong, cost=cost):
            routes = route(confidence, points)
            return routes.loss(wrong).mean(axis=1), routes.reach.mean(axis=2) @ cost

        (error, price), (error_all, price_all) = loss(descend(confidence, wrong, cost, prices)), loss(grid)
        best = (prices[:, None] * error_all + price_all).min(axis=1)
        gaps.append((prices * error + price) / best - 1.0)
    gaps = np.concatenate(gaps)
    assert gaps.min() > -1e-9
    assert gaps.max() < (1e-9 if n_stages == 2 else 0.1)
    assert np.mean(gaps > 1e-9) < 0.3


@pytest.mark.parametrize("path", PATHS)
def test_the_answer_is_the_cheapest_certified_and_the_tests_stop_at_the_first_failure(path):
    log = bc.simulate(200, n_stages=3, random_seed=2)
    found = learn_then_test(log, max_error=0.45, prob=0.9, path=path)
    assert found.feasible
    tested, certified = found.tested, found.tested["certified"].values
    assert certified.any()
    level = 0.1 / (len(certified) if path == "grid" else 1)
    passes = tested["p_value"].values <= level
    if path == "grid":
        np.testing.assert_array_equal(certified, passes)
    else:
        first = np.flatnonzero(~passes)[0]
        np.testing.assert_array_equal(certified, np.arange(len(passes)) < first)
    cheapest = int(np.where(certified, tested["cost"], np.inf).argmin())
    np.testing.assert_array_equal(found.thresholds, tested["threshold"][cheapest])
    assert found.p_value == float(tested["p_value"][cheapest])
    assert found.n_tested == (200 if path == "common" else 100)
    np.testing.assert_allclose(float(bc.score(log, found.thresholds)["cost"]), float(tested["cost"][cheapest]))


def test_a_path_of_ones_own_is_tested_on_all_queries_in_its_order():
    log = bc.simulate(200, n_stages=2, random_seed=3)
    points = np.array([[0.9, -np.inf], [0.0, -np.inf], [0.8, -np.inf]])
    found = learn_then_test(log, max_error=0.37, prob=0.9, path=points)
    error = np.array([float(bc.score(log, p)["error"]) for p in points])
    np.testing.assert_allclose(found.tested["error"], error)
    assert found.n_tested == 200
    # accepting everything fails, so the third is not reached
    np.testing.assert_array_equal(found.tested["certified"], [True, False, False])
    np.testing.assert_array_equal(found.thresholds, points[0])


@pytest.mark.parametrize("path", PATHS)
def test_nothing_certified_sends_all_to_the_last_stage(path):
    log = bc.simulate(60, n_stages=3, random_seed=1)
    found = learn_then_test(log, max_error=0.01, prob=0.95, path=path)
    assert not found.feasible
    np.testing.assert_array_equal(found.thresholds, [np.inf, np.inf, -np.inf])
    assert found.p_value > 0.05
    assert "Nothing is certified" in found.text


def test_more_errors_allowed_never_cost_more():
    trial = plan_tests(bc.simulate(150, n_stages=3, random_seed=5), "common")
    costs = [float(trial.cost[certify(trial, e, 0.9).tested["certified"]].min()) for e in (0.35, 0.4, 0.45, 0.5)]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < costs[0]


def test_rows_without_labels_are_left_out():
    log = bc.simulate(150, n_stages=2, random_seed=6)
    more = bc.simulate(300, n_stages=2, n_labelled=150, random_seed=6)
    found = learn_then_test(more, max_error=0.35, path="common")
    assert found.n_tested == 150
    assert learn_then_test(log, max_error=0.35, path="common").n_tested == 150


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS)
def test_the_promise_is_kept_over_logs(path):
    """Bad thresholds are certified in at most 1 - prob of the logs, within three standard errors."""
    prob, bound, n_logs = 0.8, 0.45, 200
    everything = bc.simulate(60 * n_logs + 20_000, n_stages=3, random_seed=7)
    confidence, wrong, _ = pieces(everything)
    truth = confidence[60 * n_logs :], wrong[60 * n_logs :]
    broken, certified = 0, 0
    for i in range(n_logs):
        found = learn_then_test(
            everything.isel(query=slice(60 * i, 60 * i + 60)),
            max_error=bound,
            prob=prob,
            path=path,
            random_seed=i,
        )
        certified += found.feasible
        if found.feasible:
            broken += route(truth[0], found.thresholds.values[None]).loss(truth[1]).mean() > bound
    assert certified > 0.2 * n_logs
    assert broken / n_logs <= 1 - prob + 3 * np.sqrt(prob * (1 - prob) / n_logs)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"max_error": 0.0}, "max_error=0.0"),
        ({"max_error": 0.3, "prob": 1.0}, "prob=1.0"),
        ({"max_error": 0.3, "share": 1.2}, "share=1.2"),
        ({"max_error": 0.3, "path": "best"}, "path='best' is not known"),
        (
            {"max_error": 0.3, "path": np.array([[0.5, 0.5, 0.5]])},
            "last stage .* always accepts.*should be -inf but is 0.5",
        ),
    ],
)
def test_mistakes_are_sentences(options, match):
    with pytest.raises(bc.CascadeError, match=match):
        learn_then_test(bc.simulate(40, n_stages=3, random_seed=1), **options)


def test_a_log_that_misses_labels_or_is_too_short_is_a_mistake():
    log = bc.simulate(40, n_stages=3, random_seed=1)
    hole = log.copy(deep=True)
    hole["correct"][3, 1] = np.nan
    message = "1 of the 40 labelled queries miss an answer or a label .*; learn-then-test .* or use tune"
    with pytest.raises(bc.CascadeError, match=message):
        learn_then_test(hole, max_error=0.3)
    with pytest.raises(bc.CascadeError, match="leaves none on one side"):
        learn_then_test(log.isel(query=slice(1)), max_error=0.3)
