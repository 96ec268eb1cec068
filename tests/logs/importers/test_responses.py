"""Responses made by the client of OpenAI, to a log and back."""

import gzip
import io
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

import bayescascade as bc
from bayescascade.logs.importers.responses import read_responses

responses = pytest.importorskip("helpers.responses", reason="needs the package openai")
PRICES = {"gpt-small": (0.15, 0.6), "gpt-medium": (1.0, 4.0), "gpt-large": (5.0, 20.0)}


@pytest.fixture(scope="module")
def example(example_log, tmp_path_factory):
    """Files of the embedded example's responses by stage, and that of the true answers."""
    return responses.write_example(example_log, tmp_path_factory.mktemp("responses"))


@pytest.fixture(scope="module")
def read(example):
    files, labels = example
    return read_responses(files, signal="answer_probability", labels=labels, prices=PRICES)


class TestExample:
    def test_confidences_and_labels_come_back(self, read, example_log):
        assert read["stage"].values.tolist() == ["small", "medium", "large"]
        assert read.attrs["confidence_kind"] == "probability"
        np.testing.assert_allclose(read["confidence"], example_log["confidence"], rtol=1e-12)
        np.testing.assert_array_equal(read["correct"], example_log["correct"])
        assert read["query"].values.tolist() == [f"q{query:04d}" for query in example_log["query"].values]

    def test_the_log_says_how_confidences_were_made(self, read, tmp_path):
        bc.write_log(read, tmp_path / "log.parquet")
        again = bc.read_log(tmp_path / "log.parquet")
        assert read.attrs["signal"] == again.attrs["signal"] == "answer_probability"
        fit = bc.fit(again, draws=20, tune=20, chains=1, difficulty=False, random_seed=1, progressbar=False)
        assert fit.attrs["signal"] == bc.tune(fit, error_price=0.02).signal == "answer_probability"

    def test_costs_are_half_the_price_in_a_batch(self, read):
        tokens = 100 + np.arange(300) % 40
        np.testing.assert_allclose(read["cost"].sel(stage="large"), (tokens * 5.0 + 20.0) / 1e6 / 2, rtol=1e-12)

    def test_summary(self, read):
        told = read.attrs["summary"].splitlines()
        right = [
            f"{name} {100 * share:.0f}%"
            for name, share in zip(read["stage"].values, read["correct"].mean("query").values, strict=True)
        ]
        assert told.pop(4) == f"Right, of the labelled answers: {', '.join(right)}."
        assert told[:5] == [
            "Confidence: answer_probability, of the kind probability.",
            *(
                f"{name}: 300 of 300 calls are in the log; 300 are labelled, 300 have a cost."
                for name in ("small", "medium", "large")
            ),
            "300 queries; every stage ran 300 of them.",
        ]

    def test_one_file_is_told_apart_by_model(self, read, example, tmp_path):
        files, labels = example
        path = tmp_path / "all.jsonl"
        path.write_bytes(b"".join(files[name].read_bytes() for name in ("large", "small", "medium")))
        log = read_responses(path, signal="answer_probability", labels=labels, prices=PRICES)
        assert log["stage"].values.tolist() == list(responses.MODELS.values())  # by mean cost
        for name in ("confidence", "correct", "cost"):
            np.testing.assert_array_equal(log[name].sortby("query"), read[name].sortby("query"))

    @pytest.mark.parametrize("form", ["packed", "an array", "standard input", "blank lines"])
    def test_forms_of_a_file(self, read, example, tmp_path, monkeypatch, form):
        files, labels = example
        content = files["small"].read_bytes()
        path = tmp_path / ("small.jsonl.gz" if form == "packed" else "small.jsonl")
        if form == "packed":
            path.write_bytes(gzip.compress(content))
        elif form == "an array":
            path.write_bytes(json.dumps([json.loads(line) for line in content.splitlines()]).encode())
        elif form == "standard input":
            path = "-"
            monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(content))))
        else:
            path.write_bytes(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n\n"))
        given = {**files, "small": path}
        log = read_responses(given, signal="answer_probability", labels=labels, prices=PRICES)
        xr.testing.assert_identical(log, read)


OBJECTS = {
    "chat": (responses.chat_completion("B", 0.8), {}),
    "legacy": (responses.legacy_completion("B", [-0.25, -0.5]), {}),
    "first token": (responses.chat_completion("B", 0.7), {"signal": "first_token_margin", "answers": ["A", "B"]}),
    "newer interface": (responses.newer_response("B", [-0.25, -0.5]), {}),
    "gap": (responses.chat_completion("C", 0.4), {"signal": "first_token_gap"}),
}


@pytest.mark.parametrize("name", OBJECTS)
def test_the_reader_and_a_service_compute_the_same_number(tmp_path, name):
    response, options = OBJECTS[name]
    line = {"query": "q", **{"response": response.model_dump(mode="json")}}
    files = {stage: responses.write_lines(tmp_path / f"{stage}.jsonl", [line]) for stage in ("a", "b")}
    log = read_responses(files, labels={"q": "B"}, prices={"a": (1.0, 1.0), "b": (2.0, 3.0)}, **options)
    live = bc.confidence(response, **options)  # the client's own object
    assert log["confidence"].values.tolist() == [[live, live]]


def test_decisions_of_the_client(tmp_path):
    decision = pytest.importorskip("openai.types.decision")
    details = {"input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": 20}}
    usage = {"input_tokens": 45, "output_tokens": 0, "output_tokens_details": {"reasoning_tokens": 0}, **details}

    def line(query, refund, team):
        probabilities = [{"value": team, "probability": 0.81}, {"value": "other", "probability": 0.19}]
        answers = [
            {"type": "predicate", "name": "refund", "probability": refund},
            {"type": "choice", "name": "team", "choice": team, "confidence": 0.6, "probabilities": probabilities},
        ]
        found = decision.Decision.model_validate(
            {"model": "m", "answers": answers, "usage": {**usage, "total_tokens": 45}}
        )
        return {"id": query, **found.model_dump(mode="json")}

    small = responses.write_lines(tmp_path / "small.jsonl", [line(1, 0.13, "tech"), line(2, 0.9, "tech")])
    large = responses.write_lines(tmp_path / "large.jsonl", [line(1, 0.03, "sales"), line(2, 0.6, "tech")])
    files = {"small": small, "large": large}
    prices = {"small": (1.0, 0.0, 0.1), "large": (2.0, 0.0)}
    log = read_responses(files, labels={1: 0, 2: "no"}, prices=prices, question="refund")
    assert log["confidence"].values.tolist() == [[0.87, 0.97], [0.9, 0.6]]
    assert log["correct"].values.tolist() == [[1.0, 1.0], [0.0, 0.0]]
    np.testing.assert_allclose(log["cost"].values, [[27e-6, 90e-6]] * 2)
    assert "40 tokens came from a cache" in log.attrs["summary"]
    whole = {"1": {"refund": "no", "team": "tech"}, "2": {"refund": "yes", "team": "tech"}}
    both = read_responses(files, labels=whole, prices=prices)  # a row of several questions escalates as one
    assert both["confidence"].values.tolist() == [[0.81, 0.81], [0.81, 0.6]]
    assert both["correct"].values.tolist() == [[1.0, 0.0], [1.0, 1.0]]


def test_candidates_stand_beside_the_confidence(example, example_log):
    files, labels = example
    names = ["answer_probability", "first_token_gap", "agreement"]
    options = {"labels": labels, "prices": PRICES, "answers": ["A", "B", "C", "D"]}
    log = read_responses(files, signal="answer_probability", candidates=names, **options)
    assert log["signal"].values.tolist() == names
    assert log["kind"].values.tolist() == ["probability", "logprob_gap", "votes"]
    np.testing.assert_array_equal(log["candidate"].sel(signal="answer_probability"), log["confidence"])
    assert np.isnan(log["candidate"].sel(signal="agreement")).all()  # of one sample there is none
    judged = bc.signal_quality(log, names[:2])
    assert set(judged.index.get_level_values("signal")) == set(names[:2])
    body = json.loads(files["large"].read_text().splitlines()[0])["response"]["body"]
    live = bc.confidence(body, "first_token_gap", answers=options["answers"])
    assert log["candidate"].sel(stage="large", signal="first_token_gap").values[0] == live
