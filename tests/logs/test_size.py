"""Logs that do not fit into memory are refused before any of it is taken."""

import numpy as np
import pandas as pd
import pytest
from helpers.fuzz import bounded

from bayescascade._common import memory
from bayescascade.errors import CascadeError, CascadeWarning
from bayescascade.logs.read import read_log


def table(n, n_stages):
    """Each query has the first stage and one other, so that the rows are few and the grid is large."""
    other = 1 + np.arange(n) % (n_stages - 1)
    rows = {"query": np.repeat(np.arange(n), 2), "stage": np.column_stack([np.zeros(n, int), other]).ravel()}
    return pd.DataFrame(rows | {"confidence": 0.5, "correct": 1, "cost": rows["stage"] + 1.0})


def test_ids_in_the_place_of_stages_are_refused_at_once():
    with bounded(seconds=60.0, megabytes=600.0), pytest.raises(CascadeError) as caught:
        read_log(table(100_000, 90_000), confidence_kind="probability")
    assert "needs about 900.0 GB of memory" in str(caught.value)
    assert "if the stages are not the models that were called" in str(caught.value)


def test_more_than_half_of_the_memory_is_said(monkeypatch):
    monkeypatch.setattr(memory, "total_memory", lambda: 1.5 * 100.0 * 50 * 2)
    with pytest.warns(CascadeWarning, match=r"a log of 50 queries and 2 stages \(.*\) needs about"):
        read_log(table(50, 2), confidence_kind="probability")


def test_thirty_stages_run():
    log = read_log(table(3_000, 30), confidence_kind="probability", stages=[0, 7])
    assert dict(log.sizes) == {"query": 3_000, "stage": 2}
