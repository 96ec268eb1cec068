"""Draws of a part of the cascade: against the whole cascade with stages passed over, and against simulation."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.draws import draws_around, make_draws, make_signals, random_thresholds
from helpers.simulation import simulate_queries

from bayescascade.cascade.evaluate import forward_all
from bayescascade.cascade.forward import forward
from bayescascade.cascade.positions import to_positions
from bayescascade.cascade.single_stages import single_stages
from bayescascade.errors import CascadeError
from bayescascade.posterior.kernel import build_kernel, build_kernels, mean_kernel, restrict_kernel
from bayescascade.posterior.replicate import replicate_draw

OPTIONS = {
    "plain": {},
    "mixed": {"copula": ("clayton", "frank", "joe", "gaussian")},
    "monotone": {"calibration": "monotone"},
}
KEEPS = [(1,), (0, 2), (1, 3), (2, 3, 4), (0, 3, 4), (0, 1, 2, 4)]


def make(name, n_draws=4, pattern="top atom", n_stages=5, seed=3):
    options = dict(OPTIONS[name])
    if "copula" in options:
        options["copula"] = options["copula"][: n_stages - 1]
    return make_draws(n_stages, pattern, n_draws=n_draws, seed=seed, **options)


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


@pytest.mark.parametrize("keep", [(0, 2), (1, 2, 4), (0, 2, 3)])
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
    for a, b in zip(direct.pair, again.pair, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(direct.correct, again.correct, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(direct.cost, again.cost, rtol=1e-12)


def test_restricting_twice_and_to_everything():
    draws = make("plain", n_draws=2)
    assert draws.restrict(range(5)) is draws
    once = draws.restrict((0, 2, 4))
    assert once.restrict((0, 1, 2)) is once
    twice, direct = once.restrict((1, 2)), draws.restrict((2, 4))
    assert twice.keep == direct.keep == (2, 4)
    assert twice.parent is direct.parent is draws
    assert once.restrict((1,)).stages == ["s2"]
    assert draws.restrict((0, 2)).restrict((0, 1)).parent is draws


@pytest.mark.parametrize("keep", [(), (0, 0), (1, 5), (-1, 2)])
def test_stages_that_are_not_there_are_refused(keep):
    with pytest.raises(ValueError, match="distinct stages among the 5"):
        make("plain").restrict(keep)


@pytest.mark.parametrize("keep", [(2, 0), (1, 0, 2, 3, 4)])
def test_another_order_than_the_logs_is_refused_in_words(keep):
    draws = make("plain")
    with pytest.raises(CascadeError) as refused:
        draws.restrict(keep)
    names = [f"s{j}" for j in keep]
    assert refused.value.value == names
    assert str(refused.value) == (
        f"the stages came in the order {', '.join(map(repr, names))}, but the fit's log has them in the order "
        "'s0', 's1', 's2', 's3', 's4'; give them in the log's order, or fit a log that is read with "
        f"stages={names}."
    )


def test_a_link_that_skips_a_stage_has_no_copula_of_its_own():
    draws = make("plain")
    restricted = draws.restrict((0, 1, 3))
    np.testing.assert_array_equal(restricted.link(0).tau, draws.tau[:, 0])
    np.testing.assert_array_equal(draws.restrict((2, 3)).link(0).tau, draws.tau[:, 2])
    with pytest.raises(ValueError, match="'s1' and 's3' are not neighbours"):
        restricted.link(1)


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


def test_what_a_stage_adds_to_latency_goes_with_it():
    draws = make("plain")
    rng = np.random.default_rng(1)
    draws = replace(
        draws, latency=rng.uniform(1, 2, (4, 5)), cost_sd=np.arange(5.0), latency_sd=np.arange(5.0, 10.0)
    )
    part = draws.restrict((1, 3)).take(np.array([2]))
    np.testing.assert_array_equal(part.latency, draws.latency[[2]][:, [1, 3]])
    np.testing.assert_array_equal(part.cost_sd, [1.0, 3.0])
    np.testing.assert_array_equal(part.latency_sd, [6.0, 8.0])


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
