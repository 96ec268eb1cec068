"""Thresholds for queries that have a difficulty: against brute force, and what repeated passes do for them."""

import numpy as np
import pytest
from helpers.brute_force import atoms_draws, grid_rows, least_loss, loss_of_rows, prices_for
from helpers.draws import make_draws, with_difficulty

from bayescascade.cascade.forward import forward
from bayescascade.cascade.positions import to_positions
from bayescascade.induction import backward_induction as induction
from bayescascade.induction.backward_induction import (
    backward_induction_draws,
    best_loss,
    induce,
    induce_draws,
    optimal_loss,
)
from bayescascade.induction.backward_pass import best_policy
from bayescascade.posterior.kernel import build_kernel, build_kernels, mean_kernel

HARD = [(0.5, 1.0), (0.9, 2.5), ([0.0, 0.9, 0.9, 0.0], [2.0, 0.0, 2.0, 1.0])]


def by_stage(hard, n_stages):
    return dict(
        zip(("loading", "discrimination"), (x if np.isscalar(x) else x[:n_stages] for x in hard), strict=True)
    )


@pytest.mark.parametrize("abstain", [False, True])
@pytest.mark.parametrize("hard", HARD, ids=["half", "high", "uneven"])
@pytest.mark.parametrize(("n_stages", "n_atoms"), [(2, 6), (3, 5)])
def test_thresholds_are_the_best_of_all_on_discrete_signals(n_stages, n_atoms, hard, abstain):
    for seed in range(4):
        draws = atoms_draws(n_atoms, n_stages, seed=seed, copula="gaussian", **by_stage(hard, n_stages))
        kernel = build_kernel(draws)
        prices = prices_for(kernel)
        fee = 0.7 * prices.min() if abstain else None
        rows, loss, shortfall = induce_draws(kernel, prices, fee)
        got = loss_of_rows(kernel, rows[0], prices, fee)
        np.testing.assert_allclose(got, least_loss(kernel, grid_rows(draws, 1, abstain), prices, fee), rtol=1e-9)
        # what the passes say they lose is what the forward recursion finds
        np.testing.assert_allclose(got, loss[0], rtol=1e-6)
        np.testing.assert_allclose(best_loss(kernel, prices, fee), loss)
        assert (shortfall >= 0.0).all()


@pytest.mark.parametrize("hard", HARD[:2], ids=["half", "high"])
@pytest.mark.parametrize("pattern", ["no atoms", "top atom", "both atoms"])
@pytest.mark.parametrize(("n_stages", "parts"), [(2, 16), (3, 1)])
def test_they_are_as_good_as_a_grid_on_continuous_signals(n_stages, parts, pattern, hard):
    draws = make_draws(n_stages, pattern, seed=5, **by_stage(hard, n_stages))
    kernel = build_kernel(draws)
    prices = prices_for(kernel)
    rows, loss, _ = induce_draws(kernel, prices)
    got = loss_of_rows(kernel, rows[0], prices)
    grid = least_loss(kernel, grid_rows(draws, parts), prices)
    assert (got <= grid * (1 + 1e-3)).all()
    assert np.median(got / grid) < 1 + 1e-5
    assert (got >= grid * (1 - 2e-3)).all()
    np.testing.assert_allclose(got, loss[0], rtol=1e-3)


@pytest.mark.parametrize("abstain_price", [None, 0.5])
@pytest.mark.parametrize("pattern", ["no atoms", "discrete"])
def test_no_pass_loses_more_than_the_one_before(pattern, abstain_price, monkeypatch):
    # the second stage knows nothing of the ease, and defers to stages that do
    hard = {"loading": [0.9, 0.0, 0.9, 0.9], "discrimination": [2.0, 0.0, 2.0, 2.0]}
    draws = make_draws(4, pattern, seed=3, n_draws=3, copula="gaussian", **hard)
    kernel, prices = build_kernel(draws), np.array([2.0, 30.0, 200.0])
    losses, forwards = [], []
    for n in (0, 1, 2, 5, 10):
        monkeypatch.setattr(induction, "_MAX_ROUNDS", n)
        rows, loss, _ = induce_draws(kernel, prices, abstain_price)
        losses.append(loss)
        forwards.append(
            [loss_of_rows(kernel.take(slice(i, i + 1)), rows[i], prices, abstain_price) for i in range(3)]
        )
    assert (np.diff(losses, axis=0) <= 0.0).all()
    np.testing.assert_allclose(forwards, losses, rtol=3e-3)
    # what arrives makes a difference, and it is found in a few passes
    assert abstain_price is not None or (losses[0] / losses[-1]).max() > 1.01
    np.testing.assert_allclose(losses[-2], losses[-1], rtol=1e-4)


