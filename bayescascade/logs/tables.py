"""Files to tables, and cells to numbers: the part of reading a log that knows nothing of cascades."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayescascade.errors import CascadeError, Code, call, option

EXAMPLE_PRICES = option("cost", {"small": Code("1e-4"), "large": Code("1e-3")})

# What people and programs write for "no value"; compared in lower case. Applied to numbers only: a query may
# be called "NA", and a stage "none".
MISSING = frozenset({"", "nan", "na", "n/a", "<na>", "null", "none"})
TRUTH = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0}


def load_table(source: Any) -> pd.DataFrame:
    """Read a CSV, TSV, Parquet or JSON-lines file, or take a DataFrame as it is."""
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        table, origin = _read_file(path), str(path)
    elif isinstance(source, pd.DataFrame):
        table, origin = source, "the DataFrame"
    else:
        raise CascadeError(
            f"a log should be a path or a pandas DataFrame but is a {type(source).__name__}; "
            "an xarray Dataset goes to " + call("validate_log") + ", other tables have a to_pandas method"
        )
    if len(table) == 0:
        raise CascadeError(f"{origin} is empty: it has no rows; a log needs a row for each query")
    return _flat_columns(table)


def _read_file(path: Path) -> pd.DataFrame:
    readers = {**dict.fromkeys((".csv", ".tsv"), _read_csv), **dict.fromkeys((".parquet", ".pq"), _read_parquet)}
    readers |= dict.fromkeys((".jsonl", ".ndjson", ".json"), _read_json_lines)
    suffix = path.suffix.lower()
    if suffix in {".pkl", ".pickle"}:
        raise CascadeError(
            f"{path} is a pickle, which can run any code when opened, so it is never read; "
            "save it as Parquet or CSV"
        )
    if not path.exists():
        raise CascadeError(f"there is no file {path}; give the path of a log ({', '.join(readers)})")
    if not path.is_file():
        raise CascadeError(f"{path} is not a file; give the path of one log ({', '.join(readers)})")
    if suffix not in readers:
        raise CascadeError(f"{path} ends in {suffix!r}; a log file should end in one of {', '.join(readers)}")
    if path.stat().st_size == 0:
        raise CascadeError(f"{path} is empty: it has no bytes; a log needs a row for each query")
    try:
        return readers[suffix](path)
    except OSError as error:
        raise CascadeError(f"{path} cannot be read: {error.strerror or error}") from None


def _read_csv(path: Path) -> pd.DataFrame:
    with path.open("rb") as lines:
        header = lines.readline()
    if path.suffix.lower() == ".csv" and b";" in header and b"," not in header:
        raise CascadeError(f"{path} is separated by semicolons; save it with commas, or as .tsv with tabs")
    try:
        # Every cell as text: guessing would make 7 of the query "007" and a missing one of the query "NA".
        # The header is read as a row, or pandas renames the second of two equal columns without a word.
        cells = pd.read_csv(
            path,
            sep="\t" if path.suffix.lower() == ".tsv" else ",",
            header=None,
            index_col=False,
            dtype=str,
            keep_default_na=False,
            skipinitialspace=True,
            encoding="utf-8-sig",
        )
    except UnicodeDecodeError:
        raise CascadeError(f"{path} is not a text file; save the log as CSV in UTF-8, or as Parquet") from None
    except pd.errors.EmptyDataError:
        raise CascadeError(f"{path} is empty: it has no rows; a log needs a row for each query") from None
    except ValueError as error:  # pandas' ParserError is one
        raise CascadeError(f"{path} cannot be read as CSV: {str(error).strip()}; repair that line") from None
    table = cells.iloc[1:].reset_index(drop=True)
    table.columns = [str(name).strip() for name in cells.iloc[0]]
    return table


def _read_parquet(path: Path) -> pd.DataFrame:
    import pyarrow

    try:
        return pd.read_parquet(path, engine="pyarrow")
    except (pyarrow.ArrowException, ValueError) as error:
        raise CascadeError(
            f"{path} cannot be read as Parquet, it is truncated or of another format: {str(error).splitlines()[0]}"
        ) from None


def _read_json_lines(path: Path) -> pd.DataFrame:
    # Not pandas.read_json(lines=True, dtype=False): an integer beside a missing value becomes a float, so that
    # query 9007199254740993 becomes ...992, one of more than 64 bits is refused, floats lose their last digits,
    # and no error names its line.
    records = []
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                text = line.decode("utf-8-sig").strip()
                record = json.loads(text) if text else None
            except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
                raise CascadeError(
                    f"{path}, line {number}: not valid JSON ({error}); every line should be one whole object"
                ) from None
            if isinstance(record, dict):
                records.append(record)
            elif text:
                raise CascadeError(
                    f"{path}, line {number}: should be an object such as "
                    f'{{"query": 1, "stage": 0, ...}} but is a JSON {type(record).__name__}; '
                    "write one object per line"
                )
    # Object columns, or an integer beside a missing value would become a float.
    return pd.DataFrame(records, dtype=object)


def _flat_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Index levels with names become columns, and pairs of names (a pivoted table) one name."""
    wanted = [name for name in table.index.names if name is not None and name not in table.columns]
    if wanted:
        table = table.reset_index(level=wanted)
    if table.columns.nlevels > 1:
        flat = [":".join(str(part) for part in parts if str(part)) for parts in table.columns]
        table = table.set_axis(flat, axis=1)
    return table.set_axis([str(name) for name in table.columns], axis=1)


