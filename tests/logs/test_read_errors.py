"""Logs that are wrong: each mistake has its own message, which names the place and the way out."""

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayescascade._common import memory
from bayescascade.errors import CascadeError
from bayescascade.logs.read import read_log


@pytest.fixture
def table():
    """Three queries, two stages, nothing wrong."""
    return pd.DataFrame(
        {
            "query": ["a", "a", "b", "b", "c", "c"],
            "stage": ["small", "large"] * 3,
            "confidence": [-0.5, -0.1, -0.2, 0.0, -0.3, -0.4],
            "correct": [1.0, 0.0, 1.0, 1.0, np.nan, 1.0],
            "cost": [1e-4, 1e-3] * 3,
            "tokens": [10, 20] * 3,
        }
    )


def wide(table):
    pivoted = table.pivot(index="query", columns="stage", values=["confidence", "correct", "cost"])
    pivoted.columns = [f"{stage}.{field}" for field, stage in pivoted.columns]
    return pivoted.reset_index()


def refuse(source, message, kind="logprob", **options):
    with pytest.raises(CascadeError, match=message):
        read_log(source, confidence_kind=kind, **options)


def put(table, column, row, value):
    table[column] = table[column].astype(object)
    table.loc[row, column] = value
    return table


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["query"], "missing column 'query'; the columns are 'stage', 'confidence'"),
        (["confidence"], "missing column 'confidence'; the columns are 'query', 'stage', 'correct'"),
        (["stage"], r"missing column 'stage' \(or 'model'\).*the columns are 'query', 'confidence'"),
        (["confidence", "stage"], "missing column 'confidence'.*a wide one has query and.*small.confidence"),
        (
            ["cost"],
            r"missing cost column 'cost'; the numeric columns are 'tokens'. Name the column with cost=",
        ),
        (["correct"], r"stage 'small' has no labelled row: there is no column 'correct'.*columns=\{'correct'"),
    ],
)
def test_missing_column(table, columns, message):
    refuse(table.drop(columns=columns), message)


def test_missing_cost_column_lists_text_numbers_of_csv(table, tmp_path):
    table.assign(note="x").drop(columns="cost").to_csv(tmp_path / "log.csv", index=False)
    refuse(tmp_path / "log.csv", "the numeric columns are 'tokens'. Name")
    refuse(tmp_path / "log.csv", "missing cost column 'usd'", cost="usd")


def test_missing_cost_column_of_a_wide_table(table):
    message = "missing cost column 'large.cost', 'small.cost'; no other column holds numbers"
    refuse(wide(table).drop(columns=["small.cost", "large.cost"]), message)
    refuse(wide(table), "missing cost column 'large.usd', 'small.usd'.*'large.cost', 'small.cost'", cost="usd")


def test_column_twice(table, tmp_path):
    twice = pd.concat([table, table["cost"]], axis=1)
    refuse(twice, "2 columns are called 'cost'; keep or rename all but one")
    twice.to_csv(tmp_path / "log.csv", index=False)
    refuse(tmp_path / "log.csv", "2 columns are called 'cost'")


def test_unknown_kind(table):
    refuse(table, "unknown confidence kind 'log_prob'; choose one of 'logprob'", kind="log_prob")


@pytest.mark.parametrize(
    ("kind", "value", "allowed"),
    [
        ("logprob", 0.3, "of kind 'logprob' it should be a mean log-probability, at most 0"),
        ("p_true", np.inf, "P.True., at most 0"),
        ("probability", 1.2, r"a probability in \[0, 1\]"),
        ("probability", -np.inf, r"a probability in \[0, 1\]"),
        ("margin", -0.1, r"in \[0, 1\]"),
        ("votes", 3.0, r"a share of agreeing samples in \[0, 1\]"),
        ("score", np.inf, "any finite number"),
    ],
)
@pytest.mark.parametrize("layout", ["long", "wide"])
def test_confidence_off_its_scale(table, kind, value, allowed, layout):
    table["confidence"] = -0.2 if kind in ("logprob", "log_likelihood", "p_true") else 0.2
    table.loc[3, "confidence"] = value
    row = 3 if layout == "long" else 1
    message = rf"confidence is {value!r} at row {row} \(counted from 0; query 'b', stage 'large'\); .*{allowed}"
    refuse(table if layout == "long" else wide(table), message, kind=kind)


