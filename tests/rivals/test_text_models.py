"""Rivals that read text: the auxiliary models, the methods that use them, prompts and answers beside a log."""

import sys
from itertools import permutations, product

import numpy as np
import pandas as pd
import pytest

import bayescascade as bc
from bayescascade.errors import CascadeError
from bayescascade.rivals.routing.frugal import FrugalCascade
from bayescascade.rivals.routing.routers import FrugalGPT, HybridLLM, RandomRouting, Routing
from bayescascade.rivals.routing.text_models import TextModel, answer_features
from studies.common.metrics import budget_area

HARD, EASY = ("prove", "integral", "manifold", "topology"), ("sum", "colour", "city", "animal")


def log_with_text(n, seed):
    """A log whose prompts tell, nine times of ten, whether the small model is right; answers of every stage."""
    log = bc.simulate(n, n_stages=3, random_seed=seed)
    rng = np.random.default_rng(seed)
    right = log["correct"].values > 0.5
    told = np.where(rng.uniform(size=right.shape) < 0.9, right, ~right)
    asked = [" ".join(rng.choice(EASY if ok else HARD, 3)) + " please" for ok in told[:, 0]]
    said = np.where(told, "surely", "perhaps")
    log["prompt"] = ("query", np.array(asked))
    log["answer"] = (("query", "stage"), said)
    return log


@pytest.fixture(scope="module")
def logs():
    return log_with_text(150, 1), log_with_text(1000, 2)


METHODS = [Routing(), HybridLLM(), FrugalGPT(), FrugalGPT(confidence=True), FrugalCascade(n_points=20)]


@pytest.mark.parametrize("method", METHODS, ids=lambda m: f"{m.name} {getattr(m, 'confidence', '')}")
@pytest.mark.slow
def test_text_beats_chance_and_labels_are_not_read(logs, method):
    train, test = logs
    decisions = method.fit(train, random_seed=1)
    played = decisions.decide(test)
    chance = budget_area(RandomRouting().fit(train).decide(test), test)
    assert budget_area(played, test) > chance + 0.02
    scrambled = test.copy(deep=True)
    scrambled["correct"].values[:] = np.random.default_rng(3).integers(0, 2, scrambled["correct"].shape)
    again = decisions.decide(scrambled)
    np.testing.assert_array_equal(again.accepted, played.accepted)
    np.testing.assert_array_equal(again.reach, played.reach)


def test_what_each_method_learns(logs):
    train, test = logs
    train, test = train.copy(deep=True), test.isel(query=slice(50))
    train["correct"].values[:, 2] = 0.0  # the large model is useless: the small one is always as good
    assert (HybridLLM().fit(train).score(test.isel(stage=[0, 2])) == 1.0).all()
    assert np.ptp(Routing().fit(train).score(test.isel(stage=[0, 2]))) > 0.3
    # FrugalGPT reads the small model's answer, not that of the large one
    score = FrugalGPT().fit(train).score
    changed = test.copy(deep=True)
    changed["answer"].values[:, 2] = "something else"
    np.testing.assert_array_equal(score(changed.isel(stage=[0, 2])), score(test.isel(stage=[0, 2])))
    changed["answer"].values[:, 0] = "perhaps"
    said = test["answer"].values[:, 0]
    moved = score(changed.isel(stage=[0, 2])) - score(test.isel(stage=[0, 2]))
    assert (moved[said == "surely"] < 0).all()
    assert (moved[said == "perhaps"] == 0).all()


def test_the_frontier_of_routing_reads_only_whole_rows(logs):
    train, test = logs
    holed = train.copy(deep=True)
    holed["correct"].values[:75, 2] = np.nan
    expected = Routing().fit(train.isel(query=slice(75, None))).score(test.isel(stage=[0, 2]))
    np.testing.assert_allclose(Routing().fit(holed).score(test.isel(stage=[0, 2])), expected)
    assert Routing().fit(holed).costs == Routing().fit(train).costs == RandomRouting().fit(holed).costs
    holed["correct"].values[75:, 0] = np.nan
    with pytest.raises(CascadeError, match="none of the 150 queries has every stage run and labelled"):
        Routing().fit(holed)


def test_thresholds_of_the_training_log_are_out_of_fold():
    rng = np.random.default_rng(5)
    table = pd.DataFrame({"text": [f"word{rng.integers(40)} word{rng.integers(40)}" for _ in range(200)]})
    right = rng.integers(0, 2, 200)  # nothing to be learnt
    fitted, held_out = TextModel(penalties=(300.0,)).out_of_fold(table, right)
    inside = fitted.predict(table)
    assert inside[right == 1].mean() - inside[right == 0].mean() > 0.25
    assert abs(held_out[right == 1].mean() - held_out[right == 0].mean()) < 0.15
    # and where nothing is to be learnt, the default penalises more
    assert np.ptp(TextModel().fit(table, right).predict(table)) < 0.5 * np.ptp(inside)


