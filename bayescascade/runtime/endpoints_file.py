"""Endpoints as a TOML file: one table for each stage."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from bayescascade._common.files import read_whole
from bayescascade._common.messages import listed, show
from bayescascade.errors import CascadeError
from bayescascade.runtime.endpoint import Endpoint

EXAMPLE = '[small]\nmodel = "small-1b"\nbase_url = "http://127.0.0.1:8000/v1"\nprice = [0.15, 0.60]'


def load_endpoints(path: str | os.PathLike[str], stages: Sequence[str] | None = None) -> dict[str, Endpoint]:
    """The endpoints that a file names, by stage.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp()) / "endpoints.toml"
    >>> _ = path.write_text(EXAMPLE)
    >>> load_endpoints(path)["small"].price
    [0.15, 0.6]

    Parameters
    ----------
    path : path
        Of a TOML file with a table for each stage, whose names are the parameters of `Endpoint`. An empty
        ``api_key_env`` says that there is no key, and an empty ``signal`` that there is no confidence.
    stages : list of str, optional
        Those that are wanted. Others may be in the file, for a policy that runs them.

    Raises
    ------
    CascadeError
        If it cannot be read, is no TOML, or describes no endpoint.
    """
    try:
        content = tomllib.loads(read_whole(path, "the endpoints").decode("utf-8-sig"))
    except FileNotFoundError:
        raise CascadeError(f"there is no file {path}; write one such as\n{EXAMPLE}") from None
    except OSError as error:
        raise CascadeError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError):  # the line at fault is not shown: it may hold what is secret
        raise CascadeError(f"{path} is not a TOML file; write one such as\n{EXAMPLE}") from None
    if not content:
        raise CascadeError(f"{path} names no stage; write, for example,\n{EXAMPLE}")
    found = {stage: _endpoint(path, stage, table) for stage, table in content.items()}
    if stages is None or not set(stages) <= set(found):  # whoever uses them says what is missing
        return found
    return {stage: found[stage] for stage in stages}


def _endpoint(path: Any, stage: str, table: Any) -> Endpoint:
    known = [field.name for field in fields(Endpoint)]
    if not isinstance(table, Mapping):
        raise CascadeError(f"{path}: {show(stage)} is not a table; write, for example,\n{EXAMPLE}")
    unknown = [name for name in table if name not in known]
    if unknown:
        keys = " A key stands in an environment variable, whose name is api_key_env." if _is_key(unknown) else ""
        raise CascadeError(
            f"{path}: stage {show(stage)} has {listed(unknown)}, where only {', '.join(known)} are known.{keys}"
        )
    if "model" not in table:
        raise CascadeError(f"{path}: stage {show(stage)} has no model; write, for example,\n{EXAMPLE}")
    options: dict[str, Any] = dict(table)
    options |= {name: None for name in ("api_key_env", "signal") if table.get(name) == ""}
    try:
        return Endpoint(**options)
    except CascadeError as error:
        raise CascadeError(f"{path}: stage {show(stage)}: {error}") from None


def _is_key(names: list[str]) -> bool:
    return any("key" in name.lower() or "token" in name.lower() for name in names)
