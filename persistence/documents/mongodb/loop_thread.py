"""An asyncio loop in a thread, for PyMongo's asyncio client under trio."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
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
        # Without `run_coroutine_threadsafe`, whose chained futures take a fifth of a short call's time.
        ended = trio.Event()
        result: Future[T] = Future()
        tasks: list[asyncio.Task[None]] = []

        async def carry_out() -> None:
            try:
                result.set_result(await call())
            except asyncio.CancelledError:
                result.set_exception(Closed("The database"))
            except BaseException as error:
                result.set_exception(error)
            # The run of trio may have ended meanwhile.
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(ended.set)

        self._loop.call_soon_threadsafe(lambda: tasks.append(self._loop.create_task(carry_out())))
        try:
            with self._yielder:
                await ended.wait()
        except trio.Cancelled:
            self._loop.call_soon_threadsafe(lambda: tasks[0].cancel())
            raise
        return result.result()

    async def stop(self) -> None:
        """Cancel what still runs, close the loop and end the thread."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._thread.join, _STOP_TIMEOUT)

    def _work(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._stopped.wait())
