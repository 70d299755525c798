"""One call of PyMongo in an asyncio task of its own, which its callers may give up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Any, Generic, TypeVar

import pymongo

T = TypeVar("T")


class Operation(Generic[T]):
    """A call of PyMongo for one caller, or for several that share it.

    Once all callers have given it up while it waits for a reply, its task is cancelled, so that PyMongo closes the
    connection. At any other time, as while PyMongo waits for a primary, the task ends by PyMongo's own timeouts:
    `asyncio.wait_for` of Python 3.11 may leave a condition without its lock if it is cancelled when it times out, and
    then no further call of the client ends.

    Args:
        call: the call of PyMongo.
        timeout: seconds after which PyMongo, and at its request the server, ends the call; None for no such limit.
        callers: how many share it.
        on_give_up: is given the task whenever a caller gives it up before its end.
    """

    def __init__(
        self,
        call: Callable[[], Awaitable[T]],
        timeout: float | None,
        *,
        callers: int = 1,
        on_give_up: Callable[[asyncio.Task[T]], object] | None = None,
    ) -> None:
        self._callers = callers
        self._on_give_up = on_give_up
        self._waiting: list[asyncio.Future[None]] = []
        # In an empty context, the timeout of another operation does not apply.
        self.task = asyncio.get_running_loop().create_task(self._run(call, timeout), context=Context())

    async def result(self) -> T:
        """Wait for the result; a caller that is cancelled gives the operation up."""
        if not self.task.done():
            # Not with `asyncio.shield`, which takes another cycle of the loop.
            ended = asyncio.get_running_loop().create_future()
            self._waiting.append(ended)
            try:
                await ended
            except asyncio.CancelledError:
                self.give_up()
                raise
        return self.task.result()

    def give_up(self) -> None:
        """Note that a caller does not wait any more."""
        self._callers -= 1
        # Retrieved, so that asyncio does not report an error that no caller waits for.
        self.task.add_done_callback(lambda task: task.cancelled() or task.exception())
        if self.task.done():
            return
        if self._on_give_up is not None:
            self._on_give_up(self.task)
        if self._callers == 0 and _awaits(self.task.get_coro(), asyncio.wait):
            self.task.cancel()

    async def _run(self, call: Callable[[], Awaitable[T]], timeout: float | None) -> T:
        try:
            with pymongo.timeout(timeout):
                return await call()
        finally:
            for ended in self._waiting:
                if not ended.done():
                    ended.set_result(None)


def _awaits(awaitable: Any, function: Any) -> bool:
    """Whether the coroutine waits in that function: PyMongo uses `asyncio.wait` for replies, and for them only."""
    while awaitable is not None:
        if getattr(awaitable, "cr_code", None) is function.__code__:
            return True
        awaitable = getattr(awaitable, "cr_await", None)
    return False
