"""Draws of a part of the cascade: against the whole cascade with stages passed over, and against simulation."""

from dataclasses import replace

import numpy as np
import pytest
from hand_made import draws_around, make_draws, make_signals, random_thresholds

from bayescascade._singles import single_stages
from bayescascade.cascade import build_kernel, build_kernels, forward, forward_all, restrict_kernel
from bayescascade.frontiers import mean_kernel
from bayescascade.gradients import amounts_and_slopes
from bayescascade.positions import to_positions
from bayescascade.simulation import replicate_draw

OPTIONS = {
    "plain": {},
    "mixed": {"copula": ("clayton", "frank", "joe", "gaussian")},
    "sequential": {"calibration": "sequential"},
}
KEEPS = [(1,), (0, 2), (1, 3), (2, 3, 4), (0, 3, 4), (0, 1, 2, 4)]


def make(name, n_draws=4, pattern="top atom", n_stages=5, seed=3):
    options = dict(OPTIONS[name])
    if "copula" in options:
        options["copula"] = options["copula"][: n_stages - 1]
    return make_draws(n_stages, pattern, n_draws=n_draws, seed=seed, **options)


def simulate_queries(draws, keep, thresholds, n, seed=0):
    """Wrong answers and reach of the stages ``keep`` in that order, on queries of the whole chain."""
    confidence, correct = replicate_draw(draws, 0, n, np.random.default_rng(seed))
    going, wrong, reach = np.ones(n, dtype=bool), np.zeros(n), []
    for stage, threshold in zip(keep, thresholds, strict=True):
        reach.append(going.copy())
        accept = going & (confidence[:, stage] >= threshold)
        wrong[accept] = 1.0 - correct[accept, stage]
        going &= ~accept
    return wrong, np.stack(reach, axis=1)


@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize("name", OPTIONS)
def test_a_stage_left_out_is_one_that_passes_everything_on_for_nothing(name, keep):
    draws = make(name)
    rng = np.random.default_rng(1)
    # stages after the last that is kept are never run when that one accepts everything
    positions = np.tile([float(len(m.low)) for m in draws.margins], (12, 1))
    for j in keep:
        positions[:, j] = rng.uniform(0.0, len(draws.margins[j].low), 12)
    positions[:, keep[-1]] = 0.0
    whole = build_kernel(draws)
    free = [j for j in range(5) if j not in keep]
    cost = whole.cost.copy()
    cost[:, free] = 0.0
    expected = forward(replace(whole, cost=cost), positions)
    restricted = draws.restrict(keep)
    assert restricted.stages == [draws.stages[j] for j in keep]
    got = forward(build_kernel(restricted), positions[:, list(keep)])
    np.testing.assert_allclose(got[0], expected[0], atol=1e-12)
    np.testing.assert_allclose(got[1], expected[1], rtol=1e-10)
    np.testing.assert_allclose(got[2], expected[2][..., list(keep)], atol=1e-12)


@pytest.mark.parametrize("keep", [(0, 2), (1, 3), (0, 2, 3)])
@pytest.mark.parametrize("name", OPTIONS)
def test_a_part_of_the_cascade_is_a_simulation_of_it(name, keep):
    draws = make(name, n_draws=1, n_stages=4)
    thresholds = random_thresholds(draws, 1, np.random.default_rng(4))[0][list(keep)]
    thresholds[-1] = -np.inf
    wrong, reach = simulate_queries(draws, keep, thresholds, 200_000)
    restricted = draws.restrict(keep)
    error, _, got = forward(build_kernel(restricted), to_positions(thresholds[None], restricted))[:3]
    assert error[0, 0] == pytest.approx(wrong.mean(), abs=4 * wrong.std() / np.sqrt(len(wrong)) + 5e-4)
    for j in range(len(keep)):
        share = reach[:, j].mean()
        assert got[0, 0, j] == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / len(wrong)) + 5e-4)


@pytest.mark.parametrize("name", OPTIONS)
def test_two_stages_in_the_other_order_are_a_simulation_too(name):
    """With two stages there is no chain to break, so any order is exact where correctness goes by own signal."""
    draws = make(name, n_draws=1, n_stages=3)
    for keep in ((1, 0), (2, 0), (2, 1)):
        thresholds = random_thresholds(draws, 1, np.random.default_rng(4))[0][list(keep)]
        thresholds[0], thresholds[1] = 0.3, -np.inf
        wrong, reach = simulate_queries(draws, keep, thresholds, 200_000)
        restricted = draws.restrict(keep)
        error, _, got = forward(build_kernel(restricted), to_positions(thresholds[None], restricted))[:3]
        assert got[0, 0, 1] == pytest.approx(reach[:, 1].mean(), abs=5e-3)
        # averaging over the signal before is not exact for a sequential calibration
        room = 5e-4 if draws.previous is None else 0.02
        assert error[0, 0] == pytest.approx(wrong.mean(), abs=4 * wrong.std() / np.sqrt(len(wrong)) + room)


