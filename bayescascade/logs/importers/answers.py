"""What a response answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bayescascade.signals import absent
from bayescascade.signals.absent import NoConfidence
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
    answers = plain(response["answers"])
    if not isinstance(answers, Mapping) or not answers:
        raise NoConfidence(absent.EMPTY)
    if question is not None:
        if question not in answers:
            raise NoConfidence(absent.NO_QUESTION)
        return _decided(answers[question])
    found = {name: _decided(answer) for name, answer in answers.items()}
    return next(iter(found.values())) if len(found) == 1 else found


def _decided(answer: Any) -> Any:
    """The answer to one question: True or False, a choice, or the likeliest score."""
    answer = plain(answer)
    if not isinstance(answer, Mapping):
        raise NoConfidence(absent.UNREADABLE)
    if "noul" in answer:
        return number(answer["noul"]) >= 0.5
    if answer.get("choice") is not None:
        return str(answer["choice"])
    values = plain(answer.get("probabilities"))
    if not isinstance(values, Mapping) or not values:
        raise NoConfidence(absent.UNREADABLE)
    return str(max(values, key=lambda name: number(values[name])))
