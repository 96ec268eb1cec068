"""Kendall's tau, with which links are checked."""

import numpy as np
from scipy.stats import kendalltau

from bayescascade.checks.links import kendall


def test_kendalls_tau_is_scipys():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 12, (2, 80)).astype(float)
    sets = np.stack([y, -x, x + y])
    np.testing.assert_allclose(kendall(x, sets), [kendalltau(x, row).statistic for row in sets], rtol=1e-12)
    assert np.isnan(kendall(np.ones(5), rng.uniform(size=(1, 5))))
