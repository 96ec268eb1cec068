"""Small operations on arrays that several modules share; NumPy only."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

_TINY = 1e-300  # a quotient by less may overflow


def safe_divide(
    numerator: ArrayLike, denominator: ArrayLike, fill: float = 0.0, *, where: np.ndarray | None = None
) -> np.ndarray:
    """Elementwise quotient, broadcast, with ``fill`` where the denominator is not positive, or not ``where``.

    Examples
    --------
    >>> safe_divide([1.0, 3.0], [0.0, 2.0]).tolist()
    [0.0, 1.5]
    """
    shape = np.broadcast_shapes(np.shape(numerator), np.shape(denominator))
    where = np.asarray(denominator) > _TINY if where is None else where
    return np.divide(numerator, denominator, out=np.full(shape, fill), where=where)


def concatenated[Fields: tuple[Any, ...]](parts: Iterable[Fields], axis: int = 0) -> Fields:
    """Named tuples of arrays as one, field by field; a field that the first lacks (None) stays None.

    Examples
    --------
    >>> from typing import NamedTuple
    >>> class Pair(NamedTuple):
    ...     one: np.ndarray
    ...     other: np.ndarray | None = None
    >>> concatenated([Pair(np.array([1, 2])), Pair(np.array([3]))])
    Pair(one=array([1, 2, 3]), other=None)
    """
    listed = list(parts)
    fields = zip(*listed, strict=True)
    joined: list[Any] = [None if some[0] is None else np.concatenate(some, axis=axis) for some in fields]
    return type(listed[0])(*joined)


def none_if_nan(value: Any) -> Any:
    """The value, or None for NaN, which JSON does not have.

    Examples
    --------
    >>> none_if_nan(float("nan")), none_if_nan(0.5), none_if_nan("small")
    (None, 0.5, 'small')
    """
    return None if isinstance(value, float) and math.isnan(value) else value


def records_of(table: Any) -> list[dict[str, Any]]:
    """Rows of a data frame as dicts, None where a value is not known."""
    return [{name: none_if_nan(value) for name, value in row.items()} for row in table.to_dict("records")]


def tail_probabilities(ci_prob: float) -> tuple[float, float]:
    """Probabilities of the two ends of the equal-tailed interval that holds ``ci_prob``.

    Examples
    --------
    >>> tail_probabilities(0.5)
    (0.25, 0.75)
    """
    return (1.0 - ci_prob) / 2.0, (1.0 + ci_prob) / 2.0