def test_confidence_off_its_scale_counts_the_others(table):
    table["confidence"] = 1 + table["confidence"]
    refuse(table, r"confidence is 0.5 at row 0 .*, and 5 more like it; of kind 'logprob'")


@pytest.mark.parametrize("value", ["high", True, [0.1], pd.Timestamp("2025-01-01"), 1j])
def test_confidence_that_is_no_number(table, value):
    table["confidence"] = pd.Series([-0.5, value, None, -0.2, -0.1, -0.1], dtype=object)
    message = r"confidence is .* at row 1 \(counted from 0; query 'a', stage 'large'\); it should be a number"
    refuse(table, message)


@pytest.mark.parametrize("dtype", ["bool", "datetime64[ns]"])
def test_confidence_column_of_a_wrong_type(table, dtype):
    table["confidence"] = np.ones(6).astype(dtype)
    refuse(table, "confidence is .* at row 0 .*it should be a number, or empty")


@pytest.mark.parametrize("value", ["maybe", 2, 0.5, -1, np.inf, "C"])
@pytest.mark.parametrize("layout", ["long", "wide"])
def test_correctness(table, value, layout):
    table = put(table, "correct", 2, value)
    row = 2 if layout == "long" else 1
    shown = value if isinstance(value, str) else float(value)
    place = rf"row {row} \(counted from 0; query 'b', stage 'small'\)"
    message = rf"correct is {shown!r} at {place}; .*0, 1, True or False"
    refuse(table if layout == "long" else wide(table), message)


def test_a_log_of_too_many_stages_is_refused_before_it_takes_memory(monkeypatch):
    """A column of texts that are all different, taken for the stages."""
    n = 30_000
    texts = [f"text {i}" for i in range(n)]
    table = pd.DataFrame({"query": range(n), "stage": texts, "confidence": 0.5, "correct": 1, "cost": 1.0})
    monkeypatch.setattr(memory, "total_memory", lambda: 32e9)
    message = r"30,000 queries and 30,000 stages \('text 0', .*\) needs about 90.0 GB of memory"
    with pytest.raises(CascadeError, match=message):
        read_log(table, confidence_kind="probability")
    with pytest.raises(CascadeError, match="no query ran both 'text 0'"):
        read_log(table, confidence_kind="probability", stages=["text 0", "text 1"])


def test_duplicates(table):
    table.loc[5, "query"] = "a"
    place = r"row 5 \(counted from 0; query 'a', stage 'large'\)"
    message = rf"duplicate \(query, stage\): {place} repeats row 1; keep one"
    refuse(table, message)
    refuse(pd.concat([wide(table.iloc[:4])] * 2), "duplicate .query, stage.: row 2 .*repeats row 0")


@pytest.mark.parametrize("value", [-1e-9, np.inf, -np.inf])
def test_cost_negative_or_infinite(table, value):
    table.loc[4, "cost"] = value
    message = rf"cost is {value!r} at row 4 \(counted from 0; query 'c', stage 'small'\); a cost should be finite"
    refuse(table, message, stages=["small", "large"])


def test_cost_that_is_no_number(table):
    refuse(put(table, "cost", 3, "1 cent"), r"cost is '1 cent' at row 3 .*it should be a number, or empty")


def test_cost_unknown_at_a_stage(table):
    table.loc[table["stage"] == "large", "cost"] = np.nan
    refuse(table, "stage 'large' has no known cost, so stages cannot be ordered by mean cost")
    refuse(table, "stage 'large' has no known cost: it is empty wherever", stages=["small", "large"])


