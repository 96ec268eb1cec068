"""Traces: columns of any tool, of any library's table, with a second table of scores."""

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayescascade.errors import CascadeError, CascadeWarning
from bayescascade.logs.importers.traces import read_traces

SMALL, LARGE = (-0.7, -0.2, -0.4, -0.6), (-0.1, -0.3, -0.2, -0.1)
GRADES = [0, 1, 1, 1, 0, 1, 1, 0]  # by call


def response(text, logprob):
    choice = {"message": {"content": text}, "logprobs": {"content": [{"token": text, "logprob": logprob}]}}
    return {"choices": [choice], "usage": {"prompt_tokens": 10, "completion_tokens": 1}}


def calls():
    """Two calls of each of four traces: (trace, call, model, response, cost, start, end)."""
    for i in range(8):
        logprob = (SMALL, LARGE)[i % 2][i // 2]
        text = "B" if GRADES[i] else "A"
        yield f"t{i // 2}", f"c{i}", ("small", "large")[i % 2], response(text, logprob), (1e-4, 1e-3)[i % 2], i


def litellm():
    names = ("trace_id", "id", "model", "response", "response_cost", "startTime")
    return [
        {**dict(zip(names, call, strict=True)), "endTime": call[-1] + 0.5, "status": "success"} for call in calls()
    ]


def langfuse():
    names = ("traceId", "id", "model", "output", "totalCost", "startTime")
    rows = [dict(zip(names, call, strict=True)) for call in calls()]
    return [
        {
            **row,
            "output": json.dumps(row["output"]),
            "startTime": f"2026-11-01T10:00:{row['startTime']:02d}.000Z",
            "endTime": f"2026-11-01T10:00:{row['startTime']:02d}.500Z",
            "usageDetails": {"input": 10, "output": 1},
        }
        for row in rows
    ]


def phoenix():
    names = (
        "context.trace_id",
        "context.span_id",
        "attributes.llm.model_name",
        "attributes.output.value",
        "attributes.llm.cost.total",
        "start_time",
    )
    rows = [dict(zip(names, call, strict=True)) for call in calls()]
    for row in rows:
        start = pd.Timestamp("2026-11-01", tz="UTC") + pd.Timedelta(seconds=row["start_time"])
        row |= {"start_time": str(start), "end_time": str(start + pd.Timedelta("500ms")), "status_code": "OK"}
        row["attributes.output.value"] = json.dumps(row["attributes.output.value"])
    return rows


def mlflow():
    """As ``Trace.to_dict`` gives it: attributes are texts of JSON, and other spans are no calls."""
    traces = {}
    for trace, call, model, answer, cost, start in calls():
        spans = traces.setdefault(trace, [])
        attributes = {
            "mlflow.spanType": '"CHAT_MODEL"',
            "mlflow.spanOutputs": json.dumps(answer),
            "mlflow.llm.model": json.dumps(model),
            "mlflow.llm.cost": json.dumps({"total_cost": cost}),
        }
        nano = 1_790_000_000_000_000_000 + start * 1_000_000_000
        span = {
            "trace_id": "b64==",
            "span_id": call,
            "attributes": attributes,
            "status": {"code": "STATUS_CODE_OK"},
        }
        spans.append({**span, "start_time_unix_nano": nano, "end_time_unix_nano": nano + 500_000_000})
        spans.append({"trace_id": "b64==", "span_id": f"p{call}", "attributes": {"mlflow.spanType": '"CHAIN"'}})
    return [{"info": {"trace_id": trace}, "data": {"spans": spans}} for trace, spans in traces.items()]


TOOLS = {"litellm": litellm, "langfuse": langfuse, "phoenix": phoenix, "mlflow": mlflow}
SCORES = {
    "litellm": ("id", "correct"),
    "langfuse": ("observationId", "value"),
    "phoenix": ("span_id", "annotation.score"),
    "mlflow": ("trace_id", "feedback.value"),
}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def scores(tool):
    key, value = SCORES[tool]
    return pd.DataFrame({key: [f"c{i}" for i in range(8)], value: GRADES})


def check(log):
    assert log["stage"].values.tolist() == ["small", "large"]
    assert log["query"].values.tolist() == ["t0", "t1", "t2", "t3"]
    np.testing.assert_array_equal(log["confidence"], np.array([SMALL, LARGE]).T)
    np.testing.assert_array_equal(log["correct"], np.array(GRADES).reshape(4, 2))
    np.testing.assert_array_equal(log["cost"], [[1e-4, 1e-3]] * 4)


@pytest.mark.parametrize("tool", TOOLS)
def test_presets(tmp_path, tool):
    log = read_traces(write(tmp_path / "traces.jsonl", TOOLS[tool]()), preset=tool, scores=scores(tool))
    check(log)
    np.testing.assert_allclose(log["latency"], 0.5)
    assert log["latency"].attrs["units"] == "s"


@pytest.mark.parametrize("tool", ["litellm", "langfuse", "phoenix"])
def test_a_score_of_a_trace_is_of_its_last_call(tmp_path, tool):
    key = {"litellm": "trace_id", "langfuse": "traceId", "phoenix": "trace_id"}[tool]
    table = pd.DataFrame({key: ["t0", "t1", "t2", "t3"], SCORES[tool][1]: GRADES[1::2]})
    rows = TOOLS[tool]()[::-1]  # the time says which is last, not the order of the rows
    labels = {f"t{i}": {"small": GRADES[2 * i]} for i in range(4)}
    log = read_traces(write(tmp_path / "traces.jsonl", rows), preset=tool, scores=table, labels=labels)
    check(log.isel(query=slice(None, None, -1)))


def test_feedback_within_traces(tmp_path):
    rows = mlflow()
    for i, row in enumerate(rows):
        row["info"]["assessments"] = [
            {"assessment_name": "tone", "feedback": {"value": "kind"}},
            {"assessment_name": "correctness", "feedback": {"value": bool(GRADES[2 * i + 1])}},
        ]
    path = write(tmp_path / "traces.jsonl", rows)
    labels = {f"t{i}": {"small": GRADES[2 * i]} for i in range(4)}
    check(read_traces(path, preset="mlflow", score="correctness", labels=labels))
    with pytest.raises(CascadeError, match="the scores are of 'tone', 'correctness'"):
        read_traces(path, preset="mlflow", labels=labels)


@pytest.mark.parametrize("library", ["pandas", "polars", "polars lazy", "pyarrow", "duckdb"])
def test_tables_of_any_library(library):
    rows, graded = langfuse(), scores("langfuse")
    table = pd.DataFrame(rows).drop(columns="usageDetails")
    if library.startswith("polars"):
        polars = pytest.importorskip("polars")
        table, graded = polars.from_pandas(table), polars.from_pandas(graded)
        table = table.lazy() if library == "polars lazy" else table
    elif library == "pyarrow":
        import pyarrow

        table = pyarrow.Table.from_pandas(table)
    elif library == "duckdb":
        duckdb = pytest.importorskip("duckdb")
        table = duckdb.from_df(table).order("id")
    check(read_traces(table, preset="langfuse", scores=graded))


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".json"])
def test_files_of_tables(tmp_path, suffix):
    table, path = pd.DataFrame(langfuse()).drop(columns="usageDetails"), tmp_path / f"traces{suffix}"
    if suffix == ".csv":
        table.to_csv(path, index=False)
    elif suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_json(path, orient="records")
    check(read_traces(path, preset="langfuse", scores=scores("langfuse")))


