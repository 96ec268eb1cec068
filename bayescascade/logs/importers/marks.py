"""Scores of evaluation runs to labels: right or wrong, or not scored."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bayescascade._common.messages import show
from bayescascade.errors import TO_FILL_IN, CascadeError, bad_value, option
from bayescascade.logs.importers.calls import fault
from bayescascade.logs.spelling import plain_number
from bayescascade.signals.responses import number

WORDS = {"c": 1.0, "i": 0.0, "p": 0.5, "n": 0.0, "yes": 1.0, "no": 0.0, "true": 1.0, "false": 0.0}


def check_pass_mark(pass_mark: Any) -> float | None:
    """A user's pass mark, None where none is given."""
    if pass_mark is None:
        return None
    value = number(pass_mark)
    if math.isnan(value):
        raise bad_value("pass_mark", pass_mark, "give the least score of a right answer, such as 1 or 0.5")
    return value


def label(value: Any, pass_mark: float | None, where: str, name: str) -> float:
    """1 for a right answer, 0 for a wrong one, NaN for one that is not scored.

    Examples
    --------
    >>> label("C", None, "a.eval", "match"), label(0.7, 0.5, "a.eval", "f1"), label(None, None, "a.eval", "match")
    (1.0, 1.0, nan)

    Parameters
    ----------
    value : object
        True or False, a number, a number as text, or a word of `WORDS`; None and NaN are not scored.
    pass_mark : float or None
        The least score that counts as right.
    where, name : str
        Where the score stands and what it is called, for messages.

    Raises
    ------
    CascadeError
        If it is none of these; if it is neither 0 nor 1 and there is no pass mark.
    """
    score = _as_number(value, where, name)
    if pass_mark is not None and not math.isnan(score):
        return float(score >= pass_mark)
    if score in (0.0, 1.0) or math.isnan(score):
        return score
    raise CascadeError(
        f"{where}: the score {name!r} is {show(value)}, neither right nor wrong; say which scores count as right, "
        "such as " + option("pass_mark", 1) + " if nothing less is right"
    )


def _as_number(value: Any, where: str, name: str) -> float:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return math.nan
    if isinstance(value, bool):
        return float(value)
    try:
        found = _of_text(value.strip().casefold()) if isinstance(value, str) else number(value)
    except ValueError:
        found = math.nan
    if math.isnan(found):
        raise fault(
            where, f"the score {name!r} is {show(value)}; it should be a number, true or false, or C, I, P or N"
        )
    return found


def _of_text(text: str) -> float:
    return WORDS[text] if text in WORDS else number(plain_number(text))


def pick_score(scores: Mapping[str, Any], wanted: str | None, where: str, what: str = "score") -> str:
    """The name of the score that says whether an answer is right: the one wanted, or the only one.

    Raises
    ------
    CascadeError
        If there are several and none is named, or the one named is not there.
    """
    names = ", ".join(map(show, scores)) or "none"
    if wanted is not None:
        if wanted not in scores:
            raise fault(where, f"there is no {what} {wanted!r}; there are: {names}")
        return wanted
    if len(scores) != 1:
        raise CascadeError(
            f"{where}: nothing says which {what} tells right from wrong; name one with "
            + option(what, TO_FILL_IN)
            + f": {names}"
        )
    return next(iter(scores))
