"""Promises from logs with holes, beside those of the complete log: fits of both, from end to end."""

import warnings

import numpy as np
import pytest
from helpers.fits import stored_fit

import bayescascade as bc
from bayescascade.cascade.rules import route

pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.fixture(scope="module")
def whole():
    return bc.simulate(900, n_stages=3, random_seed=11)


@pytest.fixture(scope="module")
def settled(whole):
    return tuned(whole)


def with_holes(log, unrun, unlabelled=False):
    run = log["confidence"].copy(data=~np.asarray(unrun)).transpose("query", "stage")
    out = log.assign({name: log[name].where(run) for name in ("confidence", "correct", "cost")})
    return out.assign(
        correct=out["correct"].where(run.copy(data=np.broadcast_to(~np.asarray(unlabelled), run.shape)))
    )


def tuned(log):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bc.CascadeWarning)
        fit = stored_fit(log, difficulty=False, draws=300, tune=300, chains=2, random_seed=1, progressbar=False)
    stages = list(log["stage"].values)
    return [bc.tune(fit, max_error=bound, stages=stages) for bound in (0.3, 0.2)]


@pytest.mark.parametrize("share", [0.0004, 0.01, 0.1])
def test_cells_missing_by_chance_leave_thresholds_and_promises_where_they_were(whole, settled, share):
    promised, refused = tuned(with_holes(whole, np.random.default_rng(0).uniform(size=(900, 3)) < share))
    assert promised.feasible
    assert not refused.feasible
    assert (promised.margin.known, refused.margin.known) == (1.0, 1.0)
    np.testing.assert_allclose(promised.thresholds, settled[0].thresholds, atol=0.03)
    for found, before in zip((promised, refused), settled, strict=True):
        assert found.upper_bounds["error"] == pytest.approx(before.upper_bounds["error"], abs=0.006)
        assert found.margin.n_queries > 900 * (1.0 - 4 * share)
        assert found.text[:5] == before.text[:5]


def test_labels_of_the_answers_that_were_given_promise_less_and_say_so(whole, settled):
    """What the cascade of old thresholds answered is labelled: other thresholds are known as far as they agree."""
    confidence = whole["confidence"].transpose("query", "stage").values
    old = np.append(np.quantile(confidence[:, :2], 0.5, axis=0), -np.inf)
    run = route(confidence, old[None])
    for unrun in (np.zeros((900, 3), dtype=bool), ~run.reach[0].T):
        for found, before in zip(tuned(with_holes(whole, unrun, ~run.accepted[0].T)), settled, strict=True):
            assert found.upper_bounds["error"] > before.upper_bounds["error"]
            assert found.margin.known < 0.98
            assert found.text.startswith("Little to go by: for ")
            assert float(bc.score(whole, found)["error"]) < found.upper_bounds["error"]
