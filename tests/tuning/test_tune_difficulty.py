"""`tune` and `frontier` for queries that have a difficulty, on draws made by hand."""

import numpy as np
import pytest
from helpers.brute_force import grid_rows, least_loss
from helpers.draws import make_draws, tune_by_hand, with_difficulty

from bayescascade.cascade.evaluate import evaluate_draws
from bayescascade.posterior.kernel import mean_kernel
from bayescascade.tuning import frontier as curves
from bayescascade.tuning import threshold_search
from bayescascade.tuning.frontier import frontier_draws
from bayescascade.tuning.spec import TuningSpec

GOALS = [
    {"error_price": 30.0},
    {"max_error": 0.33},
    {"max_cost": 7.0},
    {"max_error": 0.33, "batch": 200},
    {"error_price": 30.0, "abstain_price": 8.0, "max_error": 0.25},
    {"error_price": 30.0, "risk": "cvar"},
]


def hard_draws(n_draws, **options):
    options = {"loading": 0.8, "discrimination": 1.5, "copula": "gaussian"} | options
    return make_draws(3, "top atom", seed=3, n_draws=n_draws, **options)


def lost(solution, draws, goal):
    """What a solution minimises, of all draws."""
    objective = TuningSpec(**goal).objective(draws)
    found = {name: getattr(solution, name) for name in ("error", "cost", "abstained")}
    amounts = {name: np.zeros((draws.n, 1)) if x is None else x.values.reshape(-1, 1) for name, x in found.items()}
    return float(objective.risk(amounts)[0])


@pytest.mark.parametrize("goal", GOALS, ids=str)
def test_a_promise_is_kept_by_all_draws_though_few_do_the_search(goal, monkeypatch):
    monkeypatch.setattr(threshold_search, "_SOME_LATENT", 40)
    monkeypatch.setattr(threshold_search, "SEARCH_LATENT", 80)
    draws = hard_draws(250)
    solution = tune_by_hand(draws, **goal)
    assert solution.feasible
    assert solution.error.size == 250
    out = evaluate_draws(draws, solution)
    np.testing.assert_allclose(out["error"], solution.error, atol=1e-9)
    if "batch" not in goal and ("max_error" in goal or "max_cost" in goal):
        limit = next(goal[name] for name in ("max_error", "max_cost") if name in goal)
        kept = float((out["error" if "max_error" in goal else "cost"] <= limit).mean())
        assert kept == pytest.approx(solution.kept)
        assert kept >= 0.9
    # with all draws in the search it would not be much better: what few draws promise is off by a percent or two
    monkeypatch.setattr(threshold_search, "SEARCH_LATENT", 1000)
    assert lost(solution, draws, goal) <= lost(tune_by_hand(draws, **goal), draws, goal) * 1.06


def test_the_least_loss_is_near_that_of_a_grid():
    draws = hard_draws(60)
    grid = least_loss(mean_kernel(draws), grid_rows(draws, 1), np.array([30.0]))[0]
    solution = tune_by_hand(draws, error_price=30.0)
    loss = float((solution.error * 30.0 + solution.cost).mean())
    assert grid * (1 - 2e-3) <= loss <= grid * (1 + 1e-3)


def test_what_cannot_be_promised_is_said():
    solution = tune_by_hand(hard_draws(60), max_error=0.02)
    assert not solution.feasible
    assert "The lowest error you can promise" in solution.text


@pytest.mark.parametrize("abstain_price", [None, 8.0])
def test_along_the_frontier_less_error_costs_more(abstain_price, monkeypatch):
    monkeypatch.setattr(curves, "_MOST_STATES", 11 * 30)
    draws = hard_draws(70)
    curve = frontier_draws(draws, n_points=12, abstain_price=abstain_price)
    assert (np.diff(curve["cost"]) >= -1e-9).all()
    if abstain_price is None:
        assert (np.diff(curve["error"]) < 0).all()
    for name in ("error", "cost"):
        assert (curve[f"{name}_low"] <= curve[name]).all()
        assert (curve[name] <= curve[f"{name}_high"]).all()
    # the band comes from fewer draws, and is about theirs all
    if abstain_price is None:
        everyone = evaluate_draws(draws, curve["threshold"])
        np.testing.assert_allclose(curve["error"], everyone["error"].mean(("chain", "draw")), atol=0.01)


def test_with_a_loading_of_nothing_tune_is_the_markov_chains():
    plain = make_draws(3, "top atom", seed=3, n_draws=40)
    hard = with_difficulty(plain, 0.0, 0.0)
    for goal in ({"error_price": 30.0}, {"max_error": 0.35}):
        one, other = (tune_by_hand(draws, **goal) for draws in (plain, hard))
        assert one.feasible == other.feasible
        assert lost(other, hard, goal) == pytest.approx(lost(one, plain, goal), rel=5e-3)
    curves_of = [frontier_draws(draws, n_points=6) for draws in (plain, hard)]
    for name in ("error", "cost"):
        np.testing.assert_allclose(curves_of[1][name], curves_of[0][name], rtol=2e-3)


def test_what_can_be_promised_can_be_promised_with_a_wider_limit(monkeypatch):
    """Few draws misjudge a promise by more or less than a limit allows; none of it may end in a refusal."""
    monkeypatch.setattr(threshold_search, "_SOME_LATENT", 20)
    monkeypatch.setattr(threshold_search, "SEARCH_LATENT", 40)
    draws = hard_draws(250)
    found = [tune_by_hand(draws, max_error=float(limit)).feasible for limit in np.linspace(0.1, 0.4, 16)]
    assert found == sorted(found)
    assert 2 < sum(found) < 16
