"""Logs that Inspect wrote (see make_inspect.py) to logs of cascades, against a plain reading of the files."""

import json
import math
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import bayescascade as bc
from bayescascade.errors import CascadeError, CascadeWarning
from bayescascade.logs.importers.archive import opened_archive

FILES = Path(__file__).parent / "files" / "inspect"
BOTH = {"small": FILES / "small.eval", "large": FILES / "large.eval"}
GRADES = {"C": 1.0, "I": 0.0, "P": 0.0, "N": 0.0}  # with a pass mark of 1


def read(source, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CascadeWarning)
        return bc.read_inspect(source, **options)


def samples(path):
    """The samples of an .eval by id and epoch."""
    with opened_archive(path) as archive:
        found = [json.loads(archive.read(name)) for name in archive.names if name.startswith("samples/")]
    return {(sample["id"], sample["epoch"]): sample for sample in found}


def mean_logprob(output):
    values = [token["logprob"] for token in output["choices"][0]["logprobs"]["content"]]
    return sum(values) / len(values)


@pytest.fixture(scope="module")
def runs():
    return read(BOTH, score="nearly", pass_mark=1)


@pytest.fixture(scope="module")
def cascade():
    return read(FILES / "cascade.eval")


class TestRuns:
    def test_every_number_is_that_of_the_file(self, runs):
        assert runs.attrs["confidence_kind"] == "logprob"
        assert runs["latency"].attrs["units"] == "s"
        for stage, path in BOTH.items():
            for (name, epoch), sample in samples(path).items():
                query = name if epoch == 1 else f"{name} (epoch {epoch})"
                output = sample["output"]
                if not output["choices"] or output["choices"][0].get("logprobs") is None:
                    assert query not in runs["query"] or np.isnan(runs["confidence"].sel(query=query, stage=stage))
                    continue
                row = runs.sel(query=query, stage=stage)
                value = sample["scores"]["nearly"]["value"]
                assert row["confidence"] == pytest.approx(mean_logprob(output), rel=1e-14)
                np.testing.assert_equal(float(row["correct"]), GRADES.get(value, math.nan))
                assert row["cost"] == output["usage"]["total_cost"]
                assert row["latency"] == output["time"]

    def test_what_is_left_out_is_said(self, runs):
        assert "small: 38 of 40 calls are in the log; 37 are labelled, 38 have a cost." in runs.attrs["summary"]
        assert "there are no log-probabilities (1, first at" in runs.attrs["summary"]
        assert "the sample failed (2, first at" in runs.attrs["summary"]
        assert "78 queries; every stage ran 38 of them." in runs.attrs["summary"]
        with pytest.warns(CascadeWarning, match="4 of 120 calls are left out"):
            bc.read_inspect(BOTH, score="nearly", pass_mark=1)

    def test_json_is_the_same_log(self):
        few = read({"small": FILES / "small.json", "large": FILES / "large.eval"}, score="length")
        whole = read(BOTH, score="length")
        ran = few["query"].values[few["confidence"].sel(stage="small").notnull().values]
        assert len(ran) == 10
        for name in ("confidence", "correct", "cost"):
            np.testing.assert_array_equal(few[name].sel(query=ran), whole[name].sel(query=ran))

    def test_stages_are_called_by_their_models(self):
        log = read([FILES / "large.eval", FILES / "small.eval"], score="length")
        assert log["stage"].values.tolist() == ["mockllm/small", "mockllm/large"]
        assert log.attrs["stage_order"] == "by mean cost"

    def test_prices_are_of_all_tokens(self):
        prices = {"small": (1.0, 10.0), "large": (2.0, 20.0)}
        log = read(BOTH, score="length", prices=prices)
        usage = samples(BOTH["small"])["sum-0", 1]["output"]["usage"]
        cost = (usage["input_tokens"] * 1.0 + usage["output_tokens"] * 10.0) / 1e6
        assert log["cost"].sel(query="sum-0", stage="small") == pytest.approx(cost)

    def test_a_signal_of_tokens(self):
        log = read(BOTH, score="length", signal="first_token_margin")
        token = samples(BOTH["small"])["sum-0", 1]["output"]["choices"][0]["logprobs"]["content"][0]
        first, second = (math.exp(top["logprob"]) for top in token["top_logprobs"])
        margin = max(0.0, first - second)
        assert log["confidence"].sel(query="sum-0", stage="small") == pytest.approx(margin)
        assert log.attrs["confidence_kind"] == "margin"


