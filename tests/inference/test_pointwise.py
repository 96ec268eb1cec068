"""Log-likelihood of each query."""

import numpy as np
from helpers.pointwise import log_densities


def test_the_log_likelihood_of_a_query_is_that_of_its_stages(example_fit, example_log):
    """What `az.loo` sees of a query without atoms, by hand."""
    free = ~np.isin(example_log["confidence"].values, [0.0, 1.0]).any(axis=1)
    assert 200 < free.sum() < 300
    by_hand = sum(log_densities(example_fit, example_log))
    found = example_fit["log_likelihood"]["signal"].values.reshape(-1, 300)
    np.testing.assert_allclose(found[:, free], by_hand[:, free], rtol=1e-8)
