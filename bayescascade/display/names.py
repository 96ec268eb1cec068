"""Names of stages where space is short."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

LETTERS = 28  # of a name in a headline, or above a panel
_JOINTS = "-_ :/"  # between the words of a name


def short_name(name: str, length: int = LETTERS, among: Sequence[str] = ()) -> str:
    """A stage's name in so many letters, such that no other one of a log is shortened to the same.

    The provider before a slash goes first, then what all names begin or end with, then letters.

    Examples
    --------
    >>> short_name("meta/llama-3.1-8b")
    'llama-3.1-8b'
    >>> names = [f"meta-llama-{size}-instruct-turbo-eu-west-1" for size in ("3.2-1b", "3.1-70b")]
    >>> [short_name(name, among=names) for name in names]
    ['3.2-1b', '3.1-70b']
    >>> short_name("meta-llama-3.2-1b-instruct-turbo", 20)
    'meta-llama-3.2-1b…'
    """
    names = list(dict.fromkeys([*among, name]))
    place = names.index(name)
    tails = [each.rstrip("/").rsplit("/", 1)[-1] or each for each in names]
    tails = names if len(set(tails)) < len(names) else tails
    words = _without_shared(tails)
    ways = [tails, words, [_first_words(each, length) for each in words]]
    ways += [[cut_name(each, length, kept) for each in words] for kept in (0, length // 2)]
    for found in ways:
        if max(map(len, found)) <= length and len(set(found)) == len(names):
            return found[place]
    return cut_name(f"{place + 1}: {words[place]}", length)


def _without_shared(names: list[str]) -> list[str]:
    """Names without the words that all of them begin with, and end with."""
    start, end = _shared_words(names), _shared_words([each[::-1] for each in names])
    if len(names) < 2 or min(map(len, names)) <= start + end:
        return names
    return [each[start : len(each) - end] for each in names]


def _shared_words(names: list[str]) -> int:
    """How many letters the words have with which all names begin."""
    same = list(takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False)))
    return max((i + 1 for i, letters in enumerate(same) if letters[0] in _JOINTS), default=0)


def _first_words(name: str, length: int) -> str:
    """As many words of a name as fit."""
    if len(name) <= length:
        return name
    end = max(name.rfind(joint, 0, length) for joint in _JOINTS)
    return f"{name[:end]}…" if end > 0 else cut_name(name, length)


def cut_name(name: str, length: int, kept: int = 0) -> str:
    """A name in so many letters, of which the last few are ``kept``."""
    return name if len(name) <= length else f"{name[: length - 1 - kept]}…{name[len(name) - kept :]}"
