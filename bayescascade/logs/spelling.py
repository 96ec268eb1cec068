"""Numbers as spreadsheets write them: decimal commas, separators of thousands, signs of currency."""

from __future__ import annotations

import re
from collections.abc import Sequence

_PLAIN = r"(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_GROUPS = r"[1-9]\d{0,2}(?:MARK\d{3})+"  # no number with groups of thousands starts with 0
POINT = re.compile(rf"[-+]?(?:{_PLAIN}|{_GROUPS.replace('MARK', ',')}(?:\.\d*)?)", re.ASCII)
COMMA = re.compile(rf"[-+]?(?:(?:\d+|{_GROUPS.replace('MARK', '[.]')}),\d*|\d+)(?:[eE][-+]?\d+)?", re.ASCII)
_CURRENCY = re.compile(r"[$€£¥₹]|\b(?:USD|EUR|GBP|CHF|JPY|CNY|INR|CAD|AUD)\b")
_SPACE_OF_THOUSANDS = re.compile(r"(?<=\d)[ \u00a0\u202f'\u2019](?=\d{3})")  # the Swiss write apostrophes
_UNIT = re.compile(r"(?<=\d)\s*(%|\u2030|\u00a2|[A-Za-z\u00b5\u03bc]{1,7})$")
_DATE = re.compile(
    r"\d{1,4}(?P<mark>[-/.])(?:\d{1,2}(?P=mark)\d{2,4}|[^\W\d_]{3,4}\.?(?:(?P=mark)\d{2,4})?)(?:[ T].*)?"
    r"|\d{1,2}\. ?[^\W\d_]{3,4}\.?|[^\W\d_]{3,4}[-. ]\d{2,4}"
)
_QUOTIENT = re.compile(r"\d+\s*/\s*[1-9]\d*")

MIXED = "; commas in this column stand for the decimal point here, for thousands there: write it one way"
EITHER = (
    "; it is not clear whether commas stand for the decimal point or for thousands: write it without thousands"
)
DATES = (
    " looks like a date, which spreadsheets make of numbers such as 3/5 or 1.2: format the column as text there "
    "before it is filled"
)
CURRENCIES = "; more than one currency stands in this column: bring it to one"


def plain_number(text: str) -> float:
    """A number in ASCII digits; `float` alone would take other scripts' digits, and underscores, too.

    Examples
    --------
    >>> plain_number(" 1e-4")
    0.0001
    >>> plain_number("1_000")
    Traceback (most recent call last):
    ...
    ValueError: no number
    """
    if "_" in text or not text.isascii():
        raise ValueError("no number")
    return float(text)


def spelled_out(texts: Sequence[str]) -> tuple[list[float], str]:
    """The numbers that a column's texts stand for, or none and why where they have no single reading.

    Examples
    --------
    >>> spelled_out(["$1,469.52", "$106.78"])
    ([1469.52, 106.78], '')
    >>> spelled_out(["0,73", "1.469,5"])
    ([0.73, 1469.5], '')
    >>> spelled_out(["1,469"])[1] == EITHER
    True
    """
    if len({sign for text in texts for sign in _CURRENCY.findall(text)}) > 1:
        return [], CURRENCIES
    texts = [text.replace("\u2212", "-") for text in texts]  # the minus sign of typesetters
    bare = [_SPACE_OF_THOUSANDS.sub("", _CURRENCY.sub("", text, count=1)).strip() for text in texts]
    point, comma = (all(map(form.fullmatch, bare)) for form in (POINT, COMMA))
    commas = any("," in text for text in bare)
    if point and comma and commas:
        return [], EITHER
    if point:
        return [float(text.replace(",", "")) for text in bare], ""
    if comma:
        return [float(text.replace(".", "").replace(",", ".")) for text in bare], ""
    date = next(filter(_DATE.fullmatch, bare), None)
    if date is not None:
        return [], f"; {date!r}{DATES}"
    units = [_UNIT.search(text) for text in bare]
    if all(units):
        return [], f"; write numbers alone, without the unit {units[0][1]!r}"  # type: ignore[index]  # all are there
    if all(map(_QUOTIENT.fullmatch, bare)):
        return [], "; write quotients as numbers, such as 0.8 for 4/5"
    return [], MIXED if all(POINT.fullmatch(text) or COMMA.fullmatch(text) for text in bare) else ""
