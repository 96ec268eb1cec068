"""Kernels with a monotone calibration, mixed and rotated families: against simulated queries."""

import numpy as np
import pytest
from helpers.draws import make_draws, random_thresholds
from helpers.simulation import run_cascade

from bayescascade.cascade.forward import forward
from bayescascade.cascade.positions import to_positions
from bayescascade.model.copulas.family import FAMILIES
from bayescascade.posterior.kernel import build_kernel, mean_kernel
from bayescascade.posterior.replicate import replicate_draw

N = 120_000
OPTIONS = {
    "plain": {},
    "monotone": {"calibration": "monotone"},
    "rotated": {"copula": ("clayton_180", "joe_180")},
    "mixed": {"copula": ("gaussian", "gumbel_180"), "calibration": "monotone"},
    "independence": {"copula": ("independence", "frank")},
}


def simulated(draws, index, thresholds, rng):
    """Error, cost and reach of simulated queries of one draw, each with its standard error."""
    confidence, correct = replicate_draw(draws, index, N, rng)
    cost = np.tile(draws.cost[index], (N, 1))
    ran = np.ones((N, len(draws.stages)), dtype=bool)
    for j in range(1, len(draws.stages)):
        ran[:, j] = ran[:, j - 1] & (confidence[:, j - 1] < thresholds[j - 1])
    last = ran.sum(axis=1) - 1
    wrong = 1.0 - correct[np.arange(N), last]
    spent = (cost * ran).sum(axis=1)
    return [(x.mean(axis=0), x.std(axis=0) / np.sqrt(N)) for x in (wrong, spent, ran)]


def check_against_simulation(draws, seed):
    rng = np.random.default_rng(seed)
    thresholds = random_thresholds(draws, 1, rng)
    error, cost, reach, *_ = forward(build_kernel(draws), to_positions(thresholds, draws))
    for i in range(draws.n):
        (wrong, wrong_se), (spent, spent_se), (ran, ran_se) = simulated(draws, i, thresholds[0], rng)
        assert error[i, 0] == pytest.approx(wrong, abs=4 * wrong_se + 2e-4)
        assert cost[i, 0] == pytest.approx(spent, abs=4 * spent_se + 1e-3 * spent)
        np.testing.assert_array_less(np.abs(reach[i, 0] - ran), 4 * ran_se + 2e-4)


def test_run_of_simulated_queries_is_the_plain_cascade():
    """The vectorised count above, against the loop of the other tests."""
    draws = make_draws(3, "top atom", seed=3)
    thresholds = random_thresholds(draws, 1, np.random.default_rng(1))[0]
    confidence, correct = replicate_draw(draws, 0, N, np.random.default_rng(2))
    wrong, spent, ran = run_cascade(confidence[:2000], correct[:2000], draws.cost[0], thresholds)
    (error, _), (cost, _), (reach, _) = simulated(draws, 0, thresholds, np.random.default_rng(2))
    assert error == pytest.approx(wrong.mean(), abs=5 * wrong.std() / np.sqrt(2000))
    assert cost == pytest.approx(spent.mean(), abs=5 * spent.std() / np.sqrt(2000))
    assert reach[1] == pytest.approx(np.mean(ran > 1), abs=5 * 0.5 / np.sqrt(2000))


@pytest.mark.parametrize("pattern", ["no atoms", "both atoms", "discrete"])
@pytest.mark.parametrize("name", OPTIONS)
def test_forward_is_a_simulation_of_the_draw(name, pattern):
    check_against_simulation(make_draws(3, pattern, seed=4, **OPTIONS[name]), 11)


def test_a_kernel_of_several_draws_is_that_of_each():
    names = ["clayton_180", "frank"]
    draws = make_draws(3, "top atom", n_draws=4, seed=5, copula=names)
    assert [draws.link(j).family.name for j in range(2)] == names
    whole = build_kernel(draws)
    for i in range(4):
        alone = build_kernel(draws.take(slice(i, i + 1)))
        for j in range(2):
            np.testing.assert_allclose(whole.pair[j][i], alone.pair[j][0], atol=1e-14)


@pytest.mark.parametrize("copula", sorted(FAMILIES))
def test_pair_masses_have_the_margins_they_join(copula):
    draws = make_draws(3, "both atoms", n_draws=3, copula=copula)
    kernel = build_kernel(draws)
    for j in range(2):
        assert (kernel.pair[j] >= 0).all()
        np.testing.assert_allclose(kernel.pair[j].sum(axis=2), kernel.mass[:, j], atol=1e-12)
        np.testing.assert_allclose(kernel.pair[j].sum(axis=1), kernel.mass[:, j + 1], atol=1e-12)
    if copula == "independence":
        product = kernel.mass[:, 0, :, None] * kernel.mass[:, 1, None]
        np.testing.assert_allclose(kernel.pair[0], product, atol=1e-12)


@pytest.mark.parametrize("name", OPTIONS)
def test_the_mean_of_one_draw_is_that_draw(name):
    draws = make_draws(3, "top atom", **OPTIONS[name])
    kernel = build_kernel(draws)
    mean = mean_kernel(draws)
    for field in ("mass", "correct", "cost"):
        np.testing.assert_allclose(getattr(mean, field), getattr(kernel, field), rtol=1e-12, atol=1e-15)
    for a, b in zip(mean.pair, kernel.pair, strict=True):
        np.testing.assert_array_equal(a, b)
    positions = to_positions(random_thresholds(draws, 5, np.random.default_rng(1)), draws)
    for a, b in zip(forward(mean, positions)[:3], forward(kernel, positions)[:3], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_the_mean_of_several_draws_is_the_mixture():
    """Of what is linear in the draws: masses, pairs, and correctness of the first stage."""
    draws = make_draws(2, "no atoms", n_draws=6)
    kernel, mean = build_kernel(draws), mean_kernel(draws)
    np.testing.assert_allclose(mean.pair[0][0], np.mean(kernel.pair[0], axis=0))
    everyone_on = np.array([[float(draws.n_segments), 0.0]])
    error, cost, _, *_ = forward(kernel, everyone_on)
    got_error, got_cost, _, *_ = forward(mean, everyone_on)
    assert got_cost[0, 0] == pytest.approx(cost.mean())
    assert got_error[0, 0] == pytest.approx(error.mean())
