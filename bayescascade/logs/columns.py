"""Columns of a log under names of its own, and which answers are right: by a condition, or by their grades."""

from __future__ import annotations

import numbers
import operator
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayescascade._common.messages import listed
from bayescascade.errors import CascadeError, bad_value, option, shown
from bayescascade.logs.layouts import STYLES, column_of
from bayescascade.logs.spelling import plain_number
from bayescascade.logs.tables import MISSING

FIELDS = ("query", "stage", "confidence", "correct", "latency")
_NAMES = (*FIELDS, "latency_ms", "model", "task")
_ORDERS: dict[str, Callable[[Any, Any], Any]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_CONDITION = re.compile(r"\s*(\S.*?)\s*(>=|<=|!=|==|=|>|<|\sin\s)\s*(.*?\S)\s*")


def renamed(table: pd.DataFrame, columns: Any, correct_if: Any, kept: str | None = None) -> pd.DataFrame:
    """A table whose columns have the names that a log's have.

    Examples
    --------
    >>> table = pd.DataFrame({"id": [1, 2], "sure": [0.9, 0.4], "score": [0.8, 0.1]})
    >>> renamed(table, {"query": "id", "confidence": "sure"}, "score >= 0.5")
       query  confidence  score correct
    0      1         0.9    0.8    True
    1      2         0.4    0.1   False

    Parameters
    ----------
    table : DataFrame
        Long, or wide: there a name is the part that comes with each stage's name.
    columns : mapping of str to str, optional
        The table's own name for ``query``, ``stage``, ``confidence``, ``correct`` and ``latency``.
    correct_if : str, optional
        When an answer is right: a column, one of ``>= <= > < = != in``, and a value, or several with commas.
    kept : str, optional
        A column that keeps its name, capitals and all, because something else asks for it.

    Raises
    ------
    CascadeError
        For a field that there is not, a column that the table lacks, or a condition that cannot be read.
    """
    if columns is not None:
        if not isinstance(columns, Mapping) or not all(isinstance(name, str) for name in columns.values()):
            raise bad_value("columns", shown(columns), 'give a dict such as {"query": "id", "confidence": "sure"}')
        unknown = [name for name in columns if name not in FIELDS]
        if unknown:
            raise bad_value(
                "columns", shown(columns), f"choose among {', '.join(FIELDS)}", f"names {unknown[0]!r}"
            )
        for name, own in columns.items():
            table = _rename(table, str(name), own)
    table = table if correct_if is None else _judged(table, correct_if)
    return table.rename(columns=_in_small_letters(table, kept))


def _in_small_letters(table: pd.DataFrame, kept: str | None) -> dict[str, str]:
    """Columns of a long log whose names differ from a log's by capitals alone, as in ``Confidence``."""
    plain = {name: name.lower() for name in table.columns if name != kept and name.lower() in _NAMES}
    once = [name for name, count in Counter(plain.values()).items() if count == 1 and name not in table.columns]
    return {own: name for own, name in plain.items() if name in once}


def _places(table: pd.DataFrame, own: str, top_level: bool = False) -> dict[str, str | None]:
    """Columns of a name: itself, or of a wide table its style; raises where there is none."""
    if own in table.columns:
        return {own: None}
    found: dict[str, str | None] = {}
    if not top_level:
        for style in STYLES:
            found = {name: style for name in table.columns if column_of(name, style, own) is not None}
            if found:
                break
    if not found:
        raise CascadeError(f"there is no column {own!r}; the columns are {listed(table.columns)}")
    return found


def _rename(table: pd.DataFrame, name: str, own: str) -> pd.DataFrame:
    if own == name:
        return table
    new = {
        old: name if style is None else style.format(stage=column_of(old, style, own), field=name)
        for old, style in _places(table, own, name in ("query", "stage")).items()
    }
    taken = [target for target in new.values() if target in table.columns]
    if name == "stage" and "model" in table.columns and own != "model":
        taken.append("model")  # it would name the stages in the place of the column that was asked for
    return table.drop(columns=taken).rename(columns=new)


def _judged(table: pd.DataFrame, condition: Any) -> pd.DataFrame:
    """The table with a column ``correct``, for each stage of a wide one, by a condition."""
    found = _CONDITION.fullmatch(condition) if isinstance(condition, str) else None
    if found is None:
        raise bad_value(
            "correct_if",
            condition,
            "write a column, one of >=, <=, >, <, =, !=, in, and a value, e.g. 'score >= 0.5' or 'grade = A'",
        )
    own, sign, value = found[1], found[2].strip(), found[3].strip("'\"")
    new = {}
    for old, style in _places(table, own).items():
        target = "correct" if style is None else style.format(stage=column_of(old, style, own), field="correct")
        new[target] = _right(table[old], sign, value, condition)
    return table.assign(**new)


def _right(cells: pd.Series, sign: str, value: str, condition: str) -> pd.Series:
    """True, False, or None where a cell is empty."""
    texts = cells.map(lambda cell: "" if cell is None or cell != cell else str(cell).strip())
    empty = texts.str.lower().isin(MISSING)
    numbers = pd.to_numeric(texts, errors="coerce")
    if sign in _ORDERS:
        try:
            limit = float(value)
        except ValueError:
            raise bad_value("correct_if", condition, "compare with a number", f"has {value!r}") from None
        odd = ~empty & numbers.isna()
        if odd.any():
            raise bad_value(
                "correct_if",
                condition,
                "use = or in for texts",
                f"meets {texts[odd].iloc[0]!r}, which is not a number, at row {int(np.argmax(odd))} "
                "(counted from 0)",
            )
        right = _ORDERS[sign](numbers, limit)
    else:
        wanted = [part.strip().strip("'\"") for part in value.split(",")] if sign == "in" else [value]
        as_numbers = pd.to_numeric(pd.Series(wanted), errors="coerce")
        right = texts.str.lower().isin([word.lower() for word in wanted])
        right |= numbers.notna() & numbers.isin(as_numbers.dropna())
        right = ~right if sign == "!=" else right
    return right.astype(object).where(~empty, None)


def is_real(value: Any, or_bool: bool = False) -> bool:
    """Whether a number, or a truth where that may be, is one that a float can stand for."""
    if not isinstance(value, numbers.Real) or (isinstance(value, bool) and not or_bool):
        return False
    try:
        float(value)
    except Exception:  # too large, or of a class of the user's own that cannot
        return False
    return True


def check_grades(grades: Any, pass_mark: float | None = None) -> dict[str, float]:
    """What texts of `correct` stand for, by their lower case; NaN is not scored.

    Without a pass mark each is right or wrong, 1 or 0.
    """
    if grades is None:
        return {}
    if not isinstance(grades, Mapping) or not all(isinstance(word, str) for word in grades):
        raise bad_value(
            "grades", grades, 'map texts to 1, 0 or None (not scored), e.g. {"C": 1, "I": 0, "N": None}'
        )
    for word, value in grades.items():
        if value is None:
            continue
        if not is_real(value, or_bool=True) or not 0.0 <= float(value) <= 1.0:
            raise bad_value(
                "grades",
                grades,
                f"{word!r} should stand for 1, for 0, for None (not scored), or for a grade between 0 and 1",
            )
        if pass_mark is None and float(value) not in (0.0, 1.0):
            raise bad_value(
                "grades",
                grades,
                f"{word!r} is partly right: say from which grade on an answer counts as right, such as "
                + option("pass_mark", 0.5)
                + ", or let it stand for 1 or 0",
            )
    found: dict[str, float] = {}
    for word, value in grades.items():
        plain, meant = word.strip().lower(), np.nan if value is None else float(value)
        if _is_number(plain):
            raise bad_value(
                "grades",
                grades,
                "texts alone need one; of numbers say which are right: "
                + option("correct_if", f"correct = {plain}"),
                f"holds the number {word!r}",
            )
        if not np.array_equal(found.setdefault(plain, meant), meant, equal_nan=True):
            raise bad_value(
                "grades", grades, "capitals and spaces make no difference here", f"gives {word!r} two meanings"
            )
    return found


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(plain_number(text)))
    except ValueError:
        return False


def check_pass_mark(pass_mark: Any, correct_if: Any = None) -> float | None:
    """The least grade of a right answer, None where none is given."""
    if pass_mark is None:
        return None
    if not is_real(pass_mark) or not 0.0 < float(pass_mark) <= 1.0:
        raise bad_value(
            "pass_mark",
            pass_mark,
            "give the least grade of a right answer, above 0 and at most 1, such as 0.5; of scores on another "
            "scale say when an answer is right: " + option("correct_if", "score >= 7"),
        )
    if correct_if is not None:
        raise bad_value(
            "pass_mark", pass_mark, "leave it out: " + option("correct_if", correct_if) + " says which are right"
        )
    return float(pass_mark)


def right_or_wrong(grade: NDArray[np.float64], pass_mark: float) -> NDArray[np.float64]:
    """1 where a grade reaches the pass mark, 0 where not; NaN, and what is no grade from 0 to 1, stays.

    Examples
    --------
    >>> right_or_wrong(np.array([0.0, 0.5, 1.0, np.nan, 7.0]), 0.5).tolist()
    [0.0, 1.0, 1.0, nan, 7.0]
    """
    is_grade = (grade >= 0.0) & (grade <= 1.0)
    return np.where(is_grade, grade >= pass_mark, grade)
