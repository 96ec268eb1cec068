"""What a call costs: from its tokens and the prices of its model."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from bayescascade._common.messages import show
from bayescascade.errors import CascadeError, bad_value
from bayescascade.signals.responses import number

PER = 1_000_000  # tokens that a price is of
EXAMPLE = (
    'write {"small": 1e-4} for a price of one call, or {"small": (0.15, 0.60)} for a million tokens in and out'
)
NO_PRICE = "its model has no price"
NO_USAGE = "its tokens are not counted"

# what providers call the tokens of a call, and the part of the input that came from a cache
_INPUT = ("prompt_tokens", "input_tokens", "input")
_OUTPUT = ("completion_tokens", "output_tokens", "output")
_DETAILS = ("prompt_tokens_details", "input_tokens_details")
_READ, _WRITTEN = "cache_read_input_tokens", "cache_creation_input_tokens"
_DATE = re.compile(r"[-@](\d{4}-\d{2}-\d{2}|\d{8})$")


class Price(NamedTuple):
    """Of a million tokens: sent, answered, and sent but known from a cache; or of one call."""

    input: float = 0.0
    output: float = 0.0
    cached: float | None = None
    call: float = 0.0


class Tokens(NamedTuple):
    """Tokens of one call; ``cached`` are part of ``input``."""

    input: float
    output: float
    cached: float


class Unpriced(Exception):
    """Why a call has no cost: `NO_PRICE` or `NO_USAGE`."""


class Prices:
    """Prices by stage or by model.

    Examples
    --------
    >>> from bayescascade.signals.prices import Prices
    >>> prices = Prices({"small": (0.15, 0.60), "judge": 1e-4})
    >>> usage = {"prompt_tokens": 1000, "completion_tokens": 10}
    >>> f"{prices.cost('cheap', 'small-2026-01-31', usage):.6f}"
    '0.000156'
    >>> prices.cost("judge", None, None)
    0.0001

    Parameters
    ----------
    prices : mapping, optional
        By stage or model: the price of one call, or those of a million tokens sent and answered, and, third, of
        those sent that came from a cache (as dear as the others unless given).
    batch_discount : float
        Factor of the cost of calls in a batch.
    """

    def __init__(self, prices: Mapping[Any, Any] | None = None, batch_discount: float = 1.0) -> None:
        if not (0.0 <= number(batch_discount) <= 1.0):
            raise bad_value("batch_discount", batch_discount, "give the share that is paid, such as 0.5")
        self.given = prices is not None
        self.batch_discount = float(batch_discount)
        self._prices = {} if prices is None else _parsed(prices)
        self.used: set[str] = set()
        self.cached_as_input = 0  # tokens from a cache that no price was given for

    def cost(self, stage: str, model: str | None, usage: Any, batch: bool = False) -> float:
        """The cost of a call; raises `Unpriced` where it is not known."""
        key = next((key for key in self._keys(stage, model) if key in self._prices), None)
        if key is None:
            raise Unpriced(NO_PRICE)
        self.used.add(key)
        price = self._prices[key]
        factor = self.batch_discount if batch else 1.0
        if not (price.input or price.output or price.cached):
            return price.call * factor
        tokens = tokens_of_usage(usage)
        if tokens is None:
            raise Unpriced(NO_USAGE)
        if price.cached is None:
            self.cached_as_input += int(tokens.cached)
        cached = price.input if price.cached is None else price.cached
        fresh = tokens.input - tokens.cached
        return (fresh * price.input + tokens.cached * cached + tokens.output * price.output) * factor / PER

    def unused(self) -> list[str]:
        """Names with a price that no call had."""
        return [name for name in self._prices if name not in self.used]

    @staticmethod
    def _keys(stage: str, model: str | None) -> list[str]:
        """Names to look for: the stage, the model, and the model without the date of its version."""
        names = [stage] if model is None else [stage, model]
        return [*names, *(_DATE.sub("", name) for name in names)]


def tokens_of_usage(usage: Any) -> Tokens | None:
    """The tokens that a response says it took, in any provider's names; None where it does not say.

    Examples
    --------
    >>> from bayescascade.signals.prices import tokens_of_usage
    >>> tokens_of_usage({"input_tokens": 45, "output_tokens": 0})
    Tokens(input=45.0, output=0.0, cached=0.0)
    """
    if not isinstance(usage, dict):
        return None
    sent, answered = (_first(usage, names) for names in (_INPUT, _OUTPUT))
    if math.isnan(sent):
        return None
    details: Mapping[str, Any] = next((usage[name] for name in _DETAILS if isinstance(usage.get(name), dict)), {})
    cached = number(details.get("cached_tokens", usage.get(_READ)))
    if "input" in usage and usage.keys().isdisjoint(("input_tokens", "prompt_tokens")):
        sent, answered, cached = _apart(usage)
    elif not details and "prompt_tokens" not in usage and number(usage.get("total_tokens")) != sent + answered:
        # Anthropic counts them beside the input, OpenAI and those who count like it within
        sent += sum(value for value in (cached, number(usage.get(_WRITTEN))) if value > 0.0)
    answered, cached = (0.0 if math.isnan(value) else value for value in (answered, cached))
    if math.isnan(sent) or min(sent, answered, cached) < 0.0 or cached > sent:
        return None
    return Tokens(sent, answered, cached)


def _apart(usage: Mapping[str, Any]) -> tuple[float, float, float]:
    """Tokens as Langfuse counts them: those of a detail are no part of ``input`` or ``output``."""
    sent, answered = (
        math.fsum(
            number(value)
            for name, value in usage.items()
            if (name == what or name.startswith(f"{what}_")) and value is not None
        )
        for what in ("input", "output")
    )
    extra = [number(usage[name]) for name in (_READ, _WRITTEN) if usage.get(name) is not None]
    cached = next((number(usage[name]) for name in ("input_cached_tokens", _READ) if usage.get(name)), math.nan)
    return sent + math.fsum(extra), answered, cached


def _first(usage: Mapping[str, Any], names: tuple[str, ...]) -> float:
    return next((number(usage[name]) for name in names if usage.get(name) is not None), math.nan)


# ---- as given


def _parsed(prices: Any) -> dict[str, Price]:
    if not isinstance(prices, Mapping) or not prices:
        raise bad_value("prices", prices, EXAMPLE)
    return {str(name): _price(name, value) for name, value in prices.items()}


def _price(name: Any, value: Any) -> Price:
    if isinstance(value, Price):  # of a table, which has been checked
        return value
    parts = list(value) if isinstance(value, tuple | list) else [value]
    numbers = [number(part) for part in parts]
    if len(parts) not in (1, 2, 3) or any(not part >= 0.0 for part in numbers):
        raise CascadeError(
            f"the price of {show(name)} should be a number of at least 0, or two or three of them, but is "
            f"{show(value)}; {EXAMPLE}",
            parameter="prices",
            value=value,
        )
    if len(numbers) == 1 and not isinstance(value, tuple | list):
        return Price(call=numbers[0])
    return Price(*numbers)
