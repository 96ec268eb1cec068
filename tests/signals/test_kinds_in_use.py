"""Kinds of confidence go the whole way: from a log to thresholds, their pictures, and a policy's decisions."""

import numpy as np
import pytest
from helpers.fits import stored_fit
from scipy.stats import rankdata

import bayescascade as bc
from bayescascade.signals.kinds import off_scale, to_confidence, to_signal

KINDS = ["log_likelihood", "percent", "logprob_gap"]


def log_of(kind, n=250):
    """The same queries in any kind: their signals are those of probabilities, or how far these are from a half."""
    log = bc.simulate(n, n_stages=2, top_atom=[0.1, 0.0], random_seed=4)
    signal = to_signal(log["confidence"].values, "probability")
    if kind == "logprob_gap":
        signal = np.logaddexp(0.0, signal)
    log["confidence"] = (("query", "stage"), to_confidence(signal, kind))
    return bc.validate_log(log.assign_attrs(confidence_kind=kind))


@pytest.mark.parametrize("kind", ["probability", "percent", "logprob", "log_likelihood", "p_true", "score"])
def test_simulated_confidences_are_of_their_kind(kind):
    log = bc.simulate(200, top_atom=0.2, confidence_kind=kind, random_seed=1)
    assert not off_scale(log["confidence"].values, kind).any()
    usual = bc.simulate(200, top_atom=0.2, random_seed=1)
    ranks = [rankdata(one["confidence"].values, axis=0) for one in (log, usual)]
    np.testing.assert_array_equal(*ranks)


@pytest.mark.parametrize("kind", ["margin", "votes", "logprob_gap"])
def test_kinds_that_are_not_simulated_are_named(kind):
    with pytest.raises(bc.CascadeError, match=f"simulate makes probability, percent, .* or score, not '{kind}'"):
        bc.simulate(10, confidence_kind=kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_from_a_log_to_a_policy(kind, tmp_path):
    log = log_of(kind)
    fit = stored_fit(log, draws=300, tune=200, chains=2, random_seed=1, progressbar=False)
    solution = bc.tune(fit, error_price=0.005)
    policy = solution.to_policy()
    policy.save(tmp_path / "policy.json")
    loaded = bc.Policy.load(tmp_path / "policy.json")
    assert loaded.confidence_kind == kind
    assert not off_scale(loaded.thresholds[0], kind)
    deferred = [loaded.decide(0, value) == "defer" for value in log["confidence"].values[:, 0]]
    assert 0.02 < np.mean(deferred) < 0.98
    scored = bc.score(log, loaded)
    assert float(scored["reach"][-1]) == pytest.approx(np.mean(deferred))
    for axes in (bc.plot_thresholds(fit), bc.plot_reliability(fit), bc.plot_margins(fit)):
        for ax in np.atleast_1d(axes).ravel():
            ax.figure.canvas.draw()
    bc.report(fit, tmp_path / "report.html", solution=solution, test=log)
    assert kind in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_percentages_are_probabilities_times_a_hundred():
    options = {"draws": 300, "tune": 200, "chains": 2, "random_seed": 1, "progressbar": False}
    percent, probability = (
        bc.tune(stored_fit(log_of(kind), **options), error_price=0.005).to_policy().thresholds[0]
        for kind in ("percent", "probability")
    )
    assert percent == pytest.approx(100 * probability, rel=0.02)
