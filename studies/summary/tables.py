"""The numbers of the evidence pages, read from their tables."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

_NUMBER = re.compile(r"[-+−]?\d+(?:\.\d+)?")


def table(page: Path, heading: str) -> pd.DataFrame:
    """The first table below a heading of a page, as text.

    Examples
    --------
    >>> from studies.common.command import PAGES
    >>> table(PAGES / "bands.md", "Coverage by k and n").columns[:3].tolist()
    ['k', 'n', 'error covered']

    Raises
    ------
    ValueError
        If there is no such heading, or no table below it.
    """
    lines = page.read_text(encoding="utf-8").splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith("#") and line.lstrip("# ").startswith(heading)]
    if not starts:
        raise ValueError(f"{page.name} has no heading that begins with {heading!r}")
    rows: list[list[str]] = []
    for line in lines[starts[0] + 1 :]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip().strip("|").split("|")])
        elif rows or line.startswith("#"):
            break
    if len(rows) < 3:
        raise ValueError(f"{page.name} has no table below {heading!r}")
    return pd.DataFrame(rows[2:], columns=rows[0])


def numbers(cell: str) -> list[float]:
    """All numbers of a cell, as they are written: 81% is 81.

    Examples
    --------
    >>> numbers("81% (79% to 83%)"), numbers("0.2324 (-3.9%, -4.8 to -3.0)"), numbers("none")
    ([81.0, 79.0, 83.0], [0.2324, -3.9, -4.8, -3.0], [])
    """
    return [float(found.replace("−", "-")) for found in _NUMBER.findall(cell)]


def first(cell: str) -> float:
    """The first number of a cell, NaN if there is none."""
    return (numbers(cell) or [float("nan")])[0]
