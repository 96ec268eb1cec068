"""Logs whose columns have names of their own, and answers that are right under a condition."""

import numpy as np
import pandas as pd
import pytest

from bayescascade.errors import CascadeError
from bayescascade.logs.read import read_log

LONG = pd.DataFrame(
    {
        "id": [1, 1, 2, 2],
        "llm": ["small", "large", "small", "large"],
        "sure": [0.6, 0.9, 0.8, 0.7],
        "score": [0.2, 0.8, None, 0.5],
        "grade": ["no", "A", "a", ""],
        "cost": [0.001, 0.01, 0.001, 0.01],
    }
)
NAMES = {"query": "id", "stage": "llm", "confidence": "sure"}


def read(table=LONG, **more):
    return read_log(table, confidence_kind="probability", labels=False, **more)


@pytest.mark.parametrize(
    ("condition", "correct"),
    [
        ("score >= 0.5", [[0, 1], [np.nan, 1]]),
        ("score>0.5", [[0, 1], [np.nan, 0]]),
        ("score < 0.5", [[1, 0], [np.nan, 0]]),
        ("grade = A", [[0, 1], [1, np.nan]]),
        ("grade == 'a'", [[0, 1], [1, np.nan]]),
        ("grade != no", [[0, 1], [1, np.nan]]),
        ("grade in a,no", [[1, 1], [1, np.nan]]),
        ("score = 0.80", [[0, 1], [np.nan, 0]]),
    ],
)
def test_answers_are_right_under_a_condition(condition, correct):
    log = read(columns=NAMES, correct_if=condition)
    np.testing.assert_array_equal(log["correct"].transpose("query", "stage"), correct)
    assert log["query"].values.tolist() == [1, 2]
    assert log["stage"].values.tolist() == ["small", "large"]


def test_a_wide_table_is_renamed_stage_by_stage():
    wide = pd.DataFrame(
        {
            "id": [7, 8],
            "small.sure": [0.6, 0.8],
            "large.sure": [0.9, 0.7],
            "small.score": [1, 4],
            "large.score": [5, None],
            "small.cost": 0.001,
            "large.cost": 0.01,
        }
    )
    log = read(wide, columns={"query": "id", "confidence": "sure"}, correct_if="score >= 4")
    np.testing.assert_array_equal(log["correct"].transpose("query", "stage"), [[0, 1], [1, np.nan]])
    np.testing.assert_array_equal(log["confidence"].sel(stage="large"), [0.9, 0.7])


def test_the_column_that_is_named_wins_over_one_that_has_the_name():
    table = LONG.assign(confidence=0.1, model="one")
    log = read(table, columns=NAMES, correct_if="score >= 0.5")
    np.testing.assert_array_equal(log["confidence"].sel(stage="small"), [0.6, 0.8])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"columns": {"query": "ident"}}, "there is no column 'ident'; the columns are 'id', 'llm'"),
        ({"columns": {"price": "cost"}}, "names 'price'; choose among query, stage, confidence"),
        ({"columns": ["id"]}, "give a dict such as"),
        ({"columns": NAMES, "correct_if": "score"}, "write a column, one of >=, <=, >, <, =, !=, in, and a value"),
        ({"columns": NAMES, "correct_if": "points > 3"}, "there is no column 'points'"),
        ({"columns": NAMES, "correct_if": "score > high"}, "compare with a number"),
        ({"columns": NAMES, "correct_if": "grade > 3"}, "meets 'no', which is no number, at row 0"),
        ({"columns": NAMES, "correct_if": 3}, "write a column"),
    ],
)
def test_what_cannot_be_read_is_said(more, said):
    with pytest.raises(CascadeError, match=r"correct_if|columns|column") as caught:
        read(**more)
    assert said in str(caught.value)
