"""Confidences that a model puts into words: the number in its text."""

from __future__ import annotations

import re
from typing import Any

from bayescascade.errors import bad_value
from bayescascade.signals import absent
from bayescascade.signals.absent import NoConfidence
from bayescascade.signals.responses import number, plain, text_of

# A number that is not part of a word, of a longer number, or of a range.
_NUMBER = r"(?<![\w.])([-−]?\d+(?:\.\d+)?)(?![.,]?\w)(?!\s*(?:[-–−]|to)\s*\d)"
_ALONE = re.compile(rf"\W*?{_NUMBER}\W*")
_NAMED = re.compile(rf"\b(?:confidence|certainty|rating)\b[^\d\n−-]{{0,20}}{_NUMBER}", re.I)
_SURE = re.compile(rf"{_NUMBER}\s*%?\s*(?:sure|certain|confident)\b", re.I)


def verbalised(response: Any) -> float:
    """The percentage, 0 to 100, that the text states.

    Tian et al. (2023), arXiv:2305.14975.
    """
    found, written = _stated(response, 0, 100)
    if 0.0 < found <= 1.0 and "%" not in written:  # 0.85 of a hundred, or of one?
        raise NoConfidence(absent.UNCLEAR)
    return found


def verbalised_rating(response: Any, *, best: int = 5) -> float:
    """The rating, a whole number from 1 to ``best``, that the text states."""
    if not isinstance(best, int) or isinstance(best, bool) or best < 2:
        raise bad_value("best", best, "give the highest rating, a whole number above 1")
    found, _ = _stated(response, 1, best)
    if not found.is_integer():
        raise NoConfidence(absent.OFF_SCALE, f": {found:g} is not a whole number")
    return found


def _stated(response: Any, low: int, high: int) -> tuple[float, str]:
    """The number between the ends of its scale, and the text that it stands in."""
    response = plain(response)
    found, text = number(response), ""
    if found != found:
        text = text_of(response)
        found = _number_in(_without_scale(text, low, high))
    if not low <= found <= high:
        raise NoConfidence(absent.OFF_SCALE, f": {found:.6g} is not between {low} and {high}")
    return found, text


def _without_scale(text: str, low: int, high: int) -> str:
    """The text without mention of its scale: "4 out of 5" is one number, "confidence (0-100): 85" is too."""
    text = re.sub(rf"(?<![\d.]){low}\s*(?:[-–−]|to)\s*{high}\b", "", text)
    return re.sub(rf"\s*(?:/|out of)\s*{high}\b", "", text, flags=re.I)


def _number_in(text: str) -> float:
    """The number that is called a confidence, or that is all the text says; others may be the answer."""
    alone = _ALONE.fullmatch(text)
    matches = [alone[1]] if alone else [*_NAMED.findall(text), *_SURE.findall(text)]
    found = {float(match.replace("−", "-")) for match in matches}
    if len(found) == 1:
        return found.pop()
    raise NoConfidence(absent.UNCLEAR if re.search(r"\d", text) else absent.NO_NUMBER)
