"""Traces: tables with a response in each row, its cost, and a second table of scores."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import xarray as xr

from bayescascade._common.messages import listed, show
from bayescascade.errors import CascadeError, bad_value
from bayescascade.logs.files import STDIN
from bayescascade.logs.importers.calls import Call
from bayescascade.logs.importers.collect import Collector, Options, collect
from bayescascade.logs.importers.finish import finished
from bayescascade.logs.importers.labels import Labels
from bayescascade.logs.importers.lines import Advance, nothing
from bayescascade.logs.importers.one_line import at, check_id, from_json
from bayescascade.logs.importers.presets import PRESETS, Fields
from bayescascade.logs.importers.prices import Prices
from bayescascade.logs.importers.progress import progress
from bayescascade.logs.importers.responses import SUFFIXES as JSON_LINES
from bayescascade.logs.importers.rows import TABLES, rows_of
from bayescascade.logs.importers.scores import Scores, first, is_empty, is_list, plain_id
from bayescascade.logs.importers.sources import are_paths, sources_of
from bayescascade.signals.confidence import Signal
from bayescascade.signals.responses import number

SUFFIXES = (*JSON_LINES, *TABLES, ".csv.gz", ".tsv.gz")
FINE = {"success", "ok", "unset", "status_code_ok", "status_code_unset", "200", "default", "debug", "warning"}
SETTABLE = ("query", "call", "model", "response", "cost", "latency", "usage", "error")


def read_traces(
    source: Any,
    *,
    preset: str | None = None,
    columns: Mapping[str, str] | None = None,
    scores: Any = None,
    score: str | None = None,
    signal: str | Signal | None = None,
    labels: Any = None,
    grade: str | Callable[[Any, Any], bool | float | None] = "normalised",
    prices: Any = None,
    candidates: Sequence[str | Signal] = (),
    progressbar: bool = True,
    **signal_options: Any,
) -> xr.Dataset:
    """Read traces of calls: a table with a response in each row.

    Examples
    --------
    >>> import json
    >>> import pandas as pd
    >>> from bayescascade.logs.importers.traces import read_traces
    >>> def response(text, logprob):
    ...     logprobs = {"content": [{"token": text, "logprob": logprob}]}
    ...     return json.dumps({"choices": [{"message": {"content": text}, "logprobs": logprobs}]})
    >>> calls = pd.DataFrame(
    ...     {
    ...         "id": [1, 2, 3, 4],
    ...         "traceId": ["a", "a", "b", "b"],
    ...         "model": ["small", "large"] * 2,
    ...         "output": [response("A", -0.7), response("B", -0.1), response("C", -0.2), response("C", -0.1)],
    ...         "totalCost": [1e-4, 1e-3] * 2,
    ...     }
    ... )
    >>> scores = pd.DataFrame({"observationId": [1, 2, 3, 4], "name": "correct", "value": [0, 1, 1, 1]})
    >>> log = read_traces(calls, preset="langfuse", scores=scores)
    >>> log["confidence"].values.tolist(), log["correct"].values.tolist()
    ([[-0.7, -0.1], [-0.2, -0.1]], [[0.0, 1.0], [1.0, 1.0]])

    Parameters
    ----------
    source : path, list of paths or DataFrame
        JSON lines, a JSON array, CSV or Parquet, also a folder or a pattern of such files; or a DataFrame of
        pandas, Polars or PyArrow, or a relation of DuckDB. Each row is a call of a model.
    preset : str, optional
        Whose names the columns have: ``litellm``, ``langfuse``, ``phoenix`` (OpenInference) or ``mlflow``.
    columns : mapping of str to str, optional
        Names of your own: of ``query``, ``call``, ``model``, ``response``, ``cost``, ``latency`` (in seconds),
        ``usage`` and ``error``; points lead into nested values. ``query`` is what joins the calls of one query,
        ``response`` holds the response as JSON.
    scores : path or DataFrame, optional
        A table of 0 and 1 by the id of a call, or of a trace: that of a trace is of its last call.
    score : str, optional
        Which of the scores tells right from wrong, where there are several.
    signal, labels, grade, prices, candidates, progressbar
        As of `bayescascade.read_responses`.
    **signal_options
        Of the signal.

    Returns
    -------
    xarray.Dataset
        As `bayescascade.read_log` gives it, with the attribute ``summary``. Stages are the models, by mean
        cost.

    Raises
    ------
    CascadeError
        If the source cannot be read, has none of the columns, or the log breaks a rule of
        `bayescascade.validate_log`.

    Warns
    -----
    CascadeWarning
        If calls are left out.
    """
    options = Options(signal, signal_options, Prices(prices), Labels(labels), grade)
    options.candidates = candidates
    fields = _fields(preset, columns)
    return finished(collect_traces(source, options, fields, scores=scores, score=score, progressbar=progressbar))


def _fields(preset: str | None, columns: Mapping[str, str] | None) -> Fields:
    if preset is not None and preset not in PRESETS:
        raise bad_value("preset", preset, f"choose one of {', '.join(PRESETS)}, or name the columns")
    fields = Fields() if preset is None else PRESETS[preset]
    for name, column in (columns or {}).items():
        if name not in SETTABLE or not isinstance(column, str):
            raise bad_value("columns", columns, f"give the names of some of {', '.join(SETTABLE)}")
    own: dict[str, Any] = {name: (column,) for name, column in (columns or {}).items()}
    return replace(fields, **own)


def collect_traces(
    source: Any,
    options: Options,
    fields: Fields,
    query: str | None = None,
    *,
    scores: Any = None,
    score: str | None = None,
    progressbar: bool = True,
) -> Collector:
    """The calls of traces, collected; ``query`` names the field that joins them."""
    if query is not None:
        fields = replace(fields, query=(query,))
    found = Scores(rows_of(scores) if scores is not None else (), fields, score)
    files = [file.path for file in sources_of(source, SUFFIXES)] if are_paths(source) else []
    if STDIN in map(os.fspath, files):
        source = list(rows_of(STDIN))  # it is read twice where scores are of traces
    elif files:
        source = files
    last = _last_calls(source, fields) if len(found) or fields.scores else set()
    nameless: list[str] = []  # where failed calls stand of which nothing says whose they are
    with progress(files, progressbar) as advance:
        collector = collect(_named(_calls(source, fields, found, last, advance), nameless), options)
    if not collector.summary.stages:
        raise CascadeError("no row is a call of a model: " + _wanted(fields))
    if nameless:
        collector.notes.append(f"Calls that failed and name no model: {len(nameless)} (first at {nameless[0]}).")
    if found.again:
        collector.notes.append(f"Calls or traces whose scores differ: {len(found.again)}; the last one counts.")
    unused = len(found) - len(found.used)
    if unused:
        collector.notes.append(f"{unused} of {len(found)} scores are of no call that was read.")
    return collector


def _named(calls: Iterator[Call], nameless: list[str]) -> Iterator[Call]:
    for call in calls:
        if call.stage is None and call.problem is not None:
            nameless.append(call.where)
        else:
            yield call


def _wanted(fields: Fields) -> str:
    only = "".join(f" where {name} is {' or '.join(values)}" for name, values in fields.only.items())
    return f"one has its model in {listed(fields.model)}{only}"


Row = tuple[str, Mapping[str, Any], frozenset[str]]


def _rows(source: Any, fields: Fields, advance: Advance = nothing) -> Iterator[Row]:
    """Each call, also within a row: where it stands, itself, and the ids of all calls of the row."""
    for where, row in _every_row(source, advance):
        inner = from_json(first(row, fields.within)) if fields.within else None
        rows = [row] if inner is None else [_joined(row, item, fields) for item in _items(inner)]
        calls = [found for found in rows if _is_call(found, fields)]
        ids = frozenset(plain_id(first(found, fields.call)) for found in calls)
        yield from ((where, found, ids) for found in calls)


def _every_row(source: Any, advance: Advance) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The rows of a table, of all files, or those that were read already."""
    if not isinstance(source, list):
        yield from rows_of(source, advance)
        return
    for item in source:
        if isinstance(item, tuple):
            yield item
        else:
            yield from rows_of(item, advance)