def test_without_both_labels_the_base_rate_is_all():
    table = pd.DataFrame({"text": ["a b", "c d", "e f"]})
    assert TextModel().fit(table, [1, 1, 1]).predict(table).tolist() == [1.0, 1.0, 1.0]
    empty = pd.DataFrame({"text": ["", "", "!"]})
    np.testing.assert_allclose(TextModel().fit(empty, [1, 0, 1]).predict(empty), 2 / 3)
    fitted, held_out = TextModel().out_of_fold(table, [0, 1, 0])  # too few for folds
    np.testing.assert_array_equal(held_out, fitted.predict(table))


def test_any_classifier_may_be_given(logs):
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    train, test = logs
    model = TextModel(make_pipeline(CountVectorizer(), MultinomialNB()))
    score = Routing(model=model, threshold="fixed").fit(train).score(test.isel(stage=[0, 2]))
    words, right = train["prompt"].values.tolist(), train["correct"].values[:, 0]
    own = make_pipeline(CountVectorizer(), MultinomialNB()).fit(words, right)
    np.testing.assert_allclose(score, own.predict_proba(test["prompt"].values.tolist())[:, 1])
    with pytest.raises(CascadeError, match="no predict_proba"):
        Routing(model=TextModel(LinearSVC())).fit(train)


def test_the_confidence_is_a_feature_of_its_own():
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"text": ["same text"] * 200, "signal": rng.normal(3.0, 5.0, 200)})
    right = (table["signal"] > 3.0).astype(int)
    found = TextModel().fit(table, right).predict(table)
    assert ((found > 0.5) == (right == 1)).mean() > 0.95


@pytest.mark.slow
def test_missing_parts_are_told(logs, monkeypatch):
    train, test = logs
    with pytest.raises(CascadeError, match="no variable 'prompt'"):
        Routing().fit(train.drop_vars("prompt"))
    with pytest.raises(CascadeError, match="learnt from answers"):
        FrugalGPT().fit(train).decide(test.drop_vars("answer"))
    assert "answers" not in answer_features(test, 0, answer=False)["text"][0]
    FrugalGPT().fit(train.drop_vars("answer")).decide(test.drop_vars("answer"))
    with pytest.raises(CascadeError, match="training log had 3"):
        FrugalCascade().fit(train).decide(test.isel(stage=[0, 2]))
    monkeypatch.setitem(sys.modules, "sklearn", None)
    for method in (Routing(), FrugalCascade()):
        with pytest.raises(CascadeError, match=r"install bayescascade\[compare\]"):
            method.fit(train)


def test_the_search_against_playing_every_cascade():
    rng = np.random.default_rng(8)
    n, cost = 60, np.array([1.0, 3.0, 9.0])
    scores, wrong = rng.uniform(size=(n, 3)), rng.integers(0, 2, (n, 3)) * 1.0
    method = FrugalCascade(n_levels=4, min_disagreement=0.0)
    candidates, error, spent = method.search(scores, wrong, cost)
    levels = [np.unique(np.quantile(s, [0.25, 0.5, 0.75, 1.0])) for s in scores.T]
    everything = {
        (order, at)
        for length in (1, 2, 3)
        for order in permutations(range(3), length)
        for at in product(*(levels[j].tolist() for j in order[:-1]))
    }
    assert {(c.order, c.thresholds) for c in candidates} == everything
    for (order, thresholds), e, c in zip(candidates, error, spent, strict=True):
        lost = paid = 0.0
        for q in range(n):
            for stage, threshold in zip(order, (*thresholds, -np.inf), strict=True):
                paid += cost[stage]
                if scores[q, stage] >= threshold:
                    lost += wrong[q, stage]
                    break
        assert e == pytest.approx(lost / n)
        assert c == pytest.approx(paid / n)


def test_models_that_agree_are_not_chained():
    scores, wrong = np.random.default_rng(1).uniform(size=(50, 2)), np.ones((50, 2))
    wrong[:25, 1] = 0.0  # the second corrects half of the first, and the first nothing of the second
    candidates, _, _ = FrugalCascade().search(scores, wrong, np.array([1.0, 2.0]))
    assert {c.order for c in candidates} == {(0,), (1,), (0, 1)}
