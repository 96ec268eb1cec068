"""`tune` for goals of every kind against brute-force grids on the same draws."""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from helpers.brute_force import edges_grid
from helpers.draws import make_draws, tune_by_hand, with_curve

from bayescascade.cascade.evaluate import evaluate_draws, forward_all
from bayescascade.errors import CascadeError
from bayescascade.runtime.policy import Policy
from bayescascade.tuning.frontier import frontier, frontier_draws
from bayescascade.tuning.objective import amounts_of
from bayescascade.tuning.spec import TuningSpec

PRICES = {"error_price": 30.0}


def with_latency(draws, rng):
    shape = draws.cost.shape
    latency = np.array([3.0, 1.0, 2.0])[: shape[1]] * np.exp(rng.normal(0.0, 0.05, shape))
    return replace(draws, latency=latency, cost_sd=0.3 * draws.cost.mean(axis=0), latency_sd=np.ones(shape[1]))


@pytest.fixture(scope="module")
def draws():
    rng = np.random.default_rng(2)
    made = make_draws(3, "top atom", n_draws=400, seed=6)
    # costs known to a tenth, so that promises about cost are promises
    cost = made.cost.mean(axis=0) * np.exp(rng.normal(0.0, 0.1, made.cost.shape))
    return with_latency(replace(made, cost=cost), rng)


@pytest.fixture(scope="module")
def grid(draws):
    """Every vector of segment edges, and all amounts of each (draw, point)."""
    rows = edges_grid(draws)
    names = ["error", "cost", "latency", "cost_square", "latency_square"]
    parts = [amounts_of(forward_all(draws, part), draws, names) for part in np.array_split(rows, 8)]
    return {name: np.concatenate([part[name] for part in parts], axis=1) for name in names}


def amounts_of_solution(solution, draws):
    reach = solution.reach.values.reshape(draws.n, -1)[:, None]
    flat = {name: getattr(solution, name).values.reshape(-1, 1) for name in ("error", "cost", "latency")}
    outcome = SimpleNamespace(reach=reach, error=flat["error"], **{k: flat[k] for k in ("cost", "latency")})
    return amounts_of(outcome, draws, ["error", "cost", "latency", "cost_square", "latency_square"])


@pytest.mark.parametrize(
    "wish",
    [
        {"max_error": 0.3, "max_cost": 8.0},
        {"max_error": 0.3, "max_cost": 8.0, "prob": 0.7, "error_price": 20.0},
        {"error_price": 20.0, "max_cost": 7.0},
        {"max_latency": 4.2},
        {"max_error": 0.32, "max_latency": 4.6, "prob": 0.8},
        {"error_price": 30.0, "latency_price": 2.0},
        {"error_price": 30.0, "risk": "cvar", "alpha": 0.1},
        {"max_error": 0.3, "risk": "cvar", "alpha": 0.05},
        {"max_error": 0.3, "batch": 200},
        {"max_cost": 8.0, "batch": 50, "prob": 0.95},
        {"max_error": 0.33, "max_cost": 9.0, "batch": 400, "prob": 0.8},
    ],
    ids=str,
)
def test_every_goal_is_as_good_as_a_grid(draws, grid, wish):
    objective = TuningSpec(**wish).objective()
    kept = objective.promise_probability(grid)
    best = objective.risk(grid)[kept >= objective.prob].min(initial=np.inf)
    assert np.isfinite(best), "the goal is out of reach, so this compares nothing"
    solution = tune_by_hand(draws, **wish)
    assert solution.feasible
    found = amounts_of_solution(solution, draws)
    assert objective.promise_probability(found)[0] >= objective.prob - 1e-12
    if objective.bounds:
        assert objective.promise_probability(found)[0] == pytest.approx(solution.kept, abs=1e-9)
    # a quantile of 400 draws moves in steps, and the grid finds lucky ones
    assert objective.risk(found)[0] <= best * (1 + (5e-3 if objective.bounds or objective.tail else 1e-3))


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"max_error": 0.05, "max_cost": 1e4}, "Out of reach by itself: error. The lowest error you can"),
        ({"max_error": 0.2, "max_cost": 2.5}, "You can promise each limit alone at 90%, but not all at once"),
        ({"max_error": 0.05, "batch": 100}, "you can promise at 90% for 100 queries is"),
        ({"max_latency": 0.1}, "The lowest latency you can promise"),
    ],
    ids=str,
)
def test_what_is_out_of_reach_says_what_binds(draws, wish, said):
    solution = tune_by_hand(draws, **wish)
    assert not solution.feasible
    assert said in solution.text
    with pytest.raises(CascadeError, match="no policy was made"):
        solution.to_policy()


