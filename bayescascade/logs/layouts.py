"""Long and wide tables to one flat form: a record for each row and stage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayescascade._common.messages import listed, show
from bayescascade.errors import TO_FILL_IN, CascadeError, in_python, option
from bayescascade.logs.tables import EXAMPLE_PRICES, column, numeric_columns, only_column, task_ids, to_labels

# How a wide table may join a stage's name and a field's name, in order of preference. A stage's name may
# itself hold any of the separators ("llama3.2-1b.confidence"), so the field's name is what is looked for.
STYLES = (
    "{stage}.{field}",
    "{stage}:{field}",
    "{field}:{stage}",
    "{field}.{stage}",
    "{field}_{stage}",
    "{stage}_{field}",
)
LATENCY = ("latency", "latency_ms")


@dataclass
class Records:
    """A log as flat records; `row` counts the rows of the table from 0.

    `numbers` are the values of an integer `stage` column, one per name, and None where there is none;
    `sorted` says whether `names` already stand in an order that the log gives.
    """

    queries: NDArray[Any]
    tasks: NDArray[Any] | None  # (query,) where the log names them
    names: list[str]
    numbers: list[int] | None
    sorted: bool
    query: NDArray[np.int64]  # (record,) places in queries
    stage: NDArray[np.int64]  # (record,) places in names
    row: NDArray[np.int64]  # (record,)
    cells: dict[str, pd.Series]  # confidence, and correct, cost, latency where the log has them: (record,)
    latency_unit: str | None

    def where(self, record: int) -> str:
        """Where a record stands, for messages."""
        query, name = self.queries[self.query[record]], self.names[self.stage[record]]
        return f"row {self.row[record]} (counted from 0; query {show(query)}, stage {show(name)})"

    def keep(self, positions: list[int]) -> Records:
        """Only the records of these stages, in this order."""
        place = np.full(len(self.names), -1)
        place[positions] = np.arange(len(positions))
        kept = place[self.stage] >= 0
        return replace(
            self,
            names=[self.names[position] for position in positions],
            numbers=None if self.numbers is None else [self.numbers[position] for position in positions],
            query=self.query[kept],
            stage=place[self.stage[kept]],
            row=self.row[kept],
            cells={name: cells[kept].reset_index(drop=True) for name, cells in self.cells.items()},
        )


def to_records(table: pd.DataFrame, cost: str | None, priced: set[Any], task: str | None) -> Records:
    """Recognise the layout and flatten it.

    `cost` names the cost column and is None where prices are given by stage; `priced` are those stages. `task`
    names the column of tasks.
    """
    columns = set(table.columns)
    if "confidence" in columns or columns & {"stage", "model"}:
        return _long(table, cost, task)
    style, names = wide_style(list(table.columns))
    if style is None:
        raise no_confidence(table.columns)
    return _wide(table, style, names, cost, priced, task)


def _long(table: pd.DataFrame, cost: str | None, task: str | None) -> Records:
    columns = set(table.columns)
    for name in ("query", "confidence"):
        if name not in columns:
            raise CascadeError(
                f"missing column {name!r}; the columns are {listed(table.columns)}; say which of them it is: "
                + in_python(f"columns={{{name!r}: ...}}", f"--{name}-column COLUMN")
            )
    if not columns & {"stage", "model"}:
        raise CascadeError(
            f"missing column 'stage' (or 'model'), so rows cannot be told apart by stage; "
            f"the columns are {listed(table.columns)}; say which of them it is: "
            + in_python("columns={'stage': ...}", "--stage-column COLUMN")
        )
    cells = {"confidence": column(table, "confidence")}
    if "correct" in columns:
        cells["correct"] = column(table, "correct")
    if cost is not None:
        if cost not in columns:
            raise no_cost(cost, repr(cost), _that_hold_numbers(table))
        cells["cost"] = column(table, cost)
    latency = next((name for name in LATENCY if name in columns), None)
    if latency is not None:
        cells["latency"] = column(table, latency)
    queries, query, tasks = _queries(table, task)
    names, numbers, ordered, stage = stages_in(table)
    return Records(
        queries=queries,
        tasks=tasks,
        names=names,
        numbers=numbers,
        sorted=ordered,
        query=query,
        stage=stage,
        row=np.arange(len(table)),
        cells={name: series.reset_index(drop=True) for name, series in cells.items()},
        latency_unit=_unit(latency),
    )


def _queries(table: pd.DataFrame, task: str | None) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[Any] | None]:
    """Labels of the queries, each row's place among them, and the task of each query where there are tasks."""
    if "query" in table.columns:
        queries, query = to_labels(column(table, "query"), _missing("query"))
    else:
        queries, query = np.arange(len(table)), np.arange(len(table))
    if task is None and "task" not in table.columns:
        return queries, query, None
    name = "task" if task is None else task
    if name not in table.columns:
        raise CascadeError(
            f"missing task column {name!r}; the columns are {listed(table.columns)}. Name the column with "
            + option("task", TO_FILL_IN)
            + ", or leave it out if the log is of one task"
        )
    tasks, number = to_labels(column(table, name), _missing(name))
    place, pairs = pd.factorize(number * len(queries) + query)  # in order of appearance, as queries are
    of_query = np.array([str(task) for task in tasks], dtype=object)[pairs // len(queries)]
    return task_ids(of_query, queries[pairs % len(queries)]), place.astype(np.int64), of_query


def _missing(name: str) -> Any:
    return lambda row: CascadeError(
        f"column {name!r} is empty at row {row} (counted from 0); every row needs its {name}: "
        "fill it in, or drop the row"
    )


def stages_in(table: pd.DataFrame) -> tuple[list[str], list[int] | None, bool, NDArray[np.int64]]:
    """Names of stages, their numbers if they have any, whether that is an order, and each row's place."""
    key = "stage" if "stage" in table.columns else "model"
    series = column(table, key)
    labels, codes = to_labels(series, _missing(key))
    numbered = labels.dtype == np.int64 and key == "stage"
    if not numbered:
        names = [str(label) for label in labels]
        rank = _category_rank(series, names)
        if rank is None:
            return names, None, False, codes
        order = np.argsort(rank)
        return [names[place] for place in order], None, True, np.argsort(order)[codes]
    order = np.argsort(labels)
    numbers, codes = labels[order].tolist(), np.argsort(order)[codes]
    return _names(table, numbers, codes), numbers, True, codes


def _category_rank(series: pd.Series, names: list[str]) -> list[int] | None:
    """Rank of each name in an ordered categorical, which is the one text column that carries an order."""
    if not getattr(series.dtype, "ordered", False):
        return None
    order = [str(category) for category in series.dtype.categories]  # type: ignore[union-attr]
    return [order.index(name) for name in names]


def _names(table: pd.DataFrame, numbers: list[int], codes: NDArray[np.int64]) -> list[str]:
    """A numbered stage is called by its model where the log has that, else by its number."""
    if "model" not in table.columns:
        return [str(number) for number in numbers]
    models, code = to_labels(column(table, "model"), _missing("model"))
    names = []
    for place, number in enumerate(numbers):
        here = np.unique(code[codes == place])
        if len(here) > 1:
            raise CascadeError(
                f"stage {number} has {len(here)} models ({listed(models[here])}); a stage is one model: "
                "split the log by model, or drop the column 'model' if they are versions of the same one"
            )
        names.append(str(models[here[0]]))
    if len(set(names)) < len(names):  # one model called twice, say with more samples the second time
        names = [f"{number}:{name}" for number, name in zip(numbers, names, strict=True)]
    return names


def column_of(name: str, style: str, field: str) -> str | None:
    """The stage's name, if a column's name is this field of some stage."""
    head, tail = style.replace("{field}", field).split("{stage}")
    if len(name) > len(head) + len(tail) and name.startswith(head) and name.endswith(tail):
        return name[len(head) : len(name) - len(tail)]
    return None


def _found(columns: list[str], style: str, field: str) -> Iterator[str]:
    yield from dict.fromkeys(stage for name in columns if (stage := column_of(name, style, field)))


def wide_style(columns: list[str]) -> tuple[str | None, list[str]]:
    """The first style that names two stages, else the first that names one."""
    found = {style: list(_found(columns, style, "confidence")) for style in STYLES}
    for least in (2, 1):
        for style, names in found.items():
            if len(names) >= least:
                return style, names
    return None, []


def _wide(
    table: pd.DataFrame, style: str, names: list[str], cost: str | None, priced: set[Any], task: str | None
) -> Records:
    columns: dict[str, list[int]] = {}  # places; a look for each name would take stages x columns
    for place, name in enumerate(table.columns):
        columns.setdefault(name, []).append(place)

    def called(stage: str, field: str) -> str:
        return style.format(stage=stage, field=field)

    if (nameless := called("", "confidence")) in columns:
        raise CascadeError(
            f"the column {nameless!r} names no stage; call it e.g. {called('small', 'confidence')!r}, or drop it"
        )
    # A last stage whose confidence nobody logged would otherwise vanish without a word.
    costed = priced if cost is None else set(_found(list(columns), style, cost))
    given = set(names)
    for stage in _found(list(columns), style, "correct"):
        if stage not in given and stage in costed:
            raise CascadeError(
                f"stage {stage!r} has a column {called(stage, 'correct')!r} but no "
                f"{called(stage, 'confidence')!r}; add its confidence (a constant if it reports none), "
                "or drop its columns"
            )
    if cost is not None:
        lacking = [called(stage, cost) for stage in names if called(stage, cost) not in columns]
        if lacking:
            raise no_cost(cost, listed(lacking), _that_hold_numbers(table))
    latency = next((f for f in LATENCY if any(called(stage, f) in columns for stage in names)), None)
    fields = {"confidence": "confidence", "correct": "correct", "cost": cost, "latency": latency}
    blank = pd.Series(np.nan, index=table.index)
    cells = {}
    for field, source in fields.items():
        if source is None:
            continue
        wanted = [called(stage, source) for stage in names]
        if any(name in columns for name in wanted):
            parts = [
                only_column(table, name, columns[name]).astype(object) if name in columns else blank
                for name in wanted
            ]
            cells[field] = pd.concat(parts, ignore_index=True)
    n = len(table)
    queries, query, tasks = _queries(table, task)
    return Records(
        queries=queries,
        tasks=tasks,
        names=names,
        numbers=None,
        sorted=False,
        query=np.tile(query, len(names)),
        stage=np.repeat(np.arange(len(names)), n),
        row=np.tile(np.arange(n), len(names)),
        cells=cells,
        latency_unit=_unit(latency),
    )


def _unit(latency: str | None) -> str | None:
    return "ms" if latency == "latency_ms" else None


def _that_hold_numbers(table: pd.DataFrame) -> str:
    taken = {"query", "task", "stage", "confidence", "correct"}
    taken |= {
        name for name in table.columns for s in STYLES for f in ("confidence", "correct") if column_of(name, s, f)
    }
    others = numeric_columns(table, taken)
    return f"; the numeric columns are {listed(others)}" if len(others) else "; no other column holds numbers"


def no_confidence(columns: Iterable[str], where: str = "") -> CascadeError:
    """The error of a table that is neither long nor wide; ``where`` says which table."""
    return CascadeError(
        f"missing column 'confidence'{where}; the columns are {listed(columns)}. A long log has query, stage (or "
        "model), confidence, correct, cost; a wide one has query and, for each stage, columns such as "
        "small.confidence, small.correct and small.cost: rename yours so"
    )


def no_labels(stage: str, columns: Iterable[str]) -> CascadeError:
    """The error of a log to be fitted in which no column says which answers are right."""
    return CascadeError(
        "stage {!r} has no labelled row: there is no column 'correct', nor one for each stage; the columns are "
        "{}. Say which of them it is{}, or when an answer is right: {}",
        (
            stage,
            listed(columns),
            in_python(" with columns={'correct': ...}", " with --correct-column COLUMN"),
            option("correct_if", "score >= 0.5"),
        ),
    )


def no_cost(cost: str, lacking: str, where: str) -> CascadeError:
    """The error of a table without the columns ``lacking``; ``where`` says which table, or what it has."""
    return CascadeError(
        "missing cost column {}{}. Name the column with {}, or give the price of a call to each stage: {}",
        (lacking, where, option("cost", TO_FILL_IN), EXAMPLE_PRICES),
        parameter="cost",
        value=cost,
    )
