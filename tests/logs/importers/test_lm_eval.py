"""Samples that lm-evaluation-harness wrote (see make_lm_eval.py) to logs, against a plain reading of the files."""

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy.special import softmax

import bayescascade as bc
from bayescascade.errors import CascadeError, CascadeWarning

FILES = Path(__file__).parent / "files" / "lm_eval"
FOLDERS = {"small": FILES / "adders__small", "large": FILES / "adders__large"}
PRICES = {"small": 1e-4, "large": 1e-3}


def files(task):
    return {stage: next(folder.glob(f"samples_{task}_2*.jsonl")) for stage, folder in FOLDERS.items()}


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def read(source, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CascadeWarning)
        return bc.read_lm_eval(source, **{"prices": PRICES, **options})


def scores(line, metric):
    """Scores of the choices, as lm_eval/api/task.py of 0.4.13 works the metrics out."""
    values = np.array([float(pair[0]) for pair in line["filtered_resps"]])
    choices = line["doc"]["choices"]
    conditional = values[: len(choices)]
    if metric == "acc_mutual_info":
        return conditional - values[len(choices) :]
    return conditional / ([len(choice) for choice in choices] if metric == "acc_norm" else 1.0)


class TestChoices:
    @pytest.mark.parametrize(
        ("task", "metric"),
        [("sums", "acc"), ("sums", "acc_norm"), ("sums_in_words", "acc"), ("sums_in_words", "acc_mutual_info")],
    )
    def test_every_number_is_that_of_the_file(self, task, metric):
        log = read(files(task), metric=metric)
        assert log.sizes == {"query": 40, "stage": 2}
        assert log.attrs["confidence_kind"] == "probability"
        for stage, path in files(task).items():
            for line in lines(path):
                row = log.sel(query=line["doc_hash"], stage=stage)
                found = scores(line, metric)
                assert row["confidence"] == pytest.approx(softmax(found).max(), rel=1e-12)
                assert row["correct"] == line[metric] == (found.argmax() == line["doc"]["gold"])
                assert row["cost"] == PRICES[stage]

    def test_a_gap(self):
        log = read(files("sums"), signal="top_gap")
        line = lines(files("sums")["small"])[7]
        least, most = np.sort(softmax(scores(line, "acc")))[-2:]
        assert log["confidence"].sel(query=line["doc_hash"], stage="small") == pytest.approx(most - least)
        assert log.attrs["confidence_kind"] == "margin"

    def test_accuracy_is_first_without_a_name(self):
        xr.testing.assert_identical(read(files("sums")), read(files("sums"), metric="acc"))


class TestFolders:
    def test_models_of_a_folder(self):
        with pytest.warns(CascadeWarning, match="its task scores a given text, so the model chose nothing"):
            log = bc.read_lm_eval(FILES, prices={"adders/small": 1e-4, "adders/large": 1e-3})
        assert log["stage"].values.tolist() == ["adders/small", "adders/large"]
        assert sorted(set(log["task"].values.tolist())) == ["sums", "sums_in_words"]
        assert "its task generates text, which is logged without log-probabilities (40," in log.attrs["summary"]
        assert "80 queries; every stage ran 80 of them." in log.attrs["summary"]
        whole = read(FOLDERS)
        np.testing.assert_array_equal(whole["confidence"].sortby("query"), log["confidence"].sortby("query"))

    def test_the_newest_of_two_runs(self, tmp_path):
        for folder in FOLDERS.values():
            shutil.copytree(folder, tmp_path / folder.name)
        old = next((tmp_path / "adders__small").glob("samples_sums_2*"))
        older = old.with_name("samples_sums_2020-01-01T00-00-00.000001.jsonl")
        older.write_text("not read\n")
        log = read(tmp_path, prices={"adders/small": 1, "adders/large": 2})
        assert f"passed over: {older.name}." in log.attrs["summary"]

    def test_models_by_the_results_of_the_run(self, tmp_path):
        for name, folder in FOLDERS.items():
            shutil.copytree(folder, tmp_path / name)  # a folder of another name
        log = read(tmp_path, prices={"adders/small": 1, "adders/large": 2})
        assert log["stage"].values.tolist() == ["adders/small", "adders/large"]
        for path in tmp_path.rglob("results_*.json"):
            path.write_text("{")  # damaged: the folder's name is left
        assert read(tmp_path)["stage"].values.tolist() == ["small", "large"]


class TestTexts:
    def test_they_have_no_confidence(self):
        with pytest.raises(CascadeError, match=r"no call of stage 'small' can be used.*\n.*\n.*generates text"):
            read(files("sums_written"))

    def test_a_signal_that_reads_them(self):
        log = read(files("sums_written"), filter="number", signal="verbalised_rating", best=200)
        line = next(line for line in lines(files("sums_written")["small"]) if line["filter"] == "number")
        row = log.sel(query=line["doc_hash"], stage="small")
        assert row["confidence"] == float(line["filtered_resps"][0])  # any number is a rating
        assert row["correct"] == line["exact_match"]

    def test_filters_are_named(self):
        with pytest.raises(CascadeError, match=r"the filters 'strict' and 'number'; name one with filter=\.\.\."):
            read(files("sums_written"), signal="verbalised")
        with pytest.raises(CascadeError, match=r"no filter 'none'; there are 'strict', 'number'"):
            read(files("sums_written"), filter="none")

    def test_repeats_agree(self, tmp_path):
        found = [
            {"doc_hash": f"d{i}", "resps": [texts], "filtered_resps": [texts[0]], "exact_match": 1.0}
            for i, texts in enumerate([["A", "B", "A", "A"], ["A", "A", "A", "A"]])
        ]
        log = read(pair(tmp_path, *found), signal="agreement")
        np.testing.assert_array_equal(log["confidence"], [[0.75, 0.75], [1.0, 1.0]])


