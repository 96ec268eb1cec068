"""Confidences from the log-probabilities of an answer's tokens.

Sums are rounded once (`math.fsum`), so that they do not depend on who adds them up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from bayescascade.errors import bad_value
from bayescascade.signals import absent
from bayescascade.signals.absent import NoConfidence
from bayescascade.signals.responses import Token, is_list, listed_at, logprob_of, tokens_of

_SPACES = str.maketrans({"▁": " ", "Ġ": " ", "Ċ": "\n"})  # as tokenisers write them


def token_logprobs(response: Any) -> list[float]:
    """Log-probabilities of the answer's tokens, in order; at least one, none absent."""
    return [logprob_of(token.logprob) for token in tokens_of(response)]


def mean_logprob(response: Any) -> float:
    """Mean log-probability of the tokens: the logarithm of their geometric mean probability."""
    values = token_logprobs(response)
    return math.fsum(values) / len(values)


def sum_logprob(response: Any) -> float:
    """Log-probability of the whole answer."""
    return math.fsum(token_logprobs(response))


def min_logprob(response: Any) -> float:
    """Log-probability of the least likely token."""
    return min(token_logprobs(response))


def low_logprob(response: Any, *, quantile: float = 0.1) -> float:
    """A low quantile of the tokens' log-probabilities: the least likely tokens, but for the odd one."""
    if not (isinstance(quantile, int | float) and 0.0 <= quantile <= 1.0):
        raise bad_value("quantile", quantile, "give a number between 0 and 1, such as 0.1")
    return float(np.quantile(token_logprobs(response), quantile))


# ---- the token that is the answer


def first_token_margin(response: Any, *, answers: Sequence[str] | None = None, place: str = "first") -> float:
    """By how much the answer's token is likelier than the next one; 0 where it is not.

    With ``answers`` among these alone, their probabilities scaled to sum to 1. What is not listed counts as 0: it
    is less likely than all that is.
    """
    own, others = _rivals(response, answers, place)
    p, q = math.exp(own), max(map(math.exp, others), default=0.0)
    return max(0.0, p - q)


def first_token_gap(response: Any, *, answers: Sequence[str] | None = None, place: str = "first") -> float:
    """Log-probability of the answer's token less that of the next likeliest; 0 where that is likelier."""
    own, others = _rivals(response, answers, place)
    finite = [other for other in others if other > -math.inf]
    if not finite:
        raise NoConfidence(absent.NO_RIVAL)
    return max(0.0, own - max(finite))


def answer_probability(response: Any, *, answers: Sequence[str] | None = None, place: str = "first") -> float:
    """Probability of the answer's token; with ``answers`` its share among them."""
    if answers is None:
        return math.exp(logprob_of(_answer_token(tokens_of(response), None, place).logprob))
    return math.exp(_rivals(response, answers, place)[0])


def p_true(response: Any, *, true: Sequence[str] = ("True", "Yes")) -> float:
    """Logarithm of the probability that a verifying call's first token says True, in any case and spacing.

    Kadavath et al. (2022), arXiv:2207.05221.
    """
    words = {word.casefold() for word in _words("true", true)}
    listed = listed_at(_answer_token(tokens_of(response), None, "first"))
    said = [value for text, value in listed if bare(text).casefold() in words]
    if not said:
        raise NoConfidence(absent.NOT_LISTED)
    return _log_sum(said)


def bare(token: str) -> str:
    """A token without the spaces around it, also those that tokenisers spell out."""
    return token.translate(_SPACES).strip()


def _rivals(response: Any, answers: Sequence[str] | None, place: str) -> tuple[float, list[float]]:
    """Log-probabilities of the answer, and of what else it could have been."""
    token = _answer_token(tokens_of(response), answers, place)
    listed = listed_at(token)
    if answers is None:
        if len(listed) < 2:
            raise NoConfidence(absent.NO_RIVAL)
        return listed[0][1], [value for _, value in listed[1:]]
    own = bare(token.text or "")
    by_answer = {
        answer: _log_sum([value for text, value in listed if bare(text) == answer])
        for answer in _words("answers", answers)
    }
    total = _log_sum(by_answer.values())
    return by_answer[own] - total, [value - total for answer, value in by_answer.items() if answer != own]


def _answer_token(tokens: list[Token], answers: Sequence[str] | None, place: str) -> Token:
    """The first token that is more than space; or, with ``place="last"``, the last one that is an answer."""
    if place not in ("first", "last") or (place == "last" and answers is None):
        raise bad_value("place", place, "choose 'first', or name the answers and choose 'last'")
    words = None if answers is None else _words("answers", answers)
    if place == "last":
        tokens = [token for token in tokens if words and bare(token.text or "") in words][-1:]
    else:
        tokens = [token for token in tokens if token.text is None or bare(token.text)][:1]
    if not tokens or (words is not None and bare(tokens[0].text or "") not in words):
        raise NoConfidence(absent.NOT_LISTED)
    return tokens[0]


def _words(name: str, words: Any) -> list[str]:
    if not is_list(words) or not words or not all(isinstance(word, str) and bare(word) for word in words):
        raise bad_value(name, words, "give a list of the tokens that count, such as ['A', 'B']")
    return list(dict.fromkeys(map(bare, words)))


def _log_sum(values: Iterable[float]) -> float:
    """log(sum(exp(values))), -inf for none."""
    finite = [value for value in values if value > -math.inf]
    if not finite:
        return -math.inf
    top = max(finite)
    return top + math.log(math.fsum(math.exp(value - top) for value in finite))
