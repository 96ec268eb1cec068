"""Graders: is an answer right, given what was expected?"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from bayescascade._common.messages import show
from bayescascade.errors import CascadeError, bad_value
from bayescascade.signals.samples import normalised

Grader = Callable[[Any, Any], float]

_TOLERANCE = 1e-6  # relative: six digits, what models write of a long decimal
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+"
_NUMBER = re.compile(rf"(?<![\w.])([-−]?)(?:[$€£]\s?)?({_DIGITS})(e[-+]?\d+)?(?:\s?/\s?({_DIGITS}))?", re.I)

# Where an answer states its letter, the surest place first.
_LETTER_ALONE = re.compile(r"\W*([A-Za-z])\W*")
_LETTER_STATED = re.compile(
    r"(?:(?i:answer|choice|option)(?i:\s+is)?|\\boxed)[\s:*({\[\"']*([A-Z])\b(?!['’]|\s+[a-z])"
)
_LETTER_FIRST = re.compile(r"[\s*]*(?:\(([A-Z])\)|([A-Z])[).:](?=\s|\*|$))")


def grader(grade: str | Callable[[Any, Any], bool | float | None], *, tolerance: float = _TOLERANCE) -> Grader:
    """The function that grades an answer against what was expected: 1 right, 0 wrong, NaN not gradable.

    Examples
    --------
    >>> right = grader("letter")
    >>> right("The answer is (B).", "B"), right("It depends.", "B")
    (1.0, 0.0)
    >>> grader("number")("So she has $1,234.50 left.", "1234.5")
    1.0

    Parameters
    ----------
    grade : str or callable
        ``"exact"``: the texts are the same. ``"normalised"``: the same but for case, spaces, and punctuation
        around them. ``"number"``: the last number of the answer is the last one of what was expected, up to the
        tolerance; "3/4" is a number. ``"letter"``: the answer states the letter of a multiple choice. Or a
        function of the answer and what was expected that returns True, False or None (not gradable).
    tolerance : float
        Of ``"number"``: how far it may be off, as a share of what was expected.

    Returns
    -------
    callable
        An answer that states no number, or no letter, is wrong. Where what was expected is missing, or states
        none itself, there is nothing to grade against: NaN.

    Raises
    ------
    CascadeError
        If there is no such grader; when it grades, if a function of yours returns something else.
    """
    if callable(grade):
        return lambda answer, expected: _as_label(grade(answer, expected), answer, expected)
    if not isinstance(grade, str) or grade not in GRADERS:
        choices = ", ".join(map(repr, GRADERS))
        raise bad_value("grade", grade, f"choose one of {choices}, or give a function of answer and expected")
    if not (isinstance(tolerance, int | float) and 0.0 <= tolerance < 1.0):
        raise bad_value("tolerance", tolerance, "give a share of at least 0 and below 1, such as 0.01")
    read = GRADERS[grade]

    def graded(answer: Any, expected: Any) -> float:
        wanted = None if _missing(expected) else read(str(expected))
        if wanted is None or _missing(answer):
            return math.nan
        found = read(str(answer))
        if isinstance(found, float) and isinstance(wanted, float):
            return float(math.isclose(found, wanted, rel_tol=tolerance, abs_tol=0.0))
        return float(found == wanted)

    return graded


def stated_number(text: str) -> float | None:
    """The last number of a text; None if it holds none.

    Examples
    --------
    >>> stated_number("3 + 4 = 7."), stated_number("1,234 €"), stated_number("none")
    (7.0, 1234.0, None)
    """
    found = _NUMBER.findall(text)
    if not found:
        return None
    sign, digits, exponent, below = found[-1]
    value = float(digits.replace(",", "") + exponent)
    if below:
        divisor = float(below.replace(",", ""))
        value = value / divisor if divisor else math.nan
    return -value if sign else value


def stated_letter(text: str) -> str | None:
    """The letter that a text answers a multiple choice with; None if it states none, or leaves it open.

    Examples
    --------
    >>> stated_letter("b"), stated_letter("C) Paris"), stated_letter("Answer: **D**"), stated_letter("A dog")
    ('B', 'C', 'D', None)
    """
    alone = _LETTER_ALONE.fullmatch(text)
    if alone:
        return alone[1].upper()
    stated = _LETTER_STATED.findall(text)
    if stated:
        return stated[-1]  # what comes after the reasoning counts
    first = _LETTER_FIRST.match(text)
    return (first[1] or first[2]) if first else None


GRADERS: dict[str, Callable[[str], str | float | None]] = {
    "exact": str,
    "normalised": normalised,
    "number": stated_number,
    "letter": stated_letter,
}


def _missing(value: Any) -> bool:
    return value is None or value != value or not str(value).strip()


def _as_label(found: Any, answer: Any, expected: Any) -> float:
    if found is None:
        return math.nan
    try:
        value = float(found)
    except (TypeError, ValueError):
        value = 0.5
    if isinstance(found, str) or (value not in (0.0, 1.0) and not math.isnan(value)):
        raise CascadeError(
            f"your grader returned {show(found)} for the answer {show(answer)} where {show(expected)} was "
            "expected; it should return True, False or None"
        )
    return value