@pytest.mark.parametrize("keep", [(0, 2), (1, 2, 4), (2, 0, 3)])
@pytest.mark.parametrize("name", OPTIONS)
def test_taking_thinning_and_mean_go_with_restricting(name, keep):
    draws = make(name, n_draws=9)
    restricted = draws.restrict(keep)
    index = np.array([1, 4, 7])
    for some, other in (
        (restricted.take(index), draws.take(index).restrict(keep)),
        (restricted.thin(3), draws.thin(3).restrict(keep)),
        (restricted.mean(), draws.mean().restrict(keep)),
    ):
        one, two = build_kernel(some), build_kernel(other)
        assert some.n == len(one.mass) == other.n
        for a, b in zip(one.pair, two.pair, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-300)
        np.testing.assert_allclose(one.correct, two.correct, rtol=1e-12)
    again = restrict_kernel(build_kernel(draws), keep)
    direct = build_kernel(restricted)
    for field in ("pair", "pair_right"):
        for a, b in zip(getattr(direct, field) or [], getattr(again, field) or [], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(direct.correct, again.correct, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(direct.cost, again.cost, rtol=1e-12)


def test_restricting_twice_and_to_everything():
    draws = make("sequential", n_draws=2)
    assert draws.restrict(range(5)) is draws
    once = draws.restrict((0, 2, 4))
    assert once.restrict((0, 1, 2)) is once
    twice, direct = once.restrict((2, 0)), draws.restrict((4, 0))
    assert twice.keep == direct.keep == (4, 0)
    assert twice.whole is direct.whole is draws
    assert once.restrict((1,)).stages == ["s2"]
    assert draws.restrict((0, 2)).restrict((0, 1)).whole is draws


@pytest.mark.parametrize("keep", [(), (0, 0), (1, 5), (-1, 2)])
def test_stages_that_are_not_there_are_refused(keep):
    with pytest.raises(ValueError, match="distinct stages among the 5"):
        make("plain").restrict(keep)


def test_a_link_that_skips_a_stage_has_no_copula_of_its_own():
    draws = make("sequential")
    restricted = draws.restrict((0, 1, 3))
    np.testing.assert_array_equal(restricted.link(0).tau, draws.tau[:, 0])
    np.testing.assert_array_equal(draws.restrict((2, 3)).link(0).tau, draws.tau[:, 2])
    for call in (restricted.link, restricted.pair_correct):
        with pytest.raises(ValueError, match="'s1' and 's3' are not neighbours"):
            call(1)
    with pytest.raises(ValueError, match="not neighbours"):
        draws.restrict((1, 0)).link(0)


@pytest.mark.parametrize("name", OPTIONS)
def test_single_stages_blocks_and_the_mean_work_on_a_part(name):
    draws = make(name, n_draws=150)
    keep = (1, 2, 4)
    restricted = draws.restrict(keep)
    for whole, part in zip(single_stages(draws), single_stages(restricted), strict=True):
        np.testing.assert_allclose(part, whole[:, list(keep)], rtol=1e-9)
    positions = to_positions(random_thresholds(restricted, 3, np.random.default_rng(1)), restricted)
    one = forward(build_kernel(restricted), positions)
    blocked, stored = (forward_all(restricted, positions, k) for k in (None, build_kernels(restricted)))
    for a, b, c in zip(one[:3], blocked[:3], stored[:3], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
        np.testing.assert_allclose(a, c, atol=1e-12)
    mean = mean_kernel(restricted)
    everyone_on = np.array([[float(draws.n_segments)] * 2 + [0.0]])
    got = forward(mean, everyone_on)
    assert got[0][0, 0] == pytest.approx(forward(build_kernel(restricted), everyone_on)[0].mean())


@pytest.mark.parametrize("keep", [(1, 2, 4), (1, 3), (3, 1, 4)])
@pytest.mark.parametrize("name", ["plain", "sequential"])
def test_gradients_of_a_part_are_finite_differences(name, keep):
    draws = make(name).restrict(keep)
    kernel, step = build_kernel(draws), 1e-5
    position = np.array([len(m.low) * 0.4 for m in draws.margins[:-1]])
    position = np.floor(position) + 0.37
    assert not any(m.is_atom[int(x)] for m, x in zip(draws.margins, position, strict=False))
    names = ["error", "cost"]
    got = amounts_and_slopes(kernel, position, names)
    plain = forward(kernel, np.append(position, 0.0)[None], lean=False)
    for name in names:
        np.testing.assert_allclose(got.amounts[name], getattr(plain, name)[:, 0], rtol=1e-10)
        for j, unit in enumerate(np.eye(len(position))):
            up, down = (amounts_and_slopes(kernel, position + s * step * unit, names) for s in (1, -1))
            slope = (up.amounts[name] - down.amounts[name]) / (2 * step)
            np.testing.assert_allclose(got.slopes[name][:, j], slope, rtol=1e-6, atol=1e-7)


def test_what_a_stage_adds_to_latency_goes_with_it():
    draws = make("plain")
    rng = np.random.default_rng(1)
    draws = replace(
        draws, latency=rng.uniform(1, 2, (4, 5)), cost_sd=np.arange(5.0), latency_sd=np.arange(5.0, 10.0)
    )
    part = draws.restrict((3, 1)).take(np.array([2]))
    np.testing.assert_array_equal(part.latency, draws.latency[[2]][:, [3, 1]])
    np.testing.assert_array_equal(part.cost_sd, [3.0, 1.0])
    np.testing.assert_array_equal(part.latency_sd, [8.0, 6.0])


def test_the_signals_of_a_part_keep_their_dependence():
    """Kendall's tau of stages two apart, composed, is that of the simulated chain."""
    rng = np.random.default_rng(2)
    signal, kind = make_signals(3, "no atoms", 400, rng)
    draws = draws_around(signal, kind, rng, copula=("clayton", "frank"))
    pair = build_kernel(draws.restrict((0, 2))).pair[0][0]
    confidence, _ = replicate_draw(draws, 0, 100_000, rng)
    segment = [m.segment_of(x) for m, x in zip(draws.margins, confidence.T, strict=True)]
    counts = np.zeros_like(pair)
    np.add.at(counts, (segment[0], segment[2]), 1.0)
    np.testing.assert_allclose(pair.cumsum(0).cumsum(1), counts.cumsum(0).cumsum(1) / 1e5, atol=6e-3)
