"""`Aggregate`: what `score` needs of a log, in a size that does not grow with its rows.

Thresholds cut each stage's confidences into cells, and a query is known by its cells, its labels and its costs. So
a log is a multiset of patterns (cell and label at each stage), and each pattern keeps how many queries have it and
the sums of what they cost. Multisets add up: aggregates form a commutative monoid, and parts of a log may be
counted anywhere, in any order, and added in any grouping. Counts come out the same to the last one, sums of costs
up to their rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescascade._common.arrays import safe_divide
from bayescascade._common.messages import listed
from bayescascade.errors import CascadeError, bad_value
from bayescascade.signals.kinds import check_kind

AMOUNTS = ("cost", "latency")
MOMENTS = 3  # number of known values, their sum, the sum of their squares
UNKNOWN, WRONG, RIGHT = 0, 1, 2  # labels


@dataclass(frozen=True, eq=False)
class Aggregate:
    """How many queries of a log have each pattern of cells and labels, and what they cost.

    Examples
    --------
    >>> import bayescascade as bc
    >>> log = bc.load_example()
    >>> first, second = log.isel(query=slice(100)), log.isel(query=slice(100, None))
    >>> both = bc.aggregate(first, [0.8, 0.9, float("-inf")]) + bc.aggregate(second, [0.8, 0.9, float("-inf")])
    >>> both.n_queries == log.sizes["query"]
    True
    >>> float(bc.score(both, [0.8, 0.9, float("-inf")])["error"])
    0.25

    Attributes
    ----------
    stages : tuple of str
    kind : str
        Of the confidences, a key of `bayescascade.signals.kinds.KINDS`.
    edges : tuple of ndarray (edge,)
        The finite thresholds of each stage, ascending.
    cell : ndarray of int (pattern, stage)
        0 where the stage was not run, else 1 and the number of edges that the confidence is at or above.
    label : ndarray of int (pattern, stage)
        0 not labelled, 1 wrong, 2 right.
    weight, square : ndarray (pattern,)
        How many queries have the pattern, and the sum of their squared weights: the same until they decay.
    amounts : ndarray (pattern, stage, 2, 3)
        Of cost and latency: how many are known, their sum, and the sum of their squares.
    unit : str, optional
        Of latencies, empty where the log does not name it; None for logs without.
    """

    stages: tuple[str, ...]
    kind: str
    edges: tuple[np.ndarray, ...]
    cell: np.ndarray
    label: np.ndarray
    weight: np.ndarray
    square: np.ndarray
    amounts: np.ndarray
    unit: str | None = None

    @classmethod
    def empty(cls, stages: Sequence[str], kind: str, edges: Sequence[np.ndarray]) -> Aggregate:
        """That of no query, which changes nothing when it is added."""
        n = len(stages)
        none = np.zeros((0, n), dtype=np.int64)
        moments = np.zeros((0, n, len(AMOUNTS), MOMENTS))
        sorted_edges = tuple(np.unique(np.asarray(e, dtype=float)) for e in edges)
        kind = check_kind(kind).name
        return cls(tuple(stages), kind, sorted_edges, none, none, np.zeros(0), np.zeros(0), moments)

    @classmethod
    def of_log(cls, log: xr.Dataset, edges: Sequence[np.ndarray]) -> Aggregate:
        """That of a validated log, whose stages the edges are for."""
        empty = cls.empty([str(s) for s in log["stage"].values], str(log.attrs["confidence_kind"]), edges)
        confidence, correct = (log[name].transpose("query", "stage").values for name in ("confidence", "correct"))
        cell = np.stack([place(x, e) for x, e in zip(confidence.T, empty.edges, strict=True)], axis=1)
        label = np.where(np.isnan(correct), UNKNOWN, np.where(correct > 0.5, RIGHT, WRONG))
        blank = np.full(confidence.shape, np.nan)
        own = [log[name].transpose("query", "stage").values if name in log else blank for name in AMOUNTS]
        amounts = np.stack([_moments(values) for values in own], axis=2)
        one = np.ones(len(cell))
        unit = str(log["latency"].attrs.get("units", "")) if "latency" in log else None
        return replace(empty, unit=unit)._with(cell, label, one, one, amounts)

    def _with(
        self, cell: np.ndarray, label: np.ndarray, weight: np.ndarray, square: np.ndarray, amounts: np.ndarray
    ) -> Aggregate:
        """These rows, those of one pattern joined, by ascending pattern."""
        sizes = [3 * (len(edges) + 2) for edges in self.edges]
        first, group = _groups(3 * cell + label, sizes)
        n = len(first)
        flat = amounts.reshape(len(cell), int(np.prod(amounts.shape[1:])))
        sums = [np.bincount(group, column, minlength=n) for column in (weight, square, *flat.T)]
        return replace(
            self,
            cell=cell[first],
            label=label[first],
            weight=sums[0],
            square=sums[1],
            amounts=np.stack(sums[2:], axis=1).reshape(n, *amounts.shape[1:]),
        )

    def __add__(self, other: Aggregate) -> Aggregate:
        return total([self, other])

    def decayed(self, factor: float) -> Aggregate:
        """The same log with each query counting ``factor`` times as much as before.

        Examples
        --------
        >>> import bayescascade as bc
        >>> day = bc.aggregate(bc.load_example(), [0.8, 0.9, float("-inf")])
        >>> week = day.decayed(0.5) + day  # yesterday counts for half of today
        >>> week.n_queries / day.n_queries, round(week.effective_n / day.n_queries, 3)
        (1.5, 1.8)

        Raises
        ------
        CascadeError
            Unless ``factor`` is above 0 and at most 1.
        """
        try:
            good = 0.0 < float(factor) <= 1.0
        except (TypeError, ValueError):
            good = False
        if not good:
            raise bad_value("factor", factor, "give a share above 0 and at most 1, such as 0.9 a day")
        weight, square = self.weight * factor, self.square * factor**2
        return replace(self, weight=weight, square=square, amounts=self.amounts * factor)

    @property
    def n_queries(self) -> float:
        """Queries, each by its weight."""
        return float(self.weight.sum())

    @property
    def effective_n(self) -> float:
        """Queries of equal weight that would tell as much (Kish 1965): the number of queries until they decay."""
        return float(safe_divide(self.weight.sum() ** 2, self.square.sum()))

    @property
    def table(self) -> pd.DataFrame:
        """By stage: queries that ran it, labels, right answers, and mean and sd of cost and latency."""
        by_weight = {
            "run": (self.cell > 0).T @ self.weight,
            "labelled": (self.label != UNKNOWN).T @ self.weight,
            "right": (self.label == RIGHT).T @ self.weight,
        }
        for i, name in enumerate(AMOUNTS if self.unit is not None else AMOUNTS[:1]):
            n, first, second = self.amounts[:, :, i].sum(axis=0).T
            mean = safe_divide(first, n, np.nan)
            spread = np.sqrt(np.maximum(safe_divide(second, n, np.nan) - mean**2, 0.0))
            by_weight |= {f"{name}_mean": mean, f"{name}_sd": spread}
        return pd.DataFrame(by_weight, index=pd.Index(self.stages, name="stage"))

    def __repr__(self) -> str:
        return f"Aggregate of {self.n_queries:,.6g} queries in {len(self.weight):,} patterns\n{self.table}"

    def _repr_html_(self) -> str:
        return f"<p>Aggregate of {self.n_queries:,.6g} queries</p>" + self.table._repr_html_()


def total(parts: Iterable[Aggregate]) -> Aggregate:
    """The sum of aggregates of one kind; of one or more.

    Raises
    ------
    CascadeError
        Where they differ in stages, edges, kind, or the unit of latency.
    """
    listed_parts = list(parts)
    first = listed_parts[0]
    for part in listed_parts[1:]:
        _check_alike(first, part)
    units = {part.unit for part in listed_parts} - {None}
    if len(units) > 1:
        raise CascadeError(
            f"latencies are in different units ({listed(sorted(map(str, units)))}); bring them to one unit"
        )
    names = ("cell", "label", "weight", "square", "amounts")
    joined: list[Any] = [np.concatenate([getattr(part, name) for part in listed_parts]) for name in names]
    return replace(first, unit=units.pop() if units else None)._with(*joined)


def _check_alike(one: Aggregate, other: Aggregate) -> None:
    for name, what in (("stages", "stages"), ("kind", "kinds of confidence")):
        if getattr(one, name) != getattr(other, name):
            raise CascadeError(
                f"aggregates of different {what} do not add up: {getattr(one, name)!r} and "
                f"{getattr(other, name)!r}; count both logs alike"
            )
    for stage, mine, yours in zip(one.stages, one.edges, other.edges, strict=True):
        if not np.array_equal(mine, yours):
            raise CascadeError(
                f"aggregates of different thresholds do not add up: at stage {stage!r} they have "
                f"{listed(mine.tolist())} and {listed(yours.tolist())}; count one of the logs again with the "
                "other's thresholds"
            )


def place(confidence: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Cells of confidences (query,), see `Aggregate`."""
    return np.where(np.isnan(confidence), 0, 1 + np.searchsorted(edges, confidence, side="right"))


def _moments(values: np.ndarray) -> np.ndarray:
    """Number, sum and sum of squares of single values, NaN unknown (query, stage, 3)."""
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0)
    return np.stack([known.astype(float), filled, filled**2], axis=-1)


def _groups(rows: np.ndarray, sizes: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """First row of each distinct one, in ascending order, and the number of each row's (row,).

    Whole numbers below ``sizes`` are read as digits of one number; where that would overflow, what has been read
    is numbered anew.
    """
    code, size = np.zeros(len(rows), dtype=np.int64), 1
    for column, n in zip(rows.T, sizes, strict=True):
        if size > np.iinfo(np.int64).max // n:
            code = np.unique(code, return_inverse=True)[1].astype(np.int64)
            size = len(rows) + 1
        code, size = code * n + column, size * n
    _, first, group = np.unique(code, return_index=True, return_inverse=True)
    return first, group