def _is_call(row: Mapping[str, Any], fields: Fields) -> bool:
    """Whether a row is a call of a model: tools trace what is around calls, too."""
    for name, values in fields.only.items():
        kind = from_json(first(row, (name,)))
        if kind is not None and str(kind).upper() not in values:
            return False
    return any(first(row, names) is not None for names in (fields.model, fields.response)) or not fields.only


def _items(inner: Any) -> list[Any]:
    items = [item.to_dict() if hasattr(item, "to_dict") else item for item in inner] if is_list(inner) else []
    return [dict(item) for item in items if isinstance(item, Mapping)]


def _joined(outer: Mapping[str, Any], inner: Mapping[str, Any], fields: Fields) -> dict[str, Any]:
    """An inner row with what the outer one says of all of them, such as the trace."""
    shared = {name: value for name, value in outer.items() if name.partition(".")[0] not in ("data", "spans")}
    trace = first(outer, fields.query)
    return {**shared, **inner, **({} if trace is None else {fields.query[0]: trace})}


def _last_calls(source: Any, fields: Fields) -> set[int]:
    """Numbers of the rows that are the last call of their query."""
    last: dict[str, tuple[float, int]] = {}
    for place, (_, row, _) in enumerate(_rows(source, fields)):
        key, start = str(first(row, fields.query)), _seconds(first(row, fields.start))
        now = (start if start == start else 0.0, place)
        last[key] = max(last.get(key, now), now)
    return {place for _, place in last.values()}


