"""Partitions of a log counted on a Dask cluster, and their aggregates added."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from bayescascade._common.cluster import connected
from bayescascade.aggregates.aggregate import total
from bayescascade.aggregates.counting import Counted, Recipe, count_table
from bayescascade.errors import CascadeError
from bayescascade.logs.sources import Table, computed, partitions_computed, table_of_frame

_AT_ONCE = 32  # aggregates that one task adds


def added(parts: Iterable[Counted]) -> Counted:
    """The sum of what was counted."""
    listed = list(parts)
    names = frozenset[str]().union(*(part.names for part in listed))
    return Counted(total(part.aggregate for part in listed), names, sum(part.lost for part in listed))


def count_files(table: Table, recipe: Recipe, client: Any) -> Counted:
    """Count each file of a table on the cluster; all rows of a query have to stand in one file.

    Raises `CascadeError` where there is no cluster, or it is lost, and for what `count_table` refuses.
    """
    parts = [replace(table, paths=(path,)) for path in table.paths]
    with connected(client, 0, "a log of partitions") as cluster:
        return _added(cluster.map(count_table, parts, recipe=recipe, pure=False), cluster)


def count_collection(source: Any, recipe: Recipe, client: Any) -> Counted:
    """Count each partition of a Dask DataFrame, on the cluster or, without one, wherever Dask computes.

    Raises `CascadeError` as `count_files` does, and where a partition cannot be computed.
    """
    from dask.delayed import delayed

    parts = [delayed(_count_frame)(part, recipe) for part in source.to_delayed()]
    if client is None:
        return added(computed(parts))
    with connected(client, 0, "a log of partitions") as cluster:
        return _added(cluster.compute(parts), cluster)


def _count_frame(frame: Any, recipe: Recipe) -> Counted:
    return count_table(table_of_frame(frame), recipe)


def _added(futures: list[Any], client: Any) -> Counted:
    """A tree of sums on the cluster, of which only the root travels."""
    from distributed import CancelledError, KilledWorker

    while len(futures) > 1:
        groups = [futures[i : i + _AT_ONCE] for i in range(0, len(futures), _AT_ONCE)]
        futures = [client.submit(added, group, pure=False) for group in groups]
    try:
        with partitions_computed():
            found: Counted = futures[0].result()
    except KilledWorker:
        raise CascadeError(
            "every worker that counted one part of the log was lost; it may need more memory than a worker has: "
            "make the parts smaller"
        ) from None
    except CancelledError:
        raise CascadeError("the connection to the scheduler was lost; connect again, and count again") from None
    return found
