"""The counting of patterns in SQL, for DuckDB: values to cells, rows to queries, queries to patterns.

Texts of a user, such as the names of columns, stages and files, stand in it as quoted identifiers and literals.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bayescascade.logs.sources import CSV, NUMBER, TRUTH, Table
from bayescascade.logs.tables import MISSING
from bayescascade.signals.kinds import ROUNDING, check_kind

# What may be wrong with a row, by its number: the column at fault, see `counting.complain`.
CONFIDENCE, SCALE, LABEL, COST, LATENCY, QUERY, STAGE, TWICE = range(1, 9)
TABLE, FILE = "log", "bayescascade file"  # what is read, and a column that says of which file a row is


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
    files = ", ".join(
        text(re.sub(r"([*?\[])", r"[\1]", path)) for path in table.paths
    )  # found already: no patterns
    options = f"union_by_name = true, hive_partitioning = {bool(table.hive)}"
    options += f", filename = {text(FILE)}" if with_file else ""
    if table.hive:
        options += ", hive_types_autocast = false"
    if table.format == CSV:
        # every cell as text, so that no query "007" becomes 7; what is a number is read later
        options += f", header = true, all_varchar = true, delim = {text(table.separator)}, quote = '\"'"
        return f"read_csv([{files}], {options})"
    return f"read_parquet([{files}], {options})"


@dataclass(frozen=True)
class Columns:
    """Where the values of a stage stand, by the names of columns; a price, in SQL, stands for itself."""

    confidence: str
    correct: str | None
    cost: str | None
    latency: str | None
    price: str | None = None


def values(
    columns: Columns, table: Table, kind: str, words: Mapping[str, float], mark: float | None, j: str = ""
) -> list[list[str]]:
    """What to select, step by step, for the checked values of one stage.

    ``words`` are what texts of labels stand for, and ``mark`` the least grade of a right answer. At the end there
    are c, l, x and t (confidence, label, cost, latency), problem and lost, each with the suffix ``j``. A step only
    names what the one before it has made, so that nothing is written, or worked out, twice.
    """
    own = {"c": columns.confidence, "l": columns.correct, "x": columns.cost, "t": columns.latency}
    plain, number, known = [], [], []
    for v, column in own.items():
        texts = words if v == "l" else None
        holds = NUMBER if column is None else table.columns[column]
        plain.append(f"{_plain(column, holds, texts is not None)} AS p{v}{j}")
        number += [
            f"{part} AS {name}{v}{j}" for name, part in zip("ne", _number(f"p{v}{j}", holds, texts), strict=True)
        ]
        # NaN, which SQL holds to be the largest number, is none
        value = f"n{v}{j}"
        if v == "l" and mark is not None:  # see `columns.right_or_wrong`
            value = f"CASE WHEN {value} BETWEEN 0 AND 1 THEN ({value} >= {double(mark)})::DOUBLE ELSE {value} END"
        known.append(f"CASE WHEN e{v}{j} OR isnan(n{v}{j}) THEN NULL ELSE {value} END AS k{v}{j}")
        known.append(f"p{v}{j} NOTNULL AND NOT e{v}{j} AND n{v}{j} IS NULL AS b{v}{j}")
    cost = f"kx{j}" if columns.price is None else columns.price
    clipped = [f"{_clipped(f'kc{j}', kind)} AS c{j}", f"{cost} AS y{j}"]
    clipped += [f"{name}{j}" for name in ("kl", "kt", "bc", "bl", "bx", "bt")]
    problem = (
        f"CASE WHEN bc{j} THEN {CONFIDENCE} WHEN {_off(f'c{j}', kind)} THEN {SCALE} "
        f"WHEN bl{j} OR kl{j} NOT IN (0.0, 1.0) THEN {LABEL} "
        f"WHEN bx{j} OR y{j} < 0.0 OR isinf(y{j}) THEN {COST} "
        f"WHEN bt{j} OR kt{j} < 0.0 OR isinf(kt{j}) THEN {LATENCY} ELSE 0 END AS problem{j}"
    )
    checked = [
        f"c{j}",
        f"CASE WHEN c{j} NOTNULL AND kl{j} NOTNULL THEN 1 + (kl{j} > 0.5)::INTEGER ELSE 0 END AS l{j}",
        # what a stage that was not run has to say is padding
        f"CASE WHEN c{j} NOTNULL THEN y{j} END AS x{j}",
        f"CASE WHEN c{j} NOTNULL THEN kt{j} END AS t{j}",
        problem,
        f"(c{j} IS NULL AND kl{j} NOTNULL)::INTEGER AS lost{j}",
    ]
    return [plain, number, known, clipped, checked]


def _plain(column: str | None, holds: str, truths: bool) -> str:
    """A cell as it is read: a number, or a text without what does not matter in it."""
    if column is None:
        return "NULL::DOUBLE"
    cell = name(column)
    if holds == NUMBER or (holds == TRUTH and truths):
        return f"{cell}::DOUBLE"
    return f"lower(trim({cell}::VARCHAR))"


def _number(plain: str, holds: str, words: Mapping[str, float] | None) -> tuple[str, str]:
    """The number of a plain cell, NULL where it is none; and whether the cell is empty, or a word for it.

    ``words`` are texts that stand for numbers; where there are some, truths do, too.
    """
    if holds == NUMBER or (holds == TRUTH and words is not None):
        return plain, f"{plain} IS NULL"
    words = words or {}
    nothing = sorted(MISSING | {word for word, stands in words.items() if np.isnan(stands)})
    told = "".join(
        f" WHEN {text(word)} THEN {double(stands)}" for word, stands in words.items() if not np.isnan(stands)
    )
    # an underscore is no digit, as in `spelling.plain_number`
    number = f"TRY_CAST(CASE WHEN contains({plain}, '_') THEN NULL ELSE {plain} END AS DOUBLE)"
    number = "NULL::DOUBLE" if holds == TRUTH else f"CASE {plain}{told} ELSE {number} END" if told else number
    return number, f"coalesce({plain} IN ({', '.join(map(text, nothing))}), true)"


def _clipped(value: str, kind: str) -> str:
    """A confidence that overshoots its scale by rounding, at its end, see `kinds.clip_rounding`."""
    found, cases = check_kind(kind), ""
    for end, beyond, within, slack in ((found.upper, ">", "<=", ROUNDING), (found.lower, "<", ">=", -ROUNDING)):
        if np.isfinite(end):
            near = f"{value} {beyond} {double(end)} AND {value} {within} {double(end + slack)}"
            cases += f" WHEN {near} THEN {double(end)}"
    return f"CASE{cases} ELSE {value} END" if cases else value


def _off(value: str, kind: str) -> str:
    """Whether a confidence is off its scale, see `kinds.off_scale`."""
    found = check_kind(kind)
    off = [f"isinf({value})" + (f" AND {value} > 0" if found.minus_inf else "")]
    off += [f"{value} > {double(found.upper)}"] * bool(np.isfinite(found.upper))
    off += [f"{value} < {double(found.lower)}"] * bool(np.isfinite(found.lower))
    return "(" + " OR ".join(f"({part})" for part in off) + ")"


def stepwise(source: str, keys: Sequence[str], made: Sequence[str], steps: Sequence[Sequence[str]]) -> str:
    """Select ``keys`` of the source, which are then called ``made``, and the steps one after the other."""
    query = f"SELECT {', '.join([*keys, *steps[0]])} FROM {source}"
    for step, items in enumerate(steps[1:], start=1):
        # the second step still needs what the first has read
        kept = "*, " if step < 3 else f"{', '.join(made)}, " if made else ""
        query = f"SELECT {kept}{', '.join(items)} FROM ({query})"
    return query


def cell(confidence: str, edges: np.ndarray) -> str:
    """The cell of a confidence, see `Aggregate`."""
    above = "".join(f" + ({confidence} >= {double(edge)})::INTEGER" for edge in edges)
    return f"CASE WHEN {confidence} IS NULL THEN 0 ELSE 1{above} END"


@dataclass(frozen=True)
class Digits:
    """Cells and labels of all stages as digits of few whole numbers, which SQL adds up and groups by.

    Each stage's digit is 3 cell + label, and a number holds as many as 62 bits take.
    """

    sizes: tuple[int, ...]

    @classmethod
    def of(cls, edges: Sequence[np.ndarray]) -> Digits:
        return cls(tuple(3 * (len(own) + 2) for own in edges))

    @property
    def places(self) -> list[list[tuple[int, int]]]:
        """For each number, its stages and what a digit of each is multiplied with."""
        numbers: list[list[tuple[int, int]]] = []
        times = 2**62
        for j, size in enumerate(self.sizes):
            if times * size > 2**62:
                numbers.append([])
                times = 1
            numbers[-1].append((j, times))
            times *= size
        return numbers

    def read(self, numbers: np.ndarray) -> np.ndarray:
        """Digits (pattern, stage) of numbers (pattern, number)."""
        out = np.zeros((len(numbers), len(self.sizes)), dtype=np.int64)
        for column, number in zip(numbers.T, self.places, strict=True):
            for j, _ in number:
                column, out[:, j] = np.divmod(column, self.sizes[j])
        return out


def long_queries(rows: str, by: Sequence[str], digits: Digits, amounts: Sequence[str]) -> str:
    """One row for each query, of one row for each query and stage j: numbers, amounts, problem and lost."""
    parts = []
    for i, number in enumerate(digits.places):
        times = " ".join(f"WHEN {j} THEN {by_what}" for j, by_what in number)
        # of rows that repeat, which are refused, the sum may be too large
        parts.append(f"TRY_CAST(sum((3 * cell + l) * CASE j {times} ELSE 0 END) AS BIGINT) AS d{i}")
    parts += [f"max({v}) FILTER (j = {j}) AS {v}{j}" for j in range(len(digits.sizes)) for v in amounts]
    twice = "bit_count(bit_or(1::HUGEINT << j)) < count(*)"
    problem = f"CASE WHEN {twice} THEN {TWICE} ELSE max(problem) END AS problem"
    return f"SELECT {', '.join(parts)}, {problem}, sum(lost) AS lost FROM ({rows}) GROUP BY {', '.join(by)}"


def wide_numbers(digits: Digits) -> str:
    """The numbers of a query, of its cells and labels."""
    return ", ".join(
        f"({' + '.join(f'(3 * cell{j} + l{j}) * {by_what}::BIGINT' for j, by_what in number)})::BIGINT AS d{i}"
        for i, number in enumerate(digits.places)
    )


def patterns(queries: str, digits: Digits, amounts: Sequence[str]) -> str:
    """One row for each pattern: its numbers, how many queries, moments of their amounts, problem and lost."""
    by = ", ".join(f"d{i}" for i in range(len(digits.places)))
    own = [f"{v}{j}" for j in range(len(digits.sizes)) for v in amounts]
    sums = [f"count({v}), fsum({v}), fsum({v} * {v})" for v in own]
    return f"SELECT {by}, count(*), {', '.join(sums)}, max(problem), sum(lost) FROM ({queries}) GROUP BY {by}"
