"""Partitions of a log counted on a Dask cluster, and their aggregates added."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from bayescascade._common.extras import not_installed
from bayescascade.aggregates.aggregate import total
from bayescascade.aggregates.counting import Counted, Recipe, count_table
from bayescascade.aggregates.sources import Table, table_of_frame

_AT_ONCE = 32  # aggregates that one task adds


def is_partitioned(source: Any) -> bool:
    """Whether a source is a collection of Dask, such as a Dask DataFrame."""
    return hasattr(source, "to_delayed") and hasattr(source, "dask")


def added(parts: Iterable[Counted]) -> Counted:
    """The sum of what was counted."""
    listed = list(parts)
    names = frozenset[str]().union(*(part.names for part in listed))
    return Counted(total(part.aggregate for part in listed), names, sum(part.lost for part in listed))


def count_files(table: Table, recipe: Recipe, client: Any) -> Counted:
    """Count each file of a table on the cluster; all rows of a query have to stand in one file."""
    parts = [replace(table, paths=(path,)) for path in table.paths]
    return _added(client.map(count_table, parts, recipe=recipe, pure=False), client)


def count_collection(source: Any, recipe: Recipe, client: Any) -> Counted:
    """Count each partition of a Dask DataFrame, on the cluster or, without one, wherever Dask computes."""
    parts = [_delayed(_count_frame)(part, recipe) for part in source.to_delayed()]
    if client is not None:
        return _added(client.compute(parts), client)
    from dask.base import compute

    return added(compute(*parts))


def _delayed(function: Any) -> Any:
    try:
        from dask.delayed import delayed
    except ModuleNotFoundError as missing:
        raise not_installed(missing, "a log of partitions", "distributed") from missing
    return delayed(function)


def _count_frame(frame: Any, recipe: Recipe) -> Counted:
    return count_table(table_of_frame(frame), recipe)


def _added(futures: list[Any], client: Any) -> Counted:
    """A tree of sums on the cluster, of which only the root travels."""
    while len(futures) > 1:
        groups = [futures[i : i + _AT_ONCE] for i in range(0, len(futures), _AT_ONCE)]
        futures = [client.submit(added, group, pure=False) for group in groups]
    found: Counted = futures[0].result()
    return found
