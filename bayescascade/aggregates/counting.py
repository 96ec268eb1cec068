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
from bayescascade.aggregates.sources import Table, check_kind_of
from bayescascade.errors import TO_FILL_IN, CascadeError, option
from bayescascade.logs.layouts import LATENCY, stages_in, wide_style
from bayescascade.logs.tables import EXAMPLE_PRICES
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
    """

    stages: tuple[str, ...]
    edges: tuple[np.ndarray, ...]
    kind: str | None
    cost: str | Mapping[str, float]
    task: str | None
    of_task: str | None
    words: Mapping[str, float]
    memory: str = MEMORY


class Counted(NamedTuple):
    """An aggregate, the names of the stages of its table, and how many labels have no confidence."""

    aggregate: Aggregate
    names: frozenset[str]
    lost: int


@contextmanager
def database(memory: str = MEMORY) -> Any:
    """A DuckDB connection that spills to a temporary folder; its errors as `CascadeError`.

    Raises `ImportError` that says what to install where DuckDB is not.
    """
    try:
        import duckdb
    except ModuleNotFoundError as missing:
        raise not_installed(missing, "a log of many files", "duckdb") from missing
    with tempfile.TemporaryDirectory(prefix="bayescascade-duckdb-") as folder:
        try:
            settings: dict[str, Any] = {"memory_limit": memory, "temp_directory": folder, "threads": n_cores()}
            connection = duckdb.connect(":memory:", config=settings | {"preserve_insertion_order": False})
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
        rows = connection.execute(sql.patterns(queries(False), len(recipe.stages))).fetchnumpy()
        found = [np.ma.filled(np.ma.asarray(column).astype(float), 0.0) for column in rows.values()]
        if found[-2].size and found[-2].max() > 0:
            _complain(connection, queries(True), int(found[-2].max()), table, kind)
    return _counted(found, recipe, kind, names, latency)


def _counted(found: list[np.ndarray], recipe: Recipe, kind: str, names: list[str], latency: str | None) -> Counted:
    n = len(recipe.stages)
    cells = np.stack(found[: 2 * n], axis=1).astype(np.int64).reshape(-1, n, 2)
    weight, moments = found[2 * n], np.stack(found[2 * n + 1 : -2], axis=1)
    seen = (cells[:, :, 0] > 0).any(axis=1)  # queries that never came as far as these stages
    empty = Aggregate.empty(recipe.stages, kind, recipe.edges)
    unit = None if latency is None else "ms" if latency == "latency_ms" else ""
    aggregate = replace(empty, unit=unit)._with(
        cells[seen, :, 0],
        cells[seen, :, 1],
        weight[seen],
        weight[seen],
        moments[seen].reshape(-1, n, len(AMOUNTS), MOMENTS),
    )
    return Counted(aggregate, frozenset(names), int(found[-1].sum()))


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


def _long(connection: Any, table: Table, recipe: Recipe, kind: str) -> tuple[Any, list[str], str | None]:
    """How to select the queries of a long table, the names of its stages, and its column of latencies."""
    _need(table, "query")
    _need(table, "confidence")
    key = "stage" if "stage" in table.columns else "model"
    _need(table, key)
    priced = not isinstance(recipe.cost, str)
    if not priced:
        _need(table, str(recipe.cost))
    names, places = _stages_of(connection, table, key, recipe.stages)
    latency = next((column for column in LATENCY if column in table.columns), None)
    correct = "correct" if "correct" in table.columns else None
    columns = sql.Columns("confidence", correct, None if priced else str(recipe.cost), latency)
    own = sql.values(columns, table, kind, recipe.words)
    if priced:
        prices = " ".join(f"WHEN {j} THEN {sql.double(_price(recipe, s))}" for j, s in enumerate(recipe.stages))
        own["x"] = f"CASE WHEN ({own['c']}) NOTNULL THEN CASE j {prices} END END"
    tasks, where = _task(table, recipe)
    stage_of = " ".join(f"WHEN {sql.text(label)} THEN {j}" for label, j in places.items())
    place = f"CASE {sql.name(key)}::VARCHAR {stage_of} ELSE -1 END"
    cells = " ".join(f"WHEN {j} THEN {sql.cell('c', edges)}" for j, edges in enumerate(recipe.edges))

    def queries(with_file: bool) -> str:
        """Of queries, or of rows with their files where something is wrong with one."""
        source = sql.relation(table, with_file)
        key_is = f"WHEN {sql.name('query')} IS NULL THEN {sql.QUERY}"
        placed = f"SELECT *, {place} AS j FROM {source} WHERE {where}"
        file = ", filename" if with_file and table.paths else ", '' AS filename" if with_file else ""
        checked = (
            f"SELECT {sql.name('query')} AS query, {', '.join([*tasks, 'j'])}{file}, {_values(own)}, "
            f"CASE {key_is} ELSE {own['problem']} END AS problem FROM ({placed}) WHERE j >= 0"
        )
        if with_file:
            return checked
        rows = f"SELECT *, CASE j {cells} END AS cell FROM ({checked})"
        return sql.long_queries(rows, ["query", *tasks], len(recipe.stages))

    return queries, names, latency


def _values(own: Mapping[str, str]) -> str:
    """What `sql.values` says of a stage, as a list to select."""
    return ", ".join(f"{own[v]} AS {v}" for v in ("c", "l", "x", "t", "lost"))


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
        raise CascadeError(
            f"missing column 'confidence' in {table.name}; the columns are {listed(table.columns)}. A long log "
            "has query, stage (or model), confidence, correct, cost; a wide one has, for each stage, columns such "
            "as small.confidence, small.correct and small.cost: rename yours so"
        )

    def called(stage: str, field: str) -> str | None:
        column = style.format(stage=stage, field=field)
        return column if column in table.columns else None

    priced = not isinstance(recipe.cost, str)
    latency = next((f for f in LATENCY if any(called(stage, f) for stage in names)), None)
    selected, problems = [], []
    for j, (stage, edges) in enumerate(zip(recipe.stages, recipe.edges, strict=True)):
        if stage not in names:
            selected.append(f"0 AS cell{j}, 0 AS l{j}, NULL::DOUBLE AS x{j}, NULL::DOUBLE AS t{j}, 0 AS lost{j}")
            continue
        cost = None if priced else called(stage, str(recipe.cost))
        if not priced and cost is None:
            raise CascadeError(
                "missing cost column {} in {}. Name the column with {}, or give the price of a call to each "
                "stage: {}",
                (
                    repr(style.format(stage=stage, field=recipe.cost)),
                    table.name,
                    option("cost", TO_FILL_IN),
                    EXAMPLE_PRICES,
                ),
                parameter="cost",
                value=recipe.cost,
            )
        price = _price(recipe, stage) if priced else None
        waited = None if latency is None else called(stage, latency)
        column = style.format(stage=stage, field="confidence")
        own = sql.values(
            sql.Columns(column, called(stage, "correct"), cost, waited, price), table, kind, recipe.words
        )
        parts = {"cell": sql.cell(f"({own['c']})", edges)} | {v: own[v] for v in ("l", "x", "t", "lost")}
        selected.append(", ".join(f"{expression} AS {v}{j}" for v, expression in parts.items()))
        problems.append((j, own))
    tasks, where = _task(table, recipe)
    has_query = "query" in table.columns
    keys = [sql.name("query") if has_query else "NULL", *tasks]
    own_names = [f"{v}{j}" for j in range(len(recipe.stages)) for v in ("cell", "l", "x", "t")]
    lost = " + ".join(f"lost{j}" for j in range(len(recipe.stages)))

    def queries(with_file: bool) -> str:
        source = sql.relation(table, with_file)
        if with_file:  # one row for each query and stage, to say what is wrong where
            file = "filename" if table.paths else "'' AS filename"
            none = "false" if not has_query else f"{keys[0]} IS NULL"
            return " UNION ALL ".join(
                f"SELECT {keys[0]} AS query, {', '.join([*tasks, f'{j} AS j'])}, {file}, {_values(own)}, "
                f"CASE WHEN {none} THEN {sql.QUERY} ELSE {own['problem']} END AS problem "
                f"FROM {source} WHERE {where}"
                for j, own in problems
            )
        worst = ", ".join(own["problem"] for _, own in problems) or "0"
        missing = f"CASE WHEN {keys[0]} IS NULL THEN {sql.QUERY} ELSE greatest({worst}, 0) END"
        rows = (
            f"SELECT {', '.join([*keys[:has_query], *tasks, *selected])}, "
            f"{missing if has_query else f'greatest({worst}, 0)'} AS problem FROM {source} WHERE {where}"
        )
        if not has_query:
            return f"SELECT *, {lost} AS lost FROM ({rows})"
        each = ", ".join(f"max({v}) AS {v}" for v in own_names)
        twice = f"CASE WHEN count(*) > 1 THEN {sql.TWICE} ELSE max(problem) END AS problem"
        return f"SELECT {each}, {twice}, sum({lost}) AS lost FROM ({rows}) GROUP BY {', '.join(keys)}"

    return queries, names, latency


_ALLOWED = {
    sql.CONFIDENCE: "a confidence should be a number, or empty",
    sql.LABEL: "a label should be 0, 1, True or False, or empty; if texts are grades, say what they stand for",
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
    query, file, c = connection.execute(f"SELECT query, filename, c {at} LIMIT 1").fetchone()
    allowed = _ALLOWED.get(problem) or (
        f"its confidence is {c!r}; of kind {kind!r} it should be {check_kind(kind).description}, or empty if the "
        "stage was not run"
    )
    others = f", and {count - 1} more like it" if count > 1 else ""
    raise CascadeError(
        f"a row of {file or table.name} (query {show(query)}{others}) is not as it should be: {allowed}"
    )
