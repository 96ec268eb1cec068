"""A cascade for hosts that call from threads and event loops of their own."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future

from bayescascade.runtime.cascade import Cascade
from bayescascade.runtime.endpoint import Messages
from bayescascade.runtime.result import Result


class BackgroundCascade:
    """A cascade in an event loop of its own, since connections cannot be shared between loops.

    Examples
    --------
    >>> from bayescascade import Policy
    >>> cascade = Cascade(Policy(["human"], [float("-inf")], "probability"), {"human": lambda messages: "yes"})
    >>> background = BackgroundCascade(cascade)
    >>> background.answer("Is it right?").answer
    'yes'
    >>> background.close()
    """

    def __init__(self, cascade: Cascade) -> None:
        self.cascade = cascade
        self._loop = asyncio.new_event_loop()
        # a daemon, so that a host that never closes it can end
        self._thread = threading.Thread(target=self._loop.run_forever, name="bayescascade", daemon=True)
        self._thread.start()

    def answer(self, messages: Messages) -> Result:
        """As `Cascade.answer`, from any thread."""
        return self._submitted(messages).result()

    async def answer_async(self, messages: Messages) -> Result:
        """As `Cascade.answer`, from any event loop of asyncio."""
        return await asyncio.wrap_future(self._submitted(messages))

    def close(self) -> None:
        """Wait for the queries under way, and end the loop; a second time does nothing."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self.cascade.close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _submitted(self, messages: Messages) -> Future[Result]:
        return asyncio.run_coroutine_threadsafe(self.cascade.answer(messages), self._loop)
