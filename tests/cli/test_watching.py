"""`verify` and `monitor`: exit codes for scripts, and one sentence where something is wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.cli_fakes import assert_one_sentence, run

import bayescascade as bc
from studies.monitor.streams import World, policy_of, served_of


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A working folder with a policy and logs that it served, as it was and as the first stage moved."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    policy = policy_of(World().log(300, rng))
    policy.save("policy.json")
    for name, world in (("same", World()), ("moved", World(shift=(-1.5, 0.0, 0.0)))):
        log = served_of(policy, [world.log(300, rng)])
        bc.write_log(
            log.assign_coords(task=("query", np.where(np.arange(300) < 100, "law", "maths"))), Path(f"{name}.csv")
        )
    return tmp_path


@pytest.mark.parametrize(
    ("log", "code", "word"), [("same.csv", 0, "Quiet after 300"), ("moved.csv", 1, "Alarm after 300")]
)
def test_monitor_leaves_with_a_code_for_cron(served, log, code, word):
    result = run("monitor", "policy.json", log, "-o", "found.json")
    assert result.exit_code == code, result.output
    assert word in result.stdout
    assert "confidence of small" in result.stdout
    assert json.loads(Path("found.json").read_text())["exit_code"] == code
    assert run("monitor", "policy.json", log, "-o", "found.html").exit_code == code
    assert Path("found.html").read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("limit", "code", "word"), [(0.9, 0, "Kept"), (0.05, 1, "Not kept"), (None, 2, "Cannot be told")]
)
def test_verify_leaves_with_a_code_for_continuous_integration(served, limit, code, word):
    options = ("--prob", 0.999) if limit is None else ("--max-error", limit)
    result = run("verify", "policy.json", "same.csv", "--by", "task", "-o", "found.json", *options)
    assert result.exit_code == code, result.output
    assert word in result.stdout
    assert "maths" in result.stdout
    assert json.loads(Path("found.json").read_text())["exit_code"] == code


@pytest.mark.parametrize(
    ("args", "fragment"),
    [
        (("monitor", "bare.json", "same.csv"), "does not say what the log showed at its thresholds"),
        (("monitor", "policy.json", "same.csv", "--level", 2), "--level 2"),
        (("monitor", "policy.json", "same.csv", "-o", "found.txt"), "written as .json or .html"),
        (("monitor", "policy.json", "same.csv", "-o", "same.csv"), "is the input itself"),
        (("monitor", "policy.json", "none.csv"), "none.csv"),
        (("verify", "bare.json", "same.csv"), "--max-error is not given, and the policy promises no error"),
        (("verify", "policy.json", "same.csv", "--by", "nowhere"), "nowhere"),
        (("verify", "changed.json", "same.csv"), "was changed after it was written"),
    ],
)
def test_mistakes_are_a_sentence(served, args, fragment):
    policy = bc.Policy.load("policy.json")
    bc.Policy(policy.stages, policy.thresholds, "score").save("bare.json")
    Path("changed.json").write_text(Path("policy.json").read_text().replace("0.2485", "0.4485"))
    assert_one_sentence(run(*args), fragment)
