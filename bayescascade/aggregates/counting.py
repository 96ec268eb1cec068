"""Tables of any size to aggregates, by DuckDB: in bounded memory, as it spills to disk what does not fit.

The rules are those of `read_log`. What is not asked of a table is what only a look at all of it can say, such as
whether confidences rank the answers; and texts are numbers only where they are written plainly.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from bayescascade._common.extras import not_installed
from bayescascade._common.messages import listed, show
from bayescascade._common.parallel import n_cores
from bayescascade.aggregates import sql
from bayescascade.aggregates.aggregate import AMOUNTS, MOMENTS, Aggregate
from bayescascade.errors import CascadeError, option
from bayescascade.logs.layouts import LATENCY, no_confidence, no_cost, stages_in, wide_style
from bayescascade.logs.sources import Table, check_kind_of
from bayescascade.signals.kinds import check_kind

MEMORY = "1GB"


@dataclass(frozen=True)
class Recipe:
    """What to count: the stages of a cascade and their edges, and how a table says what is known of them.

    Attributes
    ----------
    stages : tuple of str
    edges : tuple of ndarray (edge,)
    kind : str, optional
        Of confidences; by default what the files say.
    cost : str or dict of str to float
        Column of costs, or prices by stage.
    task : str, optional
        Column of tasks; by default ``task`` if there is one.
    of_task : str, optional
        Count queries of this task only.
    words : dict of str to float
        What texts in ``correct`` stand for, NaN for not labelled.
    memory : str
        What DuckDB may take before it spills to disk.
    mark : float, optional
        The least grade of a right answer.
    """

    stages: tuple[str, ...]
    edges: tuple[np.ndarray, ...]
    kind: str | None
    cost: str | Mapping[str, float]
    task: str | None
    of_task: str | None
    words: Mapping[str, float]
    memory: str = MEMORY
    mark: float | None = None


class Counted(NamedTuple):
    """An aggregate, the names of the stages of its table, and how many labels have no confidence."""

    aggregate: Aggregate
    names: frozenset[str]
    lost: int


@contextmanager
def database(memory: str = MEMORY, ordered: bool = False) -> Any:
    """A DuckDB connection that spills to a temporary folder; its errors as `CascadeError`.

    Where rows have to stay in order, it uses one thread.

    Raises `ImportError` that says what to install where DuckDB is not.
    """
    try:
        import duckdb
    except ModuleNotFoundError as missing:
        raise not_installed(missing, "a log of many files", "duckdb") from missing
    with tempfile.TemporaryDirectory(prefix="bayescascade-duckdb-") as folder:
        try:
            settings: dict[str, Any] = {"memory_limit": memory, "temp_directory": folder}
            settings |= {"threads": 1 if ordered else n_cores(), "preserve_insertion_order": ordered}
            connection = duckdb.connect(":memory:", config=settings)
        except duckdb.Error as error:
            raise CascadeError(
                f"DuckDB does not start with {settings['memory_limit']!r} of memory: {error}"
            ) from None
        try:
            yield connection
        except duckdb.Error as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise CascadeError(
                f"DuckDB cannot read or count the log: {reason}. If a file is damaged, write it again; if memory "
                "or disk is full, free some"
            ) from None
        finally:
            connection.close()


def count_table(table: Table, recipe: Recipe) -> Counted:
    """Count the patterns of a table.

    Raises
    ------
    CascadeError
        For columns that are missing, and values that `read_log` refuses.
    """
    kind = check_kind(check_kind_of(table, recipe.kind)).name
    with database(recipe.memory) as connection:
        if not table.paths:
            connection.register(sql.TABLE, table.frame)
        columns = list(table.columns)
        is_long = "confidence" in columns or bool({"stage", "model"} & set(columns))
        make = _long if is_long else _wide
        queries, names, latency = make(connection, table, recipe, kind)
        amounts = _amounts(latency)
        digits = sql.Digits.of(recipe.edges)
        rows = connection.execute(sql.patterns(queries(False), digits, amounts)).fetchnumpy()
        found = [np.ma.filled(column, 0) for column in rows.values()]
        if found[-2].size and found[-2].max() > 0:
            _complain(connection, queries(True), int(found[-2].max()), table, kind)
    return _counted(found, digits, recipe, kind, names, latency)


def _amounts(latency: str | None) -> tuple[str, ...]:
    """What is summed up of each stage: its cost, and its latency where there is a column of it."""
    return ("x",) if latency is None else ("x", "t")


def _counted(
    found: list[np.ndarray], digits: sql.Digits, recipe: Recipe, kind: str, names: list[str], latency: str | None
) -> Counted:
    n, numbers = len(recipe.stages), len(digits.places)
    cell, label = np.divmod(digits.read(np.stack(found[:numbers], axis=1).astype(np.int64)), 3)
    weight = found[numbers].astype(float)
    told = np.stack(found[numbers + 1 : -2], axis=1).astype(float).reshape(-1, n, len(_amounts(latency)), MOMENTS)
    moments = np.zeros((len(weight), n, len(AMOUNTS), MOMENTS))
    moments[:, :, : told.shape[2]] = told
    seen = (cell > 0).any(axis=1)  # not queries that never came as far as these stages
    empty = Aggregate.empty(recipe.stages, kind, recipe.edges)
    unit = None if latency is None else "ms" if latency == "latency_ms" else ""
    parts = (cell[seen], label[seen], weight[seen], weight[seen], moments[seen])
    return Counted(replace(empty, unit=unit)._with(*parts), frozenset(names), int(found[-1].sum()))


def _need(table: Table, column: str) -> None:
    if column not in table.columns:
        raise CascadeError(f"missing column {column!r} in {table.name}; the columns are {listed(table.columns)}")


def _task(table: Table, recipe: Recipe) -> tuple[list[str], str]:
    """Columns that tell tasks apart, and a condition for the queries of one."""
    column = recipe.task or ("task" if "task" in table.columns else None)
    if column is None and recipe.of_task is None:
        return [], "true"
    column = column or "task"
    _need(table, column)
    if recipe.of_task is None:
        return [sql.name(column)], "true"
    return [sql.name(column)], f"{sql.name(column)}::VARCHAR = {sql.text(recipe.of_task)}"


def _keys(table: Table, tasks: list[str], with_file: bool) -> tuple[list[str], list[str]]:
    """What to select of a row besides values, and what it is then called: our names, not the user's."""
    query = f"{sql.name('query')} AS query" if "query" in table.columns else "NULL AS query"
    keys = [query, *(f"{task} AS task" for task in tasks)]
    if with_file:
        keys.append(f"{sql.name(sql.FILE)} AS file" if table.paths else "'' AS file")
    return keys, [key.rpartition(" AS ")[2] for key in keys]


