"""`verify`: exact bounds, on all queries and on slices, and nothing said that the labels do not say."""

import json
import math

import numpy as np
import pytest
from scipy.stats import binom

import bayescascade as bc
from bayescascade.monitoring.verify import verify

INF = float("inf")
GOAL = {"goal": {"max_error": 0.25, "prob": 0.9}}
POLICY = bc.Policy(["a", "b"], [0.5, -INF], "probability", GOAL)


def log_of(wrong, **coords):
    """Queries of which half are answered by each stage; ``wrong`` is their answer's, the others are unlabelled."""
    n = len(wrong)
    first = np.arange(n) % 2 == 0
    confidence = np.stack([np.where(first, 0.9, 0.1), np.where(first, np.nan, 0.7)], axis=1)
    correct = np.where(np.stack([first, ~first], axis=1), 1.0 - np.asarray(wrong, float)[:, None], np.nan)
    cost = np.where(np.isfinite(confidence), [[1.0, 5.0]], np.nan)
    rows = {"confidence": confidence, "correct": correct, "cost": cost}
    return bc.validate_log(
        bc.load_example()
        .isel(query=np.zeros(n, int), stage=[0, 1])
        .assign_coords(query=np.arange(n), stage=["a", "b"])
        .assign({name: (("query", "stage"), values) for name, values in rows.items()})
        .assign_coords({name: ("query", values) for name, values in coords.items()}),
        labels=False,
    )


def errors(n, k):
    return np.arange(n) < k


@pytest.mark.parametrize(
    ("n", "k", "kept", "code"),
    [
        (200, 30, True, 0),
        (200, 80, False, 1),
        (200, 50, None, 2),
        (10, 0, True, 0),
        (4, 0, None, 2),
        (9, 5, False, 1),
    ],
)
def test_kept_or_not_or_not_to_be_told(n, k, kept, code):
    found = verify(POLICY, log_of(errors(n, k)))
    assert (found.kept, found.exit_code) == (kept, code)
    row = found.table.iloc[0]
    assert (row["n"], row["wrong"], row["error"]) == (n, k, k / n)
    # the bounds are those rates at which so few, or so many, come with probability 0.1
    if k > 0:
        assert binom.sf(k - 1, n, row["low"]) == pytest.approx(0.1)
    if k < n:
        assert binom.cdf(k, n, row["high"]) == pytest.approx(0.1)
    assert found.text.startswith({True: "Kept", False: "Not kept", None: "Cannot be told"}[kept])
    assert ("Label more" in found.text) == (kept is None)


def test_verdicts_are_wrong_no_more_often_than_said():
    """At the limit itself, the hardest case, "kept" is said with 10% at most, and so is "not kept"."""
    n = np.arange(61)
    share = binom.pmf(n, 60, 0.25)
    said = [verify(POLICY, log_of(errors(60, k))).kept for k in range(61)]
    assert sum(p for p, kept in zip(share, said, strict=True) if kept is True) <= 0.1
    assert sum(p for p, kept in zip(share, said, strict=True) if kept is False) <= 0.1


def test_a_slice_that_fails_is_named():
    wrong = np.concatenate([errors(200, 10), errors(40, 30)])
    log = log_of(wrong, task=["law"] * 200 + ["maths"] * 40)
    found = verify(POLICY, log)
    assert (found.kept, found.failed, found.exit_code) == (False, ["maths"], 1)
    assert found.table["slice"].tolist() == ["all", "law", "maths"]
    assert found.table["kept"].tolist() == [True, True, False]
    assert "Not kept on 'maths' (30 of 40" in found.text
    # two slices share the doubt, so bounds are wider than of one
    alone = verify(POLICY, log.isel(query=slice(200, None)).drop_vars("task")).table.iloc[0]
    assert found.table.iloc[2]["low"] < alone["low"]


def test_a_slice_too_small_to_tell_is_said_and_is_no_fault():
    log = log_of(errors(203, 10), lang=["en"] * 200 + ["de"] * 3)
    found = verify(POLICY, log, by="lang")
    assert (found.kept, found.exit_code) == (True, 0)
    assert "It cannot be told on 1 of 2 slices." in found.text