def _calls(source: Any, fields: Fields, scores: Scores, last: set[int], advance: Advance) -> Iterator[Call]:
    for place, (where, row, ids) in enumerate(_rows(source, fields, advance)):
        key, query = first(row, fields.call), first(row, fields.query)
        correct = scores.of(key)
        if correct is None and place in last:
            correct = scores.of(query)
        if correct is None and fields.scores:
            items = from_json(first(row, fields.scores))
            correct = scores.among(items, plain_id(key), ids if place in last else None, where)
        yield _call(row, fields, query, correct, where)


def _call(row: Mapping[str, Any], fields: Fields, query: Any, correct: float | None, where: str) -> Call:
    response = from_json(first(row, fields.response))
    inner = response if isinstance(response, Mapping) else {}
    model = from_json(first(row, fields.model)) or inner.get("model")
    return Call(
        query=check_id(query.item() if hasattr(query, "item") else query, where),
        model=str(model) if model is not None else None,
        response=response,
        correct=correct,
        usage=_usage(row, inner, fields),
        cost=_cost(row, fields, where),
        latency=_latency(row, fields),
        where=where,
        problem=_problem(row, fields)
        or (None if isinstance(response, Mapping) else "there is no response in JSON"),
    )


def _cost(row: Mapping[str, Any], fields: Fields, where: str) -> float | None:
    """The cost of a call; LiteLLM writes 0 for a model whose price it does not know, and that is none."""
    cost = _number(first(row, fields.cost), "cost", where)
    if cost == 0.0 and any(_is_null(row, name) for name in fields.known_price):
        return None
    return cost


def _is_null(row: Mapping[str, Any], name: str) -> bool:
    path, _, key = name.rpartition(".")
    inner = from_json(at(row, path))
    return isinstance(inner, Mapping) and key in inner and inner[key] is None


def _problem(row: Mapping[str, Any], fields: Fields) -> str | None:
    for name in fields.error:
        found = from_json(at(row, name))
        if found is None or is_empty(found) or str(found).lower() in FINE:
            continue
        status = "status" in name
        return f"status {show(found)}" if status else "the call failed"
    return None


def _usage(row: Mapping[str, Any], response: Mapping[str, Any], fields: Fields) -> Mapping[str, Any] | None:
    for found in (response.get("usage"), from_json(first(row, fields.usage))):
        if isinstance(found, Mapping):
            return found
    sent, answered = (first(row, names) for names in fields.tokens)
    return None if sent is None else {"input_tokens": sent, "output_tokens": answered}


def _number(value: Any, what: str, where: str) -> float | None:
    """A number, also as text, as exports write it."""
    if value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise CascadeError(f"{where}: the {what} is {show(value)}; it should be a number") from None


def _latency(row: Mapping[str, Any], fields: Fields) -> float | None:
    found = number(first(row, fields.latency))
    if found == found:
        return found
    start, end = (_seconds(first(row, names)) for names in (fields.start, fields.end))
    return end - start if end >= start else None


def _seconds(time: Any) -> float:
    """A time in seconds; milliseconds, micro- and nanoseconds since 1970 are told by their size."""
    if isinstance(time, str):
        try:
            time = datetime.fromisoformat(time)
        except ValueError:
            return float("nan")
    if isinstance(time, datetime):
        return time.timestamp()
    found = number(time.item() if hasattr(time, "item") else time)
    return found / next((unit for unit in (1e9, 1e6, 1e3) if found > 1e8 * unit), 1.0)
