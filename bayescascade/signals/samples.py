"""Confidences from several answers to one query: how far they agree."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable
from typing import Any

from bayescascade.errors import bad_value
from bayescascade.signals import absent
from bayescascade.signals.absent import NoConfidence
from bayescascade.signals.responses import texts_of

Same = str | Callable[[str, str], bool]


def agreement(samples: Any, *, same: Same = "normalised") -> float:
    """Share of the samples that give the most frequent answer.

    Wang et al. (2023), arXiv:2203.11171.
    """
    counts = group_sizes(samples, same)
    return max(counts) / sum(counts)


def negative_entropy(samples: Any, *, same: Same = "normalised") -> float:
    """Minus the entropy of the answers: the mean logarithm of the share that each sample agrees with.

    Kuhn, Gal & Farquhar (2023), arXiv:2302.09664, with a ``same`` that compares meanings.
    """
    counts = group_sizes(samples, same)
    n = sum(counts)
    return math.fsum(count / n * math.log(count / n) for count in counts)


def normalised(text: str) -> str:
    """A text without what seldom matters: case, width, punctuation around it, and spaces.

    Examples
    --------
    >>> normalised("  The  Answer. ")
    'the answer'
    """
    words = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return words.strip(".,;:!?'\"`()[]{}* ") or words


def group_sizes(samples: Any, same: Same = "normalised") -> list[int]:
    """How many samples give each answer; an empty one agrees with none."""
    alike = _comparison(same)
    texts = texts_of(samples)
    if len(texts) < 2:
        raise NoConfidence(absent.FEW_SAMPLES)
    if not any(texts):
        raise NoConfidence(absent.EMPTY)
    groups: list[list[str]] = []
    for text in texts:
        group = next((group for group in groups if text and group[0] and alike(group[0], text)), None)
        if group is None:
            groups.append([text])
        else:
            group.append(text)
    return [len(group) for group in groups]


def _comparison(same: Same) -> Callable[[str, str], bool]:
    if same == "exact":
        return str.__eq__
    if same == "normalised":
        return lambda one, other: normalised(one) == normalised(other)
    if callable(same):
        return same
    raise bad_value("same", same, "choose 'exact' or 'normalised', or give a function of two texts")
