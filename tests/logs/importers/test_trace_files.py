"""Traces as the tools write them (`make_traces.py`): the same calls give the same log, whoever traced them."""

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.cli_fakes import run

import bayescascade as bc
from bayescascade.errors import CascadeError, CascadeWarning
from bayescascade.logs.importers.formats import guess_format
from bayescascade.logs.importers.scores import plain_id
from bayescascade.logs.importers.traces import read_traces

FILES = Path(__file__).parent / "files" / "traces"
PRICES = {"gpt-4o-mini": (0.15, 0.60, 0.075), "gpt-4o": (2.5, 10.0, 1.25)}
TOOLS = {
    "litellm": ("litellm.jsonl.gz", {"scores": FILES / "litellm-scores.csv"}),
    "litellm, spend logs": ("litellm-spend.jsonl.gz", {"scores": FILES / "litellm-scores.csv"}),
    "langfuse": ("langfuse.jsonl", {"scores": FILES / "langfuse-scores.jsonl"}),
    "phoenix": ("phoenix.parquet", {"scores": FILES / "phoenix-annotations.csv", "prices": PRICES}),
    "mlflow": ("mlflow.jsonl", {}),
}
FAILED = {
    "litellm": "the call failed (1, first at",
    "langfuse": "the call failed (1, first at",
    "phoenix": "status 'ERROR' (1, first at",
    "mlflow": "status 'STATUS_CODE_ERROR' (1, first at",
}
pytestmark = pytest.mark.filterwarnings("ignore::bayescascade.errors.CascadeWarning")


def lines(name):
    content = (FILES / name).read_bytes()
    return [
        json.loads(line) for line in (gzip.decompress(content) if name.endswith(".gz") else content).splitlines()
    ]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(name, **more):
    file, options = TOOLS[name]
    return read_traces(FILES / file, preset=name.partition(",")[0], **(options | more))


def as_asked():
    """Confidences and labels of the calls, and the costs, by question and model; from the payloads themselves."""
    with open(FILES / "litellm-scores.csv") as file:
        right = {row["id"]: float(row["correct"]) for row in csv.DictReader(file)}
    rows = [row for row in lines("litellm.jsonl.gz") if row["status"] == "success"]
    return {
        (row["messages"][0]["content"], row["model"]): (
            np.mean([token["logprob"] for token in row["response"]["choices"][0]["logprobs"]["content"]]),
            right[row["id"]],
            row["response_cost"],
        )
        for row in rows
    }


@pytest.mark.parametrize("name", TOOLS)
def test_every_tool_gives_the_same_log(name):
    log = read(name)
    assert log["stage"].values.tolist() == ["gpt-4o-mini", "gpt-4o"]
    assert log.sizes["query"] == 10
    for variable, place in (("confidence", 0), ("correct", 1), ("cost", 2)):
        for stage in log["stage"].values:
            expected = sorted(values[place] for (_, model), values in as_asked().items() if model == stage)
            found = log[variable].sel(stage=stage).dropna("query")
            np.testing.assert_allclose(sorted(found.values), expected, rtol=1e-12)
    # right and wrong answers belong to their confidences
    pairs = {(round(value[0], 9), value[1]) for value in as_asked().values()}
    both = log[["confidence", "correct"]].stack(call=("query", "stage")).dropna("call")
    assert {(round(c, 9), g) for c, g in zip(both.confidence.values, both.correct.values, strict=True)} == pairs


@pytest.mark.parametrize("name", FAILED)
def test_the_call_that_failed_is_counted_for_its_model(name):
    with pytest.warns(CascadeWarning, match="1 of 20 calls are left out"):
        log = read(name)
    small = log.attrs["summary"].split("gpt-4o-mini: ")[1].split("gpt-4o: ")[0]
    assert small.startswith("9 of 10 calls are in the log; 9 are labelled, 9 have a cost.")
    assert FAILED[name] in small


