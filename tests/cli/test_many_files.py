"""Logs in a folder of files, or in those of a pattern: counted by `score`, joined by what needs the queries."""

import json
from pathlib import Path

import pandas as pd
import pytest
import xarray as xr
from helpers.cli_fakes import assert_one_sentence, run

import bayescascade as bc

pytest.importorskip("duckdb")


@pytest.fixture
def logs(tmp_path, monkeypatch):
    """A folder with three files of a log of two tasks, and policies of both and of one."""
    monkeypatch.chdir(tmp_path)
    log = bc.simulate(90, n_stages=2, random_seed=1)
    log = log.assign_coords(task=("query", ["law"] * 30 + ["medicine"] * 60))
    bc.write_log(log, "log.parquet")
    table = pd.read_parquet("log.parquet")
    (tmp_path / "logs").mkdir()
    for i in range(3):
        table.iloc[i::3].to_parquet(f"logs/{i}.parquet", index=False)
    stages = [str(s) for s in log["stage"].values]
    bc.Policy(stages, [0.8, float("-inf")], "probability").save("policy.json")
    bc.Policy(stages, [0.8, float("-inf")], "probability", {"task": "law"}).save("law.json")
    return log


@pytest.mark.parametrize("source", ["logs", "logs/*.parquet"])
def test_many_files_score_as_one_log(logs, source):
    one, many = (run("score", path, "--policy", "policy.json") for path in ("log.parquet", source))
    assert many.exit_code == 0, many.output
    assert many.stdout.splitlines()[1:] == one.stdout.splitlines()[1:]
    assert ": 90 queries" in many.stdout


def test_queries_of_one_task(logs):
    for source in ("log.parquet", "logs"):
        result = run("score", source, "--policy", "law.json")
        assert ": 30 queries" in result.stdout
        assert "The policy is of the task 'law'" in result.stderr
        assert ": 60 queries" in run("score", source, "--policy", "law.json", "--task", "medicine").stdout


def test_what_is_wrong_is_one_sentence(logs):
    assert_one_sentence(
        run("score", "nowhere/*.csv", "--policy", "policy.json"), "no file of a log is at 'nowhere/"
    )
    assert_one_sentence(
        run("score", "logs", "--policy", "policy.json", "--cost", "price"), "missing column 'price'"
    )
    assert_one_sentence(run("score", "logs", "--policy", "policy.json", "--task", "art"), "has no query")
    assert_one_sentence(run("score", "nothing.csv", "--policy", "policy.json"), "does not exist")


@pytest.mark.parametrize("source", ["days", "days/*.parquet"])
def test_files_are_joined_in_their_order(logs, source):
    table = pd.read_parquet("log.parquet")
    Path("days").mkdir()
    for i, part in enumerate((table[:60], table[60:130], table[130:])):  # a query may stand in two of them
        part.to_parquet(f"days/{i}.parquet", index=False)
    for policy in ("policy.json", "law.json"):
        asked = ("--max-error", "0.4", "--json")
        one, many = (run("verify", policy, path, *asked) for path in ("log.parquet", source))
        assert one.exit_code == many.exit_code
        assert json.loads(one.stdout) == json.loads(many.stdout)


@pytest.mark.parametrize("command", ["fit", "monitor"])
def test_a_folder_gives_the_log_of_one_file(logs, monkeypatch, command):
    seen = []

    def keep(*args, **options):
        seen.append(args[-1])
        raise bc.CascadeError("enough")

    monkeypatch.setattr(f"bayescascade.{command}", keep)
    for source in ("log.parquet", "logs"):
        asked = ("fit", source, "-o", "fit.nc") if command == "fit" else ("monitor", "policy.json", source)
        assert run(*asked).exit_code == 2
    one, many = seen
    xr.testing.assert_equal(one.sortby("query"), many.sortby("query"))
    assert one.attrs["confidence_kind"] == many.attrs["confidence_kind"] == "probability"
