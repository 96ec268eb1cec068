"""How much prior and log decide, by scaling either."""

import re
import warnings

import numpy as np
import pytest
from helpers.fits import stored_fit
from scipy.stats import lognorm, norm

import bayescascade as bc
from bayescascade.checks.evidence import gather
from bayescascade.checks.power_scaling import CONFLICT, check_sensitivity
from bayescascade.inference.power_scaling import thinned
from bayescascade.posterior.schema import margins_and_scalings


def quick_fit(log, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bc.CascadeWarning)
        how = {"draws": 250, "tune": 250, "chains": 2, "random_seed": 1, "progressbar": False}
        return stored_fit(log, **how | {"difficulty": False} | options)


def test_labels_turned_round_are_a_conflict_of_prior_and_log():
    log = bc.simulate(200, n_stages=3, random_seed=2)
    turned = log.assign(correct=1.0 - log["correct"])
    result = check_sensitivity(gather(quick_fit(turned, draws=1000)), np.random.default_rng(0))
    assert result.passed is False
    # how many of the three are called a conflict hangs on the draws of a short run
    slopes = result.table.filter(like="slope", axis=0)
    assert "conflict" in set(slopes["diagnosis"]) <= {"conflict", "prior counts"}
    assert (slopes["pull"] > 0.8).all()
    assert not (result.table.filter(like="tau", axis=0)["diagnosis"] == "conflict").any()
    assert re.search(r"conflict about .*slope\[", result.text)


def test_in_a_short_log_the_prior_counts_and_that_is_no_failure():
    result = check_sensitivity(gather(quick_fit(bc.simulate(12, random_seed=2))), np.random.default_rng(0))
    assert result.passed is True
    assert (result.table.filter(like="slope", axis=0)["prior"] > 0.05).all()
    assert result.table["pull"].max() < CONFLICT
    assert "the prior counts for" in result.text
    assert "Label more queries" in result.text


def test_in_a_long_log_the_log_decides(example_fit):
    result = bc.check(example_fit)["sensitivity"]
    assert result.passed is True
    assert result.table["prior"].max() < 0.05 < result.table["likelihood"].min()
    assert list(result.table.index[:2]) == ["tau[small > medium]", "tau[medium > large]"]


def test_the_log_prior_is_that_of_the_model(example_fit):
    tree = thinned(example_fit)
    prior, draws = tree["log_prior"], tree["posterior"]
    known = {
        "intercept_mean": norm(0.0, 1.5),
        "intercept_sd": lognorm(0.3, scale=0.8),
        "log_slope_mean": norm(0.0, 0.7),
        "log_slope_sd": lognorm(0.3, scale=0.4),
    }
    for name, distribution in known.items():
        np.testing.assert_allclose(prior[name], distribution.logpdf(draws[name]), rtol=1e-6)
    # what lies below the top is part of the model
    assert set(prior.data_vars) == {*known, "tau_share", "atom_offset", "margin_split"}
    np.testing.assert_allclose(prior["tau_share"], 0.0, atol=1e-9)
    # the example has one atom at the top of each of the last two stages
    _, scalings = margins_and_scalings(example_fit["constant_data"].to_dataset())
    assert [int(np.isfinite(s.atoms).sum()) for s in scalings] == [0, 1, 1]
    offset = draws["atom_offset"].isel(stage=[1, 2]).sel(atom="top")
    expected = norm.logpdf(offset).sum(axis=offset.get_axis_num("stage"))
    np.testing.assert_allclose(prior["atom_offset"], expected, rtol=1e-6)
    assert np.isfinite(prior["margin_split"]).all()


@pytest.mark.slow
def test_queries_with_a_difficulty_are_scaled_as_a_whole(hard_fit):
    """Their prior by hand: what the loadings shift when tau is sampled is no part of it."""
    tree = thinned(hard_fit)
    prior, draws = tree["log_prior"].to_dataset(), tree["posterior"].to_dataset()
    known = {
        "loading_logit_mean": norm(-0.2, 1.0),
        "loading_logit_sd": lognorm(0.3, scale=0.5),
        "log_discrimination_mean": norm(np.log(0.7), 0.6),
        "log_discrimination_sd": lognorm(0.3, scale=0.3),
    }
    logit = np.log(draws["unanswerable"]) - np.log1p(-draws["unanswerable"])
    np.testing.assert_allclose(prior["unanswerable_logit"], norm(-3.4, 0.8).logpdf(logit), rtol=1e-6)
    for name, distribution in known.items():
        np.testing.assert_allclose(prior[name], distribution.logpdf(draws[name]), rtol=1e-6)
    share = (draws["tau"] + 1.0) / 2.0
    expected = norm(0.0, 0.53).logpdf(np.log(share / (1.0 - share))).sum(axis=2)
    np.testing.assert_allclose(prior["tau_logit"], expected, rtol=1e-6)
    assert list(tree["log_likelihood"].data_vars) == ["joint"]

    result = check_sensitivity(gather(hard_fit), np.random.default_rng(0))
    assert result.passed is True
    assert {"tau", "loading", "intercept", "slope", "discrimination", "unanswerable"} == {
        str(name).split("[")[0] for name in result.table.index
    }
    assert len(result.table) == 2 + 4 * 3 + 1
    # of one or the other parameter a log of 400 queries says little, and which one hangs on the draws
    assert (result.table["likelihood"] > 0.05).mean() > 0.7
    assert (result.table["likelihood"] > 0.02).all()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda fit: fit.attrs.update(task="law"), "the other tasks say"),
        (lambda fit: fit.children["log_likelihood"].orphan(), "log_likelihood=True"),
    ],
)
def test_sensitivity_that_cannot_be_computed_gives_no_verdict(example_fit, change, text):
    changed = example_fit.copy()
    change(changed)
    result = check_sensitivity(gather(changed), np.random.default_rng(0))
    assert result.passed is None
    assert text in result.text
    with pytest.raises(bc.CascadeError, match="nothing to draw"):
        result.plot()
