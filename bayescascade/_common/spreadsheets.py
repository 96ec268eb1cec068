"""Tables that are opened in a spreadsheet."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def for_spreadsheets(table: pd.DataFrame) -> pd.DataFrame:
    """The table with texts that a spreadsheet would take for formulas behind an apostrophe, which it hides."""

    def plain(cell: object) -> object:
        return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell

    return table.map(plain)
