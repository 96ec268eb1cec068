"""A policy in words."""

import math

import pytest

import bayescascade as bc
from bayescascade.runtime.explain import explain
from bayescascade.runtime.policy import Policy

INF = math.inf


@pytest.mark.parametrize(
    ("thresholds", "reject", "rules"),
    [
        (
            [0.8, 0.5, -INF],
            None,
            [
                "accepts an answer whose probability is at least 0.80; else it defers to b",
                "accepts an answer whose probability is at least 0.50; else it defers to c",
                "answers every query that reaches it",
            ],
        ),
        (
            [INF, -INF, -INF],
            None,
            [
                "never answers: every query is deferred to b",
                "accepts every answer, so that no query reaches c",
                "answers every query that reaches it",
            ],
        ),
        (
            [INF, INF, -INF],
            [0.1, -INF, INF],
            [
                "never answers: below 0.10 it abstains, else it defers to b",
                "never answers: every query is deferred to c",
                "answers no query: it abstains on every one that reaches it",
            ],
        ),
        (
            [0.8, 0.5, -INF],
            [0.1, -INF, 0.4],
            [
                "accepts an answer whose probability is at least 0.80; below 0.10 it abstains, "
                "else it defers to b",
                "accepts an answer whose probability is at least 0.50; else it defers to c",
                "answers every query that reaches it; below 0.40 it abstains",
            ],
        ),
    ],
)
def test_each_stage_has_its_rule(thresholds, reject, rules):
    found = explain(Policy(["a", "b", "c"], thresholds, "probability", reject=reject))
    assert [rule.rule for rule in found.rules] == rules
    assert found.lead == "Call a first, then b, then c, each only where the one before is not sure enough."
    assert all(rule in str(found) for rule in rules)


def test_log_probabilities_are_said_as_probabilities():
    found = explain(Policy(["a", "b"], [math.log(0.9), -INF], "logprob"))
    assert "is at least -0.11 (a probability of 90%);" in found.rules[0].rule


def test_two_digits_stand_with_what_does_as_well(tmp_path):
    """As many as keep a threshold there, in words and in a notebook; the file keeps all of them."""
    known = {"as_good": [[-0.0702, -0.0611], [-0.7, -0.0451], [-INF, -INF]]}
    policy = Policy(["a", "b", "c"], [-0.0684512, -0.0449, -INF], "logprob", metadata=known)
    policy.save(tmp_path / "policy.json")
    for it in (policy, Policy.load(tmp_path / "policy.json")):
        first, second, _ = (rule.rule for rule in explain(it).rules)
        assert first == (
            "accepts an answer whose logprob is at least -0.068 (a probability of 93%; -0.070 to -0.061 does as "
            "well); else it defers to b"
        )
        # a threshold that somebody moved out of the range
        assert (
            second
            == "accepts an answer whose logprob is at least -0.045 (a probability of 96%); else it defers to c"
        )
        assert "confidence ≥ -0.068" in it._repr_html_()
        assert it.thresholds[0] == explain(it).rules[0].accept_from == -0.0684512


@pytest.mark.parametrize("range_", [None, [1], "ab", [None, 1.0], [True, 1.0], [0.9, 1.0]])
def test_a_range_of_another_kind_does_no_harm(range_):
    policy = Policy(["a", "b"], [0.8, -INF], "probability", metadata={"as_good": [range_, None]})
    assert (
        explain(policy).rules[0].rule
        == "accepts an answer whose probability is at least 0.80; else it defers to b"
    )


def test_a_policy_of_one_stage():
    assert explain(Policy(["a"], [-INF], "probability")).lead == "Send every query to a."


def test_what_a_tuned_policy_knows_is_told(example_fit):
    policy = bc.tune(example_fit, max_error=0.3).to_policy(models={"large": "large-2"}, currency="EUR")
    facts = dict(explain(policy).facts)
    assert facts["Promise"].startswith("error at most 30% with probability 90% (achieved: ")
    assert facts["Expected error"].startswith(f"{100 * policy.metadata['error_mean']:.3g}% (90% interval ")
    assert facts["Expected cost"].startswith(f"{1000 * policy.metadata['cost_mean']:.3g} per 1,000 queries (90%")
    assert facts["Models"] == "large: large-2"
    assert facts["Currency"] == "EUR"
    assert "300 queries" in facts["Made from"]


def test_metadata_of_any_kind_does_no_harm():
    strange = {"goal": {"max_error": "low", "prob": None}, "kept": True, "n_queries": "many", "copula": 3}
    manifest = {"expected": {"error": {"mean": 1}}, "prices": [1], "models": 7, "currency": 0}
    found = explain(Policy(["a"], [-INF], "probability", metadata=strange, manifest=manifest))
    assert found.facts == []
