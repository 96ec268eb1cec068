"""Confidences from answers that come with their probabilities: of decision models, of choices with likelihoods."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bayescascade.signals import absent
from bayescascade.signals.absent import NoConfidence
from bayescascade.signals.responses import is_list, logprob_of, number, plain

_ROUNDED = 0.005 + 1e-9  # by how much a probability of two decimals may be off


def top_probability(response: Any, *, question: str | None = None) -> float:
    """Probability of the likeliest answer; of several questions, that of the least sure one.

    A ``noul`` is P(yes), so this is the larger of p and 1 - p.
    """
    return min(probabilities[0] for probabilities in _answers(response, question))


def top_gap(response: Any, *, question: str | None = None) -> float:
    """Probability of the likeliest answer less that of the next; of several questions, the least one."""
    found = list(_answers(response, question))
    if any(len(probabilities) < 2 for probabilities in found):
        raise NoConfidence(absent.NO_RIVAL)
    return min(probabilities[0] - probabilities[1] for probabilities in found)


def softmax(loglikelihoods: Sequence[float]) -> list[float]:
    """Probabilities of choices from the log-likelihood of each, as lm-evaluation-harness logs them.

    Examples
    --------
    >>> softmax([-1.0, -1.0])
    [0.5, 0.5]
    """
    values = [logprob_of(value) for value in loglikelihoods]
    if not values:
        raise NoConfidence(absent.EMPTY)
    weights = [math.exp(value - max(values)) for value in values]
    return [weight / math.fsum(weights) for weight in weights]


def _answers(response: Any, question: str | None) -> list[list[float]]:
    """Probabilities of each question's answers, the likeliest first."""
    response = plain(response)
    if isinstance(response, Mapping) and response.get("error"):
        raise NoConfidence(absent.FAILED)
    if not isinstance(response, Mapping) or "answers" not in response:
        return [_sorted(response)]  # one answer, or its probabilities
    return [*map(_sorted, answers_of(response, question).values())]


def answers_of(response: Mapping[str, Any], question: str | None = None) -> dict[str, Any]:
    """A decision model's answers by the names of their questions; in a list, one without a name has its number.

    Examples
    --------
    >>> answers_of({"answers": [{"type": "predicate", "name": "refund", "probability": 0.9}]})
    {'refund': {'type': 'predicate', 'name': 'refund', 'probability': 0.9}}

    Raises
    ------
    NoConfidence
        If there is no answer, or none to the question.
    """
    answers = plain(response["answers"])
    if is_list(answers):
        listed = [plain(answer) for answer in answers]
        names = [answer.get("name") if isinstance(answer, Mapping) else None for answer in listed]
        answers = {str(i if names[i] is None else names[i]): answer for i, answer in enumerate(listed)}
    if not isinstance(answers, Mapping) or not answers:
        raise NoConfidence(absent.EMPTY)
    if question is not None and question not in answers:
        raise NoConfidence(absent.NO_QUESTION)
    return {str(name): plain(answer) for name, answer in answers.items() if question in (None, name)}


def probabilities_of(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Probabilities of an answer's choices or scores by their names, as they came; empty where there are none."""
    given = plain(answer.get("probabilities"))
    if is_list(given):  # of objects with a value each
        items = [item for item in map(plain, given) if isinstance(item, Mapping)]
        return {str(item.get("value", place)): item.get("probability") for place, item in enumerate(items)}
    return {str(name): value for name, value in given.items()} if isinstance(given, Mapping) else {}


def yes_of(answer: Mapping[str, Any]) -> Any:
    """P(yes) of an answer to a question of yes or no, as it came; None for an answer to another."""
    return (
        answer["probability"]
        if answer.get("type") == "predicate" and "probability" in answer
        else answer.get("noul")
    )


def _sorted(answer: Any) -> list[float]:
    answer = plain(answer)
    if isinstance(answer, Mapping):
        if answer.get("type") == "refusal":
            raise NoConfidence(absent.REFUSED)
        if yes_of(answer) is not None:
            yes = _probability(yes_of(answer))
            return [max(yes, 1.0 - yes), min(yes, 1.0 - yes)]
    values = [*probabilities_of(answer).values()] if isinstance(answer, Mapping) else answer
    if not is_list(values) or not values:
        raise NoConfidence(absent.UNREADABLE)
    found = sorted(map(_probability, values), reverse=True)
    if math.fsum(found) > 1.0 + _ROUNDED * len(found):
        raise NoConfidence(absent.OFF_SCALE, ": the probabilities sum to more than 1")
    return found


def _probability(value: Any) -> float:
    found = number(value)
    if math.isnan(found):
        raise NoConfidence(absent.UNREADABLE)
    if not 0.0 <= found <= 1.0:
        raise NoConfidence(absent.OFF_SCALE, f": {found:.6g} is not a probability, which lies in [0, 1]")
    return found