def _long(connection: Any, table: Table, recipe: Recipe, kind: str) -> tuple[Any, list[str], str | None]:
    """How to select the queries of a long table, the names of its stages, and its column of latencies."""
    _need(table, "query")
    _need(table, "confidence")
    key = "stage" if "stage" in table.columns else "model"
    _need(table, key)
    price = None
    if isinstance(recipe.cost, str):
        _need(table, recipe.cost)
    else:
        prices = " ".join(f"WHEN {j} THEN {sql.double(_price(recipe, s))}" for j, s in enumerate(recipe.stages))
        price = f"CASE j {prices} END"
    names, places = _stages_of(connection, table, key, recipe.stages)
    latency = next((column for column in LATENCY if column in table.columns), None)
    correct = "correct" if "correct" in table.columns else None
    cost = recipe.cost if isinstance(recipe.cost, str) else None
    of_row = sql.Columns("confidence", correct, cost, latency, price)
    steps = sql.values(of_row, table, kind, recipe.words, recipe.mark)
    tasks, where = _task(table, recipe)
    stage_of = " ".join(f"WHEN {sql.text(label)} THEN {j}" for label, j in places.items())
    place = f"CASE {sql.name(key)}::VARCHAR {stage_of} ELSE -1 END" if places else "-1"
    cells = " ".join(f"WHEN {j} THEN {sql.cell('c', edges)}" for j, edges in enumerate(recipe.edges))

    def queries(with_file: bool) -> str:
        """Of queries, or of rows with their files where something is wrong with one."""
        keys, made = _keys(table, tasks, with_file)
        source = f"{sql.relation(table, with_file)} WHERE {where}"
        rows = sql.stepwise(source, [*keys, f"{place} AS j"], [*made, "j"], steps)
        worst = f"CASE WHEN query IS NULL THEN {sql.QUERY} ELSE problem END AS problem"
        rows = f"SELECT * REPLACE ({worst}) FROM ({rows}) WHERE j >= 0"
        if with_file:
            return rows
        rows = f"SELECT *, CASE j {cells} END AS cell FROM ({rows})"
        return sql.long_queries(rows, made, sql.Digits.of(recipe.edges), _amounts(latency))

    return queries, names, latency


