"""Cascades over queries that have a difficulty: the recursion over nodes of ease against simulated queries."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.draws import (
    PATTERNS,
    gumbel_conditional,
    make_draws,
    random_thresholds,
    signals_at,
    with_difficulty,
)
from helpers.simulation import simulate_queries
from scipy.special import ndtr, ndtri

from bayescascade.cascade.evaluate import evaluate_draws, forward_all
from bayescascade.cascade.forward import forward
from bayescascade.cascade.positions import to_positions
from bayescascade.cascade.single_stages import single_stages
from bayescascade.posterior.kernel import build_kernel, build_kernels, mean_kernel, restrict_kernel
from bayescascade.posterior.replicate import replicate_draw
from bayescascade.posterior.tilt import density_ratios
from bayescascade.signals.kinds import to_signal

N, INF = 200_000, float("inf")
OPTIONS = {
    "gaussian": {"copula": "gaussian"},
    "mixed": {"copula": ("clayton_180", "frank"), "calibration": "monotone"},
    "uneven": {"loading": [0.9, 0.0, 0.6], "discrimination": [0.0, 2.5, 1.0], "unanswerable": 0.15},
}


def hard_draws(n_stages=3, pattern="top atom", **options):
    return make_draws(n_stages, pattern, **{"loading": 0.8, "discrimination": 1.2} | options)


def near(got, values, slack=5e-4):
    """Means of simulated values (query, ...), within four standard errors and what the grid may be off."""
    values = np.asarray(values, dtype=float)
    off = np.abs(got - values.mean(axis=0))
    np.testing.assert_array_less(off, 4 * values.std(axis=0) / np.sqrt(len(values)) + slack)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("name", OPTIONS)
def test_forward_is_a_simulation_of_the_draw(name, pattern):
    draws = hard_draws(3, pattern, seed=4, **OPTIONS[name])
    thresholds = random_thresholds(draws, 1, np.random.default_rng(5))
    out = forward(build_kernel(draws), to_positions(thresholds, draws))
    wrong, reach = simulate_queries(draws, range(3), thresholds[0], N)
    near(out.error[0, 0], wrong)
    near(out.reach[0, 0], reach)
    assert out.cost[0, 0] == pytest.approx(out.reach[0, 0] @ draws.cost[0])


@pytest.mark.parametrize("pattern", PATTERNS)
def test_so_it_is_where_thresholds_reject(pattern):
    draws = hard_draws(3, pattern, seed=6)
    rng = np.random.default_rng(7)
    low, high = np.sort([random_thresholds(draws, 1, rng)[0] for _ in range(2)], axis=0)
    low[-1], high[-1] = signals_at(draws, 2, np.array([0.3]))[0] if pattern != "discrete" else 2 / 6, -INF
    confidence, correct = replicate_draw(draws, 0, N, rng)
    going, wrong, left, reach = np.ones(N, dtype=bool), np.zeros(N), np.zeros(N), []
    for j in range(3):
        reach.append(going.copy())
        rejects = going & (confidence[:, j] < low[j])
        accepts = going & ~rejects & (confidence[:, j] >= high[j])
        left[rejects], wrong[accepts] = 1.0, 1.0 - correct[accepts, j]
        going &= ~(rejects | accepts)
    out = forward(build_kernel(draws), to_positions(np.array([high, low]), draws).reshape(1, -1))
    near(out.error[0, 0], wrong)
    near(out.abstained[0, 0], left)
    near(out.reach[0, 0], np.stack(reach, axis=1))
    assert left.mean() > 0.05


@pytest.mark.parametrize("keep", [(1,), (0, 2), (1, 3), (0, 2, 3)])
def test_so_it_is_for_a_part_of_the_cascade(keep):
    draws = hard_draws(4, seed=3, copula=("frank", "gaussian", "gumbel"))
    restricted = draws.restrict(keep)
    thresholds = random_thresholds(draws, 1, np.random.default_rng(4))[0][list(keep)]
    thresholds[-1] = -INF
    wrong, reach = simulate_queries(draws, keep, thresholds, N)
    positions = to_positions(thresholds[None], restricted)
    outcomes = [forward(kernel, positions) for kernel in (
        build_kernel(restricted), restrict_kernel(build_kernel(draws), keep), mean_kernel(restricted)
    )]  # fmt: skip
    for out in outcomes:
        near(out.error[0, 0], wrong)
        near(out.reach[0, 0], reach)
        np.testing.assert_allclose(out.error, outcomes[0].error, rtol=1e-9)


def test_so_it_is_after_a_drift():
    """The mix of first signals changes, and what follows a signal and its queries' ease does not."""
    draws = hard_draws(3, seed=5)
    tilted = replace(draws, tilt=density_ratios(draws.mass[:, 0], 0.7))
    thresholds = random_thresholds(draws, 1, np.random.default_rng(6))
    out = forward(build_kernel(tilted), to_positions(thresholds, draws))
    confidence, _ = replicate_draw(draws, 0, N, np.random.default_rng(0))
    segment = draws.margins[0].segment_of(to_signal(confidence[:, 0], draws.kind))
    weight = tilted.tilt[0, segment]
    wrong, reach = simulate_queries(draws, range(3), thresholds[0], N)  # the same queries
    near(out.error[0, 0], wrong * weight, 1e-3)
    near(out.reach[0, 0], reach * weight[:, None], 1e-3)
    plain = forward(build_kernel(draws), to_positions(thresholds, draws))
    assert abs(out.error - plain.error)[0, 0] > 0.005
    everyone = to_positions(np.array([[-INF] * 3, [INF, -INF, -INF], [INF, INF, -INF]]), draws)
    last = forward(build_kernel(tilted), everyone).error[0]
    np.testing.assert_allclose(last, single_stages(tilted)[0][0], atol=1e-9)


