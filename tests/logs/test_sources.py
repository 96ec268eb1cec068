"""A log in many files, or in partitions of Dask, is read as in one; files that do not belong together are not."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import bayescascade as bc
from bayescascade.errors import CascadeError


@pytest.fixture
def table(tmp_path, monkeypatch):
    """The rows of a log, which knows its kind, in the working folder."""
    monkeypatch.chdir(tmp_path)
    bc.write_log(bc.simulate(40, n_stages=2, random_seed=1), "log.parquet")
    (tmp_path / "logs").mkdir()
    return pd.read_parquet("log.parquet")


def write(table, path, **changes):
    part = table.assign(**changes)
    part.attrs = table.attrs
    part.to_parquet(path, index=False) if path.endswith("parquet") else part.to_csv(path, index=False)


SOURCES = {"folder": "logs", "pattern": "logs/*", "list": ["logs/0.parquet", "logs/1.parquet"]}


@pytest.mark.parametrize("case", SOURCES)
def test_files_are_one_log(table, case):
    for i, part in enumerate((table[:30], table[30:])):  # a query may stand in two files
        write(part, f"logs/{i}.parquet")
    xr.testing.assert_identical(bc.read_log(SOURCES[case]), bc.read_log("log.parquet"))


def test_csv_keeps_its_texts(table):
    """Ids with zeros before them stay as they are, and a file that only has a header adds nothing."""
    ids = [f"{number:03d}" for number in range(40)]
    table = table.assign(query=np.repeat(ids, 2))
    for i, part in enumerate((table[:20], table[:0], table[20:])):
        write(part, f"logs/{i}.csv")
    assert bc.read_log("logs", confidence_kind="probability")["query"].values.tolist() == ids


def test_a_column_may_stand_in_the_names_of_folders(table, tmp_path):
    for name, part in (("law", table[:20]), ("art", table[20:])):
        (tmp_path / f"logs/task={name}").mkdir()
        write(part, f"logs/task={name}/1.parquet")
    assert bc.read_log("logs")["task"].values.tolist() == ["art"] * 30 + ["law"] * 10


def test_partitions_of_dask_are_one_log(table):
    frames = pytest.importorskip("dask.dataframe")
    table.attrs = {}
    partitions = frames.from_pandas(table, npartitions=3)
    one, many = (bc.read_log(source, confidence_kind="probability") for source in (table, partitions))
    xr.testing.assert_identical(one, many)


def test_a_file_without_labels_is_one_of_the_log(table):
    """Its column of labels has no type."""
    expected = table.assign(correct=table["correct"].where(table.index >= 20))
    write(table[:20], "logs/0.parquet", correct=None)
    write(table[20:], "logs/1.parquet")
    read = bc.read_log("logs")
    xr.testing.assert_identical(read, bc.read_log(expected))
    pytest.importorskip("duckdb")
    policy = bc.Policy(["small", "medium"], [0.8, float("-inf")], "probability")
    with pytest.warns(bc.CascadeWarning, match="10 of 40 answers .* have no label"):
        errors = [bc.score(log, policy)["error"] for log in (bc.aggregate("logs", policy), read)]
    assert errors[0] == errors[1]


def test_a_partition_that_fails_is_a_sentence(table):
    """So is one of other columns, where Dask does not look."""
    frames, delayed = pytest.importorskip("dask.dataframe"), pytest.importorskip("dask").delayed

    def fails():
        raise OSError("the disk is gone")

    meta = {"meta": table[:0], "verify_meta": False}
    for part, message in (
        (delayed(fails)(), "a partition cannot be computed: OSError: .*the disk is gone"),
        (delayed(table[20:].rename(columns={"cost": "price"})), "partition 1 has other columns than partition 0"),
    ):
        refused(message, frames.from_delayed([delayed(table[:20]), part], **meta))


def refused(message, source="logs", **options):
    with pytest.raises(CascadeError, match=message):
        bc.read_log(source, **options)


def test_files_that_differ_are_refused(table):
    write(table[:20], "logs/0.parquet")
    write(table[20:], "logs/1.parquet", score=1.0)
    refused(r"logs/1.parquet has other columns than logs/0.parquet: it has 'score'")
    write(table[20:], "logs/1.parquet", confidence=table["confidence"].astype(str))
    refused("column 'confidence' holds texts in logs/1.parquet and numbers in logs/0.parquet")
    table.attrs = {"confidence_kind": "votes"}
    write(table[20:], "logs/1.parquet")
    refused("of kind 'probability' in logs/0.parquet and of kind 'votes' in logs/1.parquet")
    table[20:].to_csv("logs/1.csv")
    refused("are of different formats")
    refused("no file of a log is at 'logs/\\*.tsv'", "logs/*.tsv")
    refused("logs/9.parquet", ["logs/9.parquet"])
