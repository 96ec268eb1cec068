"""Responses of language models as JSON lines: chat completions, their batches, and decision models' answers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import xarray as xr

from bayescascade._common.messages import listed
from bayescascade.errors import TO_FILL_IN, CascadeError, option
from bayescascade.logs.importers.calls import Call, fault
from bayescascade.logs.importers.collect import Collector, Options, collect
from bayescascade.logs.importers.finish import finished
from bayescascade.logs.importers.labels import Labels
from bayescascade.logs.importers.lines import Advance, json_lines, name_of
from bayescascade.logs.importers.one_line import at, call_of, is_batch, is_response
from bayescascade.logs.importers.prices import Prices
from bayescascade.logs.importers.progress import progress
from bayescascade.logs.importers.sources import Source, named_stages, sources_of
from bayescascade.signals.confidence import Signal

Path = str | os.PathLike[str]
SUFFIXES = (".jsonl", ".ndjson", ".json", ".jsonl.gz", ".ndjson.gz", ".json.gz")
IDS = ("custom_id", "query", "query_id", "id")
BATCH_DISCOUNT = 0.5  # what OpenAI, Anthropic and Google take for a batch


def read_responses(
    source: Path | Sequence[Path] | Mapping[str, Path | Sequence[Path]],
    *,
    signal: str | Signal | None = None,
    labels: Any = None,
    grade: str | Callable[[Any, Any], bool | float | None] = "normalised",
    prices: Any = None,
    query: str | None = None,
    candidates: Sequence[str | Signal] = (),
    batch_discount: float = BATCH_DISCOUNT,
    progressbar: bool = True,
    **signal_options: Any,
) -> xr.Dataset:
    """Read the responses of language models, as JSON lines.

    Examples
    --------
    >>> import json, pathlib, tempfile
    >>> from bayescascade.logs.importers.responses import read_responses
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> def line(query, text, logprob):
    ...     logprobs = {"content": [{"token": text, "logprob": logprob}]}
    ...     response = {"choices": [{"message": {"content": text}, "logprobs": logprobs}]}
    ...     return json.dumps({"query": query, "response": response}) + "\\n"
    >>> _ = (folder / "small.jsonl").write_text(line("a", "Lyon", -0.9) + line("b", "Rome", -0.1))
    >>> _ = (folder / "large.jsonl").write_text(line("a", "Paris", -0.2) + line("b", "Rome", -0.1))
    >>> log = read_responses(
    ...     {"small": folder / "small.jsonl", "large": folder / "large.jsonl"},
    ...     labels={"a": "Paris", "b": "Rome"},
    ...     prices={"small": 1e-4, "large": 1e-3},
    ... )
    >>> log["confidence"].values.tolist(), log["correct"].values.tolist()
    ([[-0.9, -0.2], [-0.1, -0.1]], [[0.0, 1.0], [1.0, 1.0]])

    Parameters
    ----------
    source : path, list of paths, or mapping of str to either
        Files for each stage by its name, in the order of the cascade; or files whose responses name their model.
        A path may also be a folder, or a pattern such as ``"small/*.jsonl.gz"``: its files come by their names.
        Each line is a response (a chat completion of OpenAI or of a server that speaks like it, a legacy
        completion, the answers of a decision model), a line of a batch's output, or an object with an id and the
        response under ``response``. Also as ``.gz``; ``"-"`` is standard input.
    signal : str or Signal, optional
        How a confidence is made, see `bayescascade.confidence`: by default ``mean_logprob``, and
        ``top_probability`` of decision models.
    labels : mapping, path or DataFrame, optional
        From queries to true answers; or a table with the columns ``query`` and ``answer``, or ``query``,
        ``stage`` and ``correct``.
    grade : str or callable
        How an answer is compared with the true one: ``exact``, ``normalised`` (but for case and punctuation),
        ``number`` or ``letter``; or a function of both that returns True, False, or None for not scored.
    prices : mapping, path or DataFrame, optional
        By stage or model: the price of one call, or ``(input, output)`` of a million tokens; a third number is
        the price of input from a cache. Or a table with the columns ``model``, ``input`` and ``output``. By
        default the cost in each line, where there is one.
    query : str, optional
        Name of the field that holds the query's id, with points between the names of nested ones. By default
        ``custom_id``, ``query``, ``query_id``, or ``id`` where it is not that of a response; else the number of
        the line, where each stage has a file of its own.
    candidates : sequence of str or Signal
        Further signals, for `bayescascade.signal_quality`: the variable ``candidate`` over (query, stage, signal).
    batch_discount : float
        Share of the price that calls of a batch cost; 1 gives what they cost outside of one.
    progressbar : bool
        Show how far it is, where the files are large.
    **signal_options
        Of the signal, such as ``answers=["A", "B"]``, or ``question="refund"`` of a decision model.

    Returns
    -------
    xarray.Dataset
        As `bayescascade.read_log` gives it. The attribute ``summary`` says what was read and what was left out;
        the logger "bayescascade" says it at level INFO.

    Raises
    ------
    CascadeError
        If a file cannot be read, a line is no JSON object, or the log breaks a rule of
        `bayescascade.validate_log`.

    Warns
    -----
    CascadeWarning
        If calls are left out: failed ones, empty ones, those without log-probabilities.
    """
    options = Options(signal, signal_options, Prices(prices, batch_discount), Labels(labels), grade)
    options.candidates = candidates
    return finished(collect_responses(source, options, query, progressbar))


def collect_responses(
    source: Any, options: Options, query: str | None = None, progressbar: bool = True
) -> Collector:
    """The calls of files of responses, collected; a file for each stage gives the stages' order."""
    files = sources_of(source, SUFFIXES)
    options.stages = named_stages(source)
    numbered: dict[Source, int] = {}  # lines of files that are joined by the number of the line
    with progress([file.path for file in files], progressbar) as advance:
        calls = (call for file in files for call in _calls(file, query, numbered, advance))
        collector = collect(calls, options)
    _check_joined(files, numbered)
    if numbered:
        collector.notes.append("No query is named, so the first lines of all files are one query, and so on.")
    return collector


