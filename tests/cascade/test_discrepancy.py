"""The discrepancy: its update against quadrature, its two limits, and bands that a wrong model lacks."""

import numpy as np
import pytest
import xarray as xr
from scipy.integrate import quad
from scipy.stats import norm
from sklearn.isotonic import IsotonicRegression

import bayescascade as bc
from bayescascade.cascade.discrepancy import (
    add_discrepancy,
    evaluate_with_discrepancy,
    learn,
    read_discrepancy,
)
from bayescascade.cascade.evaluate import forward_all
from bayescascade.cascade.labelled import Seen
from bayescascade.cascade.rules import DecisionRule
from bayescascade.errors import CascadeError
from bayescascade.posterior.draws import get_draws
from bayescascade.posterior.scenarios import drift
from bayescascade.posterior.schema import observed_log
from bayescascade.tuning.tune import solution_at

SPREAD = 1.0  # of promises, without a difficulty


def test_the_update_is_bayes_rule():
    expected, seen, noise, spread = 0.2, 0.26, 0.03, 0.25

    def moment(power, centre=0.0):
        def density(d):
            weight = norm.pdf(d, 0.0, spread * expected) * norm.pdf(seen - expected - d, 0.0, noise)
            return (d - centre) ** power * weight

        return quad(density, -0.6, 0.6, points=[0.0, 0.06])[0]

    mean = moment(1) / moment(0)
    found = learn(np.array([expected]), np.array([seen]), np.array([noise]), spread)
    np.testing.assert_allclose(found.shift, mean, rtol=1e-6)
    np.testing.assert_allclose(found.sd, np.sqrt(moment(2, mean) / moment(0)), rtol=1e-6)


def test_no_spread_believes_the_model_and_a_large_one_the_queries():
    rng = np.random.default_rng(1)
    error = np.clip(rng.normal([0.2, 0.3], 0.02, (4000, 2)), 0.0, 1.0)
    seen = np.array([0.26, 0.25])
    believed, _ = add_discrepancy(error, Seen.of_all(seen, 150), 0.0, rng)
    np.testing.assert_array_equal(believed, error)
    own, found = add_discrepancy(error, Seen.of_all(seen, 150), 50.0, rng)
    np.testing.assert_allclose(own.mean(axis=0), seen, atol=0.003)
    binomial = np.sqrt(error.mean(axis=0) * (1 - error.mean(axis=0)) / 150)
    np.testing.assert_allclose(found.sd, binomial, rtol=1e-3)
    np.testing.assert_allclose(own.std(axis=0), np.hypot(binomial, 0.02), rtol=0.05)


def test_a_biased_model_is_covered_when_the_spread_is_as_large_as_the_bias():
    """Truths scatter about the model by 20%: bands of the believed model miss them, the doubted one's hold."""
    rng = np.random.default_rng(2)
    inside = np.zeros((2, 600), dtype=bool)
    for i in range(600):
        truth = 0.2 * (1.0 + 0.2 * rng.standard_normal())
        error = rng.normal(0.2, 0.01, (800, 1))
        seen = Seen.of_all(np.array([rng.binomial(200, truth) / 200]), 200)
        for j, spread in enumerate((0.0, 0.2)):
            low, high = np.quantile(add_discrepancy(error, seen, spread, rng)[0], [0.05, 0.95])
            inside[j, i] = low <= truth <= high
    # three binomial standard errors; the model's own 0.01 makes the bands a little too wide
    assert inside[0].mean() < 0.6
    assert 0.9 - 3 * np.sqrt(0.09 / 600) < inside[1].mean() < 0.97


