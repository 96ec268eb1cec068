"""Files of responses that are wrong in part or as a whole: a count, or a sentence with file, line and field."""

import gzip
import json
import pickle

import numpy as np
import pandas as pd
import pytest

from bayescascade.errors import CascadeError, CascadeWarning
from bayescascade.logs.importers.responses import read_responses

GOLD = {f"q{i}": "B" for i in range(6)}
PRICES = {"small": 1e-4, "large": 1e-3}


def response(text="B", logprob=-0.3, **more):
    choice = {"message": {"content": text}, "logprobs": {"content": [{"token": text, "logprob": logprob}]}}
    return {"model": "m", "choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 1}, **more}


def batch(key, body=None, status=200, error=None):
    return {"custom_id": key, "response": {"status_code": status, "body": body or response()}, "error": error}


def lines(n=6, **more):
    return [batch(f"q{i}", response("B" if i % 2 else "A", -0.1 - i / 10, **more)) for i in range(n)]


def write(path, items):
    path.write_text("".join((item if isinstance(item, str) else json.dumps(item)) + "\n" for item in items))
    return path


@pytest.fixture
def read(tmp_path):
    def read(small, large=None, **options):
        files = {"small": write(tmp_path / "small.jsonl", small), "large": tmp_path / "large.jsonl"}
        write(files["large"], lines() if large is None else large)
        return read_responses(files, **{"labels": GOLD, "prices": PRICES, **options})

    return read


# ---- what is left out is counted

LEFT_OUT = {
    "status 429": batch("q1", {"error": {"code": "rate_limit_exceeded"}}, status=429),
    "error batch_expired": {"custom_id": "q1", "response": None, "error": {"code": "batch_expired"}},
    "the call failed": {"custom_id": "q1", "response": None, "error": {"message": "x"}},
    "the answer is empty": batch("q1", {"choices": []}),
    "there are no log-probabilities": batch("q1", {"choices": [{"message": {"content": "B"}, "logprobs": None}]}),
    "the log-probability of a token is absent": batch("q1", response(logprob=-9999.0)),
    "there is no response": {"custom_id": "q1", "response": None, "error": None},
    "the query is not named": {**batch("q1"), "custom_id": None},
    "the query was answered before": batch("q0"),
}


@pytest.mark.parametrize("reason", LEFT_OUT)
def test_a_call_that_cannot_be_used_is_counted(read, reason):
    small = [LEFT_OUT[reason] if i == 1 else line for i, line in enumerate(lines())]
    with pytest.warns(CascadeWarning, match=f"1 of 12 calls are left out.*small: {reason} .1, first at .*"):
        log = read(small)
    assert np.isnan(log["confidence"].sel(query="q1", stage="small"))
    assert "small: 5 of 6 calls are in the log; 5 are labelled, 5 have a cost." in log.attrs["summary"]
    assert f"left out: {reason} (1, first at " in log.attrs["summary"]


def test_what_a_call_lacks_is_counted(read):
    small = lines()
    del small[2]["response"]["body"]["usage"]
    log = read(small, labels={f"q{i}": "B" for i in (0, 1, 3, 9)}, prices={"small": (1.0, 1.0), "large": 1.0})
    summary = log.attrs["summary"]
    assert "small: 6 of 6 calls are in the log; 3 are labelled, 5 have a cost." in summary
    assert "its tokens are not counted (1, first at" in summary
    assert "no label (3, first at" in summary
    assert "1 of 4 labels are of no query in the log." in summary


def test_a_model_without_a_price_is_named(read):
    with pytest.raises(CascadeError, match=r"no call of stage .large. has a cost"):
        read(lines(), prices={"small": 1.0, "larg": 2.0})


def test_prices_that_no_call_has_are_named(read):
    log = read(lines(), prices={**PRICES, "other": 1.0})
    assert "Prices of no call: 'other'." in log.attrs["summary"]


# ---- what cannot be read is a sentence

FIRST = json.dumps(lines()[0])
SENTENCES = {
    "cut off": ([FIRST, FIRST[:50]], r"small\.jsonl, line 2: not valid JSON .*one whole object"),
    "no object": ([FIRST, "[1]"], r"small\.jsonl, line 2: should be a JSON object but is a JSON list"),
    "another format": ([{"doc_id": 0}], r"small\.jsonl, line 1: should be a response.*keys 'doc_id'"),
    "empty": ([], r"small\.jsonl is empty"),
    "blank": ([" ", ""], r"small\.jsonl is empty"),
    "deep": (["[" * 100_000], r"small\.jsonl is not valid JSON"),
    "deep in a line": (['{"a":' * 100_000], r"small\.jsonl, line 1: not valid JSON"),
    "array of numbers": (["[1, 2]"], r"small\.jsonl, item 1: should be a JSON object but is a JSON int"),
    "id of a list": (
        [{**batch("q0"), "custom_id": [1]}],
        r"line 1: the id of the query is \[1\]; it should be a text",
    ),
    "only failures": ([LEFT_OUT["status 429"]], r"(?s)no call of stage 'small' can be used.*left out: status 429"),
    "surrogate": ([batch("q\ud800")], r"small\.jsonl, line 1: query 'q\\ud800' holds the control character"),
}


@pytest.mark.parametrize("name", SENTENCES)
def test_sentence(read, name):
    content, message = SENTENCES[name]
    with pytest.raises(CascadeError, match=message):
        read(content)


def test_bytes_that_are_no_text(tmp_path):
    path = tmp_path / "small.jsonl"
    path.write_bytes(FIRST.encode() + b"\n" + b"\xff\xfe\x00\n")
    with pytest.raises(CascadeError, match=r"small\.jsonl, line 2: not text in UTF-8"):
        read_responses({"small": path, "large": path})


def test_a_cut_archive(tmp_path):
    path = tmp_path / "small.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in lines()).encode())[:-20])
    with pytest.raises(CascadeError, match=r"small\.jsonl\.gz cannot be unpacked by gzip"):
        read_responses(path)


@pytest.mark.parametrize("name", ["calls.pkl", "calls.pickle", "calls.pkl.gz"])
def test_a_pickle_is_refused_by_name(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(pickle.dumps(lines()))
    with pytest.raises(CascadeError, match=r"is a pickle.*never read"):
        read_responses(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(CascadeError, match=r"there is no file .*none\.jsonl"):
        read_responses(tmp_path / "none.jsonl")
    with pytest.raises(CascadeError, match=r"has no file that ends in \.jsonl"):
        read_responses(tmp_path)


# ---- joining

PLAIN = [{k: v for k, v in response("B", -0.1 - i / 10).items()} for i in range(6)]


def test_without_ids_lines_are_joined_by_number(read):
    log = read(PLAIN, PLAIN, labels={i: "B" for i in range(6)})
    assert log.sizes["query"] == 6
    assert "No query is named" in log.attrs["summary"]


def test_without_ids_and_of_different_lengths(read):
    with pytest.raises(CascadeError, match=r"different numbers of lines.*small\.jsonl \(6\).*large\.jsonl \(5\)"):
        read(PLAIN, PLAIN[:5])


def test_one_file_without_ids(tmp_path):
    with pytest.raises(CascadeError, match=r"nothing in .*all\.jsonl says which query a line is of"):
        read_responses(write(tmp_path / "all.jsonl", PLAIN))


def test_an_id_of_ones_own(read):
    own = [{**line, "metadata": {"row": i}} for i, line in enumerate(PLAIN)]
    log = read(own, own, labels={i: "B" for i in range(6)}, query="metadata.row")
    assert log["query"].values.tolist() == [*range(6)]
    with pytest.raises(CascadeError, match=r"line 1: has no field 'row' \(given as query\)"):
        read(own, own, query="row")


# ---- labels and prices

LABELS = {
    "no columns": (pd.DataFrame({"a": [1]}), "should have a column 'query'"),
    "whose": (pd.DataFrame({"query": ["q0"], "correct": [1]}), "does not say whose answer is right"),
    "twice": (pd.DataFrame({"query": ["q0", "q0"], "answer": ["A", "B"]}), "'q0' twice"),
    "no grade": (
        pd.DataFrame({"query": ["q0"], "stage": ["small"], "correct": ["maybe"]}),
        "correct at row 0 .* is 'maybe'; it should be 0 or 1",
    ),
    "a number": (7, "labels=7 is not allowed"),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels(read, name):
    labels, message = LABELS[name]
    with pytest.raises(CascadeError, match=message):
        read(lines(), labels=labels)


@pytest.mark.parametrize("form", ["long", "wide", "mapping"])
def test_grades_by_stage(read, form):
    small, large = [0, 1, 1, 0, 1, 1], [1, 1, 0, 1, 1, 1]
    queries = [f"q{i}" for i in range(6)]
    wide = pd.DataFrame({"query": queries, "small": small, "large": large})
    labels = {
        "long": wide.melt("query", var_name="stage", value_name="correct"),
        "wide": wide,
        "mapping": {q: {"small": a, "large": b} for q, a, b in zip(queries, small, large, strict=True)},
    }[form]
    np.testing.assert_array_equal(read(lines(), labels=labels)["correct"], np.array([small, large]).T)


WRONG_PRICES = {
    "negative": ({"small": -1.0}, "the price of 'small' should be a number of at least 0"),
    "text": ({"small": "cheap"}, "the price of 'small'.*'cheap'"),
    "four": ({"small": (1, 2, 3, 4)}, "two or three"),
    "table": (pd.DataFrame({"model": ["small"], "price": [1]}), "model, input and output"),
    "table of texts": (pd.DataFrame({"model": ["small"], "call": ["x"]}), "call is 'x' at row 0"),
}


@pytest.mark.parametrize("name", WRONG_PRICES)
def test_prices(read, name):
    prices, message = WRONG_PRICES[name]
    with pytest.raises(CascadeError, match=message):
        read(lines(), prices=prices)


def test_a_grader_of_ones_own(read):
    log = read(lines(), grade=lambda answer, true: None if answer == "A" else answer == true)
    np.testing.assert_array_equal(log["correct"].sel(stage="small"), [np.nan, 1] * 3)


def test_labels_of_other_queries_are_named_beside_a_query(read):
    with pytest.raises(
        CascadeError, match=r"none of the 2 labels is of a query in the log: .* 'x1', where .* 'q0'"
    ):
        read(lines(), labels={"x1": "A", "x2": "B"})
    with pytest.raises(CascadeError, match="nothing says which answers are right"):
        read(lines(), labels=None)


def test_the_summary_tells_how_many_answers_are_right_and_what_a_batch_costs(read):
    summary = read(lines()).attrs["summary"]
    assert "Right, of the labelled answers: small 50%, large 50%." in summary
    assert "12 calls of a batch cost 0.5 of the price (batch discount)." in summary
    assert "batch discount" not in read(lines(), batch_discount=1.0).attrs["summary"]