@pytest.mark.parametrize("name", TOOLS)
def test_prices_count_what_came_from_a_cache(name):
    log = read(name, prices=PRICES)
    expected = (8 * 2.5 + 4 * 1.25 + 2 * 10.0) / 1e6
    tokens = log["cost"].sel(stage="gpt-4o").values
    assert np.isclose(tokens, expected, rtol=1e-12).any()
    np.testing.assert_allclose(np.sort(tokens), np.sort(read(name)["cost"].sel(stage="gpt-4o")), rtol=1e-9)


@pytest.mark.parametrize("name", TOOLS)
def test_the_format_is_seen(name):
    assert guess_format(FILES / TOOLS[name][0]) == name.partition(",")[0]


@pytest.mark.parametrize(("suffix", "sign"), [(".csv", ","), (".tsv", "\t"), (".parquet", "")])
def test_the_format_of_a_table_is_seen_from_its_columns(tmp_path, suffix, sign):
    table = pd.DataFrame(lines("langfuse.jsonl")).drop(columns=["usageDetails"]).astype(str)
    path = tmp_path / f"observations{suffix}"
    table.to_parquet(path) if suffix == ".parquet" else table.to_csv(path, index=False, sep=sign)
    assert guess_format(path) == "langfuse"
    table = table.drop(columns="output")  # a table without responses is something else
    table.to_parquet(path) if suffix == ".parquet" else table.to_csv(path, index=False, sep=sign)
    with pytest.raises(CascadeError, match="is of no known format"):
        guess_format(path)


def test_the_command_line_reads_them(tmp_path):
    result = run(
        *("read", str(FILES / "phoenix.parquet"), "--scores", str(FILES / "phoenix-annotations.csv")),
        *("--prices", "gpt-4o-mini=0.15/0.6/0.075,gpt-4o=2.5/10/1.25", "-o", str(tmp_path / "log.parquet")),
    )
    assert result.exit_code == 0, result.output
    assert "Format: phoenix." in result.stderr
    assert bc.read_log(tmp_path / "log.parquet").sizes["query"] == 10


def test_a_response_has_the_confidence_of_its_row():
    log = read("litellm")
    for row in lines("litellm.jsonl.gz"):
        if row["status"] == "success":
            live = bc.confidence(row["response"])
            assert live == log["confidence"].sel(query=row["trace_id"], stage=row["model"]).item()


def test_several_signals_side_by_side():
    log = read("litellm", candidates=["mean_logprob", "min_logprob"])
    mean = log["candidate"].sel(signal="mean_logprob", drop=True)
    np.testing.assert_array_equal(mean, log["confidence"])
    assert bc.signal_quality(log).loc["gpt-4o-mini", "min_logprob"]["n"] == 9


# ---- what the tools write that is easily taken for something else


def test_a_price_that_litellm_does_not_know_is_no_cost_of_zero(tmp_path):
    rows = lines("litellm.jsonl.gz")
    for row in rows:
        if row["model"] == "gpt-4o":  # as the package writes it of a model that is not in its table
            row["response_cost"] = 0.0
            row["model_map_information"] = {"model_map_key": "gpt-4o", "model_map_value": None}
    path = write(tmp_path / "calls.jsonl", rows)
    options = {"preset": "litellm", "scores": FILES / "litellm-scores.csv"}
    with pytest.raises(CascadeError, match="no call of stage 'gpt-4o' has a cost"):
        read_traces(path, **options)
    log = read_traces(path, **options, prices=PRICES)
    assert (log["cost"].sel(stage="gpt-4o") > 0).all()


def test_langfuses_wrapper_keeps_no_log_probabilities():
    with pytest.raises(CascadeError, match="there are no log-probabilities"):
        read_traces(FILES / "langfuse-wrapped.jsonl", preset="langfuse")


def test_langfuse_counts_cached_tokens_beside_the_input(tmp_path):
    rows = lines("langfuse.jsonl")
    for row in rows:  # as where what was logged is the answer without its usage
        if row.get("output"):
            output = json.loads(row["output"])
            row["output"] = json.dumps({"choices": output["choices"]})
    path = write(tmp_path / "observations.jsonl", rows)
    log = read_traces(path, preset="langfuse", scores=FILES / "langfuse-scores.jsonl", prices=PRICES)
    np.testing.assert_allclose(log["cost"], read("langfuse")["cost"], rtol=1e-12)


