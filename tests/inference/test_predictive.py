"""Replicated queries and draws from the prior, as ArviZ takes them."""

import arviz as az
import matplotlib.pyplot as plt
import numpy as np
import pymc as pm
import pytest
import xarray as xr
from scipy import stats

from bayescascade.cascade.evaluate import forward_all
from bayescascade.errors import CascadeError
from bayescascade.inference.power_scaling import powered, thinned
from bayescascade.inference.predictive import posterior_predictive, prior
from bayescascade.inference.sampling import placeholder
from bayescascade.model.build import model_of_design
from bayescascade.model.options import Structure
from bayescascade.posterior.draws import get_draws
from bayescascade.posterior.scenarios import drift, reprice
from bayescascade.posterior.schema import require

STRUCTURES = {
    "plain": Structure(3, 1, ("gumbel", "joe"), True, "polya_tree", "logistic"),
    "difficulty": Structure(3, 1, ("gaussian",), False, "polya_tree", "monotone", True),
    "tasks": Structure(3, 2, ("gaussian",), False, "bernstein", "monotone", True),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_the_prior_is_that_of_the_model(name):
    design = placeholder(STRUCTURES[name])
    found = prior(design, 1)
    some = ["tau", "slope", "intercept", "atom_offset", "margin_split"]
    some += ["loading", "discrimination"] if design.options.difficulty else []
    some += ["bend"] if design.options.calibration == "monotone" else []
    model = model_of_design(design)
    with model:
        values = pm.draw([model[v] for v in some], 400, mode="FAST_COMPILE", random_seed=2)
    expected = dict(zip(some, values, strict=True))
    drawn = {variable: found[variable].values[0] for variable in some}
    for variable, values in expected.items():
        assert drawn[variable].shape[1:] == values.shape[1:]
        for level in (0.1, 0.5, 0.9):
            gap = np.mean(drawn[variable] <= np.quantile(values, level, axis=0), axis=0) - level
            assert np.abs(gap).max() < 0.12, (variable, level)
    shared = [stats.spearmanr(x["slope"].reshape(len(x["slope"]), -1)[:, :2]).statistic for x in (drawn, expected)]
    assert shared[0] == pytest.approx(shared[1], abs=0.2)  # of two stages, by the mean that they share


def test_seeds_decide_the_prior():
    designs = [placeholder(STRUCTURES["plain"])] * 3
    one, again, other = (prior(design, seed) for design, seed in zip(designs, (1, 1, 2), strict=True))
    xr.testing.assert_identical(one, again)
    assert not one.equals(other)


def test_replicated_queries_are_like_the_log(example_fit, example_log):
    found = example_fit["posterior_predictive"].to_dataset()
    assert dict(found.sizes) == {"chain": 2, "draw": 100, "query": 300, "stage": 3}
    assert set(found["draw"].values) <= set(example_fit["posterior"]["draw"].values)
    assert (found["confidence"].dtype, found["correct"].dtype) == (np.float32, np.int8)
    over = ("chain", "draw", "query")
    np.testing.assert_allclose(found["correct"].mean(over), example_log["correct"].mean("query"), atol=0.04)
    for level in (0.1, 0.5, 0.9):
        at = example_log["confidence"].quantile(level, "query")
        share = (found["confidence"] <= at).mean(over) - (example_log["confidence"] <= at).mean("query")
        assert float(abs(share).max()) < 0.04


@pytest.mark.parametrize("name", ["example_fit", pytest.param("hard_fit", marks=pytest.mark.slow)])
def test_error_and_cost_of_each_stage_alone_stand_in_the_fit(name, request):
    fit = request.getfixturevalue(name)
    found = fit["predictions"].to_dataset()
    draws = get_draws(fit)
    for j in range(3):
        alone = forward_all(draws.restrict([j]), np.zeros((1, 1)))
        np.testing.assert_allclose(found["error"].isel(stage=j).values.ravel(), alone.error[:, 0], atol=1e-9)
        np.testing.assert_allclose(found["cost"].isel(stage=j).values.ravel(), alone.cost[:, 0])


def test_a_large_log_has_fewer_replicates(example_fit, monkeypatch):
    monkeypatch.setattr("bayescascade.inference.predictive._MAX_VALUES", 900 * 20)
    assert dict(posterior_predictive(example_fit, 1).sizes)["draw"] == 10


def test_arviz_plots_them(example_fit):
    az.plot_ppc_dist(example_fit, var_names=["confidence"], num_samples=10)
    az.plot_prior_posterior(example_fit, var_names=["tau", "slope"])
    plt.close("all")


def test_a_fit_may_be_without_them_but_not_with_half_of_one(example_fit):
    without = example_fit.copy()
    del without["prior"], without["posterior_predictive"], without["predictions"]
    assert require(without) is without
    half = example_fit.copy()
    half["posterior_predictive"] = xr.DataTree(half["posterior_predictive"].to_dataset().drop_vars("correct"))
    with pytest.raises(CascadeError, match="lacks the variable 'correct' of group 'posterior_predictive'"):
        require(half)


def test_what_changes_a_fit_drops_what_it_no_longer_predicts(example_fit):
    assert not {"posterior_predictive", "predictions"} & set(drift(example_fit, 0.1).children)
    dearer = reprice(example_fit, factor=2.0)
    assert "posterior_predictive" in dearer.children
    xr.testing.assert_allclose(dearer["predictions"]["cost"], 2.0 * example_fit["predictions"]["cost"])
    stronger, _ = powered(example_fit, thinned(example_fit), "prior", 1.1)
    assert not {"prior", "posterior_predictive", "predictions"} & set(stronger.children)
