"""Chosen thresholds against brute-force grids on the same draws; the frontier."""

import re

import numpy as np
import pytest
import xarray as xr
from helpers.brute_force import edges_grid
from helpers.draws import PATTERNS, make_draws, tune_by_hand

import bayescascade as bc
from bayescascade.cascade.evaluate import evaluate, evaluate_draws, forward_all
from bayescascade.cascade.forward import forward
from bayescascade.cascade.single_stages import single_stages
from bayescascade.errors import CascadeError
from bayescascade.induction.backward_induction import induce
from bayescascade.posterior.draws import get_draws
from bayescascade.posterior.kernel import build_kernel
from bayescascade.runtime.policy import Policy
from bayescascade.tuning.frontier import frontier, frontier_draws
from bayescascade.tuning.solution import remark_on_idle
from bayescascade.tuning.tune import tune

INF = float("inf")


def grid_losses(draws, per_segment=1):
    """Error and cost (draw, point) of the grid, in pieces that fit in memory."""
    grid = edges_grid(draws, per_segment)
    pieces = [forward_all(draws, part)[:2] for part in np.array_split(grid, max(1, len(grid) // 300))]
    return [np.concatenate(x, axis=1) for x in zip(*pieces, strict=True)]


def best_of_grid(goal, error, cost):
    """Least objective on a grid, and infinity where no point keeps the promise."""
    if "error_price" in goal:
        return (goal["error_price"] * error + cost).mean(axis=0).min()
    wanted, bounded, bound = (
        (cost, error, goal["max_error"]) if "max_error" in goal else (error, cost, goal["max_cost"])
    )
    keeps = np.mean(bounded <= bound, axis=0) >= goal.get("prob", 0.9)
    return wanted.mean(axis=0)[keeps].min(initial=INF)


def objective(goal, solution):
    if "error_price" in goal:
        return float(goal["error_price"] * solution.error.mean() + solution.cost.mean())
    return float(solution.cost.mean() if "max_error" in goal else solution.error.mean())


def goals_for(error, cost):
    """Prices and bounds that bind somewhere along the frontier of a grid."""
    best, worst = np.quantile(error, 0.9, axis=0).min(), np.quantile(error, 0.9, axis=0).max()
    cheap, dear = cost.mean(axis=0).min(), cost.mean(axis=0).max()
    yield from ({"error_price": price} for price in (0.3 * dear, 2 * dear, 10 * dear, 60 * dear))
    yield from ({"max_error": best + share * (worst - best)} for share in (0.03, 0.15, 0.4, 0.8))
    yield from ({"max_cost": cheap + share * (dear - cheap)} for share in (0.1, 0.3, 0.6, 0.9))
    yield {"max_error": best + 0.3 * (worst - best), "prob": 0.5}
    yield {"max_cost": cheap + 0.5 * (dear - cheap), "prob": 0.99}


@pytest.mark.parametrize(
    ("n_stages", "pattern"), [*((2, pattern) for pattern in PATTERNS), (3, "top atom"), (3, "discrete")]
)
def test_tune_is_as_good_as_a_grid(n_stages, pattern):
    # with fewer draws the grid wins by luck: a quantile of 250 draws moves in steps of half a per cent
    compare_with_grid(make_draws(n_stages, pattern, n_draws=1000, seed=6))


@pytest.mark.slow
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("n_stages", [2, 3])
def test_tune_is_as_good_as_a_grid_when_it_searches_on_some_of_the_draws(n_stages, pattern):
    compare_with_grid(make_draws(n_stages, pattern, n_draws=1500, seed=7))


def compare_with_grid(draws):
    n_stages = len(draws.stages)
    error, cost = grid_losses(draws, per_segment=4 if n_stages == 2 else 1)
    for goal in goals_for(error, cost):
        best = best_of_grid(goal, error, cost)
        solution = tune_by_hand(draws, **goal)
        assert solution.feasible, goal
        assert objective(goal, solution) <= best * (1 + 1e-3), goal


@pytest.fixture(scope="module")
def example_grid(example_fit):
    from bayescascade.posterior.draws import get_draws

    return grid_losses(get_draws(example_fit))


@pytest.mark.slow
def test_tune_on_a_fit_is_as_good_as_a_grid_and_keeps_its_promise(example_fit, example_grid):
    error, cost = example_grid
    for goal in goals_for(error, cost):
        solution = tune(example_fit, **goal, doubt=0.0)
        assert solution.feasible, goal
        # the fixture has 400 draws, whose quantiles move in steps; a thousand grid points find a lucky step
        assert objective(goal, solution) <= best_of_grid(goal, error, cost) * (1 + 5e-3), goal
        again = evaluate(example_fit, solution.thresholds)
        np.testing.assert_allclose(again["error"], solution.error, atol=1e-9)
        np.testing.assert_allclose(again["cost"], solution.cost, rtol=1e-9)
        np.testing.assert_allclose(again["reach"], solution.reach, atol=1e-9)
        if "error_price" in goal:
            assert np.isnan(solution.kept)
        else:
            name = "error" if "max_error" in goal else "cost"
            # a hair of room, for a draw that lies on the bound to the last digit
            kept = float((again[name] <= goal[f"max_{name}"] * (1 + 1e-9)).mean())
            assert kept == pytest.approx(solution.kept, abs=1e-12)
            assert solution.kept >= goal.get("prob", 0.9)


def test_tune_does_the_same_twice(example_fit):
    first, second = (tune(example_fit, max_error=0.3) for _ in range(2))
    xr.testing.assert_identical(first.thresholds, second.thresholds)
    xr.testing.assert_identical(first.error, second.error)
    assert first.text == second.text


def test_solution_is_labelled_and_makes_a_policy(example_fit, tmp_path):
    solution = tune(example_fit, error_price=0.01)
    assert solution.thresholds.dims == ("stage",)
    assert solution.error.dims == solution.cost.dims == ("chain", "draw")
    assert solution.reach.dims == ("chain", "draw", "stage")
    assert float(solution.thresholds[-1]) == -INF
    assert float(solution.answered.sum("stage").min()) == pytest.approx(1.0)
    assert "Recommended: " in repr(solution)
    assert "Error: " in repr(solution)
    assert "<table>" in solution._repr_html_()
    policy = solution.to_policy(tmp_path / "policy.json")
    assert (
        Policy.load(tmp_path / "policy.json").thresholds == policy.thresholds == list(solution.thresholds.values)
    )


def lowest_promised(text):
    """The lowest error that a text says can be promised."""
    return float(re.search(r"lowest error you can promise at 90% is ([\d.]+)%", text).group(1)) / 100


def test_infeasible_says_the_best_and_makes_no_policy(example_fit, example_grid, tmp_path):
    solution = tune(example_fit, max_error=0.001, doubt=0.0)
    assert not solution.feasible
    reachable = np.quantile(example_grid[0], 0.9, axis=0).min()
    said = lowest_promised(solution.text)
    assert said <= reachable + 2e-3  # in three digits, rounded up
    assert "Not possible: the best thresholds reach P(error <= 0.1%) = " in solution.text
    with pytest.raises(CascadeError, match=r"no policy was made: .*Not possible"):
        solution.to_policy(tmp_path / "policy.json")
    assert not (tmp_path / "policy.json").exists()
    feasible = tune(example_fit, max_error=reachable * 1.001, doubt=0.0)
    assert feasible.feasible
    # with doubt less can be promised, and what is said to be in reach is
    doubted = tune(example_fit, max_error=0.001)
    least = lowest_promised(doubted.text)
    assert least > said
    assert tune(example_fit, max_error=least * 1.001).feasible


def test_cost_below_the_first_stage_is_infeasible(example_fit):
    solution = tune(example_fit, max_cost=1e-9)
    assert not solution.feasible
    assert "The lowest cost you can promise at 90% is " in solution.text


@pytest.mark.parametrize(
    ("goal", "message"),
    [
        ({}, "no goal given: use error_price, max_error"),
        ({"max_error": 0.2, "prob": 1.0}, "prob=1.0 is not allowed"),
        ({"max_error": 0.2, "prob": 90}, "prob=90 is not allowed; give a probability strictly between 0 and 1"),
        ({"max_cost": 0.2, "prob": 0.0}, "prob=0.0 is not allowed"),
        ({"max_error": -0.1}, "max_error=-0.1 is not allowed"),
        ({"max_error": 20}, "max_error=20 is not allowed; give a share"),
        ({"max_cost": -1}, "max_cost=-1 is not allowed"),
        ({"error_price": 0.0}, "error_price=0.0 is not allowed; give a positive"),
        ({"error_price": INF}, "error_price=inf is not allowed"),
        ({"max_cost": float("nan")}, "max_cost=nan is not allowed"),
    ],
)
def test_goals_that_cannot_be_are_refused(example_fit, goal, message):
    with pytest.raises(CascadeError, match=message):
        tune(example_fit, **goal)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("n_stages", [2, 3])
def test_backward_induction_is_as_good_as_a_grid(n_stages, pattern):
    draws = make_draws(n_stages, pattern, seed=5)
    kernel = build_kernel(draws)
    error, cost = (x[0] for x in grid_losses(draws))
    prices = np.geomspace(0.02, 2e3, 25) * draws.cost.sum()
    positions = induce(kernel, prices)
    positions[:, -1] = 0.0
    got_error, got_cost, *_ = forward(kernel, positions)
    for i, price in enumerate(prices):
        best = (price * error + cost).min()
        assert price * got_error[0, i] + got_cost[0, i] <= best * (1 + 2e-4), f"price {price:g}"


@pytest.mark.parametrize("stages", [None, ["small", "medium", "large"]], ids=["best stages", "all stages"])
def test_frontier_is_labelled_and_has_efficient_points_only(example_fit, example_log, stages):
    curve = frontier(example_fit, n_points=20, ci_prob=0.8, stages=stages)
    assert curve.sizes["stage"] == 3
    assert 10 < curve.sizes["point"] <= 20
    assert curve.attrs["ci_prob"] == 0.8
    assert list(curve["stage"].values) == list(example_log["stage"].values)
    assert {*curve.data_vars} == {
        *("threshold", "reach", "price"),
        *("error", "error_low", "error_high", "cost", "cost_low", "cost_high"),
    }
    assert (np.diff(curve["cost"]) > 0).all()
    assert (np.diff(curve["error"]) < 0).all()
    price = curve["price"].values[np.isfinite(curve["price"].values)]
    assert len(price) > 5
    assert (np.diff(price) >= 0).all()
    for name in ("error", "cost"):
        assert (curve[f"{name}_low"] <= curve[name]).all()
        assert (curve[name] <= curve[f"{name}_high"]).all()
    run = curve["threshold"].notnull().values
    assert ((curve["reach"].values > 0) <= run).all()
    last = run.shape[1] - 1 - run[:, ::-1].argmax(axis=1)
    assert (curve["threshold"].values[np.arange(len(run)), last] == -INF).all()
    first = run.argmax(axis=1)
    np.testing.assert_allclose(curve["reach"].values[np.arange(len(run)), first], 1.0)
    if stages:
        assert run.all()


def test_a_frontier_over_subsets_is_never_above_that_of_any_subset(example_fit):
    best = frontier(example_fit, n_points=100)
    singles = single_stages(get_draws(example_fit))
    for stages in (["small", "medium", "large"], ["small", "large"], ["medium", "large"], ["large"]):
        one = frontier(example_fit, n_points=20, stages=stages)
        at = np.interp(one["cost"], best["cost"], best["error"], left=1.0)
        assert (at <= one["error"] + 2e-3).all(), stages
    assert float(best["error"].min()) <= singles[0].mean(axis=0).min() + 1e-3


def test_evaluate_and_score_read_what_a_frontier_does_not_run(example_fit, example_log):
    curve = frontier(example_fit, n_points=15)
    assert curve["threshold"].isnull().any()
    evaluated = bc.evaluate(example_fit, curve["threshold"])
    np.testing.assert_allclose(evaluated["error"].mean(("chain", "draw")), curve["error"])
    np.testing.assert_allclose(evaluated["reach"].mean(("chain", "draw")), curve["reach"], atol=1e-12)
    scored = bc.score(example_log, curve["threshold"])
    for i in range(curve.sizes["point"]):
        one = curve["threshold"].isel(point=i).dropna("stage")
        alone = bc.score(example_log, one)
        assert float(scored["error"][i]) == float(alone["error"])
        assert float(scored["cost"][i]) == pytest.approx(float(alone["cost"]))
        assert set(scored["stage"].values[scored["reach"][i].values > 0]) <= set(one["stage"].values)
    with pytest.raises(CascadeError, match=r"is off the scale|should be -inf but is nan"):
        bc.score(example_log, curve["threshold"].values)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_frontier_says_what_evaluate_says(pattern):
    draws = make_draws(3, pattern, n_draws=60)
    curve = frontier_draws(draws, n_points=15)
    out = evaluate_draws(draws, curve["threshold"])
    for name in ("error", "cost"):
        np.testing.assert_allclose(out[name].mean(("chain", "draw")), curve[name], rtol=1e-6)
        band = out[name].quantile([0.05, 0.95], dim=("chain", "draw"))
        np.testing.assert_allclose(band[0], curve[f"{name}_low"], rtol=1e-6)
        np.testing.assert_allclose(band[1], curve[f"{name}_high"], rtol=1e-6)


def test_no_grid_point_beats_the_frontier(example_fit, example_grid):
    error, cost = (x.mean(axis=0) for x in example_grid)
    curve = frontier(example_fit, n_points=60)
    curve = curve.isel(point=slice(0, int(curve["error"].values.argmin()) + 1))
    order = np.argsort(cost)
    hull = np.minimum.accumulate(error[order])
    at = np.searchsorted(cost[order], curve["cost"].values * (1 + 1e-9), side="right") - 1
    # a sweep of prices sees the posterior mean of the masses, not each draw
    assert (curve["error"].values <= hull[np.maximum(at, 0)] + 1e-3).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_points": 1}, "n_points=1 is too few"),
        ({"ci_prob": 1.0}, "ci_prob=1.0 is not allowed"),
        ({"ci_prob": 90}, "ci_prob=90 is not allowed"),
    ],
)
def test_frontier_options_that_cannot_be_are_refused(example_fit, options, message):
    with pytest.raises(CascadeError, match=message):
        frontier(example_fit, **options)


def test_a_stage_that_answers_nothing_is_remarked_on():
    assert remark_on_idle(["a", "b"], np.array([1.0, 0.4])) == ""
    assert "b adds cost but answers almost nothing; drop it" in remark_on_idle(
        ["a", "b", "c"], np.array([1.0, 0.4, 0.4])
    )
