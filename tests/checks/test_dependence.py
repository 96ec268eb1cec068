"""Kendall's tau, with which pairs of stages are checked, and the density that is drawn beside them."""

import numpy as np
import pytest
from helpers.draws import make_draws
from scipy.stats import kendalltau

from bayescascade.checks.dependence import copula_density, kendall
from bayescascade.posterior.replicate import replicate_draw


def test_kendalls_tau_is_scipys():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 12, (2, 80)).astype(float)
    sets = np.stack([y, -x, x + y])
    np.testing.assert_allclose(kendall(x, sets), [kendalltau(x, row).statistic for row in sets], rtol=1e-12)
    assert np.isnan(kendall(np.ones(5), rng.uniform(size=(1, 5))))


@pytest.mark.parametrize("copula", ["gaussian", "clayton"])
@pytest.mark.parametrize("loading", [None, [0.9, 0.7, 0.0]])
def test_the_density_of_neighbours_is_that_of_simulated_ones(loading, copula):
    draws = make_draws(3, "no atoms", seed=3, copula=copula, loading=loading, discrimination=loading and 1.0)
    confidence, _ = replicate_draw(draws, 0, 100_000, np.random.default_rng(0))
    for link in range(2):
        _, density = copula_density(draws, link)
        u, v = (draws.cdf(j, confidence[:, j])[0][0] for j in (link, link + 1))
        tenths = density.reshape(10, 10, 10, 10).mean(axis=(1, 3)) / 100.0
        counts = np.histogram2d(v, u, bins=10, range=[[0, 1], [0, 1]])[0] / len(u)
        np.testing.assert_allclose(tenths, counts, atol=4e-3)
