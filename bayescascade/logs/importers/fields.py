"""Fields of JSON objects whose type is held to what the format says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bayescascade._common.messages import show
from bayescascade.logs.importers.calls import check_object, fault


def document(content: bytes, where: str) -> dict[str, Any]:
    """The one JSON object in a file or a member."""
    try:
        found = json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise fault(where, "not text in UTF-8; write it again") from None
    except (ValueError, RecursionError) as error:
        raise fault(where, f"not valid JSON ({error}); it may be cut off, so write it again") from None
    return check_object(found, where)


def object_at(record: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    """The object under a name, an empty one where it is missing or null."""
    return _typed(record, name, dict, "an object", where) or {}


def list_at(record: Mapping[str, Any], name: str, where: str) -> list[Any]:
    """The list under a name, an empty one where it is missing or null."""
    return _typed(record, name, list, "a list", where) or []


def text_at(record: Mapping[str, Any], name: str, where: str) -> str | None:
    """The text under a name, None where it is missing, null or blank."""
    found = _typed(record, name, str, "a text", where)
    return found if found and found.strip() else None


def _typed(record: Mapping[str, Any], name: str, kind: type, what: str, where: str) -> Any:
    value = record.get(name)
    if value is None or isinstance(value, kind):
        return value
    raise fault(where, f"{name!r} should be {what} but is {show(value)}")
