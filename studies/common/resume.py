"""What a study has measured, kept in a table, so that a run that was stopped goes on from there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd


class Rows:
    """Rows of a CSV file, several for each cell: a cell is one unit of work, which is measured once.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "study.csv"
    >>> Rows(path, ("log", "n")).add(("mmlu", 30), [{"auc": 0.25}, {"auc": 0.24}])
    >>> again = Rows(path, ("log", "n"))
    >>> list(again.missing([("mmlu", 30), ("mmlu", 100)]))
    [('mmlu', 100)]
    >>> again.table["auc"].tolist()
    [0.25, 0.24]

    Parameters
    ----------
    path : Path
    keys : sequence of str
        Columns that name a cell.
    text : sequence of str
        Columns that stay text though all of them may look like numbers.
    """

    def __init__(self, path: Path, keys: Sequence[str], text: Sequence[str] = ()) -> None:
        self.path, self.keys, self.text = path, list(keys), list(text)
        self._done: set[tuple[str, ...]] = set()
        if path.is_file():
            self._mend()
            self._done = set(map(_name, self.table[self.keys].itertuples(index=False)))

    @property
    def table(self) -> pd.DataFrame:
        """All rows so far, as the file has them, whether this run measured them or an earlier one."""
        if not self.path.is_file():
            return pd.DataFrame(columns=self.keys)
        kept = pd.read_csv(self.path, dtype=dict.fromkeys(self.text, str))
        return kept.fillna(dict.fromkeys(self.text, ""))

    def __contains__(self, cell: Iterable[object]) -> bool:
        return _name(cell) in self._done

    def missing[Cell: tuple[Any, ...]](self, cells: Iterable[Cell]) -> Iterator[Cell]:
        """Those of some cells that are not there yet; asked as they come."""
        return (cell for cell in cells if cell not in self)

    def add(self, cell: Sequence[object], rows: Iterable[Mapping[str, object]]) -> None:
        """Append the rows of a cell."""
        made = pd.DataFrame([dict(zip(self.keys, cell, strict=True)) | dict(row) for row in rows])
        if not len(made):
            raise ValueError(f"the cell {tuple(cell)} has no rows, so that it would be measured again and again.")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = not self.path.is_file()
        if not new:
            columns = list(pd.read_csv(self.path, nrows=0).columns)
            if set(made.columns) != set(columns):
                raise ValueError(
                    f"{self.path} has the columns {columns}, but the cell {tuple(cell)} has {list(made.columns)}: "
                    "it is of another version of the study; remove it."
                )
            made = made[columns]
        # all in one write, so that runs of different cells may share a file
        with open(self.path, "ab", buffering=0) as file:
            file.write(made.to_csv(index=False, header=new).encode())
        self._done.add(_name(cell))

    def _mend(self) -> None:
        """Drop the last cell where its writing was cut short."""
        written = self.path.read_text(encoding="utf-8")
        if written.endswith("\n"):
            return
        whole = pd.read_csv(StringIO(written[: written.rfind("\n") + 1]), dtype=str, keep_default_na=False)
        kept = whole[(whole[self.keys] != whole[self.keys].iloc[-1]).any(axis=1)] if len(whole) else whole
        kept.to_csv(self.path, index=False)


def _name(cell: Iterable[object]) -> tuple[str, ...]:
    """A cell as the file has it."""
    return tuple(map(str, cell))
