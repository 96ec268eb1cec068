"""What is made of a fit whose queries have a difficulty: every analysis runs, and says what can be."""

import numpy as np
import pytest

import bayescascade as bc
from bayescascade.analysis.refits import Refits
from bayescascade.posterior.draws import get_draws
from bayescascade.rivals.ours import Bayes
from bayescascade.signals.kinds import to_signal

pytestmark = pytest.mark.slow  # a model with a difficulty compiles for minutes

INF = np.inf


@pytest.fixture(scope="module")
def solution(hard_fit):
    return bc.tune(hard_fit, max_error=0.36)


def test_thresholds_do_on_new_queries_what_they_promise(hard_fit, solution):
    how = {"loading": 0.7, "discrimination": 1.2, "tau": 0.1, "copula": "gaussian", "top_atom": [0.2, 0.0, 0.1]}
    test = bc.simulate(4000, n_stages=3, random_seed=9, unanswerable=0.04, **how)
    assert solution.feasible
    scored, expected = bc.score(test, solution), bc.evaluate(hard_fit, solution)
    for name in ("error", "cost"):
        low, high = np.quantile(expected[name], [0.005, 0.995])
        assert low * 0.95 <= float(scored[name]) <= high * 1.05


def test_other_prices_and_another_mix(hard_fit, solution):
    stages = list(hard_fit["posterior"]["stage"].values)
    plain = bc.tune(hard_fit, error_price=0.01, stages=stages)
    dear = bc.tune(bc.reprice(hard_fit, {"large": 0.1}), error_price=0.01, stages=stages)
    assert float(dear.reach.sel(stage="large").mean()) < float(plain.reach.sel(stage="large").mean())
    harder = bc.evaluate(bc.drift(hard_fit, 0.3), solution)
    assert (harder["error"] > bc.evaluate(hard_fit, solution)["error"]).all()


def test_verdict_and_sensitivity(hard_fit, solution):
    worth = bc.verdict(hard_fit, solution=solution)
    assert np.isfinite(worth.table["loss"].iloc[0])
    assert "the cascade is expected to cost" in worth.text
    found = bc.sensitivity(hard_fit, solution=solution)
    assert "promise" in found.text
    assert "nan" not in found.text


def test_new_answers_of_a_query_share_its_difficulty(hard_fit, hard_log):
    """Those that a draw gives to unlabelled queries, and not their own signals alone, go together."""
    draws, bare = get_draws(hard_fit), hard_fit.copy(deep=True)
    bare["observed_data"]["correct"][20:] = np.nan
    refits = Refits(bare, draws, [[0, 1, 2]], "logged", 1)
    assert refits.n_free == 380
    rng, left = np.random.default_rng(1), []
    signal = to_signal(hard_log["confidence"].values, draws.kind)[20:]
    for index in range(40):
        _, right = refits._with_labels(index, 380, rng)
        one = draws.take(slice(index, index + 1))
        left.append(right[20:] - np.stack([one.p_correct(j, signal[:, j])[0] for j in range(3)], axis=1))
    together = np.corrcoef(np.concatenate(left).T)
    assert together[0, 1] > 0.05
    assert together[0, 2] > 0.03


@pytest.mark.long
def test_each_choice_of_stages_to_label_is_fitted_as_a_whole(hard_fit, hard_log):
    few = hard_fit.copy(deep=True)
    few["observed_data"]["correct"][200:] = np.nan
    refits = Refits(few, get_draws(hard_fit), [[0, 1, 2], [2]], "logged", 1)
    first, second = refits.after(0, 100, 0)
    assert first.loading is not None
    assert abs(first.loading - second.loading).max() > 0.0


@pytest.mark.long
def test_it_competes_with_others(hard_log):
    ours = Bayes("difficulty", options=(("difficulty", True), ("draws", 150), ("chains", 2)))
    train, test = hard_log.isel(query=slice(250)), hard_log.isel(query=slice(250, None))
    found = bc.compare(train, test, methods=[ours, "oracle"], progressbar=False, n_replicates=20)
    auc = found.data["auc"]
    assert np.isfinite(auc).all()
    assert float(auc.sel(rival="oracle").mean()) <= float(auc.sel(rival="difficulty").mean())
