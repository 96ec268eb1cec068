"""A cascade served by a real uvicorn on loopback, in a thread of the tests."""

import asyncio
import threading
import time
from contextlib import contextmanager

import uvicorn

from bayescascade import Cascade
from bayescascade.serving import app


class Running:
    """Where it is, and how to stop it."""

    def __init__(self, server, thread):
        self.server, self.thread = server, thread
        self.root = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        self.url = f"{self.root}/v1"

    def stop(self):
        self.server.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive()


@contextmanager
def served(policy, stages, *, options=None, **cascade_options):
    """A running server; ``options`` are those of the app."""
    failed = []

    def work():
        async def run():
            made = app(Cascade(policy, stages, **cascade_options), **(options or {}))
            config = uvicorn.Config(made, port=0, log_config=None, access_log=False, lifespan="on", ws="none")
            running.append(uvicorn.Server(config))
            await running[0].serve()

        try:
            asyncio.run(run())
        except BaseException as error:
            failed.append(error)

    running = []
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while not failed and not (running and running[0].started):
        time.sleep(0.005)
    if failed:
        raise failed[0]
    found = Running(running[0], thread)
    try:
        yield found
    finally:
        found.stop()
