"""Logs of several tasks: reading the column, checking the coord, joining logs."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import bayescascade as bc
from bayescascade.errors import CascadeError
from bayescascade.logs.read import read_log
from bayescascade.logs.tasks import combine_tasks
from bayescascade.logs.validate import validate_log

IDS = [7, 8, 9, 7, 8]  # query ids repeat between tasks
TASKS = ["law", "law", "law", "maths", "maths"]
UNIQUE = ["law/7", "law/8", "law/9", "maths/7", "maths/8"]


def long_table(ids=IDS, tasks=TASKS, name="task"):
    n = len(ids)
    return pd.DataFrame(
        {
            "query": np.repeat(ids, 2),
            name: np.repeat(tasks, 2),
            "stage": np.tile([0, 1], n),
            "model": np.tile(["small", "large"], n),
            "confidence": np.linspace(0.1, 0.9, 2 * n),
            "correct": np.tile([0, 1, 1, 1], n)[: 2 * n],
            "cost": np.tile([1.0, 5.0], n),
        }
    )


def wide_table(ids=IDS, tasks=TASKS, name="task", style="{stage}.{field}"):
    long = long_table(ids, tasks, name)
    columns = {"query": ids, name: tasks}
    for stage in ("small", "large"):
        for field in ("confidence", "correct", "cost"):
            values = long.loc[long["model"] == stage, field].values
            columns[style.format(stage=stage, field=field)] = values
    return pd.DataFrame(columns)


def read(table, **options):
    return read_log(table, confidence_kind="probability", **options)


# ---- reading


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
@pytest.mark.parametrize("layout", [long_table, wide_table])
@pytest.mark.parametrize("name", ["task", "domain"])
def test_tasks_of_every_layout(layout, name, suffix, tmp_path):
    path, table = tmp_path / f"log.{suffix}", layout(name=name)
    if suffix == "jsonl":
        path.write_text("\n".join(map(json.dumps, table.to_dict("records"))))
    else:
        getattr(table, f"to_{suffix}")(path, index=False)
    log = read(path, task=None if name == "task" else name)
    assert log["task"].dims == ("query",)
    assert log["task"].values.tolist() == TASKS
    assert log["query"].values.tolist() == UNIQUE
    np.testing.assert_array_equal(log["confidence"], np.linspace(0.1, 0.9, 10).reshape(5, 2))


@pytest.mark.parametrize("style", ["{stage}:{field}", "{field}:{stage}", "{field}.{stage}", "{field}_{stage}"])
def test_tasks_of_every_wide_style(style):
    xr.testing.assert_identical(read(wide_table(style=style)), read(wide_table()))


def test_rows_of_tasks_may_be_mixed():
    log = read(long_table().iloc[[6, 0, 9, 2, 8, 1, 7, 3, 5, 4]], stages=["small", "large"])
    assert log["query"].values.tolist() == ["maths/7", "law/7", "maths/8", "law/8", "law/9"]
    assert log["task"].values.tolist() == ["maths", "law", "maths", "law", "law"]
    np.testing.assert_array_equal(log.sel(query=UNIQUE)["confidence"], np.linspace(0.1, 0.9, 10).reshape(5, 2))


def test_ids_that_do_not_repeat_are_kept():
    log = read(long_table(ids=[3, 1, 4, 15, 9]))
    assert log["query"].values.tolist() == [3, 1, 4, 15, 9]
    assert log["task"].values.tolist() == TASKS
    assert read(wide_table().drop(columns="query"))["query"].values.tolist() == [0, 1, 2, 3, 4]


def test_tasks_are_text():
    assert read(long_table(tasks=[1, 1, 1, 2, 2]))["task"].values.tolist() == ["1", "1", "1", "2", "2"]


def test_no_column_no_coord():
    assert "task" not in read(long_table(ids=range(5)).drop(columns="task")).coords
    named = read(long_table(ids=range(5)).assign(domain="x"), task="domain")
    assert set(named["task"].values) == {"x"}  # the named column, not the one called task


def test_queries_left_out_leave_their_tasks():
    table = long_table()
    three = pd.concat([table, table[table["model"] == "small"].assign(stage=2, model="huge", cost=9.0)])
    three.loc[(three["query"] == 9) & (three["model"] != "small"), ["confidence", "correct"]] = np.nan
    log = read(three, stages=["large", "huge"])
    assert log["query"].values.tolist() == ["law/7", "law/8", "maths/7", "maths/8"]
    assert log["task"].values.tolist() == ["law", "law", "maths", "maths"]


@pytest.mark.parametrize("layout", [long_table, wide_table])
@pytest.mark.parametrize("value", ["", "  ", None, np.nan])
def test_a_task_is_missing(layout, value):
    table = layout()
    table["task"] = table["task"].astype(object)
    table.loc[3, "task"] = value
    with pytest.raises(CascadeError, match=r"column 'task' is empty at row 3 .*needs its task"):
        read(table)


@pytest.mark.parametrize(
    ("table", "task", "message"),
    [
        (long_table(), "domain", "missing task column 'domain'; the columns are 'query', 'task'"),
        (wide_table(), "domain", "missing task column 'domain'; the columns are 'query', 'task'"),
        (long_table(), 3, "task should name a column but is 3"),
        (
            long_table(ids=[7, 7, 9, 7, 8]),
            None,
            r"duplicate \(query, stage\): row 2 .*query 'law/7'.* repeats row 0",
        ),
        (
            wide_table(ids=[7, 7, 9, 7, 8]),
            None,
            r"duplicate \(query, stage\): row 1 .*query 'law/7'.* repeats row 0",
        ),
        (
            long_table(["1", "a/1", "1", "2", "2"], ["b/a", "b", "c", "b", "c"]),
            None,
            "query 'b/a/1' occurs 2 times; every query of a task needs its own label",
        ),
        (wide_table().drop(columns="small.cost"), None, "numeric columns are 'large.cost'. Name"),
    ],
)
def test_bad_tasks(table, task, message):
    with pytest.raises(CascadeError, match=message):
        read(table, task=task)


def test_a_log_of_tasks_is_written_and_read_back(tmp_path):
    log = read(long_table())
    bc.write_log(log, tmp_path / "log.csv")
    xr.testing.assert_equal(read(tmp_path / "log.csv"), log)


# ---- the coord


def with_tasks(values):
    return read(long_table(ids=range(5)).drop(columns="task")).assign_coords(task=("query", values))


def test_validate_keeps_tasks_as_text():
    checked = validate_log(with_tasks([1, 1, 2, 2, 2]))
    assert checked["task"].values.tolist() == ["1", "1", "2", "2", "2"]
    log = read(long_table())
    xr.testing.assert_identical(validate_log(log), log)


def test_validate_after_a_trip_through_a_file(tmp_path):
    log = read(long_table())
    log.to_netcdf(tmp_path / "log.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "log.nc", engine="h5netcdf") as loaded:
        xr.testing.assert_identical(validate_log(loaded.load()), log)


@pytest.mark.parametrize("missing", [None, np.nan, "", " "])
def test_validate_wants_the_task_of_every_query(missing):
    log = with_tasks(np.array(["a", "a", missing, "b", "b"], dtype=object))
    with pytest.raises(CascadeError, match=r"query 2 has no task .*name the task of every query"):
        validate_log(log)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda log: log.assign_coords(task="law"), "'task' should have the dim query but has none"),
        (lambda log: log.assign_coords(task=("stage", ["a", "b"])), "should have the dim query but has 'stage'"),
        (lambda log: log.reset_coords("task"), "'task' is a variable of the log; make it a coord"),
    ],
)
def test_validate_wants_tasks_over_queries(change, message):
    with pytest.raises(CascadeError, match=message):
        validate_log(change(with_tasks(["a", "a", "b", "b", "b"])))


# ---- joining logs


def part(n=6, seed=1, **options):
    return bc.simulate(n, random_seed=seed, **options)


def test_combine_keeps_every_part():
    logs = {"maths": part(6, 1), "law": part(4, 2)}
    joined = combine_tasks(logs)
    assert joined["task"].values.tolist() == ["maths"] * 6 + ["law"] * 4
    assert joined["query"].values.tolist() == [f"maths/{i}" for i in range(6)] + [f"law/{i}" for i in range(4)]
    for name, log in logs.items():
        own = joined.isel(query=joined["task"].values == name)
        for variable in ("confidence", "correct", "cost"):
            np.testing.assert_array_equal(own[variable], log[variable])
    assert joined.attrs == {"confidence_kind": "probability", "stage_order": "as given"}
    xr.testing.assert_identical(validate_log(joined), joined)


def test_combine_is_what_read_log_reads(tmp_path):
    logs = {"maths": part(6, 1), "law": part(4, 2)}
    joined = combine_tasks(logs)
    bc.write_log(joined, tmp_path / "log.parquet")
    xr.testing.assert_identical(read(tmp_path / "log.parquet"), joined)


def test_combine_keeps_unique_ids_and_their_type():
    later = part(4, 2).assign_coords(query=[10, 11, 12, 13])
    assert combine_tasks({"a": part(3), "b": later})["query"].values.tolist() == [0, 1, 2, 10, 11, 12, 13]
    text = part(3, 2).assign_coords(query=["x", "y", "1"])
    assert combine_tasks({"a": part(3), "b": text})["query"].values.tolist() == [
        "a/0",
        "a/1",
        "a/2",
        "b/x",
        "b/y",
        "b/1",
    ]


def test_combine_fills_latencies_and_drops_the_rest():
    timed = part(3)
    timed["latency"] = timed["cost"] * 1e5
    timed["latency"].attrs["units"] = "ms"
    timed = timed.assign(prompt=("query", ["p", "q", "r"])).assign_coords(day=("query", [1, 2, 3]))
    for logs in ({"a": timed, "b": part(2, 2)}, {"b": part(2, 2), "a": timed}):
        joined = combine_tasks(logs)
        assert set(joined.variables) == {"confidence", "correct", "cost", "latency", "query", "stage", "task"}
        of_a = joined["task"].values == "a"
        np.testing.assert_array_equal(joined["latency"][of_a], timed["latency"])
        assert joined["latency"][~of_a].isnull().all()
        assert joined["latency"].attrs == {"units": "ms"}


def test_combine_says_how_the_stages_were_ordered():
    by_cost = part(3).assign_attrs(stage_order="by mean cost")
    assert combine_tasks({"a": by_cost, "b": by_cost}).attrs["stage_order"] == "by mean cost"
    assert combine_tasks({"a": by_cost, "b": part(3)}).attrs["stage_order"] == "as given"


def test_combine_leaves_its_arguments_alone():
    logs = {"a": part(3), "b": part(3, 2)}
    before = {name: log.copy(deep=True) for name, log in logs.items()}
    combine_tasks(logs)
    for name, log in logs.items():
        xr.testing.assert_identical(log, before[name])


def test_one_of_several_tasks_may_be_combined_anew():
    joined = combine_tasks({"a": part(3), "b": part(3, 2)})
    alone = joined.isel(query=joined["task"].values == "a")
    assert set(combine_tasks({"x": alone, "y": part(3, 3)})["task"].values) == {"x", "y"}


PART = part(4)
SECONDS = PART.assign(latency=PART["cost"].assign_attrs(units="s"))


@pytest.mark.parametrize(
    ("logs", "message"),
    [
        ({}, "the logs should be a dict with a log for each task"),
        ([PART, PART], "the logs should be a dict"),
        ({1: PART}, "a task's name should be a text but is 1"),
        ({" ": PART}, "a task's name should be a text but is ' '"),
        ({"a": PART, "b": 3}, "task 'b': a log should be an xarray Dataset but is a int"),
        ({"a": PART, "b": PART.drop_vars("cost")}, "task 'b': the log has no variable 'cost'"),
        (
            {"a": PART, "b": PART.assign_coords(stage=["small", "medium", "xl"])},
            "those of 'a' are 'small', 'medium', 'large' and those of 'b' are 'small', 'medium', 'xl'; keep",
        ),
        ({"a": PART, "b": part(4, n_stages=2)}, "those of 'b' are 'small', 'medium'; keep the common ones"),
        ({"a": PART, "b": PART.isel(stage=[1, 0, 2])}, "in one order with log.sel"),
        (
            {"a": part(4, confidence_kind="logprob"), "b": part(4, confidence_kind="p_true")},
            "'logprob' in 'a' and 'p_true' in 'b'; both are logarithms of probabilities, so read both",
        ),
        (
            {"a": PART, "b": part(4, confidence_kind="score")},
            "'probability' in 'a' and 'score' in 'b'; log the same confidence",
        ),
        (
            {"a": combine_tasks({"x": PART, "y": PART}), "b": PART},
            "the log of task 'a' has the tasks 'x', 'y' already; pass a log for each",
        ),
        (
            {"a": SECONDS, "b": PART.assign(latency=PART["cost"].assign_attrs(units="ms"))},
            r"latencies are in different units \(s in 'a', ms in 'b'\)",
        ),
        (
            {"a": PART, "b": SECONDS, "c": PART.assign(latency=PART["cost"])},
            r"latencies are in different units \(s in 'b', not named in 'c'\)",
        ),
    ],
)
def test_logs_that_cannot_be_combined(logs, message):
    with pytest.raises(CascadeError, match=message):
        combine_tasks(logs)


def test_the_advice_on_logarithms_can_be_taken(tmp_path):
    """What combine_tasks says of logprob and p_true: either file reads as either kind."""
    bc.write_log(part(8, confidence_kind="p_true"), Path(tmp_path / "one.csv"))
    bc.write_log(part(8, 2, confidence_kind="logprob"), Path(tmp_path / "two.csv"))
    for kind in ("logprob", "p_true"):
        logs = {name: read_log(tmp_path / f"{name}.csv", confidence_kind=kind) for name in ("one", "two")}
        assert combine_tasks(logs).attrs["confidence_kind"] == kind


def test_import_stays_light():
    from helpers.imports import HEAVY, loaded_by

    loaded = loaded_by("import bayescascade as bc; bc.combine_tasks({'a': bc.load_example()})")
    assert loaded.isdisjoint(HEAVY), sorted(re.escape(name) for name in loaded & set(HEAVY))
