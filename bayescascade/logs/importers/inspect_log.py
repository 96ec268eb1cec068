"""What stands in a log of Inspect, a ``.eval`` or its JSON: the run, and its samples one at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bayescascade.errors import CascadeError
from bayescascade.logs.importers.archive import MAX_MEMBER, opened_archive
from bayescascade.logs.importers.calls import check_object, fault
from bayescascade.logs.importers.fields import document, list_at, object_at, text_at
from bayescascade.logs.importers.lines import Advance, content_of, name_of, nothing, opened

HEADERS = ("header.json", "_journal/start.json")  # the second is all that a run which was cut off has
SAMPLE = re.compile(r"samples/[^/]+\.json")
ZIP = (b"PK\x03\x04", b"PK\x05\x06")
WHAT = "a log of Inspect has a header with 'eval', and 'samples'"

Samples = Iterator[tuple[str, dict[str, Any]]]


class Run(NamedTuple):
    """What a log says of its run."""

    model: str | None
    task: str | None
    status: str


def is_archive(path: Path) -> bool:
    """Whether a file is a zip, by its first bytes."""
    with opened(path) as (stream, _):
        return stream.read(4) in ZIP


@contextmanager
def opened_log(path: Path, advance: Advance = nothing) -> Iterator[tuple[Run, Samples]]:
    """The run of a log, and its samples with where each stands.

    Raises
    ------
    CascadeError
        If the file cannot be read, or is no log of Inspect.
    """
    if not is_archive(path):
        log = document(
            content_of(path, MAX_MEMBER, "write the log as .eval, which is read in parts"), name_of(path)
        )
        yield _run(log, name_of(path)), _listed(log, name_of(path))
        return
    with opened_archive(path) as archive:
        header = next((name for name in HEADERS if name in archive.names), None)
        if header is None:
            raise CascadeError(f"{path} has no member {HEADERS[0]}; {WHAT}")
        where = f"{path}, member {header}"
        names = [name for name in archive.names if SAMPLE.fullmatch(name)]
        yield _run(document(archive.read(header), where), where), _packed(str(path), names, archive.read, advance)


def _run(header: dict[str, Any], where: str) -> Run:
    if not isinstance(header.get("eval"), dict):
        raise fault(where, f"has no object 'eval'; {WHAT}")
    run = header["eval"]
    status = text_at(header, "status", where) or "started"
    return Run(text_at(run, "model", where), text_at(run, "task", where), status)


def _packed(name: str, members: list[str], read: Callable[[str], bytes], advance: Advance) -> Samples:
    for member in members:
        where = f"{name}, member {member}"
        content = read(member)
        advance(len(content))
        yield where, document(content, where)


def _listed(log: dict[str, Any], name: str) -> Samples:
    for number, sample in enumerate(list_at(log, "samples", name), start=1):
        where = f"{name}, sample {number}"
        yield where, check_object(sample, where)


# ---- one sample


class ModelCall(NamedTuple):
    """A call of a model by a solver."""

    stage: str
    model: str | None
    output: dict[str, Any]


def solver_calls(sample: dict[str, Any], where: str) -> list[ModelCall]:
    """The calls that a sample's solvers made, in order; those of its scorers, such as a grader's, are left out."""
    inside: set[str] = set()  # spans of scorers, and what is inside of them
    steps = 0  # the same in logs from before there were spans
    calls = []
    for event in list_at(sample, "events", where):
        if not isinstance(event, dict):
            raise fault(where, "an item of 'events' should be a JSON object")
        kind = event.get("event")
        if kind == "span_begin":
            scorer = str(event.get("type")).startswith("scorer")
            if scorer or str(event.get("parent_id")) in inside:
                inside.add(str(event.get("id")))
        elif kind == "step" and event.get("type") == "scorer":
            steps += 1 if event.get("action") == "begin" else -1
        elif kind == "model" and not steps and str(event.get("span_id")) not in inside:
            calls += _model_call(event, where)
    return calls


def _model_call(event: dict[str, Any], where: str) -> list[ModelCall]:
    role, model = (text_at(event, name, where) for name in ("role", "model"))
    if event.get("pending") or event.get("error") or role == "grader" or model is None:
        return []
    return [ModelCall(role or model, model, object_at(event, "output", where))]


def message_id(output: dict[str, Any]) -> Any:
    """The id of an output's message, which says which call it came from."""
    choices = output.get("choices")
    message = (
        choices[0].get("message")
        if choices and isinstance(choices, list) and isinstance(choices[0], dict)
        else None
    )
    return message.get("id") if isinstance(message, dict) else None


ATTACHMENT = "attachment://"


def with_texts(output: dict[str, Any], attachments: dict[str, Any]) -> dict[str, Any]:
    """An output whose long texts, which Inspect keeps apart, are back in their places."""
    choices = output.get("choices")
    if not attachments or not isinstance(choices, list):
        return output

    def text(value: Any) -> Any:
        if isinstance(value, str) and value.startswith(ATTACHMENT):
            return attachments.get(value.removeprefix(ATTACHMENT), value)
        if isinstance(value, list):
            return [{**part, "text": text(part.get("text"))} if isinstance(part, dict) else part for part in value]
        return value

    def choice(value: Any) -> Any:
        message = value.get("message") if isinstance(value, dict) else None
        if not isinstance(message, dict):
            return value
        return {**value, "message": {**message, "content": text(message.get("content"))}}

    return {**output, "choices": [choice(value) for value in choices]}
