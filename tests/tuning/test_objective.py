"""Goals: promises about batches and tails of the draws against Monte Carlo and finite differences."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.draws import make_draws
from scipy.stats import binom

from bayescascade.cascade.forward import forward
from bayescascade.induction.free_positions import to_rows
from bayescascade.posterior.kernel import build_kernel
from bayescascade.tuning.gradients import amounts_and_slopes
from bayescascade.tuning.objective import Goal, amounts_of

MONEY = (("error", 5.0), ("cost", 1.0))


@pytest.fixture(scope="module")
def kernel():
    draws = make_draws(3, "no atoms", n_draws=60, seed=4)
    return build_kernel(replace(draws, cost_sd=np.array([0.3, 0.5, 2.0])))


def measured(kernel, goal, free):
    return amounts_of(forward(kernel, to_rows(free, 3), lean=False), kernel.draws, goal.names)


@pytest.mark.parametrize(
    "goal",
    [
        Goal(MONEY),
        Goal(MONEY, tail=0.13),
        Goal(MONEY, tail=0.13, reference=np.linspace(0.0, 2.0, 60)),
        Goal((("cost", 1.0),), (("error", 0.3),), 0.9),
        Goal((("cost", 1.0),), (("error", 0.3), ("cost", 5.0)), 0.8),
        Goal((("cost", 1.0),), (("error", 0.3),), 0.9, batch=50),
        Goal((("error", 1.0),), (("cost", 5.0),), 0.9, batch=50),
        Goal((("cost", 1.0),), (("error", 0.3), ("cost", 5.0)), 0.9, batch=200),
    ],
)
def test_gradients_of_goals_are_finite_differences(kernel, goal):
    free = np.array([9.37, 8.61])
    here = amounts_and_slopes(kernel, free, goal.names)
    risk, doubt = goal.risk_gradient(here.amounts, here.slopes), None
    if goal.bounds:
        doubt = goal.smooth_doubt(here.amounts, here.slopes)[1]
    step = 1e-6
    for i in range(2):
        up, down = (amounts_and_slopes(kernel, free + sign * step * np.eye(2)[i], goal.names) for sign in (1, -1))
        rate = (goal.risk(up.amounts) - goal.risk(down.amounts)) / (2 * step)
        assert risk[i] == pytest.approx(rate, rel=1e-5, abs=1e-7)
        if doubt is not None:
            rise = goal.smooth_doubt(up.amounts, up.slopes)[0] - goal.smooth_doubt(down.amounts, down.slopes)[0]
            assert doubt[i] == pytest.approx(rise / (2 * step), rel=1e-4, abs=1e-6)


def test_a_tail_is_the_mean_of_the_worst_draws():
    loss = np.random.default_rng(1).normal(size=(100, 4))
    got = Goal((("cost", 1.0),), tail=0.07).risk({"cost": loss})
    np.testing.assert_allclose(got, -np.sort(-loss, axis=0)[:7].mean(axis=0))
    # a share below one draw is the worst draw, and the whole is the mean
    np.testing.assert_allclose(Goal((("cost", 1.0),), tail=0.001).risk({"cost": loss}), loss.max(axis=0))
    np.testing.assert_allclose(Goal((("cost", 1.0),), tail=1.0).risk({"cost": loss}), loss.mean(axis=0))
    # the draw on the border counts in part
    worst = -np.sort(-loss[:10, 0])
    expected = (worst[0] + worst[1] + 0.5 * worst[2]) / 2.5
    assert Goal((("cost", 1.0),), tail=0.25).risk({"cost": loss[:10, :1]})[0] == pytest.approx(expected)


def test_a_batch_keeps_its_bound_as_often_as_simulated_batches_do(kernel):
    """Batches of queries drawn one by one: binomial errors, and costs that depend on how far a query goes."""
    rng, free, m = np.random.default_rng(5), np.array([9.37, 8.61]), 40
    goal = Goal((("cost", 1.0),), (("error", 0.3),), 0.9, batch=m)
    error = measured(kernel, goal, free)["error"]
    assert goal.kept({"error": error})[0] == pytest.approx(binom.cdf(12, m, error).mean(), abs=1e-12)
    draws, n = kernel.draws, 4000
    reach = forward(kernel, to_rows(free, 3), lean=False).reach[:, 0]
    bound = 1.1 * float((reach * draws.cost).sum(axis=1).mean())
    goal = Goal((("error", 1.0),), (("cost", bound),), 0.9, batch=m)
    batches = np.zeros((draws.n, n // m))
    for d in range(draws.n):
        u = rng.uniform(size=n)
        own = draws.cost[d] + rng.normal(size=(n, 3)) * draws.cost_sd
        batches[d] = np.sum(own * (u[:, None] < reach[d]), axis=1).reshape(-1, m).mean(axis=1)
    simulated = np.mean(batches <= bound)
    assert 0.05 < simulated < 0.95
    assert goal.kept(measured(kernel, goal, free))[0] == pytest.approx(simulated, abs=0.02)


def test_the_lowest_bound_is_the_one_just_kept(kernel):
    points = np.random.default_rng(2).uniform(2.0, 15.0, (30, 2))
    bounds = (("error", 0.4), ("cost", 11.0))
    for goal in (Goal((("cost", 1.0),), bounds, 0.9), Goal((("cost", 1.0),), bounds, 0.9, batch=300)):
        amounts = measured(kernel, goal, points)
        for name in ("error", "cost"):
            low = goal.lowest(name, amounts)
            kept = [
                replace(goal, bounds=tuple((n, low * factor if n == name else b) for n, b in goal.bounds)).kept(
                    amounts
                )
                for factor in (1.01, 0.99)
            ]
            assert kept[0].max() >= 0.9 - 1e-9
            assert kept[1].max() < 0.9


def test_points_that_keep_the_promise_come_first(kernel):
    goal = Goal((("cost", 1.0),), (("error", 0.35),), 0.9)
    points = np.random.default_rng(3).uniform(2.0, 15.0, (40, 2))
    amounts = measured(kernel, goal, points)
    order, keeps = goal.rank(amounts)
    assert 0 < keeps.sum() < 40
    assert keeps[order][: keeps.sum()].all()
    kept, cost = goal.kept(amounts)[order], amounts["cost"].mean(axis=0)[order]
    assert (np.diff(cost[: keeps.sum()]) >= 0).all()
    assert (np.diff(kept[keeps.sum() :]) <= 0).all()