def test_a_fit_is_doubted_at_one_point_and_at_many(example_fit):
    points = np.array([[0.9, 0.9, -np.inf], [0.7, 0.8, -np.inf]])
    believed = bc.evaluate(example_fit, points)
    same = evaluate_with_discrepancy(example_fit, points, spread=0.0)
    xr.testing.assert_allclose(same["error"], believed["error"].transpose("chain", "draw", "point"))
    xr.testing.assert_allclose(same["cost"], believed["cost"].transpose("chain", "draw", "point"))
    doubted = evaluate_with_discrepancy(example_fit, points, spread=0.3)
    assert (doubted["error"].std(("chain", "draw")) > believed["error"].std(("chain", "draw"))).all()
    one = evaluate_with_discrepancy(example_fit, points[0], spread=0.3)
    assert one["error"].dims == ("chain", "draw")
    np.testing.assert_allclose(one["error_shift"], doubted["error_shift"][0])
    # the shift goes towards what the fit's own log shows
    log = bc.load_example()
    gap = bc.score(log, points)["error"].values - believed["error"].mean(("chain", "draw")).values
    np.testing.assert_array_equal(np.sign(doubted["error_shift"]), np.sign(gap))
    assert (np.abs(doubted["error_shift"]) < np.abs(gap)).all()


def test_a_negative_spread_is_a_mistake(example_fit):
    with pytest.raises(bc.CascadeError, match=r"spread=-0\.1 is not allowed"):
        evaluate_with_discrepancy(example_fit, [0.9, 0.9, -np.inf], spread=-0.1)


def test_tune_with_doubt_keeps_its_promise_by_the_wider_band(example_fit):
    believed = bc.tune(example_fit, max_error=0.33, prob=0.9, doubt=0.0)
    doubted = bc.tune(example_fit, max_error=0.33, prob=0.9)
    assert doubted.feasible
    assert doubted.kept >= 0.9
    assert "with the safety margin" in doubted.text
    assert doubted.goal["doubt"] == doubted.margin.doubt == SPREAD
    assert believed.margin is None
    # error and cost are the posterior's; what the margin makes of the error has its own place
    np.testing.assert_allclose(doubted.error, bc.evaluate(example_fit, doubted.thresholds)["error"], atol=1e-9)
    shown = evaluate_with_discrepancy(example_fit, doubted.thresholds, spread=SPREAD, one_sided=True)["error"]
    np.testing.assert_allclose(doubted.margin.error, shown, atol=1e-6)
    assert float(doubted.margin.error.std()) > float(doubted.error.std())
    assert doubted.kept == pytest.approx(float((shown <= 0.33).mean()))
    assert doubted.kept_without_margin == pytest.approx(float((doubted.error <= 0.33).mean()))
    assert doubted.kept < doubted.kept_without_margin
    assert believed.kept == believed.kept_without_margin
    # the bound that is printed is one-sided, and includes the margin
    bound = doubted.upper_bounds["error"]
    assert bound == doubted.margin.bound(0.9) <= 0.33
    held = doubted.margin.error
    assert (held <= bound).mean() >= 0.9 > (held < bound).mean()
    assert f"You can be 90% sure that the error is at most {bound:.1%}, safety margin included." in doubted.text
    assert f"{float(doubted.error.mean()):.1%} wrong answers (90% interval" in doubted.text
    # at the price of caution: the believed thresholds do not keep the promise by the wider band, or cost as much
    again = evaluate_with_discrepancy(example_fit, believed.thresholds, spread=SPREAD, one_sided=True)
    kept = float((again["error"] <= 0.33).mean())
    assert kept < 0.9 or float(doubted.cost.mean()) <= float(believed.cost.mean()) * 1.01