def column(table: pd.DataFrame, name: str) -> pd.Series:
    """The one column of this name."""
    found = table.loc[:, table.columns == name]
    if found.shape[1] > 1:
        raise CascadeError(f"{found.shape[1]} columns are called {name!r}; keep or rename all but one")
    return found.iloc[:, 0]


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
    return CascadeError(f"not a number at {position}: {value!r}")


def to_numbers(
    cells: pd.Series, complain: Callable[[int, Any], CascadeError], words: dict[str, float] | None = None
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
    for position, value in enumerate(objects):
        if isinstance(value, str):
            text = value.strip().lower()
            if text in MISSING:
                continue
            if words and text in words:
                numbers[position] = words[text]
                continue
        elif value is None or value is pd.NA or value is pd.NaT:
            continue
        elif isinstance(value, (bool, np.bool_)) and words is None:
            raise complain(position, value)
        try:
            numbers[position] = float(value)
        except (TypeError, ValueError, OverflowError):
            raise complain(position, value) from None
    return numbers


def to_labels(cells: pd.Series, complain: Callable[[int], CascadeError]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Cells to the distinct labels in order of appearance, and each cell's place among them.

    Whole numbers (also as text or floats) give int64 labels, everything else text. `complain(position)`
    makes the error for the first missing cell.
    """
    objects = cells.to_numpy(dtype=object)
    empty = [isinstance(value, str) and not value.strip() for value in objects] | pd.isna(objects)
    if empty.any():
        raise complain(int(np.argmax(empty)))
    whole = _whole_numbers(cells, objects)
    if whole is None:
        whole = np.array([str(value) for value in objects], dtype=object)
    codes, labels = pd.factorize(whole)
    return (labels if labels.dtype == np.int64 else labels.astype(str)), codes.astype(np.int64)


def task_ids(tasks: NDArray[np.str_], queries: NDArray[Any]) -> NDArray[Any]:
    """The queries' own labels where each stands once, else "<task>/<query>"; both arrays are (query,)."""
    if len(set(queries.tolist())) == len(queries):
        return queries
    joined = np.array([f"{task}/{query}" for task, query in zip(tasks, queries, strict=True)])
    labels, count = np.unique(joined, return_counts=True)
    if (count > 1).any():
        again = labels[count.argmax()].item()
        raise CascadeError(
            f"query {again!r} occurs {count.max()} times; every query of a task needs its own label"
        )
    return joined


def _whole_numbers(cells: pd.Series, objects: NDArray[Any]) -> NDArray[np.int64] | None:
    if pd.api.types.is_bool_dtype(cells.dtype):
        return None
    try:
        whole = np.array([int(value) for value in objects], dtype=np.int64)
    except (TypeError, ValueError, OverflowError):
        return None
    # "007" and 1.5 survive int() but are not the number it gives; True is not the query 1.
    kept = all(
        (str(value) == str(number))
        if isinstance(value, str)
        else (value == number and not isinstance(value, bool))
        for value, number in zip(objects, whole.tolist(), strict=True)
    )
    return whole if kept else None
