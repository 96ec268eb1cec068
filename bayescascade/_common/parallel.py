"""Work cut into blocks, and shared among the cores: the one place where threads are started."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor


def n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cut(n: int, size: int = 128) -> Iterator[slice]:
    """Slices of at most ``size`` that cover ``range(n)`` in order.

    Examples
    --------
    >>> list(cut(5, 2))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    return (slice(i, min(i + size, n)) for i in range(0, n, size))


def map_blocks[Block, Result](
    fn: Callable[[Block], Result], blocks: Iterable[Block], executor: Executor | None = None
) -> list[Result]:
    """What ``fn`` returns for each block, in the order of the blocks, computed side by side.

    Examples
    --------
    >>> map_blocks(lambda block: sum(range(10)[block]), cut(10, 4))
    [6, 22, 17]

    Parameters
    ----------
    fn : callable
        Takes a block. It should spend its time where Python's lock is let go of, as NumPy does.
    blocks : iterable
        Slices of draws, see `cut`, or whatever else ``fn`` takes.
    executor : concurrent.futures.Executor, optional
        Where to compute, such as Dask's ``client.get_executor()``; it is left open. Other processes must
        be able to unpickle ``fn``. By default threads of this process, one for each core.

    Returns
    -------
    list

    Raises
    ------
    Exception
        Whatever ``fn`` raises for the first block for which it does.
    """
    if executor is not None:
        return list(executor.map(fn, blocks))
    blocks = list(blocks)
    n_threads = min(n_cores(), len(blocks))
    if n_threads < 2:
        return [fn(block) for block in blocks]
    with ThreadPoolExecutor(n_threads) as pool:
        return list(pool.map(fn, blocks))
