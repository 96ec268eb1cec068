"""Logs that would take more memory or time than there is are refused with the limit."""

import numpy as np
import pandas as pd
import pytest

from bayescascade._common import memory
from bayescascade.errors import CascadeError
from bayescascade.logs import files
from bayescascade.logs.read import read_log
from bayescascade.logs.validate import MOST_VOTES


def votes(n, distinct):
    confidence = np.tile(np.arange(distinct) / (distinct - 1), n // distinct + 1)[:n]
    rows = [
        (query, stage, confidence[query], query % 2, cost)
        for query in range(n)
        for stage, cost in (("small", 0.001), ("large", 0.01))
    ]
    return pd.DataFrame(rows, columns=["query", "stage", "confidence", "correct", "cost"])


def test_votes_are_shares_of_few_samples():
    assert read_log(votes(300, MOST_VOTES), confidence_kind="votes").sizes["query"] == 300
    with pytest.raises(
        CascadeError, match="129 distinct values, so they are no shares of a few samples"
    ) as caught:
        read_log(votes(300, MOST_VOTES + 1), confidence_kind="votes")
    assert "confidence_kind='probability'" in str(caught.value)
    assert read_log(votes(300, MOST_VOTES + 1), confidence_kind="probability").sizes["query"] == 300


def test_parquet_that_unpacks_to_more_than_there_is_is_refused(tmp_path, monkeypatch):
    table = votes(400, 11).assign(note="x" * 100_000)  # one text, said once and meant 800 times: 80 MB
    path = tmp_path / "bomb.parquet"
    table.to_parquet(path)
    assert path.stat().st_size < 1_000_000
    assert read_log(path, confidence_kind="votes").sizes["query"] == 400
    for module in (memory, files):
        monkeypatch.setattr(module, "total_memory", lambda: 60e6)
    with pytest.raises(CascadeError, match=r"the table in .*bomb.parquet needs about 0.1 GB of memory"):
        read_log(path, confidence_kind="votes")


def test_parquet_of_too_many_rows_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "long.parquet"
    votes(400, 11).to_parquet(path)
    monkeypatch.setattr(memory, "total_memory", lambda: 20e3)
    with pytest.raises(CascadeError, match="leave out columns that are no part of the log"):
        read_log(path, confidence_kind="votes")


def test_partial_grades_are_told_how_to_be_read():
    table = votes(40, 11).astype({"correct": float})
    table.loc[3, "correct"] = 0.5
    with pytest.raises(CascadeError, match="of partial grades, from 0 to 1, say from which on") as caught:
        read_log(table, confidence_kind="votes")
    assert "pass_mark=0.5, and of other scores correct_if='correct >= 7'" in str(caught.value)
    assert read_log(table, confidence_kind="votes", pass_mark=0.5)["correct"][1, 1] == 1.0
    assert read_log(table, confidence_kind="votes", correct_if="correct >= 0.5")["correct"][1, 1] == 1.0
