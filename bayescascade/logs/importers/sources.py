"""What a user gives for files of responses: files, patterns, folders, lists of these, each for a stage or not."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bayescascade._common.messages import show
from bayescascade.errors import CascadeError, bad_value
from bayescascade.logs.importers.lines import refuse_pickle

EXAMPLE = 'give a path, a pattern, a list of them, or {"small": path, "large": path}'


class Source(NamedTuple):
    """A file, and the stage that a user says it is of; None leaves that to the file."""

    stage: str | None
    path: Path


def named_stages(source: Any) -> list[str] | None:
    """The stages in the order in which a user names them, None where files say it themselves.

    Examples
    --------
    >>> named_stages({"small": "a.eval", "large": "b.eval"}), named_stages("a.eval")
    (['small', 'large'], None)
    """
    return list(dict.fromkeys(map(str, source))) if isinstance(source, Mapping) else None


def are_paths(source: Any) -> bool:
    """Whether a source is a path, or a list of them."""
    listed = source if isinstance(source, list | tuple) else [source]
    return bool(listed) and all(isinstance(path, str | os.PathLike) for path in listed)


def sources_of(source: Any, suffixes: Sequence[str]) -> list[Source]:
    """The files in what a user gave, of a pattern and of a folder in the order of their names; of a folder
    those with one of the suffixes.

    Examples
    --------
    >>> sources_of({"small": "a.eval", "large": ["b.eval", "c.eval"]}, [".eval"])[2]
    Source(stage='large', path=PosixPath('c.eval'))

    Raises
    ------
    CascadeError
        If there is no such file, none in a folder, or a file is a pickle.
    """
    given = source.items() if isinstance(source, Mapping) else [(None, source)]
    found = [
        Source(None if stage is None else str(stage), path)
        for stage, paths in given
        for path in _paths(paths, suffixes, source)
    ]
    if not found:
        raise bad_value("source", source, EXAMPLE)
    return found


def _paths(paths: Any, suffixes: Sequence[str], source: Any) -> Iterator[Path]:
    if isinstance(paths, list | tuple):
        for path in paths:
            yield from _paths(path, suffixes, source)
        return
    if not isinstance(paths, str | os.PathLike) or not os.fspath(paths):
        raise bad_value("source", source, EXAMPLE)
    refuse_pickle(paths)
    path = Path(paths)
    if glob.has_magic(str(path)) and not os.path.exists(path):
        matched = sorted(glob.glob(str(path), recursive=True))
        if not matched:
            raise CascadeError(f"no file is at {show(str(path))}; look whether its name and folder are right")
        yield from _paths(matched, suffixes, source)
        return
    if not os.path.isdir(path):
        yield path
        return
    inside = sorted(file for file in path.iterdir() if file.name.endswith(tuple(suffixes)) and file.is_file())
    if not inside:
        raise CascadeError(f"the folder {path} has no file that ends in {' or '.join(suffixes)}; name another one")
    yield from inside
