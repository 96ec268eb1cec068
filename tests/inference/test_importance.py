"""Weights of draws: smoothed where there is a tail, and never a raw error where there is none."""

import numpy as np
import pytest

from bayescascade.inference.importance import psis


@pytest.mark.parametrize("n", [1, 2, 16, 24, 40, 225, 400])
def test_any_number_of_draws_has_weights(n):
    log_ratio = np.random.default_rng(n).normal(size=n)
    weight, k = psis(log_ratio)
    assert weight.sum() == pytest.approx(1.0)
    assert np.argmax(weight) == np.argmax(log_ratio)
    assert np.isnan(k) == (1 < n < 25)  # too few to tell; a draw alone is all there is


@pytest.mark.parametrize("shift", [0.0, -50.0, 700.0])
@pytest.mark.parametrize("n_largest", [20, 60, 99, 100])
def test_largest_weights_that_are_all_the_same_are_no_tail(n_largest, shift):
    log_ratio = np.concatenate([np.full(n_largest, shift), np.full(100 - n_largest, shift - 2.0)])
    weight, k = psis(log_ratio)
    assert k == 0.0
    np.testing.assert_allclose(weight[-1] / weight[0], np.exp(-2.0) if n_largest < 100 else 1.0)


def test_a_heavy_tail_is_noticed():
    draws = np.random.default_rng(1).standard_cauchy(2000)
    assert psis(np.log(np.abs(draws)))[1] > 0.7
    assert psis(np.log1p(np.random.default_rng(1).uniform(size=2000)))[1] < 0.5