def test_the_lowest_bound_said_can_be_promised(draws):
    solution = tune_by_hand(draws, max_error=0.2, max_cost=2.5)
    said = re.findall(r"lowest (\w+) beside the rest is about ([\d.]+\d)", solution.text)
    lowest = {name: float(value) / {"error": 100, "cost": 1000}[name] for name, value in said}
    assert lowest == pytest.approx(solution.lowest_limits)
    assert set(lowest) == {"error", "cost"}
    assert tune_by_hand(draws, max_error=lowest["error"] * 1.002, max_cost=2.5).feasible
    assert tune_by_hand(draws, max_error=0.2, max_cost=lowest["cost"] * 1.002).feasible


@pytest.mark.parametrize(
    ("goal", "much"),
    [({"max_error": 0.05}, 5e-3), ({"max_error": 0.1, "batch": 100}, 0.02), ({"max_cost": 0.1}, 0.02)],
    ids=str,
)
def test_the_only_limit_can_be_as_low_as_is_said_and_no_lower(draws, goal, much):
    nearest = tune_by_hand(draws, stages=None, **goal)
    ((name, limit),) = nearest.lowest_limits.items()
    said = re.search(rf"The lowest {name} you can promise at 90%.* is ([\d.]+\d)", nearest.text)
    assert float(said[1]) == pytest.approx({"error": 100, "cost": 1000}[name] * limit)
    assert tune_by_hand(draws, stages=None, **goal | {f"max_{name}": limit}).feasible
    assert not tune_by_hand(draws, stages=None, **goal | {f"max_{name}": limit - much}).feasible


@pytest.mark.parametrize(
    ("goal", "advice"),
    [
        (
            {"max_error": 0.05},
            "of answers are expected to be wrong even at the best. Relax the limit, use a better model, or leave "
            "queries unanswered (abstain_price).",
        ),
        (
            {"max_cost": 0.1},
            "even the least cost is expected to be 999 per 1,000 queries. Relax the limit, or use a cheaper "
            "model.",
        ),
        ({"max_error": 0.05, "max_cost": 1e4}, "of answers are expected to be wrong even at the best."),
    ],
    ids=str,
)
def test_advice_where_the_best_is_worse_than_the_limit_on_average(draws, goal, advice):
    text = tune_by_hand(draws, **goal).text
    assert "No thresholds come near: " in text
    assert advice in text
    assert "label more queries" not in text


def test_advice_where_only_certainty_lacks(draws):
    lowest = tune_by_hand(draws, max_error=0.05).lowest_limits["error"]
    text = tune_by_hand(draws, max_error=lowest - 5e-3).text
    assert "Relax the limit or the probability, or label more queries." in text
    assert "No thresholds come near" not in text


def test_a_limit_that_nobody_can_promise_is_not_asked_for(draws):
    # a single answer is right or wrong
    text = tune_by_hand(draws, max_error=0.5, batch=1).text
    assert "The lowest error you can promise at 90% for 1 queries is about 100%." in text


def test_a_batch_needs_more_caution_than_the_long_run(draws):
    long, batch = (tune_by_hand(draws, max_error=0.3, batch=m) for m in (None, 100))
    assert float(batch.error.mean()) < float(long.error.mean())
    assert float(batch.cost.mean()) > float(long.cost.mean())
    # a batch without end is the long run
    endless = tune_by_hand(draws, max_error=0.3, batch=10**9)
    assert float(endless.cost.mean()) == pytest.approx(float(long.cost.mean()), rel=5e-3)


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        (
            {"max_error": 0.2, "batch": 0},
            "batch=0 is not allowed; give a whole number of queries, from 1 to 1e.12",
        ),
        ({"max_error": 0.2, "batch": 1.5}, "batch=1.5 is not allowed"),
        ({"error_price": 1.0, "batch": 10}, "there is no limit; give max_error"),
        (
            {"error_price": 1.0, "risk": "worst"},
            "risk='worst' is not known; choose one of 'mean'",
        ),
        ({"error_price": 1.0, "risk": "cvar", "alpha": 0.0}, "alpha=0.0 is not allowed"),
        ({"max_error": 0.2, "risk": "regret"}, "risk='regret' compares losses in money; give error_price"),
        ({"max_cost": 1.0, "abstain_price": 0.1}, "abstain_price is money, but with max_cost"),
        ({"max_latency": 1.0, "latency_price": 0.1}, "latency_price is money, but with max_cost"),
        ({"error_price": 1.0, "abstain_price": 1.0}, "abstain_price=1 is not below error_price=1"),
        ({"error_price": 1.0, "abstain_price": -1.0}, "abstain_price=-1.0 is not allowed; give a positive"),
        ({"error_price": "dear"}, "error_price='dear' is not allowed"),
        ({"error_price": 1.0, "stages": "best"}, "stages='best' is one name; give a list of the stages"),
        ({"error_price": 1.0, "stages": ["s0", "s9"]}, "there is no stage 's9'; the fit has 's0', 's1', 's2'"),
        ({"error_price": 1.0, "stages": ["s0", "s0"]}, "is not a cascade; name one stage or more"),
    ],
    ids=str,
)
def test_wishes_that_cannot_be_are_refused(draws, wish, message):
    with pytest.raises(CascadeError, match=message):
        tune_by_hand(draws, **wish)


