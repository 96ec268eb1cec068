"""Prompts and answers beside a log."""

import numpy as np
import pandas as pd
import pytest

import bayescascade as bc
from bayescascade.errors import CascadeError
from bayescascade.logs.texts import with_answers, with_prompts


def test_prompts_are_matched_by_id():
    log = bc.simulate(3, n_stages=2, random_seed=1)
    table = pd.DataFrame({"query": ["2", "0", "1", "7"], "question": ["c", "a", "b", "x"]})
    assert with_prompts(log, table, column="question")["prompt"].values.tolist() == ["a", "b", "c"]
    assert "prompt" not in log
    with pytest.raises(CascadeError, match="no column 'prompt'; it has 'query', 'question'"):
        with_prompts(log, table)
    with pytest.raises(CascadeError, match="1 of 3 have no prompt in the table, first '2'"):
        with_prompts(log, table.iloc[1:], column="question")
    with pytest.raises(CascadeError, match="occurs twice"):
        with_prompts(log, pd.concat([table, table]), column="question")
    table.loc[0, "question"] = None
    with pytest.raises(CascadeError, match="first '2'"):
        with_prompts(log, table, column="question")


def test_answers_are_matched_by_id_and_stage(tmp_path):
    log = bc.simulate(2, n_stages=2, stages=["small", "large"], random_seed=1)
    log["confidence"].values[1, 1] = np.nan
    table = pd.DataFrame(
        {"query": [1, 0, 0], "stage": [0, 1, 0], "model": ["small", "large", "small"], "answer": ["x", "y", None]}
    )
    path = tmp_path / "answers.parquet"
    table.to_parquet(path)
    assert with_answers(log, path)["answer"].values.tolist() == [["", "y"], ["x", ""]]
    with pytest.raises(CascadeError, match="1 of 3 have no answer in the table, first"):
        with_answers(log, table.iloc[1:])
    with pytest.raises(CascadeError, match="no column of the table of answers names the stages 'small', 'large'"):
        with_answers(log, table.drop(columns="model"))
    with pytest.raises(CascadeError, match="occurs twice"):
        with_answers(log, pd.concat([table, table]))
