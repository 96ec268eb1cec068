"""Fits of queries with a difficulty: families chosen by leaving whole queries out."""

import json
import warnings

import arviz as az
import numpy as np
import pytest

import bayescascade as bc
from bayescascade.inference import copula_selection
from bayescascade.inference.copula_selection import CANDIDATES, fit_auto, with_families
from bayescascade.inference.sampling import SamplerConfig, fit_design
from bayescascade.model.design import build_design
from bayescascade.model.options import check_options

SHORT = SamplerConfig(draws=100, tune=200, chains=2, random_seed=3)


def quiet(function, *args, **options):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="sampling did not converge")
        warnings.filterwarnings("ignore", message="Estimated shape parameter")  # of az.loo; these are short runs
        return function(*args, **options)


def families_of(fit):
    return np.array(json.loads(fit["copula"].attrs["families"]))[fit["copula"]["family"].values]


@pytest.fixture
def _few(monkeypatch):
    """Two candidates and few draws: the model is the one that other tests have compiled already."""
    monkeypatch.setattr(copula_selection, "CANDIDATES", ("independence", "gaussian"))
    monkeypatch.setattr(copula_selection, "_DRAWS", 60)


def tied_log(n=250):
    """Beyond the difficulty, the last two stages are sure of the same queries, and the first two are not."""
    how = {"loading": 0.5, "discrimination": 1.0, "copula": ["independence", "gaussian"], "tau": 0.6}
    return bc.simulate(n, n_stages=3, random_seed=4, **how)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.usefixtures("_few")
def test_families_are_chosen_link_by_link():
    log = tied_log()
    options = check_options("independence", "polya_tree", "logistic", 2, True)
    fit = quiet(fit_auto, log, options, SHORT)
    table = fit["comparison"].to_dataset()
    # at the second link independence has to explain by the difficulty what it is not
    assert families_of(fit)[1] == "gaussian"
    gain = table["elpd"].sel(family="gaussian") - table["elpd"].sel(family="independence")
    assert float(gain[1]) > 20.0 > abs(float(gain[0]))
    assert float(table["dse"].sel(family="independence")[1]) > 1.0
    # Gaussian at both links is one fit, whichever link is asked about
    assert len(set(table["elpd"].sel(family="gaussian").values.tolist())) == 1
    assert fit.attrs["difficulty"] == 1
    assert fit.attrs["copula_choice"] == "auto"

    design = build_design(log, with_families(options, ["gaussian", "independence"]))
    how = SamplerConfig(draws=60, tune=200, chains=2, random_seed=3, log_likelihood=True)
    alone = fit_design(design, log, how)
    loo = quiet(az.loo, alone, var_name="joint")
    at = table.sel(family="independence").isel(link=1)
    np.testing.assert_allclose([at["elpd"], at["se"]], [loo.elpd, loo.se], rtol=1e-8)


@pytest.mark.slow
@pytest.mark.long
def test_the_right_tail_is_found_beyond_the_difficulty():
    how = {"loading": 0.5, "discrimination": 1.0, "copula": ["clayton", "gumbel"], "tau": 0.5}
    log = bc.simulate(400, n_stages=3, random_seed=21, **how)
    fit = quiet(bc.fit, log, copula="auto", difficulty=True, random_seed=3, draws=200, chains=2, progressbar=False)
    chosen = families_of(fit)
    assert chosen[0] in {"clayton", "gumbel_180", "joe_180"}
    assert chosen[1] in {"gumbel", "joe", "clayton_180"}
    table = fit["comparison"].to_dataset()
    assert list(table["family"].values) == list(CANDIDATES)
    assert bool(np.isfinite(table.to_array()).all())
    assert bool((table["elpd"].sel(family="independence") < table["elpd"].max("family") - 20.0).all())
