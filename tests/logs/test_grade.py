"""Graders: texts, numbers and letters, as models write them."""

import math

import numpy as np
import pytest

from bayescascade.errors import CascadeError
from bayescascade.logs.grade import GRADERS, grader, stated_letter, stated_number


@pytest.mark.parametrize(
    ("grade", "answer", "expected", "label"),
    [
        ("exact", "Paris", "Paris", 1),
        ("exact", "paris", "Paris", 0),
        ("exact", "Paris.", "Paris", 0),
        ("normalised", " **Paris.** ", "paris", 1),
        ("normalised", "Paris, France", "Paris", 0),
        ("normalised", "A", "a", 1),
        ("number", "So 3 + 4 = 7.", "7", 1),
        ("number", "7 apples and 2 pears", "7", 0),
        ("number", "She earns $1,234.50", 1234.5, 1),
        ("number", "72", "48 / 2 = 24, and 48 + 24 = 72\n#### 72", 1),
        ("number", "0.3333", "1/3", 0),
        ("number", "0.33333333", "1/3", 1),
        ("number", "−5", "-5", 1),
        ("number", "5", "-5", 0),
        ("number", "1e-3", "0.001", 1),
        ("number", "0.0", "0", 1),
        ("number", "I do not know", "7", 0),
        ("letter", "(B)", "B", 1),
        ("letter", "The answer is C, not B.", "B", 0),
        ("letter", "I cannot say", "B", 0),
    ],
)
def test_graders(grade, answer, expected, label):
    assert grader(grade)(answer, expected) == label


def test_tolerance():
    assert grader("number", tolerance=0.01)("3.15", "3.14159") == 1.0
    assert grader("number", tolerance=0.0)("3.15", "3.14159") == 0.0
    assert grader("number", tolerance=0.01)("1e-9", "2e-9") == 0.0


@pytest.mark.parametrize("grade", GRADERS)
@pytest.mark.parametrize("missing", [None, math.nan, "", "  "])
def test_what_is_missing_is_not_graded(grade, missing):
    assert math.isnan(grader(grade)("7", missing))
    assert math.isnan(grader(grade)(missing, "7" if grade == "number" else "B"))


def test_expected_that_states_nothing_is_not_graded():
    assert math.isnan(grader("number")("7", "seven"))
    assert math.isnan(grader("letter")("B", "Paris"))


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("b", "B"),
        (" (b). ", "B"),
        ("**B**", "B"),
        ("B) Paris", "B"),
        ("B. Paris", "B"),
        ("(B) Paris", "B"),
        ("**B.** Paris", "B"),
        ("B: Paris", "B"),
        ("B\n", "B"),
        ("Answer: B", "B"),
        ("The correct answer is **B**.", "B"),
        ("Let us see. A is wrong, as is C. So the answer is (B) Paris", "B"),
        ("Is the answer A? No: the answer is B.", "B"),
        ("so \\boxed{D}", "D"),
        ("I would choose option C.", "C"),
        ("A dog", None),
        ("The answer is A dog", None),
        ("The answer is I'm not sure", None),
        ("Paris", None),
        ("A or B", None),
        ("", None),
        ("7", None),
    ],
)
def test_letters(text, letter):
    assert stated_letter(text) == letter


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1,234,567.8", 1234567.8),
        ("in 2020, 5", 5.0),
        (".5", 0.5),
        ("1.5e3 m", 1500.0),
        ("-$20", -20.0),
        ("3 / 4", 0.75),
        ("50%", 50.0),
        ("10-3", 3.0),
        ("v2", None),
        ("", None),
    ],
)
def test_numbers(text, number):
    assert stated_number(text) == number


def test_nothing_is_divided_by_zero():
    assert grader("number")("1/0", "1") == 0.0


def test_long_runs_of_spaces_take_no_time():
    blank = " " * 20_000
    assert stated_number(blank + "7" + blank) == 7.0
    assert stated_letter(blank + "answer" + blank + "B") == "B"
    assert stated_letter(blank + "answer" + blank + "b") is None


def test_a_grader_of_your_own():
    starts = grader(lambda answer, expected: answer.startswith(expected) if expected else None)
    assert starts("Paris, France", "Paris") == 1.0
    assert starts("Lyon", "Paris") == 0.0
    assert math.isnan(starts("Lyon", None))
    assert grader(lambda answer, expected: np.True_)("a", "b") == 1.0
    assert math.isnan(grader(lambda answer, expected: math.nan)("a", "b"))


@pytest.mark.parametrize("returned", [0.7, 2, "yes", "1", [1], -1])
def test_a_grader_that_returns_something_else(returned):
    with pytest.raises(
        CascadeError, match="for the answer 'a' where 'b' was expected; it should return True, False"
    ):
        grader(lambda answer, expected: returned)("a", "b")


@pytest.mark.parametrize("grade", ["match", None, 3, ["exact"]])
def test_unknown_grader(grade):
    with pytest.raises(CascadeError, match="choose one of 'exact', 'normalised', 'number', 'letter', or give a"):
        grader(grade)


@pytest.mark.parametrize("tolerance", [-0.1, 1.0, "1%", math.nan])
def test_tolerance_out_of_range(tolerance):
    with pytest.raises(CascadeError, match="tolerance="):
        grader("number", tolerance=tolerance)
