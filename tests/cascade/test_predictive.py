"""What a log of so many queries should show, against simulated batches and closed forms."""

import re

import numpy as np
import pytest
import xarray as xr
from helpers.draws import make_draws, random_thresholds, tune_by_hand
from scipy.stats import betabinom

import bayescascade as bc
from bayescascade.cascade.empirical import score
from bayescascade.cascade.evaluate import forward_all
from bayescascade.cascade.predictive import batch_predictive, predict
from bayescascade.cascade.rules import DecisionRule
from bayescascade.posterior.draws import get_draws
from bayescascade.posterior.replicate import replicate_draw
from bayescascade.runtime.policy import Policy

INF = float("inf")


@pytest.fixture(scope="module")
def solution(example_fit):
    return bc.tune(example_fit, max_error=0.33)


@pytest.fixture(scope="module")
def unseen():
    return bc.load_example().isel(query=slice(0, 100))


def test_a_solution_a_policy_and_a_fit_say_nearly_the_same(example_fit, solution, unseen):
    by_solution, by_policy = score(unseen, solution), score(unseen, solution.to_policy())
    assert by_solution.identical(by_policy)  # what a policy file holds is enough
    by_fit = score(unseen, solution.thresholds, fit=example_fit)
    for name in ("error", "cost"):
        mean = float(getattr(solution, name).mean())
        assert float(by_solution[f"{name}_expected"]) == pytest.approx(mean)
        width = float(by_fit[f"{name}_high"] - by_fit[f"{name}_low"])
        for end in ("expected", "low", "high"):
            assert float(by_solution[f"{name}_{end}"]) == pytest.approx(
                float(by_fit[f"{name}_{end}"]), abs=0.12 * width
            )
        # wider than the long-run rate's interval, which knows nothing of a hundred queries' scatter
        ends = np.quantile(getattr(solution, name), [0.05, 0.95])
        assert width > 1.2 * (ends[1] - ends[0])


def test_nine_of_ten_logs_lie_inside():
    """Logs drawn from the draws themselves: one draw of the posterior, then a log of its queries."""
    draws = make_draws(3, n_draws=200, seed=4)
    thresholds = random_thresholds(draws, 1, np.random.default_rng(2))[0]
    rule = DecisionRule.from_any(thresholds, draws.stages, draws.kind)
    found = tune_by_hand(draws, error_price=30.0)
    rule = DecisionRule.from_any(found, draws.stages, draws.kind)
    predicted, rng, n = predict(found, rule, 80), np.random.default_rng(5), 80
    inside = {"error": 0, "cost": 0}
    for i in range(200):
        confidence, correct = replicate_draw(draws, i, n, rng)
        route = rule.apply(confidence)
        shown = {
            "error": route.loss(1.0 - correct).mean(),
            "cost": (route.reach[0].T @ draws.cost[i]).mean(),
        }
        for name, value in shown.items():
            inside[name] += predicted[name].low[0] <= value <= predicted[name].high[0]
    # a share of 200 has a standard deviation of 2 points; counts are discrete
    assert 0.85 <= inside["error"] / 200 <= 0.98
    assert 0.85 <= inside["cost"] / 200 <= 0.97


def test_the_error_of_a_policy_is_beta_binomial():
    metadata = {"error_mean": 0.2, "error_sd": 0.04, "cost_mean": 2.0, "cost_sd": 0.1, "cost_of_query_sd": 3.0}
    policy = Policy(["a", "b"], [0.5, -INF], "probability", metadata)
    found = predict(policy, None, 50)
    np.testing.assert_allclose(
        [found["error"].low[0], found["error"].high[0]], betabinom.ppf([0.05, 0.95], 50, 0.2 * 99, 0.8 * 99) / 50
    )
    half = 1.6448536 * np.hypot(0.1, 3.0 / np.sqrt(50))
    np.testing.assert_allclose([found["cost"].low[0], found["cost"].high[0]], [2.0 - half, 2.0 + half])


def test_a_fit_is_asked_for_batches_of_its_draws(example_fit):
    draws = get_draws(example_fit)
    rule = DecisionRule.from_any([[0.8, 0.9, -INF], [0.5, 0.5, -INF]], draws.stages, draws.kind)
    outcome = forward_all(draws, rule.positions(draws))
    low, high = np.quantile(batch_predictive(outcome, draws, 40).error, [0.05, 0.95], axis=0)
    found = predict(example_fit, rule, 40)["error"]
    np.testing.assert_array_equal(found.low, low)
    np.testing.assert_array_equal(found.high, high)
    both = score(bc.load_example().isel(query=slice(40)), rule.accept, fit=example_fit)
    np.testing.assert_array_equal(both["error_low"], low)
    assert "text" not in both.attrs


def test_the_words(solution, unseen):
    text = score(unseen, solution).attrs["text"]
    pattern = (
        r"Error: (\S+)%, (as expected|more than expected|less than expected)\. Expected: (\S+)%\. "
        r"100 queries should show (\S+)% to (\S+)% \(90% interval\)\. Cost: \S+ per 1,000 queries, "
    )
    shown, judged, expected, low, high = re.match(pattern, text).groups()
    assert float(expected) == pytest.approx(100 * float(solution.error.mean()), abs=0.06)
    inside = float(low) <= float(shown) <= float(high)
    assert inside == (judged == "as expected")
    wrong = unseen.assign(correct=unseen["correct"] * 0.0)
    text = score(wrong, solution).attrs["text"]
    assert "Error: 100.0%, more than expected." in text
    right = unseen.assign(correct=unseen["correct"] * 0.0 + 1.0)
    assert "Error: 0.0%, less than expected." in score(right, solution).attrs["text"]


@pytest.mark.parametrize(
    "metadata", [{}, {"error_mean": 0.2, "cost_mean": 1.0}, {"error_mean": "much"}], ids=["none", "means", "words"]
)
def test_a_policy_that_does_not_say_enough_promises_nothing(unseen, metadata):
    policy = Policy(["small", "medium", "large"], [0.8, 0.9, -INF], "probability", metadata)
    found = score(unseen, policy)
    assert set(found) == {"error", "cost", "abstained", "reach", "answered"}
    assert "text" not in found.attrs


def test_thresholds_other_than_the_solutions_are_not_what_it_expects(solution, unseen):
    assert "error_expected" not in score(unseen, solution, reject=[0.1, -INF, -INF])


def test_a_fit_of_another_log_is_refused(example_fit):
    log = bc.simulate(20, n_stages=2, random_seed=1).assign_coords(stage=["a", "b"])
    with pytest.raises(bc.CascadeError, match="give the fit that these thresholds come from"):
        score(log, [0.5, -INF], fit=example_fit)


def test_points_that_leave_stages_out_are_predicted_by_a_fit(example_fit, example_log):
    nan, stages = np.nan, example_log["stage"].values
    rows = [[-INF, nan, nan], [0.8, nan, -INF], [nan, 0.7, -INF], [0.8, 0.7, -INF]]
    thresholds = xr.DataArray(rows, dims=("point", "stage"), coords={"stage": stages})
    scored = score(example_log, thresholds, fit=example_fit)
    for i in range(len(rows)):
        alone = bc.evaluate(example_fit, thresholds.isel(point=i).dropna("stage"))
        for name in ("error", "cost"):
            assert float(scored[f"{name}_expected"][i]) == pytest.approx(float(alone[name].mean()))
    assert (scored["error_low"] < scored["error_expected"]).all()
    assert (scored["error_expected"] < scored["error_high"]).all()
