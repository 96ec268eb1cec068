"""Which answers are right: true answers or grades that a user has beside a file of responses."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import pandas as pd

from bayescascade._common.messages import listed, show
from bayescascade.errors import CascadeError, bad_value
from bayescascade.logs.tables import TRUTH, is_table, load_table

KEYS = ("query", "key", "id", "custom_id")
STAGES = ("stage", "model")
GRADES = ("correct", "grade", "score")
ANSWERS = ("answer", "expected", "gold", "target", "truth", "label")


class Labels:
    """Labels by query: what the true answer is, or whether a stage's answer is right.

    Examples
    --------
    >>> from bayescascade.logs.importers.labels import Labels
    >>> Labels({"q1": "Paris", 2: "Rome"}).expected("2")
    'Rome'
    >>> Labels({"q1": {"small": 0, "large": 1}}).grade("q1", "large")
    1.0

    Parameters
    ----------
    labels : mapping, path or DataFrame, optional
        From a query to its true answer, or to the grade of each stage by its name, 0 or 1. Or a table with a
        column ``query`` and ``answer``; or ``query``, ``stage`` and ``correct`` of 0 and 1; or ``query`` and a
        column of 0 and 1 for each stage, called by its name.
    """

    def __init__(self, labels: Any = None) -> None:
        self.given = labels is not None
        self._answers: dict[str, Any] = {}
        self._grades: dict[tuple[str, str], float] = {}  # by query and stage
        self.used: set[str] = set()
        if isinstance(labels, Mapping):
            self._from_mapping(labels)
        elif is_table(labels):
            self._from_table(load_table(labels), labels)
        elif labels is not None:
            raise bad_value(
                "labels", labels, 'give a table, a file, or {"q1": "Paris"} from queries to true answers'
            )

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def queries(self) -> list[str]:
        """Queries of which something is said, each once."""
        return list(dict.fromkeys([*self._answers, *(query for query, _ in self._grades)]))

    def grade(self, query: Any, stage: str) -> float | None:
        """1 where the stage's answer is right, 0 where not, NaN where not scored, None where nothing is said."""
        key = _key(query)
        found = self._grades.get((key, stage))
        if found is not None:
            self.used.add(key)
        return found

    def expected(self, query: Any) -> Any:
        """The true answer, None where it is not known."""
        found = self._answers.get(_key(query))
        if found is not None:
            self.used.add(_key(query))
        return found

    # ---- as given

    def _from_mapping(self, labels: Mapping[Any, Any]) -> None:
        for query, value in labels.items():
            if isinstance(value, Mapping) and all(_is_grade(graded) for graded in value.values()):
                # of stages; or true answers to questions, which are found where no stage has the name
                for stage, graded in value.items():
                    self._grades[_key(query), str(stage)] = _grade(graded, f"the label of {show(query)}")
            if not _is_missing(value):
                self._answers[_key(query)] = value

    def _from_table(self, table: pd.DataFrame, source: Any) -> None:
        name = str(source) if isinstance(source, str | os.PathLike) else "the table of labels"
        key, stage, graded, answer = (_column(table, names) for names in (KEYS, STAGES, GRADES, ANSWERS))
        if key is None:
            raise _no_columns(name, table)
        queries = [_key(query) for query in table[key].tolist()]
        if graded is None and answer is not None and stage is None:
            _check_once(queries, name)
            values = table[answer].tolist()
            self._answers = {q: v for q, v in zip(queries, values, strict=True) if not _is_missing(v)}
            return
        if stage is not None and (graded or answer) is not None:
            column = str(graded or answer)
            places = list(zip(queries, table[stage].astype(str).str.strip(), strict=True))
            _check_once(places, name)
            self._add_grades(places, table[column].tolist(), column, name)
            return
        if graded is not None:
            raise CascadeError(
                f"{name} has a column {graded!r} but does not say whose answer is right; add a column 'stage', or "
                "give the true answers in a column 'answer'",
                parameter="labels",
            )
        if table.shape[1] < 2:
            raise _no_columns(name, table)
        _check_once(queries, name)
        for column in table.columns.drop(key):
            self._add_grades([(query, column) for query in queries], table[column].tolist(), column, name)

    def _add_grades(self, places: list[tuple[str, str]], values: list[Any], column: str, name: str) -> None:
        for row, (place, value) in enumerate(zip(places, values, strict=True)):
            if not _is_missing(value):
                self._grades[place] = _grade(value, f"{column} at row {row} (counted from 0) of {name}")


def _no_columns(name: str, table: pd.DataFrame) -> CascadeError:
    return CascadeError(
        f"{name} should have a column 'query', and 'answer' (the true one), or 'stage' and 'correct' (0 or 1), "
        f"but has {listed(table.columns)}; rename yours so",
        parameter="labels",
    )


def _check_once(places: list[Any], name: str) -> None:
    seen: set[Any] = set()
    for row, place in enumerate(places):
        if place in seen:
            raise CascadeError(f"{name} has {show(place)} twice (again in row {row}, counted from 0); keep one")
        seen.add(place)


def _key(query: Any) -> str:
    """A query as text: 17, 17.0 and "17" are one."""
    if isinstance(query, float) and query.is_integer():
        query = int(query)
    return str(query).strip()


def _column(table: pd.DataFrame, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in table.columns), None)


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or value != value or (isinstance(value, str) and not value.strip())


def _is_grade(value: Any) -> bool:
    return value is None or (isinstance(value, bool | int | float) and (value != value or value in (0, 1)))


def _grade(value: Any, what: str) -> float:
    found = TRUTH.get(value.strip().lower()) if isinstance(value, str) else None
    try:
        found = math.nan if value is None else float(value) if found is None else found
    except (TypeError, ValueError, OverflowError):
        found = 2.0
    if found not in (0.0, 1.0) and not math.isnan(found):
        raise CascadeError(
            f"{what} is {show(value)}; it should be 0 or 1, or empty. True answers go into a column 'answer'",
            parameter="labels",
        )
    return found