def _stages_of(connection: Any, table: Table, key: str, wanted: Sequence[str]) -> tuple[list[str], dict[str, int]]:
    """Names of the stages of a long table, and the place among the wanted ones of each value of its column."""
    more = ", model" if key == "stage" and "model" in table.columns else ""
    distinct = (
        f"SELECT DISTINCT {sql.name(key)}{more}, {sql.name(key)}::VARCHAR AS told FROM {sql.relation(table)}"
    )
    if table.frame is not None and getattr(table.frame[key].dtype, "ordered", False):
        distinct = distinct.replace(f"DISTINCT {sql.name(key)}", f"DISTINCT {sql.name(key)}::VARCHAR AS {key}", 1)
    found = connection.execute(distinct + " ORDER BY told").df()
    if not len(found):
        return [], {}
    names, _, _, code = stages_in(found.drop(columns="told"))
    places = {name: place for place, name in enumerate(wanted)}
    return names, {
        label: places[names[i]]
        for label, i in zip(found["told"], code.tolist(), strict=True)
        if names[i] in places
    }


def _price(recipe: Recipe, stage: str) -> float:
    assert not isinstance(recipe.cost, str)
    if stage not in recipe.cost:
        raise CascadeError(
            option("cost") + f" gives no price for stage {stage!r}, only for {listed(recipe.cost)}; add it",
            parameter="cost",
            value=recipe.cost,
        )
    return float(recipe.cost[stage])


def _wide(connection: Any, table: Table, recipe: Recipe, kind: str) -> tuple[Any, list[str], str | None]:
    """How to select the queries of a wide table, the names of its stages, and its field of latencies."""
    style, names = wide_style(list(table.columns))
    if style is None:
        raise no_confidence(table.columns, f" in {table.name}")

    def called(stage: str, field: str) -> str | None:
        column = str(style).format(stage=stage, field=field)
        return column if column in table.columns else None

    latency = next((f for f in LATENCY if any(called(stage, f) for stage in names)), None)
    of_stage: dict[int, list[list[str]]] = {}
    for j, stage in enumerate(recipe.stages):
        if stage not in names:
            continue
        cost, price = None, None
        if isinstance(recipe.cost, str):
            cost = called(stage, recipe.cost)
            if cost is None:
                column = style.format(stage=stage, field=recipe.cost)
                raise no_cost(recipe.cost, repr(column), f" in {table.name}")
        else:
            price = sql.double(_price(recipe, stage))
        waited = None if latency is None else called(stage, latency)
        columns = sql.Columns(str(called(stage, "confidence")), called(stage, "correct"), cost, waited, price)
        of_stage[j] = sql.values(columns, table, kind, recipe.words, recipe.mark, str(j))
    tasks, where = _task(table, recipe)
    steps = [[item for parts in step for item in parts] for step in zip(*of_stage.values(), strict=True)]
    has_query = "query" in table.columns

    def queries(with_file: bool) -> str:
        """Of queries, or of one row for each query and stage where something is wrong with one."""
        keys, made = _keys(table, tasks, with_file)
        if not steps:  # none of its stages is asked for
            steps.extend([["NULL AS none"]] * 3)
        rows = sql.stepwise(f"{sql.relation(table, with_file)} WHERE {where}", keys, made, steps)
        missing = f"WHEN query IS NULL THEN {sql.QUERY} " if has_query else ""
        if with_file:
            return " UNION ALL ".join(
                f"SELECT query, file, {j} AS j, c{j} AS c, CASE {missing}WHEN true THEN problem{j} END AS problem "
                f"FROM ({rows})"
                for j in of_stage
            )
        return _one_row_each(rows, recipe, of_stage, missing, made if has_query else [], _amounts(latency))

    return queries, names, latency


