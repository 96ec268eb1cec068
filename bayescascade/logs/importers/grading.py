"""Whether an answer is the true one, of texts and of decision models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bayescascade._common.messages import listed, show
from bayescascade.logs.grade import Grader
from bayescascade.logs.importers.calls import fault
from bayescascade.logs.tables import TRUTH


def graded(answer: Any, expected: Any, grade: Grader, where: str) -> float:
    """1 where the answer is right, 0 where not, NaN where it cannot be graded.

    A yes or no is compared with such; of several questions all have to be right.
    """
    if isinstance(answer, Mapping):
        return _of_questions(answer, expected, grade, where)
    if isinstance(answer, bool):
        return float(answer == _truth(expected, where))
    return grade(answer, expected)


def _truth(expected: Any, where: str) -> bool:
    found = TRUTH.get(str(expected).strip().lower())
    if found is None and str(expected).strip() in ("0", "1", "0.0", "1.0"):
        found = float(str(expected))
    if found is None:
        raise fault(where, f"the answer is yes or no, but the label is {show(expected)}; it should be yes or no")
    return bool(found)


def _of_questions(answers: Mapping[Any, Any], expected: Any, grade: Grader, where: str) -> float:
    if not isinstance(expected, Mapping):
        raise fault(
            where,
            f"{listed(answers)} are answered, but the label {show(expected)} is one answer; name the question "
            "or give the true answer to each",
        )
    grades = [graded(answers[name], true, grade, where) for name, true in expected.items() if name in answers]
    return min(grades) if grades and not any(map(math.isnan, grades)) else math.nan
