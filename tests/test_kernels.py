"""Kernels with sequential calibration, mixed and rotated families: against simulated queries."""

from dataclasses import replace

import numpy as np
import pytest
from hand_made import make_draws, random_thresholds
from test_cascade import run_cascade

from bayescascade.cascade import build_kernel, forward
from bayescascade.copulas import FAMILIES
from bayescascade.frontiers import induce, mean_kernel
from bayescascade.goals import amounts_of
from bayescascade.gradients import amounts_and_slopes
from bayescascade.moves import stages_of, to_rows
from bayescascade.positions import to_positions
from bayescascade.simulation import replicate_draw

N = 120_000
OPTIONS = {
    "sequential": {"calibration": "sequential"},
    "monotone": {"calibration": "monotone"},
    "rotated": {"copula": ("clayton_180", "joe_180")},
    "mixed": {"copula": ("gaussian", "gumbel_180"), "calibration": "sequential"},
    "independence": {"copula": ("independence", "frank"), "calibration": "sequential"},
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
    draws = make_draws(3, "top atom", n_draws=4, seed=5, copula=names, calibration="sequential")
    assert [draws.link(j).family.name for j in range(2)] == names
    whole = build_kernel(draws)
    for i in range(4):
        alone = build_kernel(draws.take(slice(i, i + 1)))
        for j in range(2):
            np.testing.assert_allclose(whole.pair[j][i], alone.pair[j][0], atol=1e-14)
            np.testing.assert_allclose(whole.pair_right[j][i], alone.pair_right[j][0], atol=1e-14)


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


def test_correctness_over_all_queries_is_a_weighted_mean():
    draws = make_draws(3, "top atom", n_draws=3, calibration="sequential")
    kernel = build_kernel(draws)
    for j in range(2):
        p = draws.pair_correct(j)
        for i in range(3):
            pair = kernel.pair[j][i]
            right = sum(pair[b] * p[i, b] for b in range(draws.n_segments))
            np.testing.assert_allclose(kernel.correct[i, j + 1] * kernel.mass[i, j + 1], right, atol=1e-14)


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("lean", [True, False])
def test_without_effects_a_kernel_is_the_plain_one(name, lean):
    """Slopes of zero change nothing, so the two ways through the recursion agree."""
    draws = make_draws(3, "both atoms", n_draws=3, copula=OPTIONS[name].get("copula", "gumbel"))
    none = np.zeros((3, 3))
    positions = to_positions(random_thresholds(draws, 20, np.random.default_rng(2)), draws)
    plain = forward(build_kernel(draws), positions, lean=lean)
    held = replace(draws, previous=none)
    for a, b in zip(plain[:3], forward(build_kernel(held), positions, lean=lean)[:3], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rejecting", [False, True])
@pytest.mark.parametrize("pattern", ["no atoms", "top atom", "discrete"])
@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("n_stages", [2, 3, 4])
def test_amounts_are_those_of_forward_and_their_gradients_finite_differences(n_stages, name, pattern, rejecting):
    options = dict(OPTIONS[name])
    options["copula"] = np.resize(options.get("copula", ("gumbel",)), n_stages - 1)
    draws = make_draws(n_stages, pattern, n_draws=5, seed=8, **options)
    rng = np.random.default_rng(3)
    draws = replace(
        draws,
        latency=rng.uniform(1.0, 3.0, draws.cost.shape),
        cost_sd=rng.uniform(0.1, 1.0, n_stages),
        latency_sd=rng.uniform(0.1, 1.0, n_stages),
    )
    kernel = build_kernel(draws)
    names = ["error", "cost", "latency", "cost_square", "latency_square"] + ["abstained"] * rejecting
    n_free = n_stages - 1 + n_stages * rejecting
    unit, stages = np.eye(n_free), stages_of(n_free, n_stages)
    for _ in range(2):
        # away from the edges of segments, where the error has a kink
        position = np.array(
            [rng.integers(1, len(draws.margins[j].low) - 1) + rng.uniform(0.2, 0.8) for j in stages]
        )
        if rejecting:
            position[n_stages - 1 :] = np.minimum(position[n_stages - 1 :], 2.3)
            position[: n_stages - 1] = np.maximum(position[: n_stages - 1], 3.4)
        whole = np.floor(position)
        held = np.array([draws.margins[j].is_atom[int(x)] for j, x in zip(stages, whole, strict=True)])
        start = np.where(held, whole, position)
        got = amounts_and_slopes(kernel, start, names).amounts
        out = amounts_of(forward(kernel, to_rows(start, n_stages), lean=False), draws, names)
        for amount in names:
            np.testing.assert_allclose(got[amount], out[amount][:, 0], rtol=1e-12, atol=1e-12, err_msg=amount)
        got, step = amounts_and_slopes(kernel, position, names).slopes, 1e-5
        for i in range(n_free):
            moved = (position + sign * step * unit[i] for sign in (1, -1))
            up, down = (amounts_and_slopes(kernel, x, names).amounts for x in moved)
            for amount in names:
                rate = (up[amount] - down[amount]) / (2 * step)
                np.testing.assert_allclose(got[amount][:, i], rate, rtol=1e-6, atol=1e-7, err_msg=amount)


@pytest.mark.parametrize("pattern", ["no atoms", "top atom", "discrete"])
@pytest.mark.parametrize("name", ["sequential", "mixed"])
def test_induction_that_knows_the_effects_is_no_worse_than_one_that_does_not(name, pattern):
    draws = make_draws(3, pattern, seed=5, **OPTIONS[name])
    kernel = build_kernel(draws)
    blind = replace(kernel, pair_right=None)
    prices = np.geomspace(0.05, 200.0, 20) * kernel.cost.sum()
    values = []
    for knows in (kernel, blind):
        positions = induce(knows, prices)
        positions[:, -1] = 0.0
        error, cost, _, *_ = forward(kernel, positions)
        values.append(prices * error[0] + cost[0])
    # both accept by a half-line, which with a signal of the stage before need not be best
    assert (values[0] <= values[1] * (1 + 2e-4)).all()
    assert values[0].sum() <= values[1].sum()


@pytest.mark.parametrize("name", OPTIONS)
def test_the_mean_of_one_draw_is_that_draw(name):
    draws = make_draws(3, "top atom", **OPTIONS[name])
    kernel = build_kernel(draws)
    mean = mean_kernel(draws)
    for field in ("mass", "correct", "cost"):
        np.testing.assert_allclose(getattr(mean, field), getattr(kernel, field), rtol=1e-12, atol=1e-15)
    for field in ("pair", "pair_right"):
        if getattr(kernel, field) is None:
            assert getattr(mean, field) is None
        else:
            for a, b in zip(getattr(mean, field), getattr(kernel, field), strict=True):
                np.testing.assert_array_equal(a, b)
    positions = to_positions(random_thresholds(draws, 5, np.random.default_rng(1)), draws)
    for a, b in zip(forward(mean, positions)[:3], forward(kernel, positions)[:3], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_the_mean_of_several_draws_is_the_mixture():
    """Of what is linear in the draws: masses, pairs, and correctness of the first stage."""
    draws = make_draws(2, "no atoms", n_draws=6, calibration="sequential")
    kernel, mean = build_kernel(draws), mean_kernel(draws)
    np.testing.assert_allclose(mean.pair[0][0], np.mean(kernel.pair[0], axis=0))
    everyone_on = np.array([[float(draws.n_segments), 0.0]])
    error, cost, _, *_ = forward(kernel, everyone_on)
    got_error, got_cost, _, *_ = forward(mean, everyone_on)
    assert got_cost[0, 0] == pytest.approx(cost.mean())
    assert got_error[0, 0] == pytest.approx(error.mean())
