"""Logs whose columns have names of their own, and which answers are right: by a condition, or by their grades."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

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
        ({"columns": NAMES, "correct_if": "grade > 3"}, "meets 'no', which is not a number, at row 0"),
        ({"columns": NAMES, "correct_if": 3}, "write a column"),
    ],
)
def test_what_cannot_be_read_is_said(more, said):
    with pytest.raises(CascadeError, match=r"correct_if|columns|column") as caught:
        read(**more)
    assert said in str(caught.value)


# ---- grades


def graded(*grades):
    table = pd.DataFrame({"query": range(len(grades)), "small.confidence": 0.5, "large.confidence": 0.7})
    return table.assign(**{"small.cost": 1, "large.cost": 2, "small.correct": grades, "large.correct": 1})


def labels_of(*grades, **options):
    return read_log(graded(*grades), confidence_kind="probability", **options)["correct"].values[:, 0].tolist()


def test_a_pass_mark_makes_grades_right_or_wrong():
    assert labels_of(0, 0.25, 0.5, 0.75, 1, pass_mark=0.5) == [0.0, 0.0, 1.0, 1.0, 1.0]
    assert labels_of(0, 0.25, 0.5, 0.75, 1, pass_mark=1) == [0.0, 0.0, 0.0, 0.0, 1.0]
    assert labels_of("yes", "no", True, "0.4", "", pass_mark=0.3)[:4] == [1.0, 0.0, 1.0, 1.0]
    assert labels_of("P", "c", "0.5", grades={"C": 1, "P": 0.5}, pass_mark=0.6) == [0.0, 1.0, 0.0]


def test_a_pass_mark_keeps_what_is_not_labelled():
    found = labels_of(None, "N", 0.9, grades={"N": None}, pass_mark=0.5)
    np.testing.assert_array_equal(found, [np.nan, np.nan, 1.0])


@pytest.mark.parametrize("grade", [1.5, -0.1, 7, np.inf])
def test_what_is_no_grade_is_refused_with_a_pass_mark_too(grade):
    with pytest.raises(CascadeError, match=r"correct is .*and of other scores correct_if='correct >= 7'"):
        labels_of(1, 0, grade, pass_mark=0.5)


@pytest.mark.parametrize("mark", [0, -0.5, 1.01, 7, np.nan, True, "0.5", [0.5]])
def test_pass_marks_that_are_none(mark):
    with pytest.raises(CascadeError, match=r"pass_mark=.* is not allowed; give the least grade .* above 0"):
        labels_of(1, 0, pass_mark=mark)


def test_a_condition_needs_no_pass_mark():
    with pytest.raises(CascadeError, match=r"leave it out: correct_if='correct > 0' says which are right"):
        labels_of(1, 0, pass_mark=0.5, correct_if="correct > 0")


@pytest.mark.parametrize("grade", [2, -1, np.nan, np.inf])
def test_words_stand_for_grades_from_0_to_1(grade):
    with pytest.raises(CascadeError, match=r"'A' should stand for 1, for 0, for None .* between 0 and 1"):
        labels_of("A", 0, grades={"A": grade}, pass_mark=0.5)


def test_one_word_has_one_meaning():
    with pytest.raises(CascadeError, match="gives 'c' two meanings; capitals and spaces make no difference"):
        labels_of("C", "c", grades={"C": 1, "c": 0})
    assert labels_of("C", "c ", "I", grades={"C": 1, "c ": 1, "I": 0}) == [1.0, 1.0, 0.0]


@pytest.mark.parametrize("number", ["1", "0.5", " 0 ", "1e3"])
def test_numbers_are_no_words(number):
    with pytest.raises(
        CascadeError, match=r"holds the number .*; of numbers say which are right: correct_if='correct = "
    ):
        labels_of(1, 0, grades={number: 0})


def long_log(**names):
    n = 4
    table = pd.DataFrame({"query": np.repeat(range(n), 2), "stage": [0, 1] * n, "model": ["small", "large"] * n})
    table = table.assign(confidence=0.5, correct=[0, 1] * n, latency=1.0, cost=[1, 2] * n, task="law")
    return table.rename(columns=names)


@pytest.mark.parametrize("write", [str.title, str.upper, " {} ".format])
def test_names_of_columns_differ_by_capitals_and_spaces_around_them(write):
    plain = read_log(long_log(), confidence_kind="probability")
    names = {name: write(name) for name in long_log().columns}
    found = read_log(long_log(**names), confidence_kind="probability", cost=names["cost"].strip())
    xr.testing.assert_identical(found, plain)


def test_a_column_that_is_asked_for_keeps_its_capitals():
    found = read_log(long_log(task="Task"), confidence_kind="probability", task="Task")
    assert set(found["task"].values.tolist()) == {"law"}
    both = long_log().assign(Correct=0, Latency=9.0)
    xr.testing.assert_identical(
        read_log(both, confidence_kind="probability"), read_log(long_log(), confidence_kind="probability")
    )
