"""Logs with gaps: stages that were not run after an acceptance, and queries that nobody labelled.

Deferral depends on observed confidences only, so what is missing can be ignored: the posterior of the thinned log
is a wider one about the same values. The segments of a margin depend on what was seen, so signals are weighted
by how many queries they stand for (`deferral_weights`); without that tau comes out too low by 0.1.
"""

import warnings

import numpy as np
import pytest

import bayescascade as bc
from bayescascade.inference.deferral_weights import seen_weights
from bayescascade.inference.sampling import SamplerConfig, fit_design
from bayescascade.model.design import build_design
from bayescascade.model.options import check_options
from bayescascade.posterior.draws import get_draws
from bayescascade.signals.kinds import to_signal

DEPLOYED = [0.8, 0.85, -np.inf]
OTHER = [0.65, 0.9, -np.inf]


def quick_fit(log, seed=3):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="sampling did not converge: R-hat")
        return bc.fit(log, difficulty=False, draws=250, tune=250, chains=2, random_seed=seed, progressbar=False)


def thinned(log, thresholds):
    """The log that a cascade with these thresholds leaves behind."""
    run = np.ones(log["confidence"].shape, dtype=bool)
    for j in range(1, run.shape[1]):
        run[:, j] = run[:, j - 1] & (log["confidence"].values[:, j - 1] < thresholds[j - 1])
    log = log.copy(deep=True)
    for name in ("confidence", "correct", "cost"):
        log[name].values[~run] = np.nan
    return log


def summary(fit, name):
    """Mean and posterior sd of a variable of the posterior, or of a quantity at thresholds."""
    if name in fit["posterior"]:
        values = fit["posterior"][name]
    else:
        values = bc.evaluate(fit, [DEPLOYED, OTHER])[name]
    return values.mean(("chain", "draw")).values, values.std(("chain", "draw")).values


@pytest.fixture(scope="module")
def log():
    return bc.simulate(600, n_stages=3, tau=[0.5, 0.6], random_seed=31)


@pytest.fixture(scope="module")
def full(log):
    return quick_fit(log)


@pytest.fixture(scope="module")
def partial(log):
    return quick_fit(thinned(log, DEPLOYED))


def test_the_log_is_thinned_as_production_would(log):
    part = thinned(log, DEPLOYED)
    share = np.isfinite(part["confidence"].values).mean(axis=0)
    assert share[0] == 1.0
    assert 0.3 < share[1] < 0.7
    assert 0.1 < share[2] < 0.4
    # it still tells what the deployed thresholds give
    whole, seen = bc.score(log, DEPLOYED), bc.score(part, DEPLOYED)
    np.testing.assert_allclose(float(seen["error"]), float(whole["error"]))
    np.testing.assert_allclose(seen["reach"], whole["reach"])
    # mean costs are those of the queries that ran a stage
    np.testing.assert_allclose(float(seen["cost"]), float(whole["cost"]), rtol=0.03)


@pytest.mark.parametrize("name", ["error", "cost"])
def test_error_and_cost_agree_with_the_whole_log(full, partial, name):
    """The thinned log is part of the whole, so the difference's sd is less than the combined one."""
    (mean, sd), (other_mean, other_sd) = summary(full, name), summary(partial, name)
    off = (mean - other_mean) / np.hypot(sd, other_sd)
    assert np.abs(off).max() < 3.0, off


@pytest.mark.parametrize("name", ["tau", "cost"])
def test_tau_and_mean_costs_agree_with_the_whole_log(full, partial, name):
    (mean, sd), (other_mean, other_sd) = (
        (v.mean(("chain", "draw")).values, v.std(("chain", "draw")).values)
        for v in (full["posterior"][name], partial["posterior"][name])
    )
    off = (mean - other_mean) / np.hypot(sd, other_sd)
    assert np.abs(off).max() < 2.5, off
    # costs of the first stage are the same data; everything else rests on fewer queries
    wider = other_sd / sd
    assert (wider[1:] > 1.15).all(), wider


@pytest.mark.parametrize("stage", [1, 2])
def test_margins_are_those_of_all_queries(log, full, partial, stage):
    """Not of the queries that came so far, whose confidences are lower."""
    signal = to_signal(log["confidence"].values[:, stage], "probability")
    levels = np.array([0.2, 0.4, 0.6, 0.8])
    at = np.quantile(signal, levels)
    estimate = get_draws(partial).cdf(stage, at)[0].mean(axis=0)
    seen = signal[np.isfinite(thinned(log, DEPLOYED)["confidence"].values[:, stage])]
    naive = np.mean(seen[:, None] <= at, axis=0)
    assert np.abs(estimate - levels).max() < 0.09, estimate
    assert np.abs(naive - levels).max() > 0.15, naive


