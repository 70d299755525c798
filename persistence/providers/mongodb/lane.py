"""The way for a call of trio that is alone: PyMongo's blocking client in one thread of its own.

Under trio a call goes to another thread anyway. There PyMongo's asyncio client makes two tasks and
goes a dozen times around its loop for one answer; the blocking one just waits for it. As soon as
there are several calls at once, one loop serves them better than threads do, so this is for one
only. Under asyncio the asyncio client is at home, and waking a thread would cost more than it saves.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pymongo import MongoClient
from pymongo.collection import Collection

if TYPE_CHECKING:
    import trio

T = TypeVar("T")

Client = MongoClient[dict[str, Any]]
Stored = Collection[dict[str, Any]]

_PATIENCE: Final = 2.0


class QuickLane:
    """A blocking client in a thread, called from trio.

    Whoever is cancelled returns at once; the call goes on by itself, ends by its own timeouts, and
    the lane is taken until then.

    Args:
        connect: makes the client; called in the thread, before the first call.
    """

    def __init__(self, connect: Callable[[], Client]) -> None:
        self._connect = connect
        self._calls: SimpleQueue[tuple[Callable[[Client], Any], _Waiter] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="persistence-mongodb-lane", daemon=True)
        self.free = True

    async def run(self, call: Callable[[Client], T], deadline: float) -> T:
        """Run the call, which must find the lane free; `TimeoutError` after so many seconds."""
        self.free = False
        if self._thread.ident is None:
            self._thread.start()
        waiter = _Waiter(self)
        self._calls.put((call, waiter))
        result: T = await waiter.wait(deadline)
        return result

    def close(self) -> None:
        """Close the client behind the last call and wait a moment for the thread: to be called from another one."""
        if self._thread.ident is not None:
            self._calls.put(None)
            self._thread.join(_PATIENCE)

    def _work(self) -> None:
        client: Client | None = None
        while (entry := self._calls.get()) is not None:
            call, waiter = entry
            result: Any = None
            error: BaseException | None = None
            try:
                if client is None:
                    client = self._connect()
                result = call(client)
            except BaseException as raised:
                error = raised
            waiter.answer(result, error)
            del entry, call, waiter, result, error
        if client is not None:
            client.close()


class _Waiter:
    """Who waits for a call."""

    __slots__ = ("_error", "_lane", "_result", "_task", "_token")

    def __init__(self, lane: QuickLane) -> None:
        import trio

        self._lane = lane
        self._token = trio.lowlevel.current_trio_token()
        self._task: trio.lowlevel.Task | None = trio.lowlevel.current_task()
        self._result: Any = None
        self._error: BaseException | None = None

    async def wait(self, deadline: float) -> Any:
        import trio

        def abort(_: Any) -> trio.lowlevel.Abort:
            self._task = None
            return trio.lowlevel.Abort.SUCCEEDED

        with trio.move_on_after(deadline) as scope:
            await trio.lowlevel.wait_task_rescheduled(abort)
        if scope.cancelled_caught:
            raise TimeoutError
        if self._error is not None:
            raise self._error
        return self._result

    def answer(self, result: Any, error: BaseException | None) -> None:
        """Called in the lane's thread."""
        import trio

        self._result, self._error = result, error
        try:
            self._token.run_sync_soon(self._take)
        except trio.RunFinishedError:
            self._lane.free = True

    def _take(self) -> None:
        import trio

        self._lane.free = True
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)
