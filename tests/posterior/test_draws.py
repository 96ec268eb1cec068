"""Draws of queries that have a difficulty: what they say given the ease, and averaged over it."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.draws import PATTERNS, make_draws
from scipy import stats
from scipy.special import expit, ndtr, ndtri

from bayescascade.model.factor import DECISION_EASE, DECISION_LOG_WEIGHT
from bayescascade.posterior.replicate import replicate_draw
from bayescascade.signals.kinds import to_signal

LOADING, DISCRIMINATION = [0.9, 0.0, 0.5], [1.5, 1.0, 0.0]
_t, _w = np.polynomial.legendre.leggauss(120)
EASE, WEIGHT = 7.0 * _t, 7.0 * _w * stats.norm.pdf(7.0 * _t)


def hard_draws(pattern, **options):
    options = {"loading": LOADING, "discrimination": DISCRIMINATION} | options
    return make_draws(3, pattern, n_draws=2, seed=3, **options)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_averaged_over_the_ease_masses_and_correctness_are_the_draws(pattern):
    draws = hard_draws(pattern)
    given = draws.given_ease()
    assert (given.n, given.n_nodes, draws.n_nodes) == (2 * len(DECISION_EASE), 1, len(DECISION_EASE))
    weight = np.exp(DECISION_LOG_WEIGHT)

    def over_nodes(values):
        return np.einsum("n,dn...->d...", weight, values.reshape(2, len(weight), *values.shape[1:]))

    np.testing.assert_allclose(over_nodes(given.mass), draws.mass, atol=3e-4)
    # P(correct | segment), by nodes for decisions and by those of the likelihood
    right = over_nodes(given.mass * given.segment_correct())
    np.testing.assert_allclose(right, draws.mass * draws.segment_correct(), atol=6e-4)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("stage", range(3))
def test_p_correct_is_an_average_over_the_ease_given_the_signal(stage, pattern):
    draws = hard_draws(pattern)
    margin = draws.margins[stage]
    signal = np.concatenate([margin.low, 0.5 * (margin.low + margin.high)])
    loading, discrimination = draws.loading[:, stage], draws.discrimination[:, stage]
    low, high = draws.cdf(stage, signal)
    z, scale = ndtri(np.clip(low, 1e-300, 1.0)), np.sqrt(1.0 - loading**2)[:, None]
    numerator = denominator = 0.0
    for ease, weight in zip(EASE, WEIGHT, strict=True):
        ends = [ndtr((ndtri(u) - loading[:, None] * ease) / scale) for u in (low, high)]
        here = np.where(high > low, ends[1] - ends[0], np.exp(-0.5 * ((z - loading[:, None] * ease) / scale) ** 2))
        at_ease = draws.p_correct(stage, signal, np.full((2, len(signal)), ease))
        numerator, denominator = numerator + weight * here * at_ease, denominator + weight * here
    inside = (low > 1e-4) & (high < 1.0 - 1e-4) | (high > low)
    expected = numerator / np.maximum(denominator, 1e-300)
    np.testing.assert_allclose(draws.p_correct(stage, signal)[inside], expected[inside], atol=2e-3)
    # the ease is added to the logit
    logit = draws.p_correct(stage, signal, 0.0)
    more = draws.p_correct(stage, signal, np.full((2, len(signal)), 0.7))
    np.testing.assert_allclose(more, expit(np.log(logit / (1 - logit)) + 0.7 * discrimination[:, None]))


@pytest.mark.parametrize("pattern", ["top atom", "discrete"])
def test_p_correct_is_the_share_right_among_simulated_queries(pattern):
    draws = hard_draws(pattern)
    confidence, correct = replicate_draw(draws, 0, 200_000, np.random.default_rng(1))
    for j, margin in enumerate(draws.margins):
        signal = to_signal(confidence[:, j], draws.kind)
        p, segment = draws.p_correct(j, signal)[0], margin.segment_of(signal)
        count = np.bincount(segment)
        off = np.bincount(segment, correct[:, j] - p) / count
        assert (np.abs(off) < 4.5 * 0.5 / np.sqrt(count)).all()
        assert abs(np.mean(correct[:, j] - p)) < 4 * 0.5 / np.sqrt(len(p))


def test_without_a_difficulty_nothing_is_given():
    draws = make_draws(3)
    assert draws.given_ease() is draws
    zero = hard_draws("top atom", loading=0.0, discrimination=0.0)
    given = zero.given_ease()
    np.testing.assert_allclose(given.mass, np.repeat(zero.mass, zero.n_nodes, axis=0), atol=1e-12)
    signal = np.linspace(-3.0, 3.0, 7)
    plain = make_draws(3, "top atom", n_draws=2, seed=3)
    np.testing.assert_allclose(zero.p_correct(1, signal), plain.p_correct(1, signal), rtol=1e-12)


def test_p_correct_at_and_beyond_the_ends_of_a_margin_is_that_of_the_nearest_ranks():
    draws = make_draws(2, "no atoms", seed=4, loading=0.9, discrimination=1.5)
    for stage, margin in enumerate(draws.margins):
        width = margin.high[-1] - margin.low[0]
        for end, inside in ((margin.low[0], 1e-9 * width), (margin.high[-1], -1e-9 * width)):
            near = draws.p_correct(stage, np.array([end + inside]))
            for signal in (end, end - 1e3 * inside / 1e-9):
                at = draws.p_correct(stage, np.array([signal]))
                assert ((at > 0.0) & (at < 1.0)).all()
                # the ease is as good as known out there, and no less extreme
                assert ((at - near) * np.sign(-inside) > -1e-9).all()


@pytest.mark.parametrize("tiny", [3e-17, 1e-16, 4e-16, 1e-15])
def test_a_part_of_a_segment_that_nobody_of_some_ease_reaches_is_a_share(tiny):
    draws = make_draws(2, "no atoms", n_draws=40, seed=3, loading=[0.9, 0.5], discrimination=[1.0, 1.0])
    mass = draws.mass.copy()
    mass[:, 0, 2] = tiny  # a segment whose ends have ranks that only rounding tells apart
    thin = replace(draws, mass=mass)
    at = 2
    for fraction in np.linspace(0.01, 0.99, 25):
        share = thin.part_given_ease(0, np.array([at]), np.array([fraction]))
        assert ((share >= 0.0) & (share <= 1.0)).all()
