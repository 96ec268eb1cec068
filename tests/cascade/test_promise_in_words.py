"""Whether a log showed what was promised, and whether luck explains it where not."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import binom

import bayescascade as bc
from bayescascade.cascade.predictive import promise_in_words
from bayescascade.errors import CascadeWarning


def shown(error, cost=0.001, n=1000):
    return xr.Dataset({"error": error, "cost": cost}, attrs={"n_queries": n})


@pytest.mark.parametrize(
    ("found", "goal", "said"),
    [
        (shown(0.2), {"max_error": 0.25}, "Error at most 25.0%: kept here, with 20.0%."),
        (shown(0.25), {"max_error": 0.25}, "Error at most 25.0%: kept here, with 25.0%."),
        (shown(0.26), {"max_error": 0.25}, "missed here with 26.0%, but a true rate of 25.0% shows up to "),
        (shown(0.35), {"max_error": 0.25}, "missed here with 35.0%, and luck does not explain it: "),
        (shown(0.35, n=10), {"max_error": 0.25}, "missed here with 35.0%, but a true rate of 25.0%"),
        (shown(float("nan")), {"max_error": 0.25}, "Error at most 25.0%: cannot be told without labels."),
        (shown(0.0, n=1), {"max_error": 0.02}, "Error at most 2.0%: 1 query cannot tell (0.0% here)."),
        (shown(1.0, n=2), {"max_error": 0.25}, "Error at most 25.0%: 2 queries cannot tell (100.0% here)."),
        (shown(0.0, n=3), {"max_error": 0.25}, "Error at most 25.0%: kept here, with 0.0%."),
        (
            shown(0.0, n=1),
            {"max_cost": 0.002},
            "Cost at most 2 per 1,000 queries: 1 query cannot tell (1 per 1,000",
        ),
        (shown(0.2, 0.003), {"max_cost": 0.002}, "Cost at most 2 per 1,000 queries: missed here with 3 per 1,000"),
        (shown(0.2), {"max_error": 0.25, "max_cost": 0.002}, "kept here, with 20.0%. Cost at most 2 per 1,000"),
    ],
)
def test_the_promise_is_held_against_the_log(found, goal, said):
    assert said in promise_in_words(found, goal)


@pytest.mark.parametrize("goal", [None, {}, {"error_price": 3.0}, {"max_error": "low"}, {"max_error": True}])
def test_where_nothing_was_promised_nothing_is_said(goal):
    assert promise_in_words(shown(0.2), goal) is None


def test_luck_is_the_binomial_quantile():
    text = promise_in_words(shown(0.26, n=400), {"max_error": 0.25})
    assert f"up to {binom.ppf(0.95, 400, 0.25) / 400:.1%} in 400 queries" in text


def test_score_says_it_of_a_policy_and_of_no_other_thresholds(example_log):
    policy = bc.Policy(
        ["small", "medium", "large"],
        [0.8, 0.8, float("-inf")],
        "probability",
        metadata={"goal": {"max_error": 0.9, "prob": 0.9}},
    )
    assert "kept here" in bc.score(example_log, policy).attrs["promise"]
    assert "promise" not in bc.score(example_log, policy.thresholds).attrs


def test_the_error_is_that_of_the_labelled_queries(example_log):
    policy = bc.Policy(
        ["small", "medium", "large"],
        [float("-inf")] * 3,
        "probability",
        metadata={
            **dict.fromkeys(("error_mean", "cost_mean", "cost_of_query_sd"), 0.4),
            **dict.fromkeys(("error_sd", "cost_sd"), 0.01),
            "goal": {"max_error": 0.9, "prob": 0.9},
        },
    )
    few = example_log.assign(correct=example_log["correct"].where(np.arange(300)[:, None] < 1))
    with pytest.warns(CascadeWarning, match="299 of 300 answers"):
        found = bc.score(few, policy)
    assert (found.attrs["n_queries"], found.attrs["n_labelled"]) == (300, 1)
    assert "1 query cannot tell" in found.attrs["promise"]
    assert "too few queries to tell. Expected: 40.0%. 1 query should show 0.0% to 100.0%" in found.attrs["text"]
    assert "300 queries should show" in found.attrs["text"]
    every = bc.score(example_log, policy)
    assert every.attrs["n_labelled"] == 300
    assert "kept here" in every.attrs["promise"]
