"""What a response answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bayescascade.signals import absent
from bayescascade.signals.absent import NoConfidence
from bayescascade.signals.decisions import answers_of, probabilities_of, yes_of
from bayescascade.signals.responses import number, plain, text_of


def answer_of(response: Any, question: str | None = None) -> Any:
    """The text of a response; of a decision model the answer to a question, or to each where there are several.

    Examples
    --------
    >>> from bayescascade.logs.importers.answers import answer_of
    >>> answer_of({"choices": [{"message": {"content": "B"}}]})
    'B'
    >>> answer_of({"answers": {"refund": {"type": "noul", "noul": 0.87}}})
    True

    Raises
    ------
    NoConfidence
        If there is no answer.
    """
    response = plain(response)
    if not isinstance(response, Mapping) or "answers" not in response:
        return text_of(response).strip()
    found = {name: _decided(answer) for name, answer in answers_of(response, question).items()}
    return next(iter(found.values())) if len(found) == 1 else found


def _decided(answer: Any) -> Any:
    """The answer to one question: True or False, a choice, or the likeliest score."""
    if not isinstance(answer, Mapping):
        raise NoConfidence(absent.UNREADABLE)
    if yes_of(answer) is not None:
        return number(yes_of(answer)) >= 0.5
    if answer.get("choice") is not None:
        return str(answer["choice"])
    values = {name: number(value) for name, value in probabilities_of(answer).items()}
    if not values:
        raise NoConfidence(absent.UNREADABLE)
    return max(values, key=lambda name: values[name])
