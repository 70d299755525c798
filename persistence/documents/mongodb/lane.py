"""The way for a call that is alone: PyMongo's blocking client in one thread of its own.

For one answer PyMongo's asyncio client makes two tasks and goes a dozen times around its loop; the
blocking one just waits for it. An insert gains by that, though the way to a thread and back is long:
a replica set acknowledges inserts in steps, and who is back with the next one soon enough does not
miss a step. A read gains under trio only, where the answer would have to pass two loops that sleep, or
another thread anyway. As soon as there are several calls at once, one loop serves them better than
threads do, so this is for one only.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final, TypeVar

from pymongo import MongoClient
from pymongo.collection import Collection

from persistence.documents.mongodb.waiting import Home, Waiter

T = TypeVar("T")

Client = MongoClient[dict[str, Any]]
Stored = Collection[dict[str, Any]]

_PATIENCE: Final = 2.0


class QuickLane:
    """A blocking client in a thread, called from one event loop.

    Whoever is cancelled returns at once; the call goes on by itself, ends by its own timeouts, and
    the lane is taken until then.

    Args:
        connect: makes the client; called in the thread, before the first call.
        home: where calls come from.
    """

    def __init__(self, connect: Callable[[], Client], home: Home) -> None:
        self._connect = connect
        self._home = home
        self._calls: SimpleQueue[tuple[Callable[[Client], Any], Waiter] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="persistence-mongodb-lane", daemon=True)
        self.free = True

    async def run(self, call: Callable[[Client], T], deadline: float) -> T:
        """Run the call, which must find the lane free; `TimeoutError` after so many seconds."""
        self.free = False
        if self._thread.ident is None:
            self._thread.start()
        waiter = self._home.make_waiter()
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
            try:
                if client is None:
                    client = self._connect()
                waiter.result = call(client)
            except BaseException as error:
                waiter.error = error
            self.free = True
            # The loop may have ended meanwhile: nobody waits any more.
            with contextlib.suppress(RuntimeError):
                self._home.post(waiter.wake)
            del entry, call, waiter
        if client is not None:
            client.close()