# ---- made here


def line(i, *values, **more):
    return {"doc_hash": f"d{i}", "filtered_resps": [[value, "False"] for value in values], "acc": 1.0, **more}


def pair(folder, *found):
    for name in ("small", "large"):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in found))
    return {name: folder / f"{name}.jsonl" for name in ("small", "large")}


def test_older_files_with_numbers_and_lists(tmp_path):
    old = [
        {
            "doc_id": i,
            "doc": {"question": str(i)},
            "arguments": [["Q", " yes"], ["Q", " never"]],
            "resps": [[[-1.0, True]], [[-3.0 - i, False]]],
            "filtered_resps": [[-1.0, True], [-3.0 - i, False]],
            "acc": 0.0,
            "acc_norm": 1.0,
        }
        for i in range(2)
    ]
    log = read(pair(tmp_path, *old), metric="acc_norm")
    expected = [softmax([-1.0 / 3, (-3.0 - i) / 5]).max() for i in range(2)]
    np.testing.assert_allclose(log["confidence"].sel(stage="small"), expected)
    np.testing.assert_array_equal(log["correct"], 1.0)


def test_a_document_without_a_hash_is_hashed_as_the_package_does(tmp_path):
    found = lines(files("sums")["small"])
    log = read({"small": files("sums")["small"], "large": stripped(found, tmp_path)})
    assert log["confidence"].notnull().all()
    np.testing.assert_array_equal(log["confidence"].sel(stage="small"), log["confidence"].sel(stage="large"))


def stripped(found, folder):
    path = folder / "old.jsonl"
    path.write_text(
        "".join(json.dumps({k: v for k, v in each.items() if k != "doc_hash"}) + "\n" for each in found)
    )
    return path


def test_models_are_joined_on_what_they_share(tmp_path):
    one, two = pair(tmp_path, line(1, -1, -2), line(2, -1, -2), line(3, -1, -2)).values()
    one.write_text("".join(two.read_text().splitlines(keepends=True)[1:]))
    log = read({"small": one, "large": two})
    assert "3 queries; every stage ran 2 of them." in log.attrs["summary"]


def test_documents_that_a_task_has_twice(tmp_path):
    log = read(pair(tmp_path, line(1, -1, -2), line(2, -1, -2), line(1, -1, -4)))
    assert log["query"].values.tolist() == ["d1", "d2", "d1 (2)"]
    assert log["confidence"].sel(query="d1 (2)", stage="small") == pytest.approx(1 / (1 + np.exp(-3)))


def test_impossible_choices(tmp_path):
    log = read(pair(tmp_path, line(1, "-inf", "-20000.0"), line(2, -1, float("-inf"))))
    np.testing.assert_array_equal(log["confidence"], 1.0)


WRONG = {
    "no sample": ({"a": 1}, "has no 'doc_hash' and no 'doc'"),
    "no metric": (
        {"doc_hash": "d", "filtered_resps": [["-1", "False"]] * 2},
        "nothing says which metric tells right",
    ),
    "no likelihood": (line(1, -1, "x"), "'filtered_resps' holds .*x.*it should be the log-likelihood of a choice"),
    "an infinite one": (line(1, -1, "inf"), "'filtered_resps' holds"),
    "half right": (line(1, -1, -2, acc=0.5), "the score 'acc' is 0.5, neither right nor wrong"),
    "no list": ({"doc_hash": "d", "filtered_resps": 3}, "'filtered_resps' should be a list but is 3"),
    "an odd number of choices": (line(1, -1, -2, -3, metrics=["acc", "acc_mutual_info"]), "two for each choice"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_lines(tmp_path, what):
    wrong, sentence = WRONG[what]
    with pytest.raises(CascadeError, match=sentence) as error:
        read(pair(tmp_path, line(0, -1, -2), wrong))
    assert str(error.value).startswith(f"{tmp_path / 'small.jsonl'}, line 2: ")


def test_a_metric_of_texts_that_are_not_there(tmp_path):
    with pytest.raises(CascadeError, match="'arguments' should hold the text of each choice"):
        read(pair(tmp_path, line(1, -1, -2, acc_norm=1)), metric="acc_norm")
    with pytest.raises(CascadeError, match=r"there is no metric 'f1'; there are"):
        read(pair(tmp_path, line(1, -1, -2)), metric="f1")


def test_prices_are_asked_for():
    with pytest.raises(
        CascadeError,
        match=r"no call of stage 'small' has a cost.*with prices=\{'small': \.\.\., 'large': \.\.\.\}",
    ):
        read(files("sums"), prices=None)


def test_pickles_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(CascadeError, match="is a pickle, which can run any code"):
        read(tmp_path / "samples.pkl")
    with pytest.raises(CascadeError, match=r"has no file that ends in \.jsonl"):
        read(tmp_path)