@pytest.mark.parametrize(
    ("cost", "message"),
    [
        (
            None,
            "cost should name a column or give the price .* but is None; without costs no cascade",
        ),
        (3.0, "cost should name a column .* but is 3.0"),
        ({}, "cost should name a column .* but is {}"),
        ({"small": 1e-4}, "cost gives no price for stage 'large', only for 'small'; add it"),
        (
            {"small": 1e-4, "larg": 1},
            "cost names a stage 'larg', which is not in the log; it has 'small', 'large'",
        ),
        ({0: 1e-4, 1: 1e-3}, "cost names a stage 0, which is not in the log"),
        (
            {"small": -1, "large": 1},
            "the price of stage 'small' should be a finite number, at least 0, but is -1",
        ),
        ({"small": 1, "large": np.nan}, "the price of stage 'large' should be .* but is nan"),
        ({"small": 1, "large": "1"}, "the price of stage 'large' should be .* but is '1'"),
        ({"small": 1, "large": True}, "the price of stage 'large' should be .* but is True"),
    ],
)
def test_cost_argument(table, cost, message):
    refuse(table, message, cost=cost)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ("small,large", "stages should be a list of names.*but is 'small,large'"),
        (3, "stages should be a list of names.*but is 3"),
        (["small", None], "stages should hold names or whole numbers but holds None"),
        (["small", 1.0], "stages should hold names or whole numbers but holds 1.0"),
        (["small", True], "holds True"),
        (["small"], "a cascade needs at least two stages but stages is .'small'."),
        ([], r"a cascade needs at least two stages but stages is \[\]"),
        (["small", "huge"], "there is no stage 'huge' in the log; it has 'small', 'large'"),
        ([0, 5], "there is no stage 5 in the log"),
        ([0, -1], "there is no stage -1 in the log"),
        (["small", "small"], "stages names a stage twice"),
        (["small", 0], "stages names a stage twice"),
    ],
)
def test_stages_argument(table, stages, message):
    refuse(table, message, stages=stages)


def test_one_stage_only(table):
    one = table[table["stage"] == "small"]
    refuse(one, "a cascade needs at least two stages but this log has only 'small'; add the other")
    refuse(wide(one), "needs at least two stages but this log has only 'small'")


def test_stage_without_labels(table):
    table.loc[table["stage"] == "large", "correct"] = np.nan
    refuse(table, "stage 'large' has no labelled row: .*label some .*'large.correct'.*, or leave the stage out")


@pytest.mark.parametrize("words", [("yes", "no"), ("Yes", "No"), ("true", "false")])
def test_labels_in_words(table, words):
    table["correct"] = [words[1 - int(v)] if np.isfinite(v) else None for v in table["correct"]]
    found = read_log(table, confidence_kind="logprob")["correct"].values
    np.testing.assert_array_equal(found, [[1.0, 0.0], [1.0, 1.0], [np.nan, 1.0]])


def test_stage_never_run(table):
    table.loc[table["stage"] == "large", ["confidence", "correct", "cost"]] = np.nan
    refuse(table, "stage 'large' has no confidence in any row.*a constant", stages=["small", "large"])


@pytest.mark.parametrize("style", ["{0}.{1}", "{1}_{0}"])
def test_wide_stage_without_a_confidence_column(table, style):
    columns = {
        f"{s}.{f}": style.format(s, f) for s in ("small", "large") for f in ("confidence", "correct", "cost")
    }
    frame = wide(table).rename(columns=columns).drop(columns=style.format("large", "confidence"))
    refuse(frame, "stage 'large' has a column '.*correct.*' but no '.*confidence.*'; add its confidence")
    refuse(frame, "stage 'large' has a column", cost={"small": 1, "large": 2})


@pytest.mark.parametrize("column", ["query", "stage"])
@pytest.mark.parametrize("value", [None, np.nan, "", " ", pd.NA])
def test_missing_label(table, column, value):
    refuse(put(table, column, 4, value), rf"column '{column}' is empty at row 4 .*every row needs its {column}")


