"""The check that is there to find a violation fails on it, and the others mostly pass."""

import re
import warnings

import numpy as np
import pytest
from helpers.fits import stored_fit
from scipy.stats import kendalltau, lognorm, norm

import bayescascade as bc
from bayescascade.checks.calibration import check_own_signal
from bayescascade.checks.evidence import gather
from bayescascade.checks.links import kendall
from bayescascade.checks.power_scaling import CONFLICT, check_sensitivity
from bayescascade.checks.signals import partial_tau
from bayescascade.inference.power_scaling import thinned
from bayescascade.posterior.schema import restore
from studies.check_power import run as study


def quick_fit(log, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bc.CascadeWarning)
        return stored_fit(log, draws=250, tune=250, chains=2, random_seed=1, progressbar=False, **options)


@pytest.mark.parametrize("name", ["order", "previous", "clayton", "top"])
def test_a_violation_fails_its_own_check_and_hardly_another(name):
    failed = [check for check, passed in study.verdicts(name, 101).items() if passed is False]
    assert study.SCENARIOS[name].finds in failed
    assert len(failed) <= 2


@pytest.mark.slow
def test_power_and_level():
    n = 3
    table = study.power(n)
    for name, scenario in study.SCENARIOS.items():
        others = table.loc[name].drop(scenario.finds, errors="ignore")
        assert others.max() <= (0.6 if name in ("clayton", "joe") else 0.4), table
        if scenario.finds and name != "joe":
            assert table.loc[name, scenario.finds] >= 0.66, table
    nothing_wrong = table.loc[["model", "atoms", "atom"]].to_numpy() * n
    assert nothing_wrong.sum() <= 3, table  # of 63 verdicts at 1%: P(more than 3) is below 1%


def test_another_family_is_named(example_fit):
    log = study.of_family("clayton")(np.random.default_rng(5))
    result = bc.check(quick_fit(log))["links"]
    assert re.search("looks like (clayton|joe_180)", result.text)
    assert "copula='auto'" in result.text
    assert bc.check(example_fit)["links"].table.xs("family", level="statistic")["p"].min() > 0.01


@pytest.mark.slow  # compiles another structure
def test_a_sequential_calibration_takes_up_the_previous_signal():
    log = study.previous_signal(np.random.default_rng(6))
    found = check_own_signal(gather(quick_fit(log, calibration="sequential")), np.random.default_rng(0))
    assert found.passed
    asked = [("medium", "small, curved"), ("large", "medium, curved"), ("large", "small")]
    assert list(found.table.index) == asked


# ---- sensitivity


def test_labels_turned_round_are_a_conflict_of_prior_and_log(example_log):
    turned = example_log.assign(correct=1.0 - example_log["correct"])
    result = check_sensitivity(gather(quick_fit(turned)), np.random.default_rng(0))
    assert result.passed is False
    # how many of the three are called a conflict hangs on the draws of a short run
    slopes = result.table.filter(like="slope", axis=0)
    assert "conflict" in set(slopes["diagnosis"]) <= {"conflict", "prior counts"}
    assert (slopes["pull"] > 0.8).all()
    assert not (result.table.filter(like="tau", axis=0)["diagnosis"] == "conflict").any()
    assert re.search(r"contradict each other about .*slope\[", result.text)


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
    _, scalings = restore(example_fit["constant_data"].to_dataset())
    assert [int(np.isfinite(s.atoms).sum()) for s in scalings] == [0, 1, 1]
    offset = draws["atom_offset"].isel(stage=[1, 2]).sel(atom="top")
    expected = norm.logpdf(offset).sum(axis=offset.get_axis_num("stage"))
    np.testing.assert_allclose(prior["atom_offset"], expected, rtol=1e-6)
    assert np.isfinite(prior["margin_split"]).all()


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


# ---- the parts


def test_kendalls_tau_is_scipys():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 12, (2, 80)).astype(float)
    sets = np.stack([y, -x, x + y])
    np.testing.assert_allclose(kendall(x, sets), [kendalltau(x, row).statistic for row in sets], rtol=1e-12)
    assert np.isnan(kendall(np.ones(5), rng.uniform(size=(1, 5))))


def test_partial_tau_compares_within_strata_only():
    x = np.array([[1.0, 2.0, 3.0, 9.0, 8.0, 7.0]])
    strata = [np.arange(3), np.arange(3, 6)]
    # rising together within each stratum, whatever stands between the strata
    assert partial_tau(x, np.array([[4.0, 5.0, 6.0, 3.0, 2.0, 1.0]]), strata) == 1.0
    assert partial_tau(x, -x, strata) == -1.0