@pytest.mark.parametrize("pattern", ["no atoms", "both atoms", "discrete"])
@pytest.mark.parametrize("abstain_price", [None, 1.5])
def test_with_a_loading_of_nothing_they_are_the_markov_chains(pattern, abstain_price):
    plain = make_draws(3, pattern, n_draws=3, seed=2)
    prices = np.array([2.0, 20.0, 200.0])
    one, other = build_kernel(plain), build_kernel(with_difficulty(plain, 0.0, 0.0))
    rows, again = (induce_draws(kernel, prices, abstain_price)[0] for kernel in (one, other))
    for i in range(3):
        part = one.take(slice(i, i + 1))
        np.testing.assert_allclose(
            *(loss_of_rows(part, x[i], prices, abstain_price) for x in (rows, again)), rtol=1e-6
        )
    least = best_policy(one, prices, abstain_price).loss  # of any kind, and no less than that of thresholds
    assert (best_loss(other, prices, abstain_price) >= least * (1 - 1e-4)).all()


def test_draws_and_prices_are_solved_as_if_one_by_one():
    draws = make_draws(3, "top atom", n_draws=5, seed=4, loading=0.8, discrimination=1.5)
    kernel, prices = build_kernel(draws), np.array([2.0, 30.0, 400.0])
    rows, least = induce_draws(kernel, prices)[0], best_loss(kernel, prices)
    for i in range(5):
        one = build_kernel(draws.take(np.array([i])))
        for p, price in enumerate(prices):
            mine, alone = (loss_of_rows(one, x, price)[0] for x in (rows[i, p][None], induce(one, prices[[p]])))
            assert mine == pytest.approx(alone, rel=1e-5)
            assert least[i, p] == pytest.approx(best_loss(one, prices[[p]])[0, 0], rel=1e-5)
    blocked = optimal_loss(draws, 30.0)
    np.testing.assert_allclose(blocked, optimal_loss(draws, 30.0, kernels=build_kernels(draws)))
    np.testing.assert_allclose(blocked, least[:, 1], rtol=1e-5)


@pytest.mark.parametrize("abstain_price", [None, 5.0])
def test_what_is_returned_and_said(abstain_price):
    draws = make_draws(3, "both atoms", n_draws=30, seed=4, loading=0.8, discrimination=1.5)
    prices = [30.0, 90.0]
    out = backward_induction_draws(draws, error_price=prices, abstain_price=abstain_price)
    assert not {"best_loss", "lost"} & set(out)
    assert "Each stage decides by its own confidence." in out.attrs["text"]
    positions = to_positions(out["threshold"].values, draws)
    if abstain_price is not None:
        reject = to_positions(out["reject_threshold"].values, draws)
        positions = np.concatenate([positions, reject], axis=1)
    got = forward(mean_kernel(draws), positions)
    np.testing.assert_allclose(out["error"], got.error[0], atol=1e-9)
    expected = out["error"] * prices + out["cost"] + (abstain_price or 0.0) * out["abstained"]
    np.testing.assert_allclose(out["loss"], expected)
    each = backward_induction_draws(draws, error_price=prices, abstain_price=abstain_price, by_draw=True)
    assert dict(each.sizes) == {"chain": 1, "draw": 30, "price": 2, "stage": 3}
    # a draw's own thresholds lose less in it than those of the mean
    theirs = forward(build_kernel(draws), positions)
    left = 0.0 if theirs.abstained is None else theirs.abstained * abstain_price
    assert (each["loss"][0] <= (theirs.error * prices + theirs.cost + left) * (1 + 1e-3)).all()
