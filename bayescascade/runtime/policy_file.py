"""A policy as JSON: what is read from a file, and what is written to one."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bayescascade._common.files import read_whole
from bayescascade._common.messages import listed, show
from bayescascade.errors import CascadeError, call, in_python, shown

FORMAT = "bayescascade-policy"
# Version 2 holds what a reader of version 1 would pass over: rejecting thresholds. Version 3 holds a manifest,
# with or without rejecting thresholds, and the hash of all the rest.
VERSIONS = (1, 2, 3)
HASH = "content_hash"
_PARTS = ("stages", "thresholds", "confidence_kind", "metadata")
_SAVE = call("Policy.save")
_MAKE_ONE = "make one with " + in_python("Policy.save or ") + "`bayescascade tune FIT --max-error 0.2 -o POLICY`"


def encode(value: Any) -> Any:
    """Plain JSON: infinities and NaN as strings, NumPy scalars and arrays as numbers and lists."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if value is None or isinstance(value, (str, bool, int)):
        return value
    raise CascadeError(
        f"the policy's metadata holds {shown(value)}, which JSON cannot; keep numbers, strings and lists"
    )


def decode(thresholds: Any) -> Any:
    """Undo `encode` for thresholds; what is not a list of numbers is left for the checks to name."""
    if not isinstance(thresholds, list):
        return thresholds
    infinities = {"-inf": -math.inf, "inf": math.inf}
    return [infinities.get(item, item) if isinstance(item, str) else item for item in thresholds]


def to_json(parts: Mapping[str, Any]) -> str:
    """The text of a policy file; of the oldest version that says everything."""
    new = {} if parts["reject"] is None else {"reject": encode(parts["reject"])}
    manifest = parts.get("manifest")
    content = {
        "format": FORMAT,
        "version": 3 if manifest is not None else 2 if new else 1,
        "confidence_kind": parts["confidence_kind"],
        "stages": parts["stages"],
        "thresholds": encode(parts["thresholds"]),
        **new,
        "metadata": encode(parts["metadata"]),
    }
    try:
        if manifest is not None:
            content["manifest"] = encode(manifest)
            content[HASH] = content_hash(content)
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    except (ValueError, RecursionError) as error:  # a number of too many digits, lists in lists without end
        raise CascadeError(f"the policy's metadata cannot be written as JSON ({error}); simplify it") from None
    if any("\ud800" <= character <= "\udfff" for character in text):  # halves of characters, in metadata
        return json.dumps(content, indent=2) + "\n"
    return text


def content_hash(content: Mapping[str, Any]) -> str:
    """The SHA-256 of all parts of a policy file but the hash itself, as canonical JSON: sorted, without spaces.

    Examples
    --------
    >>> content_hash({"b": 1, "a": [0.5]}) == content_hash({"a": [0.5], "b": 1, "content_hash": "sha256:0"})
    True
    """
    rest = {name: value for name, value in content.items() if name != HASH}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def read_parts(path: Path) -> dict[str, Any]:
    """The parts of a policy file by name, not yet checked one by one."""
    content = _read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CascadeError(f'{path} is not a policy file: it does not say "format": "{FORMAT}"; ' + _MAKE_ONE)
    version = content.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version not in VERSIONS:
        raise CascadeError(
            f"{path} is a policy of version {show(version)}, but this bayescascade reads versions "
            f"{', '.join(map(str, VERSIONS))}; upgrade bayescascade, or write the policy again with this one"
        )
    known = {"format", "version", "history", "reject", "manifest", HASH, *_PARTS}
    unknown = [name for name in content if name not in known]
    if unknown:
        raise CascadeError(
            f"{path} is not a valid policy: it holds {listed(unknown)}, where only "
            f"{listed(sorted(known - {'history'}))} are known; take it out, or mend its name"
        )
    missing = [name for name in _PARTS if name not in content]
    if missing:
        raise CascadeError(f"{path} is not a whole policy: missing {', '.join(missing)}; write it again")
    if content.get("history") is not None:
        raise CascadeError(
            f"{path} is a policy of an older bayescascade that decides by history, by P(correct) given a stage's "
            "confidence and the one before: that is no longer supported; tune again, and write the new policy"
        )
    reject = content.get("reject")
    if (reject is not None) != (version == 2) and version != 3:
        what = "holds no reject" if reject is None else "holds reject"
        raise CascadeError(f"{path} says version {version} but {what}; write it again with " + _SAVE)
    _check_manifest(path, version, content)
    parts = {name: content[name] for name in _PARTS}
    more = {"reject": decode(reject), "manifest": content.get("manifest")}
    return {**parts, "thresholds": decode(parts["thresholds"]), **more}


def _hash_of(content: Mapping[str, Any]) -> str | None:
    """The hash of what was read, None of what cannot have been written."""
    try:
        return content_hash(content)
    except (ValueError, RecursionError):
        return None


def _check_manifest(path: Path, version: int, content: dict[str, Any]) -> None:
    """Raise `CascadeError` unless a file of version 3, and no other, has a manifest and says its own hash."""
    missing = [name for name in ("manifest", HASH) if content.get(name) is None]
    if version != 3 and len(missing) < 2:
        raise CascadeError(f"{path} says version {version} but holds a manifest; write it again with " + _SAVE)
    if version == 3 and missing:
        raise CascadeError(f"{path} is not a whole policy: missing {', '.join(missing)}; write it again")
    if version == 3 and content[HASH] != _hash_of(content):
        raise CascadeError(
            f"{path} was changed after it was written: its content is not what its {HASH} says. Get the file as "
            "it was. If you mean the change, tune again, or write your thresholds as a policy of their own with "
            + _SAVE
        )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON whose names differ; of two that are the same the last would win in silence."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        again = next(name for name in names if names.count(name) > 1)
        raise CascadeError(f"it has {show(again)} twice; keep one")
    return found


def _read_json(path: Path) -> Any:
    try:
        text = read_whole(path, "the policy").decode("utf-8-sig")
    except FileNotFoundError:
        raise CascadeError(f"there is no policy file {path}; write one with " + _SAVE) from None
    except OSError as error:
        raise CascadeError(f"the policy file {path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise CascadeError(f"{path} is not a policy file: it holds binary data, not JSON") from None
    if not text.strip():
        raise CascadeError(f"the policy file {path} is empty; write it again with " + _SAVE)
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except CascadeError as error:
        raise CascadeError(f"{path} is not a valid policy: {error}") from None
    except (ValueError, RecursionError) as error:
        # A file cut short fails at its end; another one (YAML, a table, JSON lines) at its start or after a line.
        if text.lstrip()[0] != "{" or str(error).startswith("Extra data"):
            raise CascadeError(f"{path} is not a policy file: it is not JSON; " + _MAKE_ONE) from None
        raise CascadeError(
            f"{path} is truncated or damaged: not readable as JSON ({error}); write it again"
        ) from None
