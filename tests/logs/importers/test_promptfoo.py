"""Results that promptfoo wrote (see make_promptfoo.py) to logs, against a plain reading of the same files."""

import json
import math
import warnings
from pathlib import Path

import numpy as np
import pytest

import bayescascade as bc
from bayescascade.errors import CascadeError, CascadeWarning

FILES = Path(__file__).parent / "files" / "promptfoo"
PRICES = {"small": (1.0, 2.0), "large": (10.0, 20.0), "free": (0.5, 0.5)}


def read(source, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CascadeWarning)
        return bc.read_promptfoo(source, **{"prices": PRICES, **options})


def results(path):
    return json.loads(path.read_text())["results"]["results"]


def query_of(result):
    return result.get("testIdx", json.dumps(result["vars"], sort_keys=True))


@pytest.mark.parametrize("name", ["results.json", "version-2.json"])
def test_every_number_is_that_of_the_file(name):
    log = read(FILES / name)
    assert sorted(log["stage"].values) == ["free", "large", "small"]
    assert log.attrs["confidence_kind"] == "logprob"
    for result in results(FILES / name):
        row = log.sel(query=query_of(result), stage=result["provider"]["label"])
        response = result["response"]
        if "output" not in response:  # the provider failed
            assert np.isnan(row["confidence"])
            continue
        tokens = response["tokenUsage"]
        price = PRICES[result["provider"]["label"]]
        assert row["confidence"] == pytest.approx(np.mean(response["logProbs"]), rel=1e-14)
        assert row["cost"] == pytest.approx((tokens["prompt"] * price[0] + tokens["completion"] * price[1]) / 1e6)
        graded = result["gradingResult"]["reason"] != "No assertions"
        a, b = result["vars"]["a"], result["vars"]["b"]
        right = float(response["output"] == str(a + b)) if graded else math.nan
        np.testing.assert_array_equal(row["correct"], right)
        assert row["latency"] == result["latencyMs"] / 1000


def test_lines_are_the_first_results():
    lines, whole = read(FILES / "results.jsonl"), read(FILES / "results.json")
    for name in ("confidence", "correct", "cost"):
        np.testing.assert_array_equal(lines[name], whole[name].sel(query=lines["query"]))


def test_costs_of_promptfoo_and_none_where_it_knows_no_price():
    with pytest.raises(CascadeError, match="no call of stage 'free' has a cost, so there is no log"):
        read(FILES / "results.json", prices=None)
    found = results(FILES / "results.json")
    assert {result["cost"] for result in found if result["provider"]["label"] == "free"} == {0}


def test_what_is_left_out_is_said():
    log = read(FILES / "results.json")
    failed = sum(result["failureReason"] == 2 for result in results(FILES / "results.json"))
    assert failed > 0
    assert f"left out: the call failed ({failed}, first at" in log.attrs["summary"]
    assert f"20 queries; every stage ran {20 - failed} of them." in log.attrs["summary"]


def test_scores_by_name():
    log = read(FILES / "results.json", score="parity")
    found = [result for result in results(FILES / "results.json") if result["namedScores"]]
    for result in found:
        row = log.sel(query=result["testIdx"], stage=result["provider"]["label"])
        assert row["correct"] == result["namedScores"]["parity"]


# ---- made here


def result(test, provider, success=True, prompt=0, **more):
    return {
        "testIdx": test,
        "promptIdx": prompt,
        "prompt": {"raw": "Q", "label": f"template {prompt}"},
        "provider": {"id": provider},
        "vars": {"q": f"question {test}"},
        "success": success,
        "latencyMs": 5,
        "response": {"output": "A", "logProbs": [-0.1, -0.3], "cost": 1e-3 if provider == "large" else 1e-4},
        **more,
    }


def write(path, *found):
    path.write_text(json.dumps({"results": {"version": 3, "results": list(found)}}))
    return path


def both(**more):
    return [result(test, name, **more) for test in range(2) for name in ("small", "large")]


def test_a_provider_with_several_prompts_is_several_stages(tmp_path):
    found = [*both(), *both(prompt=1)]
    log = read(write(tmp_path / "r.json", *found), prices=None)
    names = [f"{name} / template {prompt}" for name in ("small", "large") for prompt in (0, 1)]
    assert sorted(log["stage"].values) == sorted(names)


def test_half_a_point_needs_a_pass_mark(tmp_path):
    path = write(tmp_path / "r.json", *both(score=0.5))
    with pytest.raises(CascadeError, match=r"the score 'score' is 0\.5, neither right nor wrong"):
        read(path, score="score", prices=None)
    np.testing.assert_array_equal(read(path, score="score", pass_mark=0.5, prices=None)["correct"], 1)


def test_files_by_stage_are_joined_on_their_variables(tmp_path):
    small = write(tmp_path / "s.json", *(result(test, "p") for test in (0, 1)))
    large = write(tmp_path / "l.json", *(result(1 - test, "p", vars={"q": f"question {test}"}) for test in (0, 1)))
    log = read({"small": small, "large": large}, prices={"small": 1, "large": 2})
    assert log["query"].values.tolist() == ['{"q": "question 0"}', '{"q": "question 1"}']
    assert log["confidence"].notnull().all()


def test_cached_answers_have_no_cost_and_no_time(tmp_path):
    found = both()
    found[0]["response"] = {**found[0]["response"], "cached": True}
    log = read(write(tmp_path / "r.json", *found), prices=None)
    assert np.isnan(log["cost"].sel(query=0, stage="small"))
    assert np.isnan(log["latency"].sel(query=0, stage="small"))
    assert "1 answers came from promptfoo's cache" in log.attrs["summary"]


def test_a_rejected_answer_is_wrong_and_not_failed(tmp_path):
    found = both()
    found[0] |= {"success": False, "error": "Expected A to be B", "failureReason": 1}
    found[2] |= {"success": False, "error": "Expected A to be B"}  # versions 1 and 2 have no reason
    log = read(write(tmp_path / "r.json", *found), prices=None)
    np.testing.assert_array_equal(log["correct"].sel(stage="small"), 0)


def test_results_at_the_top_as_version_1_has_them(tmp_path):
    path = tmp_path / "r.json"
    path.write_text(json.dumps({"version": 1, "results": both(), "stats": {}}))
    assert read(path, prices=None).sizes == {"query": 2, "stage": 2}


WRONG = {
    "no results": ({"a": 1}, "holds no results; results of promptfoo have"),
    "a number": ({"results": [3]}, r"result 0 \(counted from 0\): should be a JSON object but is a JSON int"),
    "no provider": ({"results": [result(0, "")]}, "'provider' has neither a label nor an id"),
    "a success that is none": ({"results": both(success="x")}, "'success' should be true or false but is 'x'"),
    "a response that is none": ({"results": both(response=3)}, "'response' should be an object but is 3"),
    "log-probabilities that are none": (
        {"results": both(response={"output": "A", "logProbs": 3})},
        "'logProbs' should be a list but is 3",
    ),
    "no test": ({"results": [result(None, "small", vars={})]}, "nothing says which test it is of"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_results(tmp_path, what):
    content, sentence = WRONG[what]
    path = tmp_path / "r.json"
    path.write_text(json.dumps(content))
    with pytest.raises(CascadeError, match=sentence) as error:
        read(path)
    assert str(error.value).startswith(str(path))


def test_pickles_are_refused(tmp_path):
    with pytest.raises(CascadeError, match="is a pickle"):
        read(tmp_path / "results.pickle")
