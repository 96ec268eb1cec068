"""What a call costs: prices as a reader of files takes them, also as a table."""

from __future__ import annotations

import math
from typing import Any

from bayescascade._common.messages import listed, show
from bayescascade.errors import CascadeError
from bayescascade.logs.tables import is_table, load_table, to_numbers
from bayescascade.signals import prices as light
from bayescascade.signals.prices import Price


class Prices(light.Prices):
    """Prices by stage or by model, from a mapping or a table.

    Examples
    --------
    >>> import pandas as pd
    >>> from bayescascade.logs.importers.prices import Prices
    >>> prices = Prices(pd.DataFrame({"model": ["small"], "input": [0.15], "output": [0.60]}))
    >>> f"{prices.cost('cheap', 'small-2026-01-31', {'prompt_tokens': 1000, 'completion_tokens': 10}):.6f}"
    '0.000156'

    Parameters
    ----------
    prices : mapping, path or DataFrame, optional
        As `bayescascade.signals.prices.Prices` has it; or a table with the columns ``model`` and ``input`` and
        ``output`` (and ``cached``), or ``call``.
    batch_discount : float
        Factor of the cost of calls in a batch.
    """

    def __init__(self, prices: Any = None, batch_discount: float = 1.0) -> None:
        super().__init__(_from_table(prices) if is_table(prices) else prices, batch_discount)


def _from_table(source: Any) -> dict[str, Price]:
    table = load_table(source)
    columns = [name for name in ("input", "output", "cached", "call") if name in table]
    if "model" not in table or not ("call" in columns or {"input", "output"} <= set(columns)):
        raise CascadeError(
            "a table of prices has the columns model, input and output (a million tokens), or model and call, but "
            f"this one has {listed(table.columns)}",
            parameter="prices",
        )
    numbers = {name: to_numbers(table[name], _complain(name)) for name in columns}
    found: dict[str, Price] = {}
    for row, model in enumerate(table["model"].astype(str).str.strip()):
        if model in found:
            raise CascadeError(f"the table of prices has {show(model)} twice; keep one row for each model")
        cells = {name: float(values[row]) for name, values in numbers.items() if not math.isnan(values[row])}
        if not cells or min(cells.values()) < 0.0 or math.isinf(max(cells.values())):
            raise CascadeError(
                f"row {row} (counted from 0) of the table of prices, {show(model)}, should have numbers of at "
                f"least 0, but has {cells or 'none'}"
            )
        found[model] = Price(**cells)
    return found


def _complain(name: str) -> Any:
    return lambda row, value: CascadeError(
        f"{name} is {show(value)} at row {row} (counted from 0) of the table of prices; it should be a number"
    )
