"""Texts of options to what they stand for: lists, prices, grades, models by stage, budgets."""

from __future__ import annotations

import csv
import re

from bayescascade.errors import CascadeError


def names_of(text: str | None) -> list[str] | None:
    """The names in a list separated by commas; one that holds a comma stands in double quotes."""
    if text is None:
        return None
    (parts,) = csv.reader([text], skipinitialspace=True) if text.strip() else ([],)
    return [name.strip() for name in parts if name.strip()]


def copula_of(text: str) -> str | list[str]:
    """One name for all links, or one for each."""
    names = names_of(text) or [text]
    return names[0] if len(names) == 1 else names


def cost_of(text: str) -> str | dict[str, float]:
    """The name of a column, or prices as ``small=1e-4,large=1e-3``."""
    if "=" not in text:
        return text
    return _prices(
        text, "--cost {} is neither a column nor a list of prices: {!r} has no number; write e.g. ", "--cost"
    )


def prices_by_stage(text: str) -> dict[str, float]:
    """New prices of a call, as ``small=1e-4,large=1e-3``."""
    return _prices(
        text, "--prices {} is not a list of prices by stage: {!r} has no number; write e.g. ", "--prices"
    )


def _prices(text: str, wrong: str, name: str) -> dict[str, float]:
    prices = {}
    for part in names_of(text) or []:
        stage, _, price = part.rpartition("=")
        try:
            prices[stage.strip()] = float(price)
        except ValueError:
            raise CascadeError(wrong.format(text, part) + f"{name} small=1e-4,large=1e-3.") from None
    return prices


def models_of(text: str | None) -> dict[str, str] | None:
    """Models by stage, as ``small=small-1b 2026-10-01,large=large-2``."""
    return _by_stage(
        text,
        "--models {text} is not a list of models by stage: {part!r} does not look like small=small-1b; write "
        "e.g. --models small=small-1b,large=large-2.",
    )


def columns_of(text: str | None) -> dict[str, str] | None:
    """Columns by stage, as ``small=confidence_small,large=confidence_large``."""
    return _by_stage(text, "--columns {text}: {part!r} does not look like small=confidence_small.")


def _by_stage(text: str | None, wrong: str) -> dict[str, str] | None:
    """Names by stage; ``wrong`` is what to say of a part that is not such."""
    if text is None:
        return None
    found = {}
    for part in names_of(text) or []:
        stage, equals, name = part.partition("=")
        if not equals or not stage.strip() or not name.strip():
            raise CascadeError(wrong.format(text=text, part=part))
        found[stage.strip()] = name.strip()
    return found


def grades_of(text: str | None) -> dict[str, float | None] | None:
    """What texts stand for, as ``C=1,I=0,N=``."""
    if text is None:
        return None
    grades: dict[str, float | None] = {}
    for part in names_of(text) or []:
        word, equals, value = part.rpartition("=")
        try:
            grades[word.strip()] = float(value) if value.strip() else None
        except ValueError:
            equals = ""
        if not equals or not word.strip():
            raise CascadeError(
                f"--grades {text} is not a list of texts and what they stand for: {part!r} does not look "
                "like C=1; write e.g. --grades C=1,I=0,N= (nothing for not scored)."
            )
    return grades


_SECONDS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86_400.0, "week": 604_800.0}
_SECONDS |= {"month": 30.4375 * 86_400.0, "year": 365.25 * 86_400.0}
_SHORT = {"s": "second", "sec": "second", "min": "minute", "h": "hour", "d": "day", "mo": "month", "y": "year"}
_RATE = re.compile(r"\s*([-+]?[\d_.,]*\d(?:e[-+]?\d+)?)\s*(?:/|\s+per\s+|\s+a\s+)\s*([a-z]+)\s*", re.IGNORECASE)


def rate_of(name: str, text: str) -> float:
    """An amount a second, of such as ``20/day`` or ``"3 per hour"``; ``name`` is the option's.

    Examples
    --------
    >>> rate_of("--traffic", "86400/day"), rate_of("--budget", "2 per second")
    (1.0, 2.0)
    """
    found = _RATE.fullmatch(text)
    unit = found[2].lower() if found else ""
    unit = _SHORT.get(unit, unit.removesuffix("s") if len(unit) > 1 else unit)
    try:
        amount = float(found[1].replace(",", "").replace("_", "")) if found else float("nan")
    except ValueError:
        amount = float("nan")
    if unit not in _SECONDS or not 0.0 < amount < float("inf"):
        raise CascadeError(
            f"{name} {text} is not an amount per time; write an amount above 0, a slash and one of "
            f"{', '.join(_SECONDS)}, e.g. {name} 20/day."
        )
    return amount / _SECONDS[unit]


def cost_per_query(budget: str | None, traffic: str | None) -> float | None:
    """What a query may cost on average, of a budget and a traffic; None where neither came.

    Examples
    --------
    >>> cost_per_query("20/day", "50000/day")
    0.0004
    """
    if budget is None and traffic is None:
        return None
    if budget is None or traffic is None:
        raise CascadeError(
            "--budget and --traffic go together, e.g. --budget 20/day --traffic 50000/day: what may be spent, and "
            "how many queries come."
        )
    return float(f"{rate_of('--budget', budget) / rate_of('--traffic', traffic):.12g}")
