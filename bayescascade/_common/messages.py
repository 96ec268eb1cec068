"""Values and names in messages."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import numpy as np

from bayescascade.errors import Message, shown

_logger = logging.getLogger("bayescascade")
LONG = 60.0  # seconds, from where on it is said


def show(value: Any) -> str:
    """A cell as the user wrote it, short."""
    return shown(value.item() if isinstance(value, np.generic) else value, longest=60)


def listed(names: Any) -> str:
    """Names for a message, not more than a line or two of them."""
    names = [show(name) for name in names]
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return ", ".join(names[:12]) + more if names else "none"


def joined(names: Iterable[object]) -> str:
    """Names in a sentence, as they are and each once."""
    return ", ".join(dict.fromkeys(map(str, names)))


def sentence(text: str) -> str:
    """The text with a capital letter."""
    if isinstance(text, Message) and isinstance(text.parts[0], str):
        return Message(sentence(text.parts[0]), *text.parts[1:])
    return text[:1].upper() + text[1:]


def counted(n: float, one: str = "query", more: str = "queries") -> str:
    """How many there are of something.

    Examples
    --------
    >>> counted(1), counted(2500), counted(1, "label", "labels")
    ('1 query', '2,500 queries', '1 label')
    """
    return f"{n:,.12g} {one if n == 1 else more}"


def span(seconds: float) -> str:
    """A time as people say it.

    Examples
    --------
    >>> span(3.2), span(80.0), span(1500.0), span(9000.0)
    ('3 s', 'a minute', '25 minutes', '2.5 hours')
    """
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    if seconds < 5400.0:
        minutes = max(1, round(seconds / 60.0))
        return "a minute" if minutes == 1 else f"{minutes} minutes"
    return f"{seconds / 3600.0:.1f} hours"


def say_if_long(what: str, seconds: float, advice: str = "") -> None:
    """Log how long work is still going to take, where that is more than a minute."""
    if seconds > LONG:
        _logger.warning("%s takes about %s more.%s", what, span(seconds), f" {advice}" if advice else "")
