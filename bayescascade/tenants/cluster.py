"""How the work for many tenants is done on a Dask cluster: some jobs at a time, and no job lost with a worker."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from bayescascade._common.messages import say_if_long
from bayescascade.errors import CascadeError, shown

_WAITING = 3  # jobs for each thread of the cluster that are sent at once: results and logs stay few in memory


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
