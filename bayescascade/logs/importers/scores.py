"""Scores of traces: a second table, by the id of a call or of a whole trace."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Set
from numbers import Real
from typing import Any

from bayescascade._common.messages import listed, show
from bayescascade.errors import CascadeError, option
from bayescascade.logs.importers.one_line import at
from bayescascade.logs.importers.presets import Fields, Names
from bayescascade.logs.tables import TRUTH


class Scores:
    """Grades by the id of a call, or of a trace.

    Examples
    --------
    >>> from bayescascade.logs.importers.presets import PRESETS
    >>> from bayescascade.logs.importers.scores import Scores
    >>> rows = [("line 1", {"traceId": "t1", "name": "correct", "value": 1})]
    >>> Scores(rows, PRESETS["langfuse"]).of("t1")
    1.0
    """

    def __init__(
        self, rows: Iterable[tuple[str, Mapping[str, Any]]], fields: Fields, name: str | None = None
    ) -> None:
        self._fields, self._name = fields, name
        found: dict[str, tuple[Any, str]] = {}
        self._names: dict[str, None] = {}
        self.used: set[str] = set()
        self.again: set[str] = set()  # what has scores that differ
        for where, row in rows:
            key = first(row, fields.score_key)
            if key is None:
                raise CascadeError(
                    f"{where}: no column says what the score is of; it should be one of "
                    f"{listed(fields.score_key)}, but there are {listed(row)}"
                )
            value, name = self._value(row), plain_id(key)
            if value is not None:
                if name in found and found[name][0] != value:
                    self.again.add(name)
                found[name] = (value, where)
        self._check_names()
        self._found = {key: _grade(value, where) for key, (value, where) in found.items()}

    def __len__(self) -> int:
        return len(self._found)

    def of(self, key: Any) -> float | None:
        """The grade of a call or a trace, None where there is none."""
        name = plain_id(key)
        found = self._found.get(name)
        if found is not None:
            self.used.add(name)
        return found

    def among(self, items: Any, call: str, calls: Set[str] | None, where: str) -> float | None:
        """The grade of a call in the scores that its trace holds.

        For the last one of the trace ``calls`` are the ids of all, and scores of none of them are its own.
        """
        rows = [dict(item) for item in items if isinstance(item, Mapping)] if is_list(items) else []
        # MLflow keeps what was overridden, too
        of = [(plain_id(row.get("span_id")), row) for row in rows if row.get("valid") is not False]
        own = [row for name, row in of if name == call]
        of_all = [row for name, row in of if name not in calls] if calls is not None else []
        values = [value for row in (*of_all, *own) if (value := self._value(row)) is not None]
        self._check_names()
        return _grade(values[-1], where) if values else None

    def _value(self, row: Mapping[str, Any]) -> Any:
        name = first(row, self._fields.score_name)
        if self._name is not None and name is not None and str(name) != self._name:
            return None
        value = first(row, self._fields.score_value)
        if value is None or value != value:
            return None
        if name is not None:
            self._names.setdefault(str(name))
        return value

    def _check_names(self) -> None:
        if len(self._names) > 1:
            names = list(self._names)
            raise CascadeError(
                f"the scores are of {listed(names)}; say which one tells right from wrong: "
                + option("score", names[0]),
                parameter="score",
            )


def plain_id(value: Any) -> str:
    """An id as text; that of a span in hexadecimal digits, which MLflow also writes in base 64.

    Examples
    --------
    >>> plain_id("WTeXldi/vO8="), plain_id("59379795d8bfbcef")
    ('59379795d8bfbcef', '59379795d8bfbcef')
    """
    text = str(value)
    if len(text) == 12 and text.endswith("="):
        try:
            return base64.b64decode(text, validate=True).hex()
        except (binascii.Error, ValueError):
            pass
    return text


def is_list(value: Any) -> bool:
    """Whether this is a list of any library, and no text."""
    return hasattr(value, "__iter__") and not isinstance(value, str | bytes | Mapping)


def _grade(value: Any, where: str) -> float:
    # a table of text, such as CSV, has its numbers as text
    found: Any = TRUTH.get(value.strip().lower(), value) if isinstance(value, str) else value
    try:
        grade = float(found)
    except (TypeError, ValueError, OverflowError):
        grade = -1.0
    if grade not in (0.0, 1.0):
        raise CascadeError(
            f"{where}: the score is {show(value)}; it should be 0 or 1, true or false: say from which score on an "
            "answer counts as right, and give the table with that"
        )
    return grade


def first(row: Mapping[str, Any], names: Names) -> Any:
    """The first value that a row has under one of some names; an empty text is none."""
    for name in names:
        found = at(row, name)
        if found is not None and not is_empty(found):
            return found
    return None


def is_empty(value: Any) -> bool:
    """Whether this is an empty text or not a number."""
    return value == "" if isinstance(value, str) else isinstance(value, Real) and value != value
