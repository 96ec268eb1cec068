"""The counting of patterns in SQL, for DuckDB: values to cells, rows to queries, queries to patterns.

Texts of a user, such as the names of columns, stages and files, stand in it as quoted identifiers and literals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bayescascade.aggregates.sources import CSV, NUMBER, TEXT, TRUTH, Table
from bayescascade.logs.tables import MISSING
from bayescascade.signals.kinds import ROUNDING, check_kind

# What may be wrong with a row, by its number: the column at fault, see `counting.complain`.
CONFIDENCE, SCALE, LABEL, COST, LATENCY, QUERY, STAGE, TWICE = range(1, 9)
TABLE = "log"


def name(text: str) -> str:
    """An identifier."""
    return '"' + text.replace('"', '""') + '"'


def text(value: str) -> str:
    """A literal."""
    return "'" + value.replace("'", "''") + "'"


def double(value: float) -> str:
    """A number, which SQL would take for a decimal one and round once more."""
    return f"'{float(value)!r}'::DOUBLE"


def relation(table: Table, with_file: bool = False) -> str:
    """What to select from."""
    if not table.paths:
        return TABLE
    files = ", ".join(map(text, table.paths))
    options = f"union_by_name = true, filename = {str(with_file).lower()}, hive_partitioning = {bool(table.hive)}"
    if table.hive:
        options += ", hive_types_autocast = false"
    if table.format == CSV:
        # every cell as text, so that no query "007" becomes 7; what is a number is read by `Value`
        options += f", header = true, all_varchar = true, delim = {text(table.separator)}, quote = '\"'"
        return f"read_csv([{files}], {options})"
    return f"read_parquet([{files}], {options})"


@dataclass(frozen=True)
class Value:
    """A cell as a number, NULL where it is missing, and whether it is neither."""

    number: str
    bad: str

    @classmethod
    def of(cls, column: str | None, holds: str, words: Mapping[str, float] | None = None) -> Value:
        """That of a column; ``words`` are texts that stand for numbers, and allow truths."""
        if column is None:
            return cls("NULL::DOUBLE", "false")
        cell = name(column)
        if holds == NUMBER:
            return cls(_known(f"{cell}::DOUBLE"), "false")
        if holds == TRUTH:
            return cls(f"{cell}::DOUBLE", "false") if words is not None else cls("NULL::DOUBLE", f"{cell} NOTNULL")
        plain = f"lower(trim({cell}::VARCHAR))"
        nothing = sorted(MISSING | {word for word, stands in (words or {}).items() if np.isnan(stands)})
        told = "".join(
            f" WHEN {text(word)} THEN {double(stands)}"
            for word, stands in (words or {}).items()
            if not np.isnan(stands)
        )
        # an underscore is no digit, as in `spelling.plain_number`
        number = f"TRY_CAST(CASE WHEN contains({plain}, '_') THEN NULL ELSE {plain} END AS DOUBLE)"
        number = f"CASE {plain} {told} ELSE {number} END" if told else number
        is_nothing = f"{plain} IN ({', '.join(map(text, nothing))})"
        value = f"CASE WHEN {is_nothing} THEN NULL ELSE {_known(number)} END"
        return cls(value, f"({cell} NOTNULL AND NOT {is_nothing} AND ({value}) IS NULL)")


def _known(number: str) -> str:
    """NULL in the place of NaN, which SQL holds to be the largest number."""
    return f"CASE WHEN isnan({number}) THEN NULL ELSE {number} END"


def confidence(value: Value, kind: str) -> tuple[str, str]:
    """A confidence on its scale, see `kinds.clip_rounding`, and whether it is off it."""
    found, clipped = check_kind(kind), f"({value.number})"
    for end, beyond, within in ((found.upper, ">", "<="), (found.lower, "<", ">=")):
        if np.isfinite(end):
            slack = end + ROUNDING if beyond == ">" else end - ROUNDING
            inside = f"{clipped} {beyond} {double(end)} AND {clipped} {within} {double(slack)}"
            clipped = f"(CASE WHEN {inside} THEN {double(end)} ELSE {clipped} END)"
    infinite = f"isinf({clipped})" + (f" AND {clipped} > 0" if found.minus_inf else "")
    off = [infinite]
    off += [f"{clipped} > {double(found.upper)}"] * bool(np.isfinite(found.upper))
    off += [f"{clipped} < {double(found.lower)}"] * bool(np.isfinite(found.lower))
    return clipped, f"coalesce({' OR '.join(f'({part})' for part in off)}, false)"


@dataclass(frozen=True)
class Columns:
    """Where the values of a stage stand, by the names of columns; a price stands for itself."""

    confidence: str
    correct: str | None
    cost: str | None
    latency: str | None
    price: float | None = None


def values(columns: Columns, table: Table, kind: str, words: Mapping[str, float]) -> dict[str, str]:
    """Checked values of one stage as SQL: c, l, x and t (confidence, label, cost, latency), problem and lost."""

    def of(column: str | None, words: Mapping[str, float] | None = None) -> Value:
        return Value.of(column, table.columns.get(column or "", TEXT), words)

    own = of(columns.confidence)
    c, off = confidence(own, kind)
    label, paid, waited = of(columns.correct, words), of(columns.cost), of(columns.latency)
    cost = Value(double(columns.price), "false") if columns.price is not None else paid
    problem = (
        f"CASE WHEN {own.bad} THEN {CONFIDENCE} WHEN {off} THEN {SCALE} "
        f"WHEN {label.bad} OR coalesce(({label.number}) NOT IN (0.0, 1.0), false) THEN {LABEL} "
        f"WHEN {cost.bad} OR {_negative(cost)} THEN {COST} "
        f"WHEN {waited.bad} OR {_negative(waited)} THEN {LATENCY} ELSE 0 END"
    )
    run = f"({c}) NOTNULL"
    return {
        "c": c,
        "l": f"CASE WHEN {run} AND ({label.number}) NOTNULL THEN 1 + (({label.number}) > 0.5)::INTEGER ELSE 0 END",
        # what a stage that was not run has to say is padding
        "x": f"CASE WHEN {run} THEN {cost.number} END",
        "t": f"CASE WHEN {run} THEN {waited.number} END",
        "problem": problem,
        "lost": f"(NOT {run} AND ({label.number}) NOTNULL)::INTEGER",
    }


def _negative(value: Value) -> str:
    return f"coalesce(({value.number}) < 0.0 OR isinf({value.number}), false)"


def cell(confidence: str, edges: np.ndarray) -> str:
    """The cell of a confidence, see `Aggregate`."""
    above = "".join(f" + ({confidence} >= {double(edge)})::INTEGER" for edge in edges)
    return f"CASE WHEN {confidence} IS NULL THEN 0 ELSE 1{above} END"


def long_queries(rows: str, by: Sequence[str], n_stages: int) -> str:
    """One row for each query, of one row for each query and stage j."""
    parts, twice = [], []
    for j in range(n_stages):
        at = f"FILTER (j = {j})"
        parts += [f"coalesce(max({v}) {at}, 0) AS {v}{j}" for v in ("cell", "l")]
        parts += [f"max({v}) {at} AS {v}{j}" for v in ("x", "t")]
        twice.append(f"count(*) {at} > 1")
    problem = f"CASE WHEN {' OR '.join(twice)} THEN {TWICE} ELSE max(problem) END AS problem"
    keys = ", ".join(by)
    return f"SELECT {', '.join(parts)}, {problem}, sum(lost) AS lost FROM ({rows}) GROUP BY {keys}"


def patterns(queries: str, n_stages: int) -> str:
    """One row for each pattern: cells and labels, their number, and moments of costs and latencies."""
    by = ", ".join(f"cell{j}, l{j}" for j in range(n_stages))
    sums = []
    for j in range(n_stages):
        for v in ("x", "t"):
            own = f"{v}{j}"
            sums += [f"count({own})", f"fsum({own})", f"fsum({own} * {own})"]
    return f"SELECT {by}, count(*), {', '.join(sums)}, max(problem), sum(lost) FROM ({queries}) GROUP BY {by}"
