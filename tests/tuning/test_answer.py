"""The answer in words: what to run, between which thresholds, what else there was."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.draws import make_draws

from bayescascade.analysis.verdict import verdict
from bayescascade.cascade.positions import to_positions
from bayescascade.posterior.draws import get_draws
from bayescascade.tuning import stage_search
from bayescascade.tuning.alternatives import alternatives
from bayescascade.tuning.answer import facts, given_up, headline
from bayescascade.tuning.evaluator import Evaluator
from bayescascade.tuning.spec import TuningSpec
from bayescascade.tuning.stage_search import _first_kept, _shorter
from bayescascade.tuning.tune import tune, tune_draws


def lines(solution):
    return dict(facts(solution))


@pytest.fixture(scope="module")
def limited(example_fit):
    return tune(example_fit, max_error=0.3, currency="USD")


def test_the_answer_comes_in_one_unit_with_its_currency(limited):
    said = lines(limited)
    assert headline(limited) == f"Recommended: {' > '.join(limited.thresholds['stage'].values)}"
    assert said["Goal"] == "error at most 30% with probability 90%"
    assert said["Cost"].startswith(f"${1000 * float(limited.cost.mean()):.3g} per 1,000 queries (90% interval ")
    assert said["Limit"].startswith("You can be 90% sure that the error is at most ")
    assert "safety margin included" in said["Limit"]
    assert str(limited.to_policy().manifest["currency"]) == "USD"


def test_a_latency_is_no_cost(limited):
    goal = {"max_cost": 0.01, "max_latency": 3.0, "prob": 0.9}
    both = replace(limited, goal=goal, upper_bounds={"cost": 0.002, "latency": 1.5})
    assert "the cost is at most $2 per 1,000 queries" in lines(both)["Limit"]
    assert lines(both)["Limit"].endswith("that the latency is at most 1.5 per query.")


@pytest.mark.parametrize("rounding", [0.0, 1e-16])
def test_where_nothing_is_answered_it_is_said(limited, rounding):
    none = replace(limited, abstained=limited.error * 0.0 + (1.0 - rounding), error=limited.error * rounding)
    assert headline(none) == "Recommended: leave every query unanswered"
    said = lines(none)
    assert said["Unanswered"].startswith("100.0%")
    assert "Of answers" not in said
    some = replace(none, abstained=none.abstained.where(none.abstained["draw"] > 0, 0.5))
    assert headline(some) == headline(limited)
    assert lines(some)["Of answers"].startswith("0.0%")


def test_single_stages_are_what_else_there_was(limited, example_fit):
    singles = {one.stages[0]: one for one in limited.alternatives if len(one.stages) == 1}
    assert set(singles) == {"small", "medium", "large"}
    alone = tune(example_fit, max_error=0.3, stages=["large"])
    assert singles["large"].cost == pytest.approx(float(alone.cost.mean()), rel=1e-3)
    assert singles["large"].feasible == alone.feasible
    assert ("alone" in given_up(limited)) or ("No single stage" in given_up(limited))


def test_single_stages_keep_a_limit_as_often_as_the_verdict_says(limited, example_fit):
    table = verdict(example_fit, solution=limited).table.set_index("rival")
    singles = {f"{one.stages[0]} alone": one for one in limited.alternatives if len(one.stages) == 1}
    assert len(singles) == 3
    for name, one in singles.items():
        assert one.kept == table["kept"][name]
        assert 1000.0 * one.loss == pytest.approx(table["loss"][name])


def test_the_whole_cascade_is_judged_by_all_draws():
    draws = make_draws(3, "top atom", seed=3, n_draws=250, loading=0.8, discrimination=1.5, copula="gaussian")
    spec = TuningSpec(max_error=0.45)
    found = tune_draws(draws, spec)
    assert len(found.draws.stages) < 3
    (whole,) = (one for one in alternatives(found, draws, spec, None) if len(one.stages) == 3)
    assert whole.feasible
    assert whole.kept * 250 == pytest.approx(round(whole.kept * 250))
    by_few = found.whole.outcome.cost.mean()
    assert found.whole.draws.n == 100
    assert whole.cost != by_few
    assert whole.cost == pytest.approx(by_few, rel=0.05)


@pytest.mark.parametrize("goal", [{"error_price": 0.02}, {"max_error": 0.3}, {"max_cost": 0.001}], ids=str)
def test_between_its_ends_each_threshold_does_as_well(example_fit, goal):
    solution = tune(example_fit, **goal)
    draws = get_draws(example_fit)
    spec = TuningSpec(**solution.goal)
    draws = draws.restrict([draws.stages.index(name) for name in solution.thresholds["stage"].values])
    from bayescascade.cascade.discrepancy import read_discrepancy

    evaluator = Evaluator(draws, discrepancy=read_discrepancy(example_fit, spec.doubt, one_sided=True))
    objective = spec.objective(draws)

    def measure(thresholds):
        rows = to_positions(np.array([thresholds]), draws)
        amounts = evaluator.amounts(rows, objective.names)
        return float(objective.risk(amounts)[0]), float(objective.violation(amounts)[0])

    chosen = solution.thresholds.values
    best, _ = measure(chosen)
    for j in range(len(chosen) - 1):
        low, high = solution.as_good.values[j]
        assert low <= chosen[j] <= high
        for end in (low, high):
            moved = chosen.copy()
            moved[j] = end
            risk, violation = measure(moved)
            # some of the draws found the ends
            assert risk <= best * 1.008
            assert violation <= 0.01
        beyond = chosen.copy()
        beyond[j] = high + 0.1 * (1.0 - high)
        risk, violation = measure(beyond)
        assert risk > best * 1.003 or violation > -0.003


class Way:
    def __init__(self, feasible, risk):
        self.feasible, self.risk = feasible, risk
        self.place = not feasible, risk


@pytest.mark.parametrize(
    ("ways", "shorter"),
    [
        ([((0, 1, 2), Way(True, 1.0)), ((0, 2), Way(True, 1.004))], [(0, 2)]),
        ([((0, 1, 2), Way(True, 1.0)), ((0, 2), Way(True, 1.006))], []),
        ([((0, 1, 2), Way(True, 1.0)), ((0, 2), Way(True, 1.001)), ((2,), Way(True, 1.004))], [(2,), (0, 2)]),
        ([((0, 1, 2), Way(True, 1.0)), ((2,), Way(False, 0.5))], []),
        ([((0, 1, 2), Way(False, 1.0)), ((2,), Way(False, 1.0))], []),
        ([((0, 1, 2), Way(True, 0.0)), ((2,), Way(True, 0.0))], []),
    ],
)
def test_a_shorter_cascade_that_does_as_well_is_the_answer(ways, shorter):
    assert _shorter(ways, 0.005) == shorter


def test_what_few_draws_alone_see_kept_is_not_the_answer(monkeypatch):
    by_all = {(0,): Way(False, 1.0), (0, 1): Way(True, 2.0), (1,): Way(True, 0.0)}
    monkeypatch.setattr(stage_search, "judged_by_all", lambda one, draws, *_: by_all[draws.keep])
    draws = make_draws(3, "top atom", n_draws=3)
    few = {(0,): Way(True, 1.0), (0, 1): Way(True, 2.0), (1,): Way(True, 3.0)}
    assert _first_kept(few, draws, None, None) is by_all[0, 1]
    few[0, 1] = Way(False, 2.0)
    assert _first_kept(few, draws, None, None) is by_all[(0,)]


def test_a_single_stage_may_be_the_answer(example_fit):
    solution = tune(example_fit, max_error=0.6)
    stages = solution.thresholds["stage"].values.tolist()
    assert stages == ["small"]
    assert headline(solution) == "Recommended: send every query to small"
    assert solution.to_policy().stages == ["small"]
