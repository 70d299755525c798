"""PyMongo's asyncio client on the caller's own asyncio loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from persistence.documents.mongodb.polling import BusyPolling, processors

T = TypeVar("T")

_PATIENCE: Final = 2.0


class OwnLoop:
    """The caller's own asyncio loop: a call runs in a task of its own."""

    def __init__(self) -> None:
        self._left: set[asyncio.Task[Any]] = set()
        self._polling = BusyPolling(processors())

    async def start(self) -> None:
        """Nothing to do."""

    async def run(self, call: Callable[[], Awaitable[T]], deadline: float | None = None, *, brief: bool = False) -> T:
        """Await the call, or leave it behind."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        # A timer and a future of our own: a cancel scope and a shield would cost as much as PyMongo's own tasks.
        ended: asyncio.Future[T] = loop.create_future()
        task = loop.create_task(_carry(call, ended))
        timer = None if deadline is None else loop.call_later(deadline, _expire, ended)
        if brief and (limit := self._polling.limit):
            loop.call_soon(_stay_awake, loop, ended, began + limit)
        try:
            return await ended
        finally:
            if brief:
                self._polling.took(loop.time() - began)
            if timer is not None:
                timer.cancel()
            if not task.done():
                self._left.add(task)
                task.add_done_callback(self._left.discard)

    @property
    def prompt(self) -> bool:
        """True: the way to a thread and back takes longer than what a blocking client saves."""
        return True

    def took(self, seconds: float) -> None:
        """See `Loop`."""
        self._polling.took(seconds)

    async def stop(self) -> None:
        """Give what was left behind a moment to end."""
        if self._left:
            await asyncio.wait(self._left, timeout=_PATIENCE)


async def _carry(call: Callable[[], Awaitable[T]], ended: asyncio.Future[T]) -> None:
    """Await the call and hand on how it ended, if anybody still waits."""
    try:
        result = await call()
    except Exception as error:
        if not ended.done():
            ended.set_exception(error)
    except BaseException:
        ended.cancel()
        raise
    else:
        if not ended.done():
            ended.set_result(result)


def _expire(ended: asyncio.Future[Any]) -> None:
    if not ended.done():
        ended.set_exception(TimeoutError())


def _stay_awake(loop: asyncio.AbstractEventLoop, ended: asyncio.Future[Any], until: float) -> None:
    """A loop that has something to do looks at its sockets without going to sleep."""
    if not ended.done() and loop.time() < until:
        loop.call_soon(_stay_awake, loop, ended, until)