def test_numbered_stage_of_two_models(table):
    table["model"], table["stage"] = table["stage"], 0
    table.loc[table["query"] == "c", "stage"] = [1, 1]
    refuse(table, r"stage 0 has 2 models \('small', 'large'\); a stage is one model: split")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("log.csv", b"", "log.csv is empty: it has no bytes"),
        ("log.csv", b"\n\n", "log.csv is empty: it has no rows"),
        ("log.csv", b"query,stage,confidence,correct,cost\n", "log.csv is empty: it has no rows"),
        ("log.jsonl", b"\n\n", "log.jsonl is empty: it has no rows"),
        (
            "log.csv",
            b"query,stage\n1,2\n1,2,3\n",
            r"cannot be read as CSV: .*line 3, saw 3; repair that line",
        ),
        ("log.csv", b"PAR1\xff\xfe\x00", "cannot be read as Parquet"),
        ("log.csv", b'query,"stage\n1,2\n', "cannot be read as CSV|is empty"),
        (
            "log.parquet",
            b"query,stage\n1,2\n",
            "cannot be read as Parquet, it is truncated or of another format",
        ),
        ("log.parquet", pickle.dumps({"a": 1}), "cannot be read as Parquet"),
        ("log.jsonl", b'{"query": 1}\n\n{"query": 1, "sta', "log.jsonl, line 3: not valid JSON"),
        (
            "log.jsonl",
            b'{"query": 1}\n[2]',
            "log.jsonl, line 2: should be an object .* but is a JSON list; write one",
        ),
        ("log.json", b'[\n{"query": 1}\n', "log.json is not valid JSON .*; write one object a row"),
        ("log.json", b"[1, 2]", "its item 0 .counted from 0. is a JSON int; write one object a row"),
        (
            "log.json",
            b'{"data": [1], "index": [1, 2]}',
            "one JSON object with the keys 'data', 'index', which are not",
        ),
        ("log.jsonl", b"null\n", "line 1: should be an object .* but is a JSON NoneType"),
        ("log.jsonl", b'{"query": "\xff"}', "line 1: not valid JSON"),
        ("log.pkl", b"x", "is a pickle, which can run any code when opened, so it is never read"),
        ("log.xlsx", b"x", "ends in '.xlsx'; a log file should end in one of .csv, .tsv, .parquet"),
        ("log", b"x", "ends in ''; a log file should end in one of"),
    ],
)
def test_foreign_and_broken_files(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    refuse(tmp_path / name, message)


def test_truncated_parquet(table, tmp_path):
    path = tmp_path / "log.parquet"
    table.to_parquet(path)
    whole = path.read_bytes()
    for end in (1, 4, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:end])
        refuse(path, "log.parquet cannot be read as Parquet, it is truncated or of another format")


def test_damaged_parquet(table, tmp_path):
    path = tmp_path / "log.parquet"
    table.to_parquet(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:4] + bytes(len(whole) - 12) + whole[-8:])
    refuse(path, "cannot be read")


class Trap:
    """Leaves a mark when unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("name", ["log.pkl", "log.pickle", "log.parquet", "log.csv", "log.jsonl", "log.json"])
def test_no_pickle_is_ever_opened(tmp_path, name):
    mark = tmp_path / "mark"
    (tmp_path / name).write_bytes(pickle.dumps(Trap(mark)))
    refuse(tmp_path / name, ".")
    assert not mark.exists()


def test_paths(tmp_path):
    refuse(tmp_path / "absent.csv", "there is no file .*absent.csv; give the path of a log")
    (tmp_path / "folder.csv").mkdir()
    refuse(tmp_path / "folder.csv", "no file of a log is at .*; name a folder of .parquet or .csv files")


def test_empty_frame(table):
    refuse(table.iloc[:0], "the DataFrame is empty: it has no rows")


@pytest.mark.parametrize("source", [None, 3, [{"query": 1}], {"query": [1]}])
def test_other_sources(source):
    refuse(source, f"a log should be a path or a DataFrame .* but is a {type(source).__name__}")


def test_json_lines_name_the_row(table, tmp_path):
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    rows[2]["confidence"] = {"mean": -0.1}
    (tmp_path / "log.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    refuse(
        tmp_path / "log.jsonl",
        r"confidence is {'mean': -0.1} at row 2 \(counted from 0; query 'b', stage 'small'\)",
    )


def test_messages_stay_short(table, tmp_path):
    many = pd.concat([table, pd.DataFrame(0.0, index=table.index, columns=[f"x{i}" for i in range(500)])], axis=1)
    with pytest.raises(CascadeError, match=r"and .* more") as caught:
        read_log(many.drop(columns="cost"), confidence_kind="logprob")
    assert len(str(caught.value)) < 500