def test_weights_stand_for_the_queries_that_were_not_seen(log):
    options = check_options("gumbel", "polya_tree", "logistic", 2)
    assert seen_weights(log, options, SamplerConfig()) is None
    weight = seen_weights(thinned(log, DEPLOYED), options, SamplerConfig(random_seed=3))
    ran = np.isfinite(thinned(log, DEPLOYED)["confidence"].values)
    np.testing.assert_array_equal(weight[:, 0], 1.0)
    # each stage's weights add up to about all queries
    assert weight[ran[:, 1], 1].sum() == pytest.approx(600, rel=0.15)
    # high signals of a later stage follow high ones, which were answered before
    high = log["confidence"].values[:, 1] > np.median(log["confidence"].values[:, 1])
    assert weight[ran[:, 1] & high, 1].mean() > 1.3 * weight[ran[:, 1] & ~high, 1].mean()


def test_tau_agrees_closely_on_the_segments_of_the_whole_log(log, full):
    """With segments that know of the highest confidences the likelihood of a thinned log is about the same tau."""
    options = check_options("gumbel", "polya_tree", "logistic", 2)
    part = thinned(log, DEPLOYED)
    design = build_design(part, options, segments_of=build_design(log, options))
    fit = fit_design(design, part, SamplerConfig(250, 250, 2, random_seed=3))
    (mean, sd), (other_mean, other_sd) = summary(full, "tau"), summary(fit, "tau")
    assert np.abs((mean - other_mean) / np.hypot(sd, other_sd)).max() < 2.5


def test_tau_agrees_closely_where_stages_are_missing_at_random(log, full):
    at = np.random.default_rng(4).uniform(size=600)
    part = log.copy(deep=True)
    for name in ("confidence", "correct", "cost"):
        part[name].values[at < 0.5, 1] = np.nan
        part[name].values[at < 0.7, 2] = np.nan
    fit = quick_fit(part)
    for name in ("tau", "error"):
        (mean, sd), (other_mean, other_sd) = summary(full, name), summary(fit, name)
        assert np.abs((mean - other_mean) / np.hypot(sd, other_sd)).max() < 2.5
        assert (other_sd > (1.15 if name == "tau" else 1.0) * sd).all()


def test_calibration_agrees_with_the_whole_log(full, partial):
    """P(correct) on the raw scale: the standardisation of a thinned stage is another one."""
    for j in range(3):
        signal = np.quantile(get_draws(partial).margins[j].low, [0.2, 0.5, 0.8])
        values = [get_draws(fit).p_correct(j, signal) for fit in (full, partial)]
        mean, sd = np.mean(values, axis=1), np.std(values, axis=1)
        off = (mean[0] - mean[1]) / np.hypot(*sd)
        assert np.abs(off).max() < 3.0, (j, off)
        if j > 0:  # the low signals are seen about as often, the high ones are not
            assert sd[1][-1] > 1.2 * sd[0][-1], (j, sd)


def test_ignoring_the_gaps_would_not_do(log, full):
    """Queries that ran all stages are a selection: a fit of them alone is off, so the tests above can fail."""
    complete = log.isel(query=np.isfinite(thinned(log, DEPLOYED)["confidence"].values).all(axis=1))
    other = quick_fit(complete)
    for name in ("tau", "error", "cost"):
        (mean, sd), (other_mean, other_sd) = (
            summary(fit, name) if name != "cost" else _cost_at(fit) for fit in (full, other)
        )
        assert np.abs((mean - other_mean) / np.hypot(sd, other_sd)).max() > (3.0 if name == "error" else 5.0), name


def _cost_at(fit):
    values = bc.evaluate(fit, [DEPLOYED, OTHER])["cost"]
    return values.mean(("chain", "draw")).values, values.std(("chain", "draw")).values


def test_unlabelled_queries_inform_margins_and_tau(log):
    few = log.isel(query=slice(80))
    many = log.copy(deep=True)
    many["correct"][80:] = np.nan
    alone, beside = quick_fit(few), quick_fit(many)
    sd = [fit["posterior"]["tau"].std(("chain", "draw")).values for fit in (alone, beside)]
    # 7.5 times the queries: sd should shrink by about 2.7
    assert (sd[0] / sd[1] > 1.8).all(), sd
    reach = [
        bc.evaluate(fit, DEPLOYED)["reach"].isel(stage=slice(1, None)).std(("chain", "draw")).values
        for fit in (alone, beside)
    ]
    assert (reach[0] / reach[1] > 1.8).all(), reach
    # and nothing is made up about the labels: those are still eighty
    calibration = [fit["posterior"]["intercept"].std(("chain", "draw")).values for fit in (alone, beside)]
    assert (calibration[1] / calibration[0] > 0.75).all(), calibration


def test_a_stage_run_for_few_queries_is_known_less(log):
    """With the last stage run for ten queries, its tau and error are nearly the prior's."""
    part = log.copy(deep=True)
    for name in ("confidence", "correct", "cost"):
        part[name][10:, 2] = np.nan
    fit = quick_fit(part)
    sd = fit["posterior"]["tau"].std(("chain", "draw")).values
    assert sd[1] > 4.0 * sd[0]
    error = bc.evaluate(fit, [[np.inf, np.inf, -np.inf], [-np.inf, -np.inf, -np.inf]])["error"]
    spread = error.std(("chain", "draw")).values
    assert spread[0] > 3.0 * spread[1]