@pytest.mark.parametrize("max_error", [0.3, 0.33, 0.4])
def test_with_doubt_the_thresholds_are_the_cheapest_of_the_frontier_that_keep(example_fit, max_error):
    stages = list(example_fit["posterior"]["stage"].values)
    curve = bc.frontier(example_fit, n_points=300, stages=stages)
    points, over = curve["threshold"].values, ("chain", "draw")
    expected = bc.evaluate(example_fit, points).stack(each=over).transpose("each", ...)
    error, cost = expected["error"].values, expected["cost"].mean("each").values
    seen = bc.score(observed_log(example_fit), points)["error"].values
    smooth = IsotonicRegression().fit_transform(error.mean(axis=0), seen)
    rng = np.random.default_rng
    wide = [add_discrepancy(error, Seen.of_all(x, 300), SPREAD, rng(0), one_sided=True)[0] for x in (seen, smooth)]
    keeps = np.all([(each <= max_error).mean(axis=0) >= 0.9 for each in wide], axis=0)
    cheapest = cost[keeps].min()
    found = bc.tune(example_fit, max_error=max_error, prob=0.9, stages=stages)
    assert found.feasible
    cost = float(bc.evaluate(example_fit, found.thresholds)["cost"].mean())
    # no dearer than the best of a finer curve, and it keeps by both accounts itself
    assert cost < 1.02 * cheapest
    assert found.kept >= 0.9
    own = bc.evaluate(example_fit, found.thresholds)["error"].values.reshape(-1, 1)
    line = np.interp(own.mean(axis=0), error.mean(axis=0)[::-1], smooth[::-1])
    line = Seen.of_all(line, 300)
    assert (add_discrepancy(own, line, SPREAD, rng(0), one_sided=True)[0] <= max_error).mean() >= 0.88
    # a search that sees the discrepancy would not stay there: the thresholds lie between neighbours of the curve
    low = np.minimum(points[:-1], points[1:]).round(9)
    high = np.maximum(points[:-1], points[1:]).round(9)
    inside = (low <= found.thresholds.values.round(9)) & (found.thresholds.values.round(9) <= high)
    assert inside[:, :-1].all(axis=1).any()


@pytest.mark.slow
def test_nothing_is_called_out_of_reach_that_a_tighter_promise_keeps(example_fit):
    """Tighter thresholds keep looser limits, so where a limit is kept every looser one is."""
    kept = [bc.tune(example_fit, max_error=x, prob=0.8).feasible for x in np.linspace(0.26, 0.5, 13)]
    assert kept == sorted(kept)


def test_doubt_is_the_default_where_an_error_is_promised_and_the_labels_can_tell(example_fit):
    assert "doubt" not in bc.tune(example_fit, error_price=0.01).goal
    assert "doubt" not in bc.tune(example_fit, max_cost=1e-3).goal
    assert bc.tune(example_fit, max_error=0.4, error_price=0.01, risk="regret").goal["doubt"] == 0.0
    assert bc.tune(example_fit, max_error=0.4).goal["doubt"] == SPREAD


def test_luck_does_not_count_where_thresholds_were_searched_for(example_fit):
    thresholds = bc.frontier(example_fit, n_points=30)["threshold"]
    model = bc.evaluate(example_fit, thresholds)["error"].mean(("chain", "draw"))
    both = evaluate_with_discrepancy(example_fit, thresholds, spread=0.3)
    one = evaluate_with_discrepancy(example_fit, thresholds, spread=0.3, one_sided=True)
    lucky = both["error_shift"] < 0
    assert 0 < int(lucky.sum()) < 30
    np.testing.assert_array_equal(one["error_shift"].values, np.maximum(both["error_shift"].values, 0.0))
    np.testing.assert_allclose(one["error_sd"], both["error_sd"])
    assert float((one["error"].mean(("chain", "draw")) - model).min()) > -2e-3


def test_under_drift_the_discrepancy_keeps_its_share(example_fit):
    drifted = drift(example_fit, 0.3)
    thresholds = bc.tune(example_fit, error_price=0.01).thresholds
    draws, moved = get_draws(example_fit), get_draws(drifted)
    rows = DecisionRule.from_any(thresholds, draws.stages, draws.kind).positions(draws)
    discrepancy = read_discrepancy(example_fit, 0.3)
    one, other = (forward_all(some, rows).error for some in (draws, moved))
    share = discrepancy.error(one, rows, draws).mean() / one.mean()
    assert abs(share - 1.0) > 0.005
    assert discrepancy.error(other, rows, moved).mean() / other.mean() == pytest.approx(share, rel=5e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_error": 0.3, "doubt": -0.1}, "doubt=-0.1 is not allowed"),
        ({"error_price": 1.0, "risk": "regret", "doubt": 0.3}, "does not go with risk"),
    ],
)
def test_doubts_that_cannot_be_are_refused(example_fit, options, message):
    with pytest.raises(CascadeError, match=message):
        bc.tune(example_fit, **options)