def _one_row_each(
    rows: str,
    recipe: Recipe,
    of_stage: Mapping[int, Any],
    missing: str,
    keys: Sequence[str],
    amounts: Sequence[str],
) -> str:
    """What `sql.patterns` groups, of a wide table's queries, which are told apart by ``keys``."""
    cells, paid = [], []
    for j, edges in enumerate(recipe.edges):
        there = j in of_stage
        cells.append(f"{sql.cell(f'c{j}', edges) if there else '0'} AS cell{j}, {'' if there else '0 AS '}l{j}")
        paid += [f"{v}{j}" if there else f"NULL::DOUBLE AS {v}{j}" for v in amounts]
    worst = ", ".join([*(f"problem{j}" for j in of_stage), "0"])
    lost = " + ".join([*(f"lost{j}" for j in of_stage), "0"])
    problem = f"CASE {missing}ELSE greatest({worst}) END" if missing else f"greatest({worst})"
    rows = f"SELECT {', '.join([*keys, *cells, *paid])}, {problem} AS problem, {lost} AS lost FROM ({rows})"
    digits, own = sql.Digits.of(recipe.edges), [f"{v}{j}" for j in range(len(recipe.edges)) for v in amounts]
    query = f"SELECT {', '.join([*keys, sql.wide_numbers(digits), *own])}, problem, lost FROM ({rows})"
    if not keys:
        return query
    numbers = [f"d{i}" for i in range(len(digits.places))]
    each = ", ".join(f"max({v}) AS {v}" for v in (*numbers, *own))
    twice = f"CASE WHEN count(*) > 1 THEN {sql.TWICE} ELSE max(problem) END AS problem"
    return f"SELECT {each}, {twice}, sum(lost) AS lost FROM ({query}) GROUP BY {', '.join(keys)}"


_ALLOWED = {
    sql.CONFIDENCE: "a confidence should be a number, or empty",
    sql.LABEL: "a label should be 0, 1, True or False, or empty; if texts are grades, say what they stand for, "
    "and of grades between 0 and 1 from which on an answer is right: "
    + option("grades", {"C": 1, "P": 0.5, "I": 0, "N": None})
    + " "
    + option("pass_mark", 0.5),
    sql.COST: "a cost should be a finite number, at least 0, or empty if unknown",
    sql.LATENCY: "a latency should be a finite number, at least 0, or empty if unknown",
    sql.QUERY: "its query is missing; every row needs one",
}


def _complain(connection: Any, rows: str, problem: int, table: Table, kind: str) -> None:
    """Raise `CascadeError` for the rows at fault, by the first of them."""
    if problem == sql.TWICE:
        found = connection.execute(
            f"SELECT query, j, count(*) FROM ({rows}) GROUP BY ALL HAVING count(*) > 1 LIMIT 1"
        ).fetchone()
        raise CascadeError(
            f"duplicate (query, stage) in {table.name}: query {show(found[0])} has {found[2]} rows of one stage; "
            "keep one row for each, or give repeated samples query ids of their own"
        )
    at = f"FROM ({rows}) WHERE problem = {problem}"
    (count,) = connection.execute(f"SELECT count(*) {at}").fetchone()
    query, file, c = connection.execute(f"SELECT query, file, c {at} LIMIT 1").fetchone()
    allowed = _ALLOWED.get(problem) or (
        f"its confidence is {c!r}; of kind {kind!r} it should be {check_kind(kind).description}, or empty if the "
        "stage was not run"
    )
    others = f", and {count - 1} more like it" if count > 1 else ""
    raise CascadeError(
        f"a row of {file or table.name} (query {show(query)}{others}) is not as it should be: " + allowed
    )
