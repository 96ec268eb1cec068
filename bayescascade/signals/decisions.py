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
    answers = plain(response["answers"])
    if not isinstance(answers, Mapping) or not answers:
        raise NoConfidence(absent.EMPTY)
    if question is not None and question not in answers:
        raise NoConfidence(absent.NO_QUESTION)
    return [_sorted(answer) for name, answer in answers.items() if question in (None, name)]


def _sorted(answer: Any) -> list[float]:
    answer = plain(answer)
    if isinstance(answer, Mapping) and "noul" in answer:
        yes = _probability(answer["noul"])
        return [max(yes, 1.0 - yes), min(yes, 1.0 - yes)]
    given = plain(answer.get("probabilities")) if isinstance(answer, Mapping) else answer
    values = [*given.values()] if isinstance(given, Mapping) else given
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
        raise NoConfidence(absent.OFF_SCALE, f": {found:.6g} is no probability, which lies in [0, 1]")
    return found