def test_mlflows_feedback_is_of_the_call_that_it_names(tmp_path):
    rows = lines("mlflow.jsonl")
    of_calls = read("mlflow")["correct"]
    assert {False} < {each["valid"] for row in rows for each in row["info"]["assessments"]}  # overridden ones, too
    for number, row in enumerate(
        rows
    ):  # the same of whole traces, or of the span around all calls: of their last call
        last = next(each for each in row["info"]["assessments"][::-1] if each["valid"])
        around = next(span for span in row["data"]["spans"] if span["parent_span_id"] is None)
        last["span_id"] = plain_id(around["span_id"]) if number % 2 else None
        row["info"]["assessments"] = [last]
    labels = {
        query: {"gpt-4o-mini": value}
        for query, value in zip(of_calls["query"].values, of_calls.sel(stage="gpt-4o-mini").values, strict=True)
    }
    log = read_traces(write(tmp_path / "traces.jsonl", rows), preset="mlflow", labels=labels)
    np.testing.assert_array_equal(log["correct"], of_calls)


def test_tables_with_ids_in_their_index():
    spans = pd.read_parquet(FILES / "phoenix.parquet")
    scores = pd.read_csv(FILES / "phoenix-annotations.csv", index_col="span_id")
    assert scores.index.name == "span_id"  # as the client gives it
    log = read_traces(spans, preset="phoenix", scores=scores, prices=PRICES)
    np.testing.assert_array_equal(log["correct"], read("phoenix")["correct"])


@pytest.mark.parametrize("how", [".csv", ".jsonl", ".jsonl, times as text"])
def test_spans_as_pandas_writes_them(tmp_path, how):
    spans, path = pd.read_parquet(FILES / "phoenix.parquet"), tmp_path / f"spans{how.partition(',')[0]}"
    if how == ".csv":
        spans.to_csv(path)  # the index and a column have one name
    else:
        if not how.endswith("text"):  # milliseconds since 1970
            for name in ("start_time", "end_time"):
                spans[name] = spans[name].astype("datetime64[ms, UTC]").astype("int64")
        spans.to_json(path, orient="records", lines=True, date_format="iso")
    log, whole = read_traces(path, preset="phoenix", **TOOLS["phoenix"][1]), read("phoenix")
    for variable in ("confidence", "correct", "cost"):
        np.testing.assert_array_equal(log[variable], whole[variable])
    np.testing.assert_allclose(log["latency"], whole["latency"], atol=2e-3)  # written in milliseconds


def test_two_columns_of_one_name_that_differ():
    table = pd.DataFrame([["a", "b"]], columns=["id", "id"])
    with pytest.raises(CascadeError, match="the table has two columns 'id' that differ; leave one of them out"):
        read_traces(table)


def test_failed_calls_that_name_no_model_are_counted(tmp_path):
    rows = lines("langfuse.jsonl")
    for row in rows:
        if row["level"] == "ERROR":
            row["model"] = None
            row["output"] = "RateLimitError"
    log = read_traces(write(tmp_path / "o.jsonl", rows), preset="langfuse", scores=FILES / "langfuse-scores.jsonl")
    assert "Calls that failed and name no model: 1 (first at" in log.attrs["summary"]


def test_scores_that_differ_are_said():
    scores = pd.read_csv(FILES / "litellm-scores.csv")
    again = pd.concat([scores, scores.head(1).assign(correct=1 - scores["correct"][0])])
    log = read("litellm", scores=again)
    assert "Calls or traces whose scores differ: 1; the last one counts." in log.attrs["summary"]


# ---- the script


def test_the_files_are_of_the_questions_that_the_scripts_ask(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import make_traces

    assert list(dict.fromkeys(question for question, _ in as_asked())) == make_traces.sums(10)


def test_tokens_as_langfuse_counts_them(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    from make_langfuse import langfuse_usage

    usage = {
        "prompt_tokens": 12,
        "completion_tokens": 5,
        "total_tokens": 17,
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": None},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    assert langfuse_usage(usage) == {
        "total": 17,
        "input": 8,
        "input_cached_tokens": 4,
        "output": 2,
        "output_reasoning_tokens": 3,
    }
