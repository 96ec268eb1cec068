"""An app on a port, until it is told to stop."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn

from bayescascade.errors import CascadeError

_STOPS = (signal.SIGINT, signal.SIGTERM)


def serve(served: Any, host: str, port: int, ready: Callable[[str], object]) -> None:
    """Serve an ASGI app until SIGINT or SIGTERM; requests under way end first, unless a second signal comes.

    A second signal ends the process at once, with 128 and the signal's number as exit code.

    Parameters
    ----------
    served : ASGI app
    host : str
        An address, or a name of one.
    port : int
        0 for any that is free.
    ready : callable
        Called with the address, once connections are taken.

    Raises
    ------
    CascadeError
        If the port cannot be had.
    """
    listening = listen(host, port)
    place = f"[{host}]" if ":" in host else host
    # what uvicorn would say of each request, the metrics count
    config = uvicorn.Config(
        served, log_config=None, access_log=False, server_header=False, lifespan="on", ws="none"
    )
    with _stops_are_no_errors():
        ready(f"http://{place}:{listening.getsockname()[1]}")
        _Server(config).run(sockets=[listening])


class _Server(uvicorn.Server):
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            # uvicorn itself would wait on for open connections; the log is whole whenever a process ends
            os._exit(128 + sig)
        super().handle_exit(sig, frame)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host.

    Examples
    --------
    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """A socket that waits for connections, whose answers go out at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise CascadeError(
            f"port {port} of {host} cannot be listened on: {error.strerror or error}; choose another host or port"
        ) from None
    # asyncio sets this on connections of sockets that it has made itself; without it each answer waits 40 ms for
    # the client's acknowledgement of its headers
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


@contextmanager
def _stops_are_no_errors() -> Iterator[None]:
    """Let the signals that end a server end it alone: uvicorn raises them again when it has stopped."""
    before = {number: signal.signal(number, lambda *_: None) for number in _STOPS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
