"""Outcomes on logs with holes: what is known stands for what is not, and where nothing is known the fit does."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from helpers.draws import make_draws, random_thresholds
from scipy.stats import rankdata

from bayescascade.cascade.evaluate import forward_all
from bayescascade.cascade.labelled import LabelledQueries
from bayescascade.cascade.rules import DecisionRule, route
from bayescascade.posterior.kernel import build_kernel
from bayescascade.posterior.replicate import replicate_draw

PRICE = np.array([1.0, 3.0, 9.0])


@pytest.fixture(scope="module")
def draws():
    return make_draws(3, "both atoms", seed=4)


def log_of(draws, n=4000, seed=0):
    confidence, correct = replicate_draw(draws, 0, n, np.random.default_rng(seed))
    dims = ("query", "stage")
    variables = {"confidence": confidence, "correct": correct, "cost": np.tile(PRICE, (n, 1))}
    return xr.Dataset(
        {name: (dims, values) for name, values in variables.items()},
        coords={"stage": draws.stages},
        attrs={"confidence_kind": draws.kind},
    )


def blanked(log, *, unrun=None, unlabelled=None):
    """The log without stages (query, stage) and without labels."""
    arrays = {name: log[name].values.copy() for name in ("confidence", "correct", "cost")}
    if unrun is not None:
        for values in arrays.values():
            values[unrun] = np.nan
    if unlabelled is not None:
        arrays["correct"][unlabelled] = np.nan
    return log.assign({name: (("query", "stage"), values) for name, values in arrays.items()})


def seen(log, draws, thresholds, reject=None):
    rule = DecisionRule.from_any(thresholds, draws.stages, draws.kind, reject)
    return LabelledQueries.from_log(log).outcome(rule, draws)


def score_by_hand(log, thresholds, reject=None):
    """Error and cost of every query (point, query), by the router alone."""
    run = route(log["confidence"].values, np.atleast_2d(thresholds), reject)
    return run.loss(1.0 - log["correct"].values), np.einsum("psq,s->pq", run.reach, PRICE)


@pytest.mark.parametrize("abstains", [False, True])
def test_a_complete_log_says_what_its_queries_did(draws, abstains):
    log, thresholds = log_of(draws, 500), random_thresholds(draws, 6, np.random.default_rng(1))
    reject = np.minimum(random_thresholds(draws, 6, np.random.default_rng(2)), thresholds) if abstains else None
    error, cost = seen(log, draws, thresholds, reject)
    wrong, paid = score_by_hand(log, thresholds, reject)
    for found, own in ((error, wrong), (cost, paid)):
        np.testing.assert_allclose(found.mean, own.mean(axis=1), rtol=1e-12)
        np.testing.assert_allclose(found.sd, own.std(axis=1), rtol=1e-9)
        np.testing.assert_allclose(found.n, 500)
        np.testing.assert_array_equal(found.known, 1.0)
        np.testing.assert_array_equal(found.by_model, 0.0)


@pytest.mark.parametrize("keep", [(0, 1, 2), (0, 2), (1, 2), (2,)])
def test_of_a_log_that_says_nothing_the_fit_says_all(draws, keep):
    log = log_of(draws, 300)
    part = draws.restrict(keep)
    thresholds = random_thresholds(part, 5, np.random.default_rng(3))
    rule = DecisionRule.from_any(thresholds, part.stages, draws.kind)
    blank = replace(LabelledQueries.from_log(log), confidence=np.full((300, 3), np.nan))
    blank = replace(blank, signal=blank.confidence, wrong=blank.confidence)
    error, cost = blank.outcome(rule, part)
    expected = forward_all(part, rule.positions(part))
    # the forward recursion also corrects for the place within a segment
    np.testing.assert_allclose(error.by_model, expected.error[0], atol=4e-3)
    np.testing.assert_allclose(cost.by_model, expected.reach[0] @ PRICE[list(keep)], rtol=4e-3)
    np.testing.assert_array_equal(error.known, 0.0)


@pytest.mark.parametrize("share", [0.01, 0.1])
def test_cells_missing_by_chance_change_little(draws, share):
    log, thresholds = log_of(draws), random_thresholds(draws, 8, np.random.default_rng(1))
    rng = np.random.default_rng(5)
    holed = blanked(log, unrun=rng.uniform(size=(4000, 3)) < share, unlabelled=rng.uniform(size=(4000, 3)) < share)
    error, cost = seen(holed, draws, thresholds)
    wrong, paid = score_by_hand(log, thresholds)
    np.testing.assert_array_equal(error.known, 1.0)
    assert (error.n > 4000 * (1.0 - 5 * share)).all()
    # the queries that are left out are a random part of the same ones
    for found, own in ((error, wrong), (cost, paid)):
        gap = np.sqrt(1.0 / found.n - 1.0 / 4000) * own.std(axis=1)
        assert (np.abs(found.mean - own.mean(axis=1)) < 4.0 * gap + 1e-3 * own.mean(axis=1)).all()


def test_where_what_is_missing_depends_on_the_signals_the_rest_is_weighted(draws):
    """Sure queries go on seldom: those that do count for more. Without weights the error is too high."""
    log = log_of(draws, 20_000)
    rank = rankdata(log["confidence"].values, axis=0) / 20_000
    rng = np.random.default_rng(7)
    goes_on = rng.uniform(size=(20_000, 2)) < np.where(rank[:, :2] > 0.4, 0.15, 1.0)
    unrun = np.column_stack([np.zeros(20_000, bool), ~goes_on[:, 0], ~goes_on.all(axis=1)])
    unlabelled = rng.uniform(size=(20_000, 3)) < np.where(rank > 0.6, 0.7, 0.1)
    holed, thresholds = blanked(log, unrun=unrun, unlabelled=unlabelled), np.array([[np.inf, np.inf, -np.inf]])
    error, cost = seen(holed, draws, thresholds)
    wrong = score_by_hand(log, thresholds)[0].mean()
    naive = 1.0 - float(holed["correct"].isel(stage=2).mean())
    assert error.known[0] == 1.0
    noise = np.sqrt(wrong * (1.0 - wrong) / error.n[0])
    assert error.mean[0] == pytest.approx(wrong, abs=3.5 * noise)
    assert abs(naive - wrong) > 5.0 * noise
    assert cost.mean[0] == pytest.approx(PRICE.sum(), rel=1e-9)


def test_of_labels_where_the_cascade_answered_its_own_thresholds_are_known_and_others_as_far_as_they_agree(draws):
    log = log_of(draws)
    own = np.append(np.quantile(log["confidence"].values[:, :2], 0.45, axis=0), -np.inf)
    run = route(log["confidence"].values, own[None])
    graded = blanked(log, unrun=~run.reach[0].T, unlabelled=~run.accepted[0].T)
    wrong, _ = score_by_hand(log, own)
    error, cost = seen(graded, draws, own)
    assert error.known[0] > 0.995
    assert error.mean[0] == pytest.approx(wrong.mean(), abs=0.01)
    assert cost.mean[0] == pytest.approx(score_by_hand(log, own)[1].mean(), rel=0.02)
    bolder = own.copy()
    bolder[0] = np.quantile(log["confidence"].values[:, 0], 0.25)
    error, _ = seen(graded, draws, bolder)
    # what stage one would answer now and did not then is nowhere labelled
    between = np.mean((log["confidence"].values[:, 0] >= bolder[0]) & (log["confidence"].values[:, 0] < own[0]))
    assert 1.0 - error.known[0] == pytest.approx(between, abs=0.03)
    kernel = build_kernel(draws)
    segment = draws.margins[0].segment_of(LabelledQueries.from_log(log).signal[:, 0])
    here = (log["confidence"].values[:, 0] >= bolder[0]) & (log["confidence"].values[:, 0] < own[0])
    by_model = np.mean(here * (1.0 - kernel.correct[0, 0][segment]))
    assert error.by_model[0] == pytest.approx(by_model, abs=0.02)
    assert error.mean[0] == pytest.approx(score_by_hand(log, bolder)[0].mean(), abs=0.02)


def test_a_stage_that_is_skipped_does_not_hide_how_the_next_one_was_reached(draws):
    """Stage three was run for what stage two deferred; used after stage one alone it still needs the weights."""
    log = log_of(draws, 20_000)
    rank = rankdata(log["confidence"].values, axis=0) / 20_000
    rng = np.random.default_rng(8)
    goes_on = rng.uniform(size=20_000) < np.where(rank[:, 1] > 0.3, 0.1, 1.0)
    unrun = np.column_stack([np.zeros((20_000, 2), bool), ~goes_on])
    holed, part = blanked(log, unrun=unrun), draws.restrict((0, 2))
    thresholds = xr.DataArray([np.inf, -np.inf], dims="stage", coords={"stage": part.stages})
    rule = DecisionRule.from_any(thresholds, draws.stages, draws.kind)
    error, _ = LabelledQueries.from_log(holed).outcome(rule, draws)
    wrong = 1.0 - float(log["correct"].isel(stage=2).mean())
    noise = np.sqrt(wrong * (1.0 - wrong) / error.n[0])
    assert error.mean[0] == pytest.approx(wrong, abs=3.5 * noise)
    assert abs(1.0 - float(holed["correct"].isel(stage=2).mean()) - wrong) > 5.0 * noise


def test_of_very_many_unlabelled_queries_some_stand_for_the_rest(draws):
    log = log_of(draws, 30_000)
    unlabelled = np.zeros((30_000, 3), bool)
    unlabelled[400:] = True
    queries = LabelledQueries.from_log(blanked(log, unlabelled=unlabelled))
    assert len(queries.count) == 20_400
    assert queries.count.sum() == pytest.approx(30_000)
    thresholds = random_thresholds(draws, 4, np.random.default_rng(1))
    error, cost = queries.outcome(DecisionRule.from_any(thresholds, draws.stages, draws.kind), draws)
    wrong, paid = score_by_hand(log, thresholds)
    assert (np.abs(error.n - 400) < 60).all()
    assert (np.abs(error.mean - wrong.mean(axis=1)) < 4.0 * np.sqrt(0.25 / 400)).all()
    np.testing.assert_allclose(cost.mean, paid.mean(axis=1), rtol=0.02)
