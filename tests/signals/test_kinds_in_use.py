"""Kinds of confidence in use: simulated, on an axis, and from draws to thresholds and a policy's decisions."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from helpers.draws import draws_around, tune_by_hand
from scipy.stats import rankdata

import bayescascade as bc
from bayescascade.display.style import confidence_axis
from bayescascade.model.design import signal_bounds
from bayescascade.model.margins.segments import build_margin
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


@pytest.mark.parametrize("kind", [*KINDS, "probability"])
def test_thresholds_from_draws_made_by_hand(kind, tmp_path):
    log = log_of(kind)
    draws = draws_around(to_signal(log["confidence"].values, kind), kind, np.random.default_rng(2), n_draws=20)
    log = log.assign_coords(stage=draws.stages)
    solution = tune_by_hand(draws, error_price=10.0)
    solution.to_policy(tmp_path / "policy.json")
    policy = bc.Policy.load(tmp_path / "policy.json")
    assert policy.confidence_kind == kind
    deferred = np.mean([policy.decide(0, value) == "defer" for value in log["confidence"].values[:, 0]])
    assert 0.02 < deferred < 0.98
    assert float(bc.score(log, policy)["reach"][-1]) == pytest.approx(deferred)
    # what the draws expect of the threshold is about what it does to the log that they were made from
    assert float(solution.reach.isel(stage=-1).mean()) == pytest.approx(deferred, abs=0.05)
    assert f"{policy.thresholds[0]:.2g}" in str(solution)
    if kind != "logprob_gap":  # whose signals differ: all others are the probabilities'
        assert to_signal(policy.thresholds[0], kind) == pytest.approx(to_signal(0.383482611, "probability"))


@pytest.mark.parametrize("kind", KINDS)
def test_an_axis_has_round_confidences_where_they_belong(kind):
    signal = to_signal(log_of(kind)["confidence"].values[:, 0], kind)
    margin = build_margin(signal, bounds=signal_bounds(kind))
    axis = confidence_axis(margin, kind)
    figure, ax = plt.subplots()
    axis.label(ax)
    places, texts = ax.get_xticks(), [text.get_text() for text in ax.get_xticklabels()]
    order = np.argsort(places)
    values = np.array([float(text) for text in texts])[order]
    assert len(texts) >= 3
    assert (np.diff(values) > 0).all()
    inside = (places[order] > axis.low) & (places[order] < axis.high)
    np.testing.assert_allclose(to_signal(values[inside], kind), places[order][inside])
    plt.close(figure)
