"""An asyncio loop in a thread, for PyMongo's asyncio client under trio."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from typing import Any, Final, TypeVar

import trio

from persistence.errors import Closed
from persistence.threads import gil_yielder

T = TypeVar("T")

_STOP_TIMEOUT: Final = 5.0


class LoopThread:
    """Runs coroutines of asyncio for tasks of trio; made in trio, by whose run it is used."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        self._token = trio.lowlevel.current_trio_token()
        self._yielder = gil_yielder()
        self._thread = threading.Thread(target=self._work, name="persistence-mongodb", daemon=True)
        self._thread.start()

    async def run(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Await a call on the asyncio loop and give its result, or raise its error.

        If the trio task is cancelled, it returns at once and the asyncio task is cancelled.

        Raises:
            Closed: the loop was stopped meanwhile.
        """
        ended = trio.Event()

        def wake(_: object) -> None:
            # The run of trio may have ended meanwhile.
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(ended.set)

        future = asyncio.run_coroutine_threadsafe(call(), self._loop)
        future.add_done_callback(wake)
        try:
            with self._yielder:
                await ended.wait()
        finally:
            future.cancel()
        try:
            return future.result()
        except CancelledError as error:
            raise Closed("The database") from error

    async def stop(self) -> None:
        """Cancel what still runs, close the loop and end the thread."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._thread.join, _STOP_TIMEOUT)

    def _work(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._stopped.wait())