def test_a_frontier_with_doubt_has_the_bands_of_evaluate_with_discrepancy(example_fit):
    plain = bc.frontier(example_fit, n_points=8, doubt=0.0)
    found = bc.frontier(example_fit, n_points=8, doubt=0.2)
    shown = evaluate_with_discrepancy(example_fit, found["threshold"], spread=0.2)
    for name in ("error", "cost"):
        np.testing.assert_array_equal(found[name], plain[name])  # means stay the posterior's
        width = (found[f"{name}_high"] - found[f"{name}_low"]).values[1:-1]
        low, high = np.quantile(shown[name].values.reshape(-1, 8), [0.05, 0.95], axis=0)
        np.testing.assert_allclose(width, (high - low)[1:-1], rtol=0.15)
        np.testing.assert_allclose(found[f"{name}_low"], low, rtol=0.05)
    default = bc.frontier(example_fit, n_points=8)
    assert default.attrs["doubt"] == 0.1  # of a fit without a difficulty
    widths = [float((x["error_high"] - x["error_low"]).mean()) for x in (plain, default, found)]
    assert widths == sorted(widths)


def without(fit, unrun):
    """The same posterior, of a log in which some stages (query, stage) were not run."""
    seen = fit["observed_data"].to_dataset()
    out = fit.copy()
    out["observed_data"] = xr.DataTree(seen.where(~xr.DataArray(unrun, dims=("query", "stage"))))
    return out


def test_one_query_that_misses_a_stage_changes_next_to_nothing(example_fit):
    unrun = np.zeros((300, 3), dtype=bool)
    unrun[example_fit["observed_data"]["confidence"].values[:, :2].max(axis=1).argmin(), 2] = True
    gap = without(example_fit, unrun)
    whole, holed = (bc.tune(fit, max_error=0.33) for fit in (example_fit, gap))
    assert holed.goal["doubt"] == SPREAD
    assert holed.margin.known == whole.margin.known == 1.0
    assert (whole.margin.n_queries, holed.margin.n_queries) == pytest.approx((300, 299), abs=0.2)
    np.testing.assert_allclose(holed.thresholds, whole.thresholds, atol=0.01)
    assert holed.upper_bounds["error"] == pytest.approx(whole.upper_bounds["error"], abs=0.003)
    assert holed.text[:8] == whole.text[:8] == "Cheapest"
    wide = [bc.frontier(fit, n_points=6, doubt=0.3)["error_high"].values for fit in (example_fit, gap)]
    np.testing.assert_allclose(*wide, atol=0.01)


def test_what_no_query_tells_stays_as_wide_as_the_prior_and_comes_first(example_fit):
    """Nobody ran the last stage on what the first was sure of: a cascade that defers it all is a guess there."""
    seen = example_fit["observed_data"]["confidence"].values
    sure = seen[:, 0] > np.quantile(seen[:, 0], 0.5)
    unrun = np.column_stack([np.zeros(300, bool), sure, sure])
    gap = without(example_fit, unrun)
    defers_all = [np.inf, np.inf, -np.inf]
    model = bc.evaluate(example_fit, defers_all)["error"].mean()
    shown = evaluate_with_discrepancy(gap, defers_all, spread=1.0)
    whole = evaluate_with_discrepancy(example_fit, defers_all, spread=1.0)
    # the error of the sure half is less than half of all, and none of it is known
    assert 0.1 * float(model) < float(shown["error_sd"] - whole["error_sd"]) < 0.5 * float(model)
    found = bc.tune(gap, max_error=0.45)
    assert found.margin.known < 1.0 or "Cheapest" in found.text
    solution = solution_at(gap, defers_all, {"max_error": 0.4, "doubt": 1.0})
    assert solution.margin.known == pytest.approx(0.5, abs=0.02)
    assert solution.text.startswith("Little to go by: for 50% of the queries")