def _check_joined(files: list[Source], numbered: Mapping[Source, int]) -> None:
    if not numbered:
        return
    parts: dict[str, list[Source]] = {}
    for file in numbered:
        parts.setdefault(_lines_of(file), []).append(file)
    if len(numbered) < len(files) or len(parts) < 2:
        raise CascadeError(
            f"nothing in {name_of(next(iter(numbered)).path)} says which query a line is of; name the field that "
            "holds its id: " + option("query", TO_FILL_IN)
        )
    lines = {name: sum(numbered[file] for file in part) for name, part in parts.items()}
    if len(set(lines.values())) > 1:
        told = (name if len(parts[name]) > 1 else name_of(parts[name][0].path) for name in lines)
        counts = ", ".join(f"{name} ({count})" for name, count in zip(told, lines.values(), strict=True))
        raise CascadeError(
            "no query is named and the files have different numbers of lines, so they cannot be joined: "
            f"{counts}; name the field that holds the query's id: " + option("query", TO_FILL_IN)
        )


def _lines_of(file: Source) -> str:
    """Whose lines are counted, from file to file, where no query is named: a stage's, else a file's own."""
    return file.stage or name_of(file.path)


def _calls(file: Source, query: str | None, numbered: dict[Source, int], advance: Advance) -> Iterator[Call]:
    before = sum(count for other, count in numbered.items() if _lines_of(other) == _lines_of(file))
    id_of: Callable[[Mapping[str, Any]], Any] | None = None
    for number, (where, line) in enumerate(json_lines(file.path, advance), start=before):
        if number == before:
            _check_first(line, where)
            id_of = _identifier(line, query, where)
        if id_of is None:
            numbered[file] = number - before + 1
        found = number if id_of is None else id_of(line)
        yield call_of(line, found, file.stage, where)


def _check_first(line: Mapping[str, Any], where: str) -> None:
    """A first line of an unknown shape is a file of another kind."""
    if not (is_response(line) or is_batch(line) or isinstance(line.get("response"), Mapping) or line.get("error")):
        raise fault(
            where,
            f"should be a response with 'choices' or 'answers', or hold one under 'response', but has the keys "
            f"{listed(line)}",
        )


def _identifier(line: Mapping[str, Any], query: str | None, where: str) -> Callable[..., Any] | None:
    """How the id of a query is found in a line like this one; None where lines name none."""
    if query is not None:
        if at(line, query) is None:
            raise fault(where, f"has no field {query!r} (given as query); its keys are {listed(line)}")
        return lambda other: at(other, query)
    own = is_response(line) and "answers" not in line  # whose id is that of the response
    key = next((key for key in IDS if line.get(key) is not None and not (own and key == "id")), None)
    return None if key is None else lambda other: other.get(key)
