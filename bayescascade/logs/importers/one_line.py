"""One line of a file of responses: what is around a response, and the call that it is of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bayescascade._common.messages import show
from bayescascade.logs.importers.calls import Call, fault
from bayescascade.signals import absent

BODIES = ("choices", "answers", "logprobs")  # keys that only a response has


def at(line: Any, path: str) -> Any:
    """The value at a path of names with points between them, also within texts of JSON; a name may hold points.

    Examples
    --------
    >>> at({"metadata": {"row": 7}, "llm.cost": 2}, "metadata.row")
    7
    >>> at({"attributes": '{"llm.cost": 2}'}, "attributes.llm.cost")
    2
    """
    line = from_json(line)
    if not isinstance(line, dict):
        return None
    if line.get(path) is not None:
        return line[path]
    parts = path.split(".")
    for length in range(1, len(parts)):
        head = line.get(".".join(parts[:length]))
        found = None if head is None else at(head, ".".join(parts[length:]))
        if found is not None:
            return found
    return None


def from_json(value: Any) -> Any:
    """What a text of JSON stands for; anything else as it is."""
    if not isinstance(value, str) or value[:1] not in ("{", "[", '"'):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def is_response(line: Mapping[str, Any]) -> bool:
    """Whether this is a response itself, and nothing around one."""
    return any(key in line for key in BODIES) or (line.get("object") == "response" and "output" in line)


def is_batch(line: Mapping[str, Any]) -> bool:
    return "custom_id" in line and ("response" in line or "error" in line)


def call_of(line: Mapping[str, Any], query: Any, stage: str | None, where: str) -> Call:
    """The call in one line."""
    if is_response(line):
        body, problem, batch = line, None, False
    else:
        body, problem = _unwrapped(line)
        batch = is_batch(line)
    usage, model = body.get("usage"), body.get("model") or line.get("model")
    cost = line.get("cost", usage.get("cost") if isinstance(usage, dict) else None)
    return Call(
        query=check_id(query, where),
        model=model if isinstance(model, str) else None,
        response=body if problem is None else None,
        stage=stage,
        usage=usage if isinstance(usage, dict) else None,
        cost=cost,
        latency=line.get("latency"),
        batch=batch,
        where=where,
        problem=problem,
    )


def _unwrapped(line: Mapping[str, Any]) -> tuple[Mapping[str, Any], str | None]:
    """The response in a line around it, or why there is none."""
    response = line.get("response")
    body = response.get("body", response) if isinstance(response, dict) else None
    status = response.get("status_code") if isinstance(response, dict) else None
    if isinstance(status, int) and status != 200:
        return body if isinstance(body, dict) else {}, f"status {status}"
    error = line.get("error") or (body.get("error") if isinstance(body, dict) else None)
    if error:
        code = error.get("code") if isinstance(error, dict) else None
        return {}, f"error {code}" if isinstance(code, str) and len(code) < 60 else absent.FAILED
    if not isinstance(body, dict):
        return {}, "there is no response"
    return body, None


def check_id(query: Any, where: str) -> str | int | None:
    """The id of a query, which is a text or a whole number."""
    if isinstance(query, float) and query.is_integer():
        return int(query)
    if query is None or (isinstance(query, str | int) and not isinstance(query, bool)):
        return query if not isinstance(query, str) or query.strip() else None
    raise fault(where, f"the id of the query is {show(query)}; it should be a text or a whole number")
