"""Log-likelihood of each query."""

import numpy as np
import pytest
import xarray as xr
from helpers.pointwise import log_densities

import bayescascade as bc
from bayescascade.inference import pointwise
from bayescascade.inference.pointwise import log_likelihood_blocks, log_likelihood_of
from bayescascade.inference.predictive import prior
from bayescascade.model.design import build_design
from bayescascade.model.options import check_options


def test_the_log_likelihood_of_a_query_is_that_of_its_stages(example_fit, example_log):
    """What `az.loo` sees of a query without atoms, by hand."""
    free = ~np.isin(example_log["confidence"].values, [0.0, 1.0]).any(axis=1)
    assert 200 < free.sum() < 300
    by_hand = sum(log_densities(example_fit, example_log))
    found = example_fit["log_likelihood"]["signal"].values.reshape(-1, 300)
    np.testing.assert_allclose(found[:, free], by_hand[:, free], rtol=1e-8)


@pytest.mark.parametrize("difficulty", [False, True])
def test_blocks_of_draws_bound_the_memory_and_change_nothing(difficulty, monkeypatch):
    design = build_design(
        bc.simulate(50, n_stages=3, random_seed=2),
        check_options(None, "polya_tree", "logistic", 2, difficulty),
    )
    drawn = prior(design, 1).isel(draw=slice(20))
    posterior = xr.concat(
        [drawn, drawn.isel(draw=slice(None, None, -1)).assign_coords(draw=drawn["draw"])], "chain"
    )
    posterior = posterior.assign_coords(chain=[0, 1])
    whole = log_likelihood_of(posterior, design, np.arange(50))
    monkeypatch.setattr(pointwise, "_IN_MEMORY", 7 * 150)  # 150 rows, so seven draws
    sizes = [parts["joint"].shape for _, parts in log_likelihood_blocks(posterior, design, 50)]
    assert sizes == [*[(7, 50)] * 5, (5, 50)]
    xr.testing.assert_allclose(log_likelihood_of(posterior, design, np.arange(50)), whole, rtol=1e-12)
    # the second chain is the first one backwards
    np.testing.assert_allclose(whole["joint"][1], whole["joint"][0, ::-1], rtol=1e-12)