def test_latency_that_is_not_known_is_asked_for(draws):
    with pytest.raises(CascadeError, match="needs the latency of every stage, but"):
        tune_by_hand(replace(draws, latency=None), max_latency=1.0)
    some = draws.latency.copy()
    some[:, 1] = np.nan
    with pytest.raises(CascadeError, match="has none for 's1'"):
        tune_by_hand(replace(draws, latency=some), error_price=1.0, latency_price=1.0)


def test_a_part_of_the_stages(draws):
    solution = tune_by_hand(draws, error_price=20.0, stages=["s0", "s2"])
    assert list(solution.thresholds["stage"].values) == ["s0", "s2"]
    assert isinstance(solution.to_policy(), Policy)
    # the same as running the stage between for nothing, and never accepting it
    free = replace(draws, cost=draws.cost * np.array([1.0, 0.0, 1.0]))
    never = xr.DataArray([float(solution.thresholds[0]), np.inf, -np.inf], dims="stage")
    out = evaluate_draws(free, never)
    np.testing.assert_allclose(out["error"].values.ravel(), solution.error.values.ravel(), atol=2e-3)
    np.testing.assert_allclose(out["cost"].values.ravel(), solution.cost.values.ravel(), rtol=2e-3)


def abstaining_grid(draws, per_segment):
    """Every pair of an accepting and a rejecting position for two stages, none rejected above accepting."""
    sizes = [len(m.low) for m in draws.margins]
    axes = []
    for margin, n in zip(draws.margins, sizes, strict=True):
        at = np.arange(n * per_segment + 1) / per_segment
        inside = np.minimum(at.astype(int), n - 1)
        axes.append(at[(at == np.round(at)) | ~margin.is_atom[inside]])
    accept, reject, last = (x.ravel() for x in np.meshgrid(axes[0], axes[0], axes[1], indexing="ij"))
    keep = reject <= accept
    return np.stack([accept, last, reject, last], axis=1)[keep]


@pytest.mark.parametrize("pattern", ["no atoms", "both atoms"])
@pytest.mark.parametrize(
    "wish",
    [
        {"error_price": 30.0, "abstain_price": 8.0},
        {"max_error": 0.1, "abstain_price": 10.0, "prob": 0.8},
        {"max_error": 0.12, "abstain_price": 10.0, "batch": 300},
        {"error_price": 30.0, "abstain_price": 8.0, "max_cost": 2.2},
    ],
    ids=str,
)
@pytest.mark.slow
def test_abstaining_is_as_good_as_a_grid(wish, pattern):
    two = make_draws(2, pattern, n_draws=200, seed=3, n_queries=150)
    objective = TuningSpec(**wish).objective()
    rows = abstaining_grid(two, 1)
    parts = [amounts_of(forward_all(two, part), two, objective.names) for part in np.array_split(rows, 12)]
    grid = {name: np.concatenate([part[name] for part in parts], axis=1) for name in objective.names}
    kept = objective.promise_probability(grid) >= objective.prob
    best = objective.risk(grid)[kept].min(initial=np.inf)
    assert np.isfinite(best), "the goal is out of reach, so this compares nothing"
    solution = tune_by_hand(two, **wish)
    assert solution.feasible
    share = float(solution.abstained.mean())
    assert 0.01 < share < 0.9
    loss = sum(weight * float(getattr(solution, name).mean()) for name, weight in objective.weights)
    assert loss <= best * (1 + (5e-3 if objective.bounds else 1e-3))
    assert (solution.reject.values <= np.maximum(solution.thresholds.values, solution.reject.values[-1])).all()
    assert "left unanswered" in solution.text


