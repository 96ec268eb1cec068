"""Where the work for many tenants is done: a Dask cluster, some jobs at a time, and no job lost with a worker."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from bayescascade._common.extras import not_installed
from bayescascade._common.messages import say_if_long
from bayescascade.errors import CascadeError, bad_value, shown

_WAITING = 3  # jobs for each thread of the cluster that are sent at once: results and logs stay few in memory
_SECONDS = "15s"  # to find a scheduler, or a worker


@contextmanager
def connected(client: Any, workers: int) -> Iterator[Any]:
    """A Dask client: the given one, one of the scheduler at an address, or of a cluster of this machine.

    A client that is given is left open.

    Raises
    ------
    CascadeError
        Where there is no scheduler at the address, or it has no worker.
    """
    try:
        import distributed
    except ModuleNotFoundError as missing:
        raise not_installed(missing, "work for many tenants", "distributed") from missing
    with ExitStack() as opened:
        if client is None:
            if not isinstance(workers, int) or workers < 1:
                raise bad_value("workers", workers, "give a whole number of processes, at least 1")
            quiet = {"dashboard_address": ":0", "silence_logs": logging.ERROR}  # any free port
            cluster = distributed.LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, **quiet)
            client = opened.enter_context(distributed.Client(opened.enter_context(cluster)))
        elif isinstance(client, str):
            address = client
            try:
                client = opened.enter_context(distributed.Client(address, timeout=_SECONDS))
            except (OSError, TimeoutError, ValueError) as error:
                raise bad_value(
                    "client",
                    address,
                    "start one with `dask scheduler`, or leave it out for workers on this machine",
                    f"is the address of no scheduler that answers ({type(error).__name__})",
                ) from None
        elif not isinstance(client, distributed.Client):
            raise bad_value("client", client, "give a distributed.Client, or the address of a scheduler")
        try:
            client.wait_for_workers(1, timeout=_SECONDS)
        except TimeoutError:
            raise CascadeError(
                f"the scheduler {client.scheduler.address} has no worker; start some with `dask worker`"
            ) from None
        yield client


def run_jobs[Job, Sent, Result](
    client: Any,
    work: Callable[[Sent], Result],
    jobs: Mapping[str, Job],
    keep: Callable[[str, Result | str], None],
    load: Callable[[Job], Sent],
) -> None:
    """Do ``work`` on what ``load`` makes of each job, and hand on what comes of it as it is done, in any order.

    Dask gives the job of a worker that was lost to another. ``keep`` gets a sentence in place of a result where
    several workers were lost over one job. What it raises ends the work. Once the first is done, it is said how
    long the others take, where that is more than a minute.
    """
    from distributed import as_completed

    waiting, names = iter(jobs.items()), {}
    running = as_completed([], raise_errors=False)

    def send() -> None:
        for name, job in waiting:
            future = client.submit(work, load(job), pure=False)
            names[future.key] = name
            running.add(future)
            return

    start, threads = time.monotonic(), max(1, sum(client.nthreads().values()))
    for _ in range(threads * _WAITING):
        send()
    try:
        for done, future in enumerate(running, start=1):
            keep(names.pop(future.key), _result(future))
            if done == 1:
                left = (time.monotonic() - start) * (len(jobs) - 1) / threads
                say_if_long(f"Work for the other {len(jobs) - 1:,} tenants", left, "What is done is kept.")
            future.release()
            send()
    finally:
        client.cancel([key for key in names], force=True) if names else None


def _result(future: Any) -> Any:
    from distributed import CancelledError, KilledWorker

    try:
        return future.result()
    except KilledWorker:
        return "every worker that took it was lost; it may need more memory than a worker has"
    except CancelledError:
        raise CascadeError(
            "the connection to the scheduler was lost; start again, and what is done is kept"
        ) from None
    except Exception as error:  # a fault of ours, or of a library, is one tenant's
        return f"it ended in an error: {type(error).__name__}: {shown(str(error))}"