class TestCascade:
    """One log whose solver asks the small model, then the large one, and whose scorer asks a grader."""

    def test_models_are_the_stages_without_the_grader(self, cascade):
        assert cascade["stage"].values.tolist() == ["mockllm/small", "mockllm/large"]

    def test_the_answer_that_was_taken_has_the_score(self, cascade):
        for (name, _), sample in samples(FILES / "cascade.eval").items():
            calls = [event["output"] for event in sample["events"] if event["event"] == "model"][:-1]  # a grader's
            row = cascade.sel(query=name)
            expected = [mean_logprob(output) for output in calls] + [math.nan] * (2 - len(calls))
            np.testing.assert_allclose(row["confidence"], expected, rtol=1e-14)
            correct = float(sample["scores"]["graded"]["value"] == "C")
            np.testing.assert_array_equal(
                row["correct"], [correct, math.nan] if len(calls) == 1 else [math.nan, correct]
            )
            logprobs = [token["logprob"] for token in calls[0]["choices"][0]["logprobs"]["content"]]
            assert (len(calls) == 1) == (sum(logprobs) >= math.log(0.7))  # as make_inspect.py decides

    def test_by_a_name_it_is_one_stage(self):
        log = read({"cascade": FILES / "cascade.eval", "large": FILES / "large.eval"}, score=None, labels=labels())
        sample = samples(FILES / "cascade.eval")["sum-1", 1]
        calls = [event["output"] for event in sample["events"] if event["event"] == "model"][:-1]
        cost = sum(output["usage"]["total_cost"] for output in calls)
        assert log["cost"].sel(query="sum-1", stage="cascade") == pytest.approx(cost)


def labels():
    return {name: sample["target"] for (name, _), sample in samples(FILES / "cascade.eval").items()}


# ---- made here


def sample(i, text="A", logprob=-0.5, **more):
    logprobs = {"content": [{"token": text, "logprob": logprob}]}
    usage = {"input_tokens": 10, "output_tokens": 1, "total_cost": 1e-4}
    output = {"choices": [{"message": {"content": text}, "logprobs": logprobs}], "usage": usage}
    return {"id": i, "epoch": 1, "output": output, "scores": {"match": {"value": "C"}}, **more}


def write(path, *found, task="t", status="success", model=None):
    content = {"status": status, "eval": {"task": task, "model": model or path.stem}, "samples": list(found)}
    path.write_text(json.dumps(content))
    return path


def pair(folder, *found, **options):
    """Logs of two models on the same samples."""
    return [write(folder / f"{name}.json", *found, model=name, **options) for name in ("small", "large")]


PRICES = {"small": 1e-4, "large": 1e-3}


def scored(value):
    return {"scores": {"match": {"value": value}}}


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("C", 1),
        ("I", 0),
        ("N", 0),
        (True, 1),
        (False, 0),
        (1, 1),
        (0.0, 0),
        ("yes", 1),
        ("0", 0),
        (math.nan, math.nan),
    ],
)
def test_values_of_scores(tmp_path, value, label):
    log = read(pair(tmp_path, sample(1), sample(2, **scored(value))), prices=PRICES)
    np.testing.assert_array_equal(log["correct"].sel(query=2), [label, label])


@pytest.mark.parametrize(("pass_mark", "label"), [(0.5, 1), (1, 0)])
def test_half_a_point_needs_a_pass_mark(tmp_path, pass_mark, label):
    logs = pair(tmp_path, sample(1), sample(2, **scored("P")))
    with pytest.raises(CascadeError, match=r"small\.json, sample 2: the score 'match' is 'P', neither right nor"):
        read(logs, prices=PRICES)
    log = read(logs, prices=PRICES, pass_mark=pass_mark)
    np.testing.assert_array_equal(log["correct"].sel(query=2), [label, label])


def test_a_score_of_several_values(tmp_path):
    logs = pair(tmp_path, sample(1, **scored({"fluent": 0, "right": 1})), sample(2, **scored({"right": 0})))
    with pytest.raises(
        CascadeError, match=r"holds several values; name one with score=\.\.\.: match\.fluent, match\.right"
    ):
        read(logs, prices=PRICES)
    log = read(logs, prices=PRICES, score="match.right")
    np.testing.assert_array_equal(log["correct"], [[1, 1], [0, 0]])


def test_tasks(tmp_path):
    logs = {}
    for model in ("small", "large"):
        logs[model] = [
            write(tmp_path / f"{model}-{task}.json", sample(1), sample(2, **scored("I")), task=task)
            for task in ("law", "sums")
        ]
    log = read(logs, prices=PRICES)
    assert log["query"].values.tolist() == ["law/1", "law/2", "sums/1", "sums/2"]
    assert log["task"].values.tolist() == ["law", "law", "sums", "sums"]