def test_stages_that_the_policy_does_not_ask_need_no_label(example_log):
    policy = bc.Policy(["small", "large"], [0.8, -INF], "probability", GOAL)
    log = example_log.copy(deep=True)
    log["correct"][:, 1] = np.nan
    found = verify(policy, log)
    assert found.table["n"].item() == 300
    assert found.table["error"].item() == pytest.approx(float(bc.score(example_log, policy)["error"]))


def test_a_policy_that_abstains_errs_where_it_answers():
    policy = bc.Policy(["a", "b"], [0.5, -INF], "probability", GOAL, reject=[-INF, 0.8])
    found = verify(policy, log_of(errors(60, 20)))
    assert found.table[["n", "wrong"]].values.tolist() == [[60, 10]]
    log = log_of(errors(60, 20))
    log["correct"][4] = np.nan
    with pytest.raises(bc.CascadeError, match=r"1 queries have no label of their answer\. The policy abstains"):
        verify(policy, log)


def test_what_is_expected_of_so_many_is_said(example_fit, example_log):
    policy = bc.tune(example_fit, max_error=0.35).to_policy()
    text = verify(policy, example_log).text
    assert "tuned on these very queries" in text
    assert "tuned on these very queries" not in verify(policy, example_log.isel(query=slice(250))).text
    assert "The policy file expects so many to show an error of" in text
    assert "per 1,000 queries; they cost" in text
    assert "by the mean cost of each stage" in text
    assert "expects" not in verify(POLICY, log_of(errors(20, 3))).text


def test_other_limits_and_probabilities():
    log = log_of(errors(200, 30))
    assert verify(POLICY, log, max_error=0.1).kept is False
    assert verify(POLICY, log, max_error=0.19, prob=0.999).kept is None
    bare = bc.Policy(["a", "b"], [0.5, -INF], "probability")
    assert verify(bare, log, max_error=0.5).prob == 0.9
    with pytest.raises(bc.CascadeError, match="max_error is not given, and the policy promises no error"):
        verify(bare, log)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_error": 1.5}, "max_error=1.5 is not allowed"),
        ({"max_error": True}, "max_error=True is not allowed"),
        ({"prob": 90}, "prob"),
        ({"by": "lang"}, "by='lang' is not a coordinate of the log"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(bc.CascadeError, match=message):
        verify(POLICY, log_of(errors(20, 3)), **options)


def test_what_cannot_be_verified(example_log):
    with pytest.raises(bc.CascadeError, match=r"the log has stages .*, but the policy runs \['a', 'b'\]"):
        verify(POLICY, example_log)
    with pytest.raises(bc.CascadeError, match="kind 'probability', but the policy decides on 'logprob'"):
        verify(bc.Policy(["a", "b"], [-0.5, -INF], "logprob", GOAL), log_of(errors(20, 3)))
    log = log_of(errors(20, 3))
    log["correct"][:] = np.nan
    with pytest.raises(bc.CascadeError, match=r"no query ran the stages .* label the answers"):
        verify(POLICY, log)
    with pytest.raises(bc.CascadeError, match=r"policy='p.json' is none; give a Policy"):
        verify("p.json", log)
    many = log_of(errors(200, 3), user=[f"u{i}" for i in range(200)])
    with pytest.raises(bc.CascadeError, match="by='user' has too many values"):
        verify(POLICY, many, by="user")


def test_tables_and_files(tmp_path):
    found = verify(POLICY, log_of(errors(203, 10), lang=["<b>"] * 200 + ["de"] * 3), by="lang")
    content = json.loads(found.save(tmp_path / "v.json").read_text(), parse_constant=pytest.fail)
    assert (content["kept"], content["exit_code"], content["slices"][0]["n"]) == (True, 0, 203)
    assert "&lt;b&gt;" in found._repr_html_()
    assert "cannot be told" in repr(found)
    assert not math.isnan(content["slices"][0]["high"])
