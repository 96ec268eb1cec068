"""Whatever stands in a file of responses or traces: it ends in a log with the right numbers, or in a sentence."""

import gzip
import json
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("hypothesis")
from helpers.fuzz import places, replaced
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import bayescascade as bc
from bayescascade.logs.importers.one_line import call_of, from_json
from bayescascade.logs.importers.presets import PRESETS
from bayescascade.logs.importers.responses import read_responses
from bayescascade.logs.importers.traces import read_traces

QUICK = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["", "NaN", "1", "-9999", -9999.0, 1e308, -1e308, 10**400, "\ud800", "\0", [], {}]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=5,
)


def response(text, logprob):
    top = [{"token": text, "logprob": logprob}, {"token": "Z", "logprob": -5.0}]
    content = [{"token": text, "logprob": logprob, "top_logprobs": top}]
    choice = {"message": {"content": text}, "logprobs": {"content": content}}
    return {"model": "m", "choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 1}}


def batch(n=4):
    return [
        {
            "custom_id": f"q{i}",
            "response": {"status_code": 200, "body": response("AB"[i % 2], -0.1 - i / 10)},
            "error": None,
        }
        for i in range(n)
    ]


@st.composite
def changed(draw, rows):
    """Rows of which one or two values are replaced by others."""
    for _ in range(draw(st.integers(1, 2))):
        row = draw(st.integers(0, len(rows) - 1))
        path = draw(st.sampled_from(list(places(rows[row]))))
        rows = [replaced(old, path, draw(VALUES)) if i == row else old for i, old in enumerate(rows)]
    return rows


def read(function, *args, **options):
    """The log, or None where there is a sentence instead."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bc.CascadeWarning)
        with suppress(bc.CascadeError):
            return function(*args, **options)
    return None


def check_confidences(log, stage, items):
    """Confidences are those that a service computes of the same responses; the first one of a query counts."""
    live = {}
    for query, answer in items if log is not None else ():
        with suppress(bc.NoConfidence):
            key = int(query) if isinstance(query, float) and query.is_integer() else query
            live.setdefault(str(key), bc.confidence(answer))
    if log is not None:
        for query, value in zip(log["query"].values, log["confidence"].sel(stage=stage).values, strict=True):
            assert np.isnan(value) or live[str(query)] == value


@QUICK
@given(rows=changed(batch()))
@example(rows=[{**batch()[0], "custom_id": 10**400}, *batch()[1:]])
def test_responses(tmp_path, rows):
    files = {name: tmp_path / f"{name}.jsonl" for name in ("small", "large")}
    files["small"].write_text("".join(json.dumps(row) + "\n" for row in rows))
    files["large"].write_text("".join(json.dumps(row) + "\n" for row in batch()))
    labels = {f"q{i}": "A" for i in range(4)}
    log = read(read_responses, files, labels=labels, prices={"small": (1.0, 1.0), "large": 1.0})
    calls = [call_of(row, row.get("custom_id"), "small", "") for row in rows if log is not None]
    check_confidences(log, "small", [(call.query, call.response) for call in calls if call.problem is None])


@QUICK
@given(content=st.binary(max_size=200))
@example(content=b"PK\x03\x04")
@example(content=b"\x1f\x8b\x08\0")
@example(content=b"[")
@example(content=b'{"choices":')
def test_any_bytes(tmp_path, content):
    path = tmp_path / "any.jsonl"
    path.write_bytes(content)
    assert read(read_responses, {"small": path, "large": path}) is None
    assert read(read_traces, path) is None


def traces(preset):
    """Rows of two models as the columns of a preset have them, two calls a trace."""
    fields = PRESETS[preset]
    only = {name: values[0] for name, values in fields.only.items()}
    return [
        {
            fields.query[0]: f"t{i // 2}",
            fields.call[0]: f"c{i}",
            fields.model[0]: ("small", "large")[i % 2],
            fields.response[0]: response("A", -0.1 - i / 10),
            fields.cost[0]: (1e-4, 1e-3)[i % 2],
            **only,
        }
        for i in range(8)
    ]


FILES = Path(__file__).parent / "files" / "traces"
REAL = {"litellm": "litellm.jsonl.gz", "langfuse": "langfuse.jsonl", "mlflow": "mlflow.jsonl"}


def confidences_in(node):
    """Every number that `bc.confidence` makes of anything within, also of texts of JSON."""
    found = set()
    for path in places(node):
        inner = node
        for key in path:
            inner = inner[key]
        inner = from_json(inner)
        if isinstance(inner, dict) and "choices" in inner:
            with suppress(bc.NoConfidence):
                found.add(bc.confidence(inner))
    return found


@pytest.mark.parametrize("preset", REAL)
@settings(QUICK, max_examples=15)
@given(data=st.data())
def test_traces_that_the_tools_wrote(tmp_path, preset, data):
    content = (FILES / REAL[preset]).read_bytes()
    lines = (gzip.decompress(content) if REAL[preset].endswith(".gz") else content).splitlines()
    rows = data.draw(changed([json.loads(line) for line in lines[:8]]))
    path = tmp_path / "traces.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    scores = {"litellm": "litellm-scores.csv", "langfuse": "langfuse-scores.jsonl"}.get(preset)
    prices = {"gpt-4o-mini": 1e-5, "gpt-4o": 1e-4}
    log = read(read_traces, path, preset=preset, scores=scores and FILES / scores, prices=prices)
    if log is not None:
        made = log["confidence"].values
        assert set(made[~np.isnan(made)]) <= confidences_in(rows)


@pytest.mark.parametrize("preset", PRESETS)
@settings(QUICK, max_examples=15)
@given(data=st.data())
def test_traces(tmp_path, preset, data):
    whole, fields = traces(preset), PRESETS[preset]
    scores = pd.DataFrame({fields.score_key[0]: [f"c{i}" for i in range(8)], fields.score_value[0]: [1, 0] * 4})
    rows = data.draw(changed(whole))
    path = tmp_path / "traces.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    log = read(read_traces, path, preset=preset, scores=scores)
    if log is not None and "small" in log["stage"].values:
        small = [row for row in rows if isinstance(row, dict) and row.get(fields.model[0]) == "small"]
        check_confidences(log, "small", [(row.get(fields.query[0]), row.get(fields.response[0])) for row in small])