@pytest.mark.parametrize("tilted", [False, True])
def test_blocks_stored_kernels_and_the_mean_agree(tilted):
    draws = hard_draws(3, "both atoms", n_draws=100)
    if tilted:
        draws = replace(draws, tilt=density_ratios(draws.mass[:, 0], 0.5))
    positions = to_positions(random_thresholds(draws, 3, np.random.default_rng(1)), draws)
    whole = forward(build_kernel(draws), positions)
    assert len(build_kernels(draws)) > 1
    for kernels in (None, build_kernels(draws)):
        for a, b in zip(whole[:3], forward_all(draws, positions, kernels)[:3], strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)
    everyone_on = np.array([[float(draws.n_segments)] * 2 + [0.0]])
    mean = forward(mean_kernel(draws), everyone_on)
    assert mean.error[0, 0] == pytest.approx(forward(build_kernel(draws), everyone_on).error.mean(), abs=1e-9)
    kernel = build_kernel(draws)
    np.testing.assert_allclose(kernel.over_nodes(kernel.mass.sum(axis=2)), 1.0, atol=1e-4)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_with_a_loading_of_nothing_it_is_the_markov_chain(pattern):
    plain = make_draws(3, pattern, n_draws=4, seed=2)
    hard = with_difficulty(plain, 0.0, 0.0)
    positions = to_positions(random_thresholds(plain, 5, np.random.default_rng(1)), plain)
    one, other = build_kernel(plain), build_kernel(hard)
    np.testing.assert_allclose(other.over_nodes(other.mass), one.mass, atol=1e-12)
    for a, b in zip(one.pair, other.pair, strict=True):
        np.testing.assert_allclose(other.over_nodes(b), a, atol=1e-12)
    for a, b in zip(forward(one, positions)[:3], forward(other, positions)[:3], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)
    for a, b in zip(single_stages(plain), single_stages(hard), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)


def test_raising_a_threshold_defers_more():
    draws = hard_draws(3, "no atoms", n_draws=5, loading=0.9)
    levels = np.linspace(0, len(draws.margins[0].low), 300)
    positions = np.column_stack([levels, np.full(300, 9.3), np.zeros(300)])
    out = forward(build_kernel(draws), positions)
    assert (np.diff(out.reach[..., 1], axis=1) >= -1e-9).all()
    np.testing.assert_array_less(np.abs(np.diff(out.error, axis=1)), 0.01)  # nor does it jump


# ---- ten million queries, simulated in another way


def many_queries(draws, cut, rng, n=250_000):
    """Share that runs each stage, and share answered wrongly, of thresholds on the signals (point, stage + 1)."""
    n_points, n_stages = cut.shape
    total = np.zeros((n_points, n_stages + 1))
    ease, v = rng.standard_normal(n), None
    loading, discrimination = draws.loading[0], draws.discrimination[0]
    scale = np.sqrt(1.0 - loading**2)
    edges = draws.edges()[0]
    going = np.ones((n_points, n), dtype=bool)
    for j in range(n_stages):
        v = rng.uniform(size=n) if v is None else gumbel_conditional(rng.uniform(size=n), v, draws.tau[0, j - 1])
        u = ndtr(loading[j] * ease + scale[j] * ndtri(v))
        for s in np.flatnonzero(draws.margins[j].is_atom):
            inside = (u > edges[j, s]) & (u <= edges[j, s + 1])
            ends = [ndtr((ndtri(min(u, 1.0)) - loading[j] * ease[inside]) / scale[j]) for u in edges[j, s : s + 2]]
            v[inside] = rng.uniform(*ends)
        v = np.clip(v, 1e-12, 1.0 - 1e-12)
        signal = signals_at(draws, j, u)
        logit = -np.log(1.0 / draws.p_correct(j, signal, 0.0)[0] - 1.0) + discrimination[j] * ease
        # the probability in place of a coin: what is averaged has the same mean and less noise
        wrong = 1.0 / (1.0 + np.exp(logit))
        for point in range(n_points):
            total[point, j] += going[point].sum()
            accept = going[point] & (signal >= cut[point, j])
            total[point, -1] += wrong[accept].sum()
            going[point] &= ~accept
    return total / n


@pytest.mark.slow
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("n_stages", [3, 5])
def test_evaluate_is_near_ten_million_queries(n_stages, pattern):
    draws = hard_draws(n_stages, pattern, seed=n_stages, loading=0.9, discrimination=1.5)
    rng = np.random.default_rng(100 + n_stages)
    thresholds = random_thresholds(draws, 4, rng)
    cut = to_signal(thresholds, draws.kind)
    seen = np.mean([many_queries(draws, cut, rng) for _ in range(40)], axis=0)
    out = evaluate_draws(draws, thresholds).squeeze()
    np.testing.assert_allclose(out["error"], seen[:, -1], atol=1e-3)
    # given the ease, loadings of .9 leave few segments of any weight: a last stage's reach is off by a little more
    np.testing.assert_allclose(out["reach"], seen[:, :-1], atol=1.5e-3)
    np.testing.assert_allclose(out["cost"], seen[:, :-1] @ draws.cost[0], atol=1.5e-3 * draws.cost.sum())
