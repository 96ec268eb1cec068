"""A population's priors, as the model draws from them and as its data have them."""

from dataclasses import replace

import numpy as np
import pytest

import bayescascade as bc
from bayescascade.inference.predictive import prior
from bayescascade.model.calibration import ATOMS
from bayescascade.model.design import build_design
from bayescascade.model.options import check_options
from bayescascade.model.population import COVARIANCE, MEAN, parameters, standard


@pytest.mark.parametrize("calibration", ["logistic", "monotone"])
@pytest.mark.parametrize("difficulty", [False, True])
def test_the_models_prior_is_the_population(difficulty, calibration):
    rng = np.random.default_rng(1)
    population = standard(3, len(ATOMS), difficulty)
    for name in parameters(difficulty):
        shape = population[name].shape[1:]
        population[name].values = np.stack([rng.normal(size=shape), rng.uniform(0.2, 0.8, shape)])
    population[MEAN].values = [0.5, -1.0, 2.0]
    covariance = 0.5 + np.diag([0.1, 0.2, 0.3])
    population[COVARIANCE].values = covariance
    options = check_options(None, "polya_tree", calibration, 2, difficulty)
    design = build_design(bc.load_example(), replace(options, population=population))
    assert design.structure.population
    drawn = prior(design, 1).isel(chain=0)

    low = float(design.arrays["tau_low"][0])
    share = (drawn["tau"].values - low) / (1.0 - low)
    found = {"tau_logit": np.log(share / (1.0 - share))}
    if difficulty:
        loading, unanswerable = drawn["loading"].values, drawn["unanswerable"].values
        found["loading_logit"] = np.log(loading / (1.0 - loading))
        found["log_discrimination"] = np.log(drawn["discrimination"].values)
        found["unanswerable_logit"] = np.log(unanswerable / (1.0 - unanswerable))
    n = drawn.sizes["draw"]
    for name in parameters(difficulty):
        values = found.get(name, drawn[name].values if name in drawn else None)
        mean, sd = population[name].values
        np.testing.assert_array_less(np.abs(values.mean(axis=0) - mean), 4.5 * sd / np.sqrt(n))
        np.testing.assert_array_less(np.abs(values.std(axis=0) / sd - 1.0), 4.5 / np.sqrt(2 * n))
    intercept = drawn["intercept"].values
    sd = np.sqrt(np.diag(covariance))
    np.testing.assert_array_less(np.abs(intercept.mean(axis=0) - population[MEAN].values), 4.5 * sd / np.sqrt(n))
    np.testing.assert_allclose(np.cov(intercept.T), covariance, atol=0.1)


def test_without_a_population_nothing_of_it_is_in_the_model():
    design = build_design(bc.load_example(), check_options(None, "polya_tree", "logistic", 2))
    assert not design.structure.population
    assert not [name for name in design.arrays if name.startswith("population")]