def test_cached_tokens_are_part_of_the_input(tmp_path):
    usage = {"input_tokens": 10, "output_tokens": 1, "input_tokens_cache_read": 90, "input_tokens_cache_write": 5}
    found = [sample(1), sample(2)]
    for each in found:
        each["output"]["usage"] = usage
    log = read(pair(tmp_path, *found), prices={"small": (1.0, 0.0, 0.1), "large": (2.0, 0.0, 0.2)})
    np.testing.assert_allclose(
        log["cost"].sel(query=1), np.array([15 * 1.0 + 90 * 0.1, 15 * 2.0 + 90 * 0.2]) / 1e6
    )


def test_long_answers_that_stand_apart(tmp_path):
    text = "word " * 30
    found = [sample(i, text) for i in (1, 2)]
    for each in found:
        each["output"]["choices"][0]["message"]["content"] = "attachment://abc"
        each["attachments"] = {"abc": text}
    log = read(pair(tmp_path, *found), prices=PRICES, labels={1: text, 2: "no"})
    np.testing.assert_array_equal(log["correct"], [[1, 1], [0, 0]])


def test_a_run_that_did_not_end(tmp_path):
    logs = pair(tmp_path, sample(1), sample(2), status="cancelled")
    assert "Runs that did not end well: " in read(logs, prices=PRICES).attrs["summary"]


def test_a_log_that_was_cut_off_before_its_header(tmp_path):
    with opened_archive(FILES / "small.eval") as archive, zipfile.ZipFile(tmp_path / "cut.eval", "w") as made:
        for name in archive.names:
            if name != "header.json":
                made.writestr(name, archive.read(name))
    log = read({"small": tmp_path / "cut.eval", "large": FILES / "large.eval"}, score="length")
    assert "cut.eval (started)" in log.attrs["summary"]
    xr.testing.assert_identical(log.drop_attrs(), read(BOTH, score="length").drop_attrs())


def test_members_with_paths_are_never_written(tmp_path):
    names = ("samples/../../evil.json", "/samples/evil.json", "../evil.json")
    with zipfile.ZipFile(tmp_path / "log.eval", "w") as made:
        made.writestr("header.json", json.dumps({"status": "success", "eval": {"task": "t", "model": "m"}}))
        for name in names:
            made.writestr(name, "not JSON")
        made.writestr("samples/1_epoch_1.json", json.dumps(sample(1)))
        made.writestr("samples/2_epoch_1.json", json.dumps(sample(2)))
    log = read({"a": tmp_path / "log.eval", "b": tmp_path / "log.eval"}, prices={"a": 1, "b": 2})
    assert log.sizes["query"] == 2
    assert [path.name for path in tmp_path.rglob("*")] == ["log.eval"]


WRONG = {
    "no log": ({"a": 1}, r"has no object 'eval'"),
    "no samples": ({"eval": {"model": "m"}, "status": "success"}, r"the log has no samples"),
    "a sample that is none": (
        {"eval": {"model": "m"}, "samples": [7]},
        r"sample 1: should be a JSON object but is a",
    ),
    "an id that is none": ({"eval": {}, "samples": [sample([1])]}, r"sample 1: the id of the query is \[1\]"),
    "an epoch that is none": ({"eval": {}, "samples": [sample(1, epoch="x")]}, r"sample 1: 'epoch' is 'x'"),
    "no model": ({"eval": {}, "samples": [sample(1)]}, r"sample 1: no model is named"),
    "scores that are none": ({"eval": {}, "samples": [sample(1, scores=[1])]}, r"'scores' should be an object"),
    "a score that is none": (
        {"eval": {"model": "m"}, "samples": [sample(1, **scored("perhaps"))]},
        r"the score 'match' is 'perhaps'; it should be",
    ),
    "events that are none": ({"eval": {"model": "m"}, "samples": [sample(1, events=[3])]}, r"an item of 'events'"),
    "a negative cost": (
        {
            "eval": {"model": "m"},
            "samples": [sample(1, output={**sample(1)["output"], "usage": {"total_cost": -1}})],
        },
        r"sample 1: the cost is -1",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_logs(tmp_path, what):
    content, sentence = WRONG[what]
    path = tmp_path / "log.json"
    path.write_text(json.dumps(content))
    with pytest.raises(CascadeError, match=sentence) as error:
        read(path)
    assert str(error.value).startswith(str(path))


def test_several_scores_are_named():
    with pytest.raises(CascadeError, match=r"name one with score=\.\.\.: 'nearly', 'length'"):
        read(BOTH)
    with pytest.raises(CascadeError, match=r"there is no score 'right'; there are: 'nearly'"):
        read(BOTH, score="right")


def test_pickles_are_refused(tmp_path):
    with pytest.raises(CascadeError, match="is a pickle, which can run any code"):
        read({"a": tmp_path / "log.pkl"})