def test_columns_of_ones_own():
    rows = [
        {"ticket": t, "llm": model, "raw": {"body": answer}, "usd": cost}
        for t, _, model, answer, cost, _ in calls()
    ]
    columns = {"query": "ticket", "model": "llm", "response": "raw.body", "cost": "usd"}
    labels = {f"t{i}": {"small": GRADES[2 * i], "large": GRADES[2 * i + 1]} for i in range(4)}
    check(read_traces(pd.DataFrame(rows), columns=columns, labels=labels))


def test_prices_go_before_costs():
    log = read_traces(
        pd.DataFrame(langfuse()),
        preset="langfuse",
        scores=scores("langfuse"),
        prices={"small": (1, 2), "large": 0.5},
    )
    np.testing.assert_allclose(log["cost"], [[12e-6, 0.5]] * 4)


def test_calls_that_failed_are_counted(tmp_path):
    rows = litellm()
    rows[2] |= {"status": "failure", "error_str": None}
    rows[5]["response"] = "redacted-by-litellm"
    with pytest.warns(CascadeWarning, match="2 of 8 calls are left out") as caught:
        read_traces(write(tmp_path / "t.jsonl", rows), preset="litellm", scores=scores("litellm"))
    assert "small: status 'failure' (1, first at" in str(caught[0].message)
    assert "large: there is no response in JSON (1, first at" in str(caught[0].message)


WRONG = {
    "preset": ({"preset": "lang"}, "preset='lang' is not allowed; choose one of litellm"),
    "columns": ({"columns": {"models": "x"}}, "give the names of some of query"),
    "no calls": ({"preset": "phoenix"}, "no row is a call of a model: one has its model in 'attributes"),
    "score": (
        {"preset": "langfuse", "scores": scores("langfuse").assign(value=0.7)},
        "the score is 0.7; it should be 0 or 1",
    ),
    "scores": (
        {"preset": "langfuse", "scores": scores("langfuse").assign(name=["a", "b"] * 4)},
        "the scores are of 'a', 'b'; say which one tells right from wrong: score='a'",
    ),
    "no key": (
        {"preset": "langfuse", "scores": pd.DataFrame({"value": [1]})},
        "row 0 .*no column says what the score is of",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistakes(name):
    options, message = WRONG[name]
    with pytest.raises(CascadeError, match=message):
        read_traces(pd.DataFrame(langfuse()), **options)


def test_neither_a_path_nor_a_table():
    with pytest.raises(
        CascadeError, match="should be a path or of pandas, Polars, PyArrow or DuckDB, but is a int"
    ):
        read_traces(7)


def test_the_same_log_from_a_file_and_a_table(tmp_path):
    rows = langfuse()
    path = write(tmp_path / "traces.jsonl", rows)
    table = read_traces(pd.DataFrame(rows), preset="langfuse", scores=scores("langfuse"))
    xr.testing.assert_identical(read_traces(path, preset="langfuse", scores=scores("langfuse")), table)
