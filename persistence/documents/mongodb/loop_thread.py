"""An asyncio loop in a thread, for PyMongo's asyncio client under trio."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, TypeVar

import trio

from persistence.threads import gil_yielder

T = TypeVar("T")

_STOP_TIMEOUT: Final = 5.0


class LoopThread:
    """Runs coroutines of asyncio for tasks of trio.

    Calls are handed over to the thread and results handed back. If the trio task is cancelled, it returns at once and
    the asyncio task is cancelled.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        self._thread = threading.Thread(target=self._work, name="persistence-mongodb", daemon=True)

    def start(self) -> None:
        """Start the thread; to be called in trio."""
        self._token = trio.lowlevel.current_trio_token()
        self._yielder = gil_yielder()
        self._thread.start()

    async def run(self, call: Callable[[], Awaitable[T]]) -> T:
        """Await a call on the asyncio loop and give its result, or raise its error."""
        handover = _Handover(call, self._loop, self._token)
        with self._yielder:
            return await handover.result()

    async def stop(self) -> None:
        """Cancel what still runs, close the loop and end the thread."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._thread.join, _STOP_TIMEOUT)

    def _work(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._stopped.wait())


class _Handover(Generic[T]):
    """A call on its way from a task of trio to the asyncio loop and back."""

    def __init__(
        self, call: Callable[[], Awaitable[T]], loop: asyncio.AbstractEventLoop, token: trio.lowlevel.TrioToken
    ) -> None:
        self._call = call
        self._loop = loop
        self._token = token
        self._caller: trio.lowlevel.Task | None = None
        self._task: asyncio.Task[None] | None = None
        self._cancelled = False
        self._result: Any = None
        self._error: BaseException | None = None

    async def result(self) -> T:
        """Start the call and wait for its end, in trio."""
        self._caller = trio.lowlevel.current_task()
        self._loop.call_soon_threadsafe(self._begin)
        await trio.lowlevel.wait_task_rescheduled(self._abort)
        if self._error is not None:
            raise self._error
        result: T = self._result
        return result

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self._caller = None
        self._loop.call_soon_threadsafe(self._cancel)
        return trio.lowlevel.Abort.SUCCEEDED

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._run())

    def _cancel(self) -> None:
        assert self._task is not None  # _begin was scheduled before
        self._task.cancel()

    async def _run(self) -> None:
        try:
            self._result = await self._call()
        except asyncio.CancelledError:
            self._error = RuntimeError("the loop was stopped while a call was running")
        except BaseException as error:
            self._error = error
        # The run of trio may have ended meanwhile.
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._wake)

    def _wake(self) -> None:
        if self._caller is not None:
            caller, self._caller = self._caller, None
            trio.lowlevel.reschedule(caller)