def test_regret_is_what_each_draw_loses_to_its_own_optimum():
    two = make_draws(2, "top atom", n_draws=150, seed=3)
    # draws that disagree on what is best
    intercept = two.curve["intercept"]
    two = with_curve(two, intercept=intercept + np.random.default_rng(1).normal(0.0, 0.6, intercept.shape))
    rows = edges_grid(two, per_segment=8)
    out = forward_all(two, rows)
    loss = 6.0 * out.error + out.cost
    own = loss.min(axis=1)
    for alpha in (0.1, 1e-3):
        regret = -np.sort(-(loss - own[:, None]), axis=0)[: max(1, int(alpha * 150))].mean(axis=0)
        solution = tune_by_hand(two, error_price=6.0, risk="regret", alpha=alpha)
        found = 6.0 * solution.error.values.ravel() + solution.cost.values.ravel() - own
        got = -np.sort(-found)[: max(1, int(alpha * 150))].mean()
        # the grid's own optima are a little above the true ones
        assert got <= regret.min() + 2e-3 * loss.mean()
    mean = tune_by_hand(two, error_price=6.0)
    worst = (6.0 * mean.error.values.ravel() + mean.cost.values.ravel() - own).max()
    assert found.max() < worst


def test_a_frontier_that_abstains_and_bands_of_a_batch(draws):
    curve = frontier_draws(draws, n_points=12, abstain_price=8.0)
    assert {"reject_threshold", "abstained", "abstained_low"} <= set(curve.data_vars)
    assert float(curve["abstained"].max()) > 0.05
    both = SimpleNamespace(thresholds=curve["threshold"], reject=curve["reject_threshold"].values)
    out = evaluate_draws(draws, both).mean(("chain", "draw"))
    for name in ("error", "cost", "abstained"):
        np.testing.assert_allclose(out[name], curve[name], rtol=1e-6, atol=1e-9)
    long, batch = (frontier_draws(draws, n_points=12, batch=m) for m in (None, 100))
    width = {which: c["error_high"] - c["error_low"] for which, c in (("long", long), ("batch", batch))}
    # binomial noise of 100 queries adds to what the draws disagree on
    noise = np.sqrt(long["error"] * (1 - long["error"]) / 100)
    assert (width["batch"] > width["long"]).all()
    expected = np.sqrt(width["long"] ** 2 + (2 * 1.645 * noise) ** 2)
    np.testing.assert_allclose(width["batch"], expected, rtol=0.25)
    part = frontier_draws(draws.restrict([0, 2]), n_points=5)
    assert list(part["stage"].values) == ["s0", "s2"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 0}, "batch=0"),
        ({"abstain_price": 0}, "abstain_price=0"),
        ({"stages": ["s7"]}, "no stage 's7'"),
        ({"stages": ["large", "small"]}, "came in the order 'large', 'small', but the fit's log"),
    ],
)
def test_frontiers_that_cannot_be_are_refused(example_fit, options, message):
    with pytest.raises(CascadeError, match=message):
        frontier(example_fit, **options)


def test_searching_stages_finds_the_best_part():
    """Four stages, of which one is hardly ever right: subsets are tuned one by one, too."""
    four = make_draws(4, "top atom", n_draws=60, seed=6, n_queries=150)
    intercept, cost = four.curve["intercept"].copy(), four.cost.copy()
    intercept[:, 2], cost[:, 2] = intercept[:, 2] - 9.0, 3.0 * cost[:, 1]
    four = with_curve(replace(four, cost=cost), intercept=intercept)
    for wish in ({"error_price": 60.0}, {"max_error": 0.25}):
        found = tune_by_hand(four, stages=None, **wish)
        names = list(found.thresholds["stage"].values)
        assert "s2" not in names
        assert f"Run {', then '.join(names)}." in found.text
        parts = [["s0", "s1"], ["s0", "s3"], ["s1", "s3"], ["s0", "s1", "s3"], four.stages]
        losses = []
        for part in parts:
            one = tune_by_hand(four, stages=part, **wish)
            if one.feasible:
                losses.append(float(wish.get("error_price", 0.0) * one.error.mean() + one.cost.mean()))
        assert float(wish.get("error_price", 0.0) * found.error.mean() + found.cost.mean()) <= min(losses) * 1.001


def test_stages_in_another_order_than_the_logs_are_refused(draws):
    for names in (["s2", "s0"], ["s0", "s2", "s1"]):
        came = ", ".join(map(repr, names))
        with pytest.raises(
            CascadeError, match=f"came in the order {came}, but the fit's log .* 's0', 's1', 's2';"
        ):
            tune_by_hand(draws, error_price=20.0, stages=names)
        with pytest.raises(CascadeError, match=f"came in the order {came}, but"):
            evaluate_draws(draws, Policy(names, [0.5] * (len(names) - 1) + [-np.inf], draws.kind))


def test_one_stage_can_be_the_best_cascade(draws):
    # a first stage that is always right and costs next to nothing
    best = with_curve(draws, intercept=draws.curve["intercept"] + np.array([12.0, 0.0, 0.0]))
    solution = tune_by_hand(best, error_price=20.0, stages=None)
    assert list(solution.thresholds["stage"].values) == ["s0"]
    assert float(solution.cost.mean()) == pytest.approx(float(best.cost[:, 0].mean()))
