"""What was asked and what was answered, put beside a log for methods that read text."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import xarray as xr

from bayescascade.errors import CascadeError
from bayescascade.logs.tables import load_table

TEXT = "prompt"  # the variable (query,) of a log that holds what was asked
ANSWER = "answer"  # the variable (query, stage) of a log that holds what the stages answered


def with_prompts(
    log: xr.Dataset, source: str | os.PathLike[str] | pd.DataFrame, *, column: str = TEXT
) -> xr.Dataset:
    """Attach what was asked, by query id, as the variable ``prompt``.

    Examples
    --------
    >>> import pandas as pd
    >>> import bayescascade as bc
    >>> from bayescascade.logs.texts import with_prompts
    >>> log = bc.simulate(3, random_seed=1)
    >>> log = with_prompts(log, pd.DataFrame({"query": [2, 1, 0], "prompt": ["c", "b", "a"]}))
    >>> log["prompt"].values.tolist()
    ['a', 'b', 'c']

    Parameters
    ----------
    log : xarray.Dataset
        As `read_log` returns it.
    source : path or pandas.DataFrame
        A table (CSV, Parquet, JSON lines) with the columns ``query`` and ``column``, one row for each query.
        Queries that the log does not have are passed over. Ids are compared as text.
    column : str
        Which column holds what was asked.

    Returns
    -------
    xarray.Dataset
        A new Dataset with the variable ``prompt`` (query,).

    Raises
    ------
    CascadeError
        If the table has no such column, has a query twice, or lacks a query or its text.
    """
    table = _table(source, ["query", column])
    found = _by_key(table["query"].astype(str).tolist(), table[column].tolist(), "query")
    wanted = [str(query) for query in log["query"].values.tolist()]
    _all_there([query for query in wanted if _missing(found.get(query))], len(wanted), "prompt")
    return log.assign({TEXT: ("query", np.array([str(found[query]) for query in wanted], dtype=object))})


def with_answers(log: xr.Dataset, source: str | os.PathLike[str] | pd.DataFrame) -> xr.Dataset:
    """Attach what the stages answered, by query id and stage, as the variable ``answer``.

    Examples
    --------
    >>> import pandas as pd
    >>> import bayescascade as bc
    >>> from bayescascade.logs.texts import with_answers
    >>> log = bc.simulate(2, n_stages=2, stages=["small", "large"], random_seed=1)
    >>> table = pd.DataFrame(
    ...     {"query": [0, 0, 1, 1], "stage": ["small", "large"] * 2, "answer": ["A", "B", "C", "C"]}
    ... )
    >>> with_answers(log, table)["answer"].values.tolist()
    [['A', 'B'], ['C', 'C']]

    Parameters
    ----------
    log : xarray.Dataset
        As `read_log` returns it.
    source : path or pandas.DataFrame
        A table with a row for each query and stage, usually the log's own file: the columns ``query``, ``answer``,
        and the stage's name in ``model`` or ``stage``. Other queries and stages are passed over.

    Returns
    -------
    xarray.Dataset
        A new Dataset with the variable ``answer`` (query, stage) of strings, empty where a stage was not run or
        answered nothing.

    Raises
    ------
    CascadeError
        If a column is missing, no column names the stages, a row occurs twice, or a stage was run without a row.
    """
    table = _table(source, ["query", ANSWER])
    stages = [str(stage) for stage in log["stage"].values]
    named = [name for name in ("model", "stage") if name in table and set(stages) <= set(table[name].astype(str))]
    if not named:
        raise CascadeError(
            f"no column of the table of answers names the stages {', '.join(map(repr, stages))}; "
            "put their names into a column 'model' or 'stage'."
        )
    keys = list(zip(table["query"].astype(str), table[named[0]].astype(str), strict=True))
    found = _by_key(keys, table[ANSWER].tolist(), f"(query, {named[0]})")
    ran = log["confidence"].transpose("query", "stage").notnull().values
    queries = [str(query) for query in log["query"].values.tolist()]
    absent = [
        (q, s) for i, q in enumerate(queries) for j, s in enumerate(stages) if ran[i, j] and (q, s) not in found
    ]
    _all_there(absent, int(ran.sum()), "answer")
    texts = [["" if _missing(found.get((q, s))) else str(found[q, s]) for s in stages] for q in queries]
    return log.assign(
        {ANSWER: (("query", "stage"), np.array(texts, dtype=object).reshape(len(queries), len(stages)))}
    )


def _table(source: str | os.PathLike[str] | pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    table = load_table(source)
    for name in columns:
        if name not in table:
            raise CascadeError(
                f"the table has no column {name!r}; it has {', '.join(map(repr, table.columns))}. "
                f"Needed are {' and '.join(map(repr, columns))}."
            )
    return table


def _by_key[Key](keys: list[Key], values: list[object], what: str) -> dict[Key, object]:
    found: dict[Key, object] = {}
    for key, value in zip(keys, values, strict=True):
        if key in found:
            raise CascadeError(f"{what} {key!r} occurs twice in the table; keep one row for each.")
        found[key] = value
    return found


def _missing(value: object) -> bool:
    return value is None or value != value


def _all_there(absent: list, n: int, what: str) -> None:
    if absent:
        raise CascadeError(
            f"{len(absent)} of {n} have no {what} in the table, first {absent[0]!r}; is it another log's table?"
        )


def texts(log: xr.Dataset) -> np.ndarray:
    """What was asked (query,), from the variable ``prompt`` of a log."""
    if TEXT not in log:
        raise CascadeError(f"this method reads what was asked, but the log has no variable {TEXT!r} over query.")
    # as objects: an array of fixed width takes the longest text's room for each
    return np.array([str(text) for text in log[TEXT].values], dtype=object)
