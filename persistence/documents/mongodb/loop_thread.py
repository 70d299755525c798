"""PyMongo's asyncio client on an asyncio loop in a thread of its own, called from trio.

There is no thread per call: calls gather in a queue and the loop is woken once for all of them,
results come back the same way.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from persistence.documents.mongodb.waiting import Home, Waiter, find_home

T = TypeVar("T")

_PATIENCE: Final = 2.0


class _Call:
    """A call on its way, and who waits for it in trio."""

    __slots__ = ("make", "waiter")

    def __init__(self, make: Callable[[], Awaitable[Any]], waiter: Waiter) -> None:
        self.make = make
        self.waiter = waiter


class LoopThread:
    """An asyncio loop in a thread, called from trio."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._work, name="persistence-mongodb", daemon=True)
        self._home: Home | None = None
        # Each queue is filled by one thread and emptied by the other; the flags say that the other
        # side has been woken and has not looked yet.
        self._calls: deque[_Call] = deque()
        self._calls_woken = False
        self._answers: deque[Waiter] = deque()
        self._answers_woken = False
        self._serving: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start the thread."""
        self._home = find_home()
        self._thread.start()

    async def run(self, call: Callable[[], Awaitable[T]], deadline: float | None = None, *, brief: bool = False) -> T:
        """Hand the call over and wait; on cancellation, leave it behind."""
        assert self._home is not None
        waiter = self._home.make_waiter()
        self._calls.append(_Call(call, waiter))
        if not self._calls_woken:
            self._calls_woken = True
            self._loop.call_soon_threadsafe(self._take_calls)
        result: T = await waiter.wait(deadline)
        return result

    @property
    def prompt(self) -> bool:
        """False: it is in a thread as well, and does more for one call."""
        return False

    def took(self, seconds: float) -> None:
        """Nothing to note."""

    async def stop(self) -> None:
        """Cancel what still runs, stop the loop and wait for the thread."""
        import trio

        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._thread.join)

    def _work(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            if left:
                self._loop.run_until_complete(asyncio.wait(left, timeout=_PATIENCE))
        finally:
            asyncio.set_event_loop(None)
            self._loop.close()

    def _take_calls(self) -> None:
        # The flag first: a call queued from now on wakes the loop again.
        self._calls_woken = False
        while self._calls:
            call = self._calls.popleft()
            if not call.waiter.left:
                # Kept, for the loop itself only holds its tasks weakly.
                task = self._loop.create_task(self._serve(call))
                self._serving.add(task)
                task.add_done_callback(self._serving.discard)

    async def _serve(self, call: _Call) -> None:
        waiter = call.waiter
        try:
            waiter.result = await call.make()
        except asyncio.CancelledError:
            waiter.error = RuntimeError("the loop thread was stopped while a call was running")
        except BaseException as error:
            waiter.error = error
        if waiter.left:
            return
        self._answers.append(waiter)
        if not self._answers_woken and self._home is not None:
            self._answers_woken = True
            self._home.post(self._give_answers)

    def _give_answers(self) -> None:
        self._answers_woken = False
        while self._answers:
            self._answers.popleft().wake()
