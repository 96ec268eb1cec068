"""Backward induction against brute force: all thresholds, all acceptance sets, and SciPy's global optimisers."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.brute_force import (
    ABSTAIN,
    ACCEPT,
    DEFER,
    atoms_draws,
    best_by_thresholds,
    every_combination,
    every_set,
    grid_rows,
    least_loss,
    loss_of_rows,
    path_losses,
    prices_for,
)
from helpers.draws import PATTERNS, make_draws, refine, with_curve
from scipy.optimize import differential_evolution

from bayescascade.cascade.forward import forward
from bayescascade.induction.backward_induction import best_loss, induce, induce_draws, optimal_loss
from bayescascade.induction.backward_pass import best_policy
from bayescascade.posterior.kernel import build_kernel, build_kernels, mean_kernel, with_latency

COPULAS = ("gumbel", "clayton", "frank", "joe", "gaussian", "gumbel_180", "independence")
CALIBRATIONS = ("logistic", "monotone")


@pytest.mark.parametrize("abstain", [False, True])
@pytest.mark.parametrize("copula", COPULAS)
@pytest.mark.parametrize(("n_stages", "n_atoms"), [(2, 6), (3, 5), (4, 3)])
def test_thresholds_are_the_best_of_all_on_discrete_signals(n_stages, n_atoms, copula, abstain):
    draws = atoms_draws(n_atoms, n_stages, seed=3, copula=copula, spread=0.0)
    kernel = build_kernel(draws)
    prices = prices_for(kernel)
    fee = 0.7 * prices.min() if abstain else None
    rows = induce(kernel, prices, fee)
    got, free = loss_of_rows(kernel, rows, prices, fee), best_policy(kernel, prices, fee)
    for i, price in enumerate(prices):
        expected = best_by_thresholds(kernel, price, fee)
        assert got[i] == pytest.approx(expected, rel=1e-10)
        # what Clayton's tail does is not always to leave half-lines; then it is said
        if free.shortfall[0, i].max() < 1e-12:
            assert free.loss[0, i] == pytest.approx(expected, rel=1e-10)
        else:
            assert free.loss[0, i] <= expected * (1 + 1e-12)


@pytest.mark.parametrize("abstain", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_thresholds_are_the_best_and_never_beat_the_best_policy_on_any_discrete_signals(seed, abstain):
    draws = atoms_draws(5, 3, seed=seed, spread=1.0)
    kernel = build_kernel(draws)
    prices = prices_for(kernel)
    fee = 0.7 * prices.min() if abstain else None
    got = loss_of_rows(kernel, induce(kernel, prices, fee), prices, fee)
    free = best_loss(kernel, prices, fee)[0]
    expected = np.array([best_by_thresholds(kernel, price, fee) for price in prices])
    assert (free <= expected * (1 + 1e-12)).all()
    assert (got >= expected * (1 - 1e-12)).all()
    assert (got <= expected * (1 + 1e-9)).all()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("n_stages", "n_atoms", "abstain"), [(2, 6, False), (3, 5, False), (2, 5, True), (3, 4, True)]
)
def test_no_acceptance_set_does_better_than_the_best_policy(n_stages, n_atoms, abstain, seed):
    """Also where a lower atom is right more often than a higher one, and thresholds lose."""
    kernel = build_kernel(atoms_draws(n_atoms, n_stages, seed=seed, spread=1.5))
    prices = prices_for(kernel, 5)
    fee = 0.7 * prices.min() if abstain else None
    here = (DEFER, ACCEPT, ABSTAIN) if abstain else (DEFER, ACCEPT)
    choices = [every_set(n_atoms, here)] * (n_stages - 1)
    choices.append(every_set(n_atoms, (ACCEPT, ABSTAIN) if abstain else (ACCEPT,)))
    _, actions = every_combination(choices, n_stages)
    for price, least in zip(prices, best_loss(kernel, prices, fee)[0], strict=True):
        assert least == pytest.approx(path_losses(kernel, actions, price, fee or 0.0).min(), rel=1e-10)


@pytest.mark.parametrize("copula", COPULAS)
@pytest.mark.parametrize("pattern", ["no atoms", "top atom", "both atoms"])
def test_two_stages_are_as_good_as_a_fine_grid(pattern, copula):
    draws = make_draws(2, pattern, seed=5, copula=copula)
    kernel = build_kernel(draws)
    prices = prices_for(kernel)
    got = loss_of_rows(kernel, induce(kernel, prices), prices)
    grid = least_loss(kernel, grid_rows(draws, 16), prices)
    # a little better where the grid has no point
    assert (got <= grid * (1 + 1e-5)).all()
    assert (got >= grid * (1 - 1e-3)).all()


@pytest.mark.parametrize("pattern", ["no atoms", "top atom", "both atoms"])
@pytest.mark.parametrize("calibration", CALIBRATIONS)
def test_three_stages_are_as_good_as_a_grid(calibration, pattern):
    draws = make_draws(3, pattern, seed=5, calibration=calibration)
    kernel = build_kernel(draws)
    prices = prices_for(kernel)
    rows = induce(kernel, prices)
    got = loss_of_rows(kernel, rows, prices)
    grid = least_loss(kernel, grid_rows(draws, 2), prices)
    assert (got <= grid * (1 + 1e-5)).all()
    assert np.median(got / grid) < 1.0 + 1e-5


@pytest.mark.parametrize("pattern", ["no atoms", "top atom"])
def test_two_stages_that_may_abstain_are_as_good_as_a_grid(pattern):
    draws = make_draws(2, pattern, seed=5)
    kernel = build_kernel(draws)
    prices = prices_for(kernel)
    fee = 0.7 * prices.min()
    rows = induce(kernel, prices, fee)
    assert (rows[:, :2] >= rows[:, 2:]).all()
    got = loss_of_rows(kernel, rows, prices, fee)
    grid = least_loss(kernel, grid_rows(draws, 1, abstain=True), prices, fee)
    assert (got <= grid * (1 + 1e-5)).all()
    plain = loss_of_rows(kernel, induce(kernel, prices), prices)
    assert (got <= plain * (1 + 1e-9)).all()
    assert got[-1] < 0.9 * plain[-1]


@pytest.mark.parametrize(("pattern", "abstain"), [("no atoms", False), ("top atom", False), ("no atoms", True)])
def test_a_global_optimiser_finds_nothing_better(pattern, abstain):
    n = 4 if abstain else 6
    draws = make_draws(n, pattern, seed=2, copula=np.resize(COPULAS, n - 1))
    kernel = build_kernel(draws)
    price = 12.0 * kernel.cost[0].sum()
    fee = 0.15 * price if abstain else None
    got = loss_of_rows(kernel, induce(kernel, np.array([price]), fee), price, fee)[0]
    tops = np.array([len(m.low) for m in draws.margins], dtype=float)

    def loss(x):
        x = x.T.reshape(-1, x.shape[0])
        # atoms cannot be cut
        for i, j in enumerate([*range(n - 1), *(range(n) if abstain else [])]):
            inside = draws.margins[j].is_atom[np.minimum(x[:, i].astype(int), int(tops[j]) - 1)]
            x[:, i] = np.where(inside, np.round(x[:, i]), x[:, i])
        rows = np.column_stack([x[:, : n - 1], np.zeros(len(x)) if not abstain else x[:, -1], x[:, n - 1 :]])
        return loss_of_rows(kernel, rows, price, fee)

    bounds = [(0.0, t) for t in (*tops[:-1], *(tops if abstain else []))]
    found = differential_evolution(
        loss, bounds, rng=1, vectorized=True, updating="deferred", popsize=12, maxiter=150, tol=0.0, polish=False
    )
    assert got == pytest.approx(found.fun, rel=1e-5)


@pytest.mark.parametrize("abstain", [False, True])
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("calibration", CALIBRATIONS)
def test_a_finer_grid_gives_the_same_best_policy(calibration, pattern, abstain):
    draws = make_draws(3, pattern, seed=7, calibration=calibration)
    kernel, fine = build_kernel(draws), build_kernel(refine(draws, 4))
    prices = prices_for(kernel)
    fee = 0.7 * prices.min() if abstain else None
    np.testing.assert_allclose(best_loss(kernel, prices, fee), best_loss(fine, prices, fee), rtol=2e-3)


@pytest.mark.parametrize("abstain_price", [None, 0.5])
@pytest.mark.parametrize("calibration", CALIBRATIONS)
def test_draws_and_prices_are_solved_as_if_one_by_one(calibration, abstain_price):
    draws = make_draws(3, "top atom", n_draws=5, seed=4, calibration=calibration)
    kernel, prices = build_kernel(draws), np.array([2.0, 30.0, 400.0])
    rows, least = induce_draws(kernel, prices, abstain_price)[0], best_loss(kernel, prices, abstain_price)
    for i in range(5):
        one = build_kernel(draws.take(np.array([i])))
        for p, price in enumerate(prices):
            got = induce(one, np.array([price]), abstain_price)[0]
            np.testing.assert_allclose(rows[i, p], got, atol=1e-9)
            assert least[i, p] == pytest.approx(best_loss(one, np.array([price]), abstain_price)[0, 0], rel=1e-9)


def test_each_draws_own_optimum_over_blocks_and_with_latency():
    draws = make_draws(3, "both atoms", n_draws=150, seed=4)
    expected = best_loss(build_kernel(draws), np.array([20.0]))[:, 0]
    for kernels in (None, build_kernels(draws)):
        np.testing.assert_allclose(optimal_loss(draws, 20.0, kernels=kernels), expected, rtol=1e-12)
    latency = np.random.default_rng(1).uniform(0.5, 2.0, draws.cost.shape)
    slow = replace(draws, latency=latency)
    kernel = with_latency(build_kernel(slow), 3.0)
    rows = induce_draws(kernel, np.array([20.0]))[0]
    for i in range(3):
        one = build_kernel(slow.take(np.array([i])))
        out = forward(one, rows[i])
        loss = 20.0 * out.error + out.cost + 3.0 * out.latency
        assert optimal_loss(slow, 20.0, latency_price=3.0)[i] <= loss[0, 0] * (1 + 1e-6)
        # of the same policy, the kernel with latency in its costs says the same
        dear = forward(with_latency(one, 3.0), rows[i])
        assert 20.0 * dear.error[0, 0] + dear.cost[0, 0] == pytest.approx(loss[0, 0], rel=1e-12)
    assert with_latency(kernel, None) is kernel


def test_a_draw_never_regrets_its_own_thresholds_much():
    """Where acceptance sets are half-lines, as they are but for the tails of a smooth curve."""
    draws = make_draws(4, "no atoms", n_draws=40, seed=8)
    kernel, prices = build_kernel(draws), np.array([30.0])
    rows, least = induce_draws(kernel, prices)[0], best_loss(kernel, prices)
    for i in range(draws.n):
        loss = loss_of_rows(build_kernel(draws.take(np.array([i]))), rows[i], 30.0)[0]
        assert loss <= least[i, 0] * (1 + 1e-3)
        assert loss >= least[i, 0] * (1 - 2e-5)


def test_the_mean_model_over_blocks_is_the_mean_of_all():
    draws = make_draws(3, "top atom", n_draws=150)
    whole, blocked = build_kernel(draws).mean(), mean_kernel(draws)
    for field in ("mass", "correct", "cost"):
        np.testing.assert_allclose(getattr(blocked, field), getattr(whole, field), rtol=1e-10)
    for a, b in zip(blocked.pair, whole.pair, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-15)


def test_the_threshold_of_a_mean_model_is_continuous_in_its_position():
    """P(correct) averaged over draws is not that of the mean parameters; a cut segment must not show it."""
    draws = make_draws(2, "no atoms", n_draws=100, seed=2)
    intercept = draws.curve["intercept"]
    wide = with_curve(draws, intercept=intercept + np.random.default_rng(1).normal(0, 1.5, intercept.shape))
    kernel = mean_kernel(wide)
    rows = np.array([[9.0, 0.0], [9.0 + 1e-9, 0.0], [10.0 - 1e-9, 0.0], [10.0, 0.0]])
    error = forward(kernel, rows).error[0]
    assert error[0] == pytest.approx(error[1], abs=1e-8)
    assert error[2] == pytest.approx(error[3], abs=1e-8)


@pytest.mark.benchmark
@pytest.mark.parametrize("calibration", CALIBRATIONS)
def test_fifty_prices_of_five_stages(benchmark, calibration):
    """Wanted: 20 ms."""
    kernel = mean_kernel(make_draws(5, "top atom", n_draws=50, seed=1, calibration=calibration))
    benchmark(induce, kernel, np.geomspace(0.1, 300.0, 50) * kernel.cost.sum())


@pytest.mark.benchmark
def test_own_optimum_of_a_thousand_draws(benchmark):
    benchmark(optimal_loss, make_draws(5, "top atom", n_draws=1000, seed=1), 100.0)
