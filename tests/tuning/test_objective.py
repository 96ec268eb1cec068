"""Goals: promises about batches and tails of the draws against Monte Carlo."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.draws import make_draws
from scipy.stats import binom

from bayescascade.cascade.forward import forward
from bayescascade.induction.free_positions import to_rows
from bayescascade.posterior.kernel import build_kernel
from bayescascade.tuning.objective import Objective, amounts_of


@pytest.fixture(scope="module")
def kernel():
    draws = make_draws(3, "no atoms", n_draws=60, seed=4)
    return build_kernel(replace(draws, cost_sd=np.array([0.3, 0.5, 2.0])))


def measured(kernel, objective, free):
    return amounts_of(forward(kernel, to_rows(free, 3)), kernel.draws, objective.names)


def test_a_tail_is_the_mean_of_the_worst_draws():
    loss = np.random.default_rng(1).normal(size=(100, 4))
    got = Objective((("cost", 1.0),), tail=0.07).risk({"cost": loss})
    np.testing.assert_allclose(got, -np.sort(-loss, axis=0)[:7].mean(axis=0))
    # a share below one draw is the worst draw, and the whole is the mean
    np.testing.assert_allclose(Objective((("cost", 1.0),), tail=0.001).risk({"cost": loss}), loss.max(axis=0))
    np.testing.assert_allclose(Objective((("cost", 1.0),), tail=1.0).risk({"cost": loss}), loss.mean(axis=0))
    # the draw on the border counts in part
    worst = -np.sort(-loss[:10, 0])
    expected = (worst[0] + worst[1] + 0.5 * worst[2]) / 2.5
    assert Objective((("cost", 1.0),), tail=0.25).risk({"cost": loss[:10, :1]})[0] == pytest.approx(expected)


def test_a_batch_keeps_its_bound_as_often_as_simulated_batches_do(kernel):
    """Batches of queries drawn one by one: binomial errors, and costs that depend on how far a query goes."""
    rng, free, m = np.random.default_rng(5), np.array([9.37, 8.61]), 40
    objective = Objective((("cost", 1.0),), (("error", 0.3),), 0.9, batch=m)
    error = measured(kernel, objective, free)["error"]
    assert objective.promise_probability({"error": error})[0] == pytest.approx(
        binom.cdf(12, m, error).mean(), abs=1e-12
    )
    draws, n = kernel.draws, 4000
    reach = forward(kernel, to_rows(free, 3)).reach[:, 0]
    bound = 1.1 * float((reach * draws.cost).sum(axis=1).mean())
    objective = Objective((("error", 1.0),), (("cost", bound),), 0.9, batch=m)
    batches = np.zeros((draws.n, n // m))
    for d in range(draws.n):
        u = rng.uniform(size=n)
        own = draws.cost[d] + rng.normal(size=(n, 3)) * draws.cost_sd
        batches[d] = np.sum(own * (u[:, None] < reach[d]), axis=1).reshape(-1, m).mean(axis=1)
    simulated = np.mean(batches <= bound)
    assert 0.05 < simulated < 0.95
    assert objective.promise_probability(measured(kernel, objective, free))[0] == pytest.approx(
        simulated, abs=0.02
    )


def test_the_lowest_bound_is_the_one_just_kept(kernel):
    points = np.random.default_rng(2).uniform(2.0, 15.0, (30, 2))
    bounds = (("error", 0.4), ("cost", 11.0))
    for objective in (
        Objective((("cost", 1.0),), bounds, 0.9),
        Objective((("cost", 1.0),), bounds, 0.9, batch=300),
    ):
        amounts = measured(kernel, objective, points)
        for name in ("error", "cost"):
            low = objective.lowest_bound(name, amounts)
            kept = []
            for factor in (1.01, 0.99):
                bounds_now = tuple((n, low * factor if n == name else b) for n, b in objective.bounds)
                kept.append(replace(objective, bounds=bounds_now).promise_probability(amounts))
            assert kept[0].max() >= 0.9 - 1e-9
            assert kept[1].max() < 0.9


def test_points_that_keep_the_promise_come_first(kernel):
    objective = Objective((("cost", 1.0),), (("error", 0.35),), 0.9)
    points = np.random.default_rng(3).uniform(2.0, 15.0, (40, 2))
    amounts = measured(kernel, objective, points)
    order, keeps = objective.rank(amounts)
    assert 0 < keeps.sum() < 40
    assert keeps[order][: keeps.sum()].all()
    kept, cost = objective.promise_probability(amounts)[order], amounts["cost"].mean(axis=0)[order]
    assert (np.diff(cost[: keeps.sum()]) >= 0).all()
    assert (np.diff(kept[keeps.sum() :]) <= 0).all()


def test_rounding_does_not_decide_between_points():
    cost = np.array([[1.0, 0.9 * (1 + 1e-13), 0.9, 0.8]])
    error = np.array([[0.2, 0.2, 0.2, 0.4]])
    objective = Objective((("cost", 1.0),), (("error", 0.3),))
    assert objective.first_best({"cost": cost, "error": error}) == 1
    # where none keeps the promise, the one that nearly does
    assert objective.first_best({"cost": cost, "error": error + np.array([[0.2, 0.15, 0.15 - 1e-14, 0.0]])}) == 1
