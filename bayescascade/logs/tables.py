"""Tables of any origin, and their cells to numbers and labels: what of reading a log knows nothing of cascades."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayescascade.errors import CascadeError, Code, call, option
from bayescascade.logs.files import read_file
from bayescascade.logs.spelling import plain_number, spelled_out

# attributes of logs, and of tables that say what their confidences are, and how they were made of responses
KIND, SIGNAL = "confidence_kind", "signal"
EXAMPLE_PRICES = option("cost", {"small": Code("1e-4"), "large": Code("1e-3")})

# What people and programs write for "no value"; compared in lower case. Applied to numbers only: a query may
# be called "NA", and a stage "none".
MISSING = frozenset({"", "nan", "na", "n/a", "<na>", "null", "none", "#n/a"})
TRUTH = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0}


def load_table(source: Any) -> pd.DataFrame:
    """Read a file, see `read_file`, or take a DataFrame of any library."""
    if isinstance(source, (str, os.PathLike)):
        table, origin = read_file(source)
    else:
        table, origin = _to_pandas(source), "the DataFrame"
    table = _flat_columns(table)
    table = table[~_blank_rows(table)].reset_index(drop=True)
    if len(table) == 0:
        raise CascadeError(f"{origin} is empty: it has no rows; a log needs a row for each query")
    return table


def is_table(source: Any) -> bool:
    """Whether this is a path or a DataFrame of any library, which `load_table` takes."""
    if isinstance(source, str | os.PathLike | pd.DataFrame) or hasattr(source, "collect"):
        return True
    return hasattr(source, "__arrow_c_stream__") and hasattr(source, "columns")


def _to_pandas(source: Any) -> pd.DataFrame:
    """A DataFrame of pandas from that of another library, such as Polars, whose lazy ones are collected first."""
    if isinstance(source, pd.DataFrame):
        return source
    frame = source.collect() if hasattr(source, "collect") else source
    if hasattr(frame, "__arrow_c_stream__") and hasattr(frame, "columns"):
        import pyarrow

        # whole numbers beside a missing value would become floats, and lose digits
        return pyarrow.table(frame).to_pandas(integer_object_nulls=True)
    raise CascadeError(
        "a log should be a path or a DataFrame (pandas, Polars, PyArrow, DuckDB) but is a "
        f"{type(source).__name__}; an xarray Dataset goes to "
        + call("validate_log")
        + ", other tables have a to_pandas method"
    )


def _blank_rows(table: pd.DataFrame) -> NDArray[np.bool_]:
    """Rows (row,) that hold nothing, as spreadsheets leave them below the last."""
    blank = np.ones(len(table), dtype=bool)
    for position in range(table.shape[1]):
        if not blank.any():
            break
        blank[blank] = [_is_blank(value) for value in table.iloc[:, position].to_numpy(dtype=object)[blank]]
    return blank


def _is_blank(value: Any) -> bool:
    if isinstance(value, str):
        return not value.strip()
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value)


def _flat_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Index levels with names become columns, and pairs of names (a pivoted table) one name."""
    wanted = [name for name in table.index.names if name is not None and name not in table.columns]
    if wanted:
        table = table.reset_index(level=wanted)
    if table.columns.nlevels > 1:
        flat = [":".join(str(part) for part in parts if str(part)) for parts in table.columns]
        table = table.set_axis(flat, axis=1)
    return table.set_axis([text_of(name, "the name of a column").strip() for name in table.columns], axis=1)


def column(table: pd.DataFrame, name: str) -> pd.Series:
    """The one column of this name."""
    return only_column(table, name, np.flatnonzero(table.columns == name).tolist())


def only_column(table: pd.DataFrame, name: str, places: list[int]) -> pd.Series:
    """The column of this name, which stands at these places."""
    if len(places) > 1:
        raise CascadeError(f"{len(places)} columns are called {name!r}; keep or rename all but one")
    return table.iloc[:, places[0]]


def numeric_columns(table: pd.DataFrame, skip: set[str]) -> list[str]:
    """Columns that could hold a cost."""

    def holds_numbers(series: pd.Series) -> bool:
        try:
            return bool(np.isfinite(to_numbers(series, _refuse)).any())
        except CascadeError:
            return False

    names = [name for name in dict.fromkeys(table.columns) if name not in skip]
    return [name for name in names if holds_numbers(table.loc[:, table.columns == name].iloc[:, 0])]


def _refuse(position: int, value: Any) -> CascadeError:
    return CascadeError(f"not a number at {position}")


