"""Where work on many parts is done: a Dask cluster."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from bayescascade._common.extras import not_installed
from bayescascade.errors import CascadeError, bad_value

_SECONDS = "15s"  # to find a scheduler, or a worker


@contextmanager
def connected(client: Any, workers: int, work: str) -> Iterator[Any]:
    """A Dask client: the given one, one of the scheduler at an address, or of a cluster of this machine.

    A client that is given is left open; ``work`` is what messages call that which needs it.

    Raises
    ------
    CascadeError
        Where there is no scheduler at the address, it has no worker, or the client is closed.
    """
    try:
        import distributed
    except ModuleNotFoundError as missing:
        raise not_installed(missing, work, "distributed") from missing
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
        elif client.status != "running":
            raise CascadeError("the client of the cluster is closed; connect another one to its scheduler")
        try:
            client.wait_for_workers(1, timeout=_SECONDS)
        except TimeoutError:
            raise CascadeError(
                f"the scheduler {client.scheduler.address} has no worker; start some with `dask worker`"
            ) from None
        yield client
