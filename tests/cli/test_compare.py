"""`bayescascade compare`: what it reads, shows and writes."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.cli_fakes import assert_one_sentence, run

import bayescascade as bc

CHEAP = ("--methods", "ascent_calibrated,ascent_raw,oracle")


@pytest.fixture
def logs(tmp_path, monkeypatch):
    """A training and a test log of three stages, with prompts, in the working folder."""
    monkeypatch.chdir(tmp_path)
    for name, n, seed in (("train", 80, 1), ("test", 120, 2)):
        log = bc.simulate(n, n_stages=3, random_seed=seed)
        table = log.to_dataframe().reset_index()
        table.to_csv(f"{name}.csv", index=False)
        texts = [f"question {i % 7}" for i in range(n)]
        pd.DataFrame({"query": log["query"].values, "prompt": texts}).to_csv(f"{name}_prompts.csv", index=False)
    return tmp_path


def test_a_table_a_picture_and_kept_cells(logs):
    options = ("--n", "30,all", "--seeds", 2, "--resume", "cells", "-o", "table.csv", "--plot", "plot.svg")
    done = run("compare", "train.csv", "--kind", "probability", "--test", "test.csv", *CHEAP, *options)
    assert done.exit_code == 0, done.output
    table = pd.read_csv("table.csv", dtype={"n": str}).set_index(["n", "method"])
    assert set(table.index) == {(n, m) for n in ("30", "all") for m in CHEAP[1].split(",")}
    assert np.isfinite(table.loc["all", "ascent_raw"]["auc"])
    assert f"{table.loc[('all', 'oracle'), 'auc']:.4f}" in done.output
    assert "lowest area" in done.output
    assert Path("plot.svg").read_text().count("<svg") == 1
    kept = {path: path.stat().st_mtime_ns for path in Path("cells").iterdir()}
    assert len(kept) == 7  # two that learn, three times; the oracle learns nothing from the training log
    again = run("compare", "train.csv", "--kind", "probability", "--test", "test.csv", *CHEAP, *options[:6])
    assert again.exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in Path("cells").iterdir()} == kept


def test_parts_of_the_stages_and_prompts(logs):
    stages = [str(s) for s in bc.read_log("train.csv", confidence_kind="probability")["stage"].values]
    names = f"{stages[0]},{stages[2]};{stages[1]},{stages[2]}"
    texts = ("--prompts", "train_prompts.csv", "--test-prompts", "test_prompts.csv")
    options = ("--methods", "ascent_raw,routing", "--cascades", names, "-o", "table.csv")
    done = run("compare", "train.csv", "--kind", "probability", "--test", "test.csv", *texts, *options)
    assert done.exit_code == 0, done.output
    assert pd.read_csv("table.csv")["runs"].tolist() == [2, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--methods", "nobody"), "'nobody' is not known"),
        (("--methods", "routing"), "reads what was asked"),
        (("--n", "30,many"), "--n has 'many'"),
        (("--n", "500", *CHEAP), "more than the 80"),
        (("--prompts", "train_prompts.csv"), "go together"),
        (("--reference", "us", *CHEAP), "was not run"),
        (("--cascades", "a,b", *CHEAP), "there is no stage 'a'"),
        (("--resume", "train.csv", *CHEAP), "is the input itself"),
    ],
)
def test_mistakes_are_one_sentence(logs, options, message):
    before = Path("train.csv").read_text()
    done = run("compare", "train.csv", "--kind", "probability", "--test", "test.csv", *options)
    assert_one_sentence(done, message)
    assert Path("train.csv").read_text() == before


def test_the_method_that_the_docs_write_runs():
    text = (Path(__file__).parents[2] / "docs" / "comparing.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    code = next(block for block in blocks if "class Halfway" in block)
    log = bc.simulate(80, n_stages=3, random_seed=1)
    made: dict = {"bc": bc, "train": log, "test": log}
    exec(code.replace('["bayes", Halfway()]', "[Halfway()], progressbar=False"), made)
    found = bc.compare(log, log, methods=["ascent_raw", made["Halfway"]()], progressbar=False)
    assert np.isfinite(found.data["auc"].values).all()
