"""Whether an answer is the true one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from bayescascade._common.messages import show
from bayescascade.errors import CascadeError, bad_value
from bayescascade.signals.responses import number
from bayescascade.signals.samples import normalised

Grade = Callable[[Any, Any], Any]
_YES = {"yes", "true", "1", "1.0", "y"}


def same_text(answer: Any, expected: Any) -> bool:
    """Whether two answers are alike but for case, spaces and punctuation around them."""
    return normalised(str(answer)) == normalised(str(expected))


GRADES: dict[str, Grade] = {
    "exact": lambda answer, expected: str(answer) == str(expected),
    "normalised": same_text,
}


def check_grade(grade: str | Grade) -> Grade:
    """A grader by its name, or a user's own."""
    if callable(grade):
        return grade
    if grade not in GRADES:
        raise bad_value("grade", grade, f"choose one of {', '.join(map(repr, GRADES))}, or give a function")
    return GRADES[grade]


def graded(answer: Any, expected: Any, grade: Grade, where: str) -> float:
    """1, 0, or NaN where the grader says None; of several questions, 1 where all are right."""
    if isinstance(answer, Mapping):
        return _of_questions(answer, expected, grade, where)
    if isinstance(answer, bool):
        return float(answer == (str(expected).strip().casefold() in _YES))
    found = grade(answer, expected)
    if found is None:
        return math.nan
    value = float(found) if isinstance(found, bool) else number(found)
    if value not in (0.0, 1.0):
        raise CascadeError(f"{where}: the grader gave {show(found)}; it should give True, False, or None")
    return value


def _of_questions(answers: Mapping[Any, Any], expected: Any, grade: Grade, where: str) -> float:
    if not isinstance(expected, Mapping):
        raise CascadeError(
            f"{where}: several questions are answered, but the label {show(expected)} is one; name the question "
            "with question=, or give the true answer to each"
        )
    grades = [graded(answers[name], true, grade, where) for name, true in expected.items() if name in answers]
    return min(grades) if grades and not any(map(math.isnan, grades)) else math.nan