def to_numbers(
    cells: pd.Series, complain: Callable[[int, Any], CascadeError], words: Mapping[str, float] | None = None
) -> NDArray[np.float64]:
    """Cells to floats, missing ones to NaN; `words` maps texts (in lower case) that stand for numbers.

    `complain(position, value)` makes the error for the first cell that is neither.
    """
    types = pd.api.types
    if types.is_bool_dtype(cells.dtype) and words is None:
        raise complain(0, cells.iloc[0])
    if types.is_any_real_numeric_dtype(cells.dtype) or types.is_bool_dtype(cells.dtype):
        return cells.to_numpy(dtype=np.float64, na_value=np.nan)
    objects = cells.to_numpy(dtype=object)
    numbers = np.full(len(objects), np.nan)
    odd = []  # places of texts that are no plain numbers
    for position, value in enumerate(objects):
        try:
            numbers[position] = _number(value, words)
        except Exception:  # too large, or whatever a class of the user's own raises
            if not isinstance(value, str):
                raise complain(position, value) from None
            odd.append(position)
    if odd:
        texts = [p for p, value in enumerate(objects) if isinstance(value, str) and not _is_word(value, words)]
        found, why = spelled_out([objects[position].strip() for position in texts])
        if not found:
            raise CascadeError(complain(odd[0], objects[odd[0]]).message + why)
        numbers[texts] = found
    return numbers


def _number(value: Any, words: Mapping[str, float] | None) -> float:
    """One cell as a number; raises an error of Python's where it is none."""
    if isinstance(value, str):
        text = value.strip().lower()
        if words and text in words:
            return words[text]
        return np.nan if text in MISSING else plain_number(text)
    if value is None or value is pd.NA or value is pd.NaT:
        return np.nan
    if isinstance(value, bytes) or (isinstance(value, (bool, np.bool_)) and words is None):
        raise TypeError
    return float(value)


def _is_word(text: str, words: Mapping[str, float] | None) -> bool:
    """Whether a text stands for a number, or for none, by a word."""
    text = text.strip().lower()
    return text in MISSING or bool(words and text in words)


def to_labels(cells: pd.Series, complain: Callable[[int], CascadeError]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Cells to the distinct labels in order of appearance, and each cell's place among them.

    Whole numbers (also as text or floats) give int64 labels, everything else text. `complain(position)`
    makes the error for the first missing cell.
    """
    objects = cells.to_numpy(dtype=object)
    empty = [isinstance(value, str) and not value.strip() for value in objects] | _missing(objects)
    if empty.any():
        raise complain(int(np.argmax(empty)))
    whole = _whole_numbers(cells, objects)
    if whole is None:
        what = f"a label in the column {cells.name!r}"
        whole = np.array([text_of(value, what) for value in objects], dtype=object)
    codes, labels = pd.factorize(whole)
    # texts as objects: an array of fixed width takes the longest one's room for each
    return labels, codes.astype(np.int64)


def _missing(objects: NDArray[Any]) -> NDArray[np.bool_]:
    try:
        return pd.isna(objects)
    except Exception:  # a signalling NaN of `decimal` cannot be compared
        return np.array([_is_blank(value) for value in objects])


def text_of(value: Any, what: str) -> str:
    """A label as text; `what` names it in the error for a value that has none."""
    try:
        return str(value)
    except Exception as error:  # whatever a class of the user's own raises
        raise CascadeError(
            f"{what} cannot be written as text: it is a {type(value).__name__}, which raises "
            f"{type(error).__name__}; give texts or whole numbers"
        ) from None


def task_ids(tasks: NDArray[Any], queries: NDArray[Any]) -> NDArray[Any]:
    """The queries' own labels where each stands once, else "<task>/<query>"; both arrays are (query,)."""
    if len(set(queries.tolist())) == len(queries):
        return queries
    joined = np.array([f"{task}/{query}" for task, query in zip(tasks, queries, strict=True)], dtype=object)
    labels, count = np.unique(joined, return_counts=True)
    if (count > 1).any():
        again = labels[count.argmax()]
        raise CascadeError(
            f"query {again!r} occurs {count.max()} times; every query of a task needs its own label"
        )
    return joined


def _whole_numbers(cells: pd.Series, objects: NDArray[Any]) -> NDArray[np.int64] | None:
    if pd.api.types.is_bool_dtype(cells.dtype):
        return None
    try:
        whole = np.array([int(value) for value in objects], dtype=np.int64)
    except Exception:  # too large, or whatever a class of the user's own raises
        return None
    # "007" and 1.5 survive int() but are not the number it gives; True is not the query 1.
    kept = all(
        (str(value) == str(number))
        if isinstance(value, str)
        else (value == number and not isinstance(value, bool))
        for value, number in zip(objects, whole.tolist(), strict=True)
    )
    return whole if kept else None
