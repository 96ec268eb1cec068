"""What earlier signals say of a stage: against simulated queries, with and without a difficulty."""

import numpy as np
import pytest
from helpers.draws import PATTERNS, make_draws
from scipy.stats import kstest

from bayescascade.checks.given import Ends, given_earlier, p_correct_given, randomise
from bayescascade.posterior.replicate import replicate_draw
from bayescascade.signals.kinds import to_signal

N = 20_000
COPULAS = ["gaussian", ("clayton_180", "frank")]


def simulated(pattern, copula, loading):
    draws = make_draws(3, pattern, seed=3, copula=copula, loading=loading, discrimination=loading and 1.5)
    confidence, correct = replicate_draw(draws, 0, N, np.random.default_rng(0))
    return draws, to_signal(confidence, draws.kind), correct


def together(x, y):
    return np.corrcoef(x, y)[0, 1]


@pytest.mark.parametrize("loading", [None, 0.8])
@pytest.mark.parametrize("copula", COPULAS, ids=["gaussian", "mixed"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_later_signal_is_as_it_is_said_to_be_given_the_earlier(pattern, copula, loading):
    draws, signal, correct = simulated(pattern, copula, loading)
    rng = np.random.default_rng(1)
    earlier = given_earlier(draws, signal[:, :2])
    low, high = (earlier.cdf(level) for level in draws.cdf(2, signal[:, 2]))
    pit = randomise(low, high, rng)[0]
    assert kstest(pit, "uniform").pvalue > 0.005
    new = earlier.replicate(rng)[0]
    for j in range(2):
        assert abs(together(pit, signal[:, j])) < 4 / np.sqrt(N)
        assert together(new, signal[:, j]) == pytest.approx(together(signal[:, 2], signal[:, j]), abs=0.03)
    off = correct[:, 2] - p_correct_given(draws, 2, signal)[0]
    assert all(abs(together(off, signal[:, j])) < 4 / np.sqrt(N) for j in range(3))
    if loading is not None:  # the stage's own signal does not tell it all
        alone = correct[:, 2] - draws.p_correct(2, signal[:, 2])[0]
        assert together(alone, signal[:, 0]) > 8 / np.sqrt(N)


def test_stages_that_were_not_run_say_nothing():
    draws, signal, _ = simulated("both atoms", "gaussian", 0.8)
    signal = signal[:500]
    signal[:, 1] = np.nan
    earlier = given_earlier(draws, signal[:, :2])
    np.testing.assert_array_equal(earlier.weight, given_earlier(draws, signal[:, :1]).weight)
    nothing = given_earlier(draws, np.full((5, 2), np.nan))
    level = np.full((1, 5), 0.3)
    np.testing.assert_allclose(nothing.cdf(level), level, atol=1e-3)
    assert not Ends(np.zeros((1, 5)), np.ones((1, 5))).seen.any()


def test_queries_are_cut_in_parts_that_change_nothing(monkeypatch):
    draws, signal, _ = simulated("top atom", "gaussian", 0.8)
    whole = p_correct_given(draws, 2, signal[:300])
    monkeypatch.setattr("bayescascade.checks.given._MOST", 70)
    np.testing.assert_allclose(p_correct_given(draws, 2, signal[:300]), whole, rtol=1e-12)