def test_that_there_is_no_margin_comes_first(example_fit):
    for how in ({"doubt": 0.0}, {"risk": "regret", "error_price": 0.01}):
        found = bc.tune(example_fit, max_error=0.4, **how)
        assert found.text.startswith("No safety margin: nothing is allowed for model error. ")
        assert found.margin is None
    assert "safety margin" not in bc.tune(example_fit, max_cost=1e-3).text


def test_a_frontier_refuses_a_negative_doubt(example_fit):
    with pytest.raises(CascadeError, match="doubt"):
        bc.frontier(example_fit, doubt=-1.0)


@pytest.mark.parametrize("how", [{}, {"abstain_price": 0.002}, {"stages": ["small", "large"]}])
def test_promises_of_every_kind_count_what_the_labelled_queries_did(example_fit, example_log, how):
    found = bc.tune(example_fit, max_error=0.33, prob=0.9, **how)
    assert found.goal["doubt"] == SPREAD
    assert found.feasible
    scored = bc.score(example_log, found)
    shown = evaluate_with_discrepancy(example_fit, found, spread=SPREAD, one_sided=True)
    # the margin that the solution carries is that of evaluate_with_discrepancy at its thresholds
    assert float(found.margin.error.mean()) == pytest.approx(float(shown["error"].mean()), abs=2e-3)
    assert float((shown["error"] <= 0.33).mean()) == pytest.approx(found.kept, abs=0.01)
    # what is learnt is the difference between what the queries did, by `score`, and what the model expects
    both = evaluate_with_discrepancy(example_fit, found, spread=1e4)
    model = bc.evaluate(example_fit, found).mean()
    assert float(both["error_shift"] + model["error"]) == pytest.approx(float(scored["error"]), abs=1e-6)
    assert float(both["cost_shift"] + model["cost"]) == pytest.approx(float(scored["cost"]), rel=1e-6)
    if "abstain_price" in how:
        assert 0.0 < float(scored["abstained"]) < 0.5
        assert "abstained" in shown


def test_a_promise_with_abstaining_is_believed_less_than_by_the_model(example_fit):
    how = {"max_error": 0.33, "prob": 0.9, "abstain_price": 0.002}
    doubted, believed = (bc.tune(example_fit, doubt=doubt, **how) for doubt in (None, 0.0))
    wide = evaluate_with_discrepancy(example_fit, believed, spread=SPREAD, one_sided=True)["error"]
    assert believed.kept >= 0.9
    assert float((wide <= 0.33).mean()) < doubted.kept


def test_a_frontier_with_abstaining_has_wider_bands_with_doubt(example_fit):
    plain, wide = (bc.frontier(example_fit, n_points=8, doubt=doubt, abstain_price=0.002) for doubt in (0.0, 0.5))
    for name in ("error", "cost"):
        width = [(curve[f"{name}_high"] - curve[f"{name}_low"]).values[1:-1].mean() for curve in (plain, wide)]
        assert width[1] > width[0]


def test_that_abstaining_is_allowed_makes_no_promise_dearer(example_fit):
    price = 0.05

    def loss(solution):
        left = 0.0 if solution.abstained is None else float(solution.abstained.mean())
        return float(solution.cost.mean()) + price * left

    for max_error in (0.3, 0.45):
        plain = bc.tune(example_fit, max_error=max_error)
        assert loss(bc.tune(example_fit, max_error=max_error, abstain_price=price)) < 1.1 * loss(plain)
