"""Concurrent calls of the same kind, sent to the server as one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from persistence.documents.mongodb.operation import Operation

T = TypeVar("T")

_MAX_SIZE: Final = 100
_MAX_IN_FLIGHT: Final = 2


class Batcher(Generic[T]):
    """Batches calls that have one argument each.

    A call is sent at once while fewer than two batches are in flight. Calls that come later wait until one of these
    is answered and are then sent together, so that 32 tasks that read by id take a few round trips instead of 32. It is
    used on the asyncio loop of the client.

    Args:
        start: starts the operation for some arguments. It gives their results in the same order, where an exception
            stands for a call that failed; an exception that it raises fails all of them.
    """

    def __init__(self, start: Callable[[list[T]], Operation[list[Any]]]) -> None:
        self._start = start
        self._waiting: list[tuple[T, asyncio.Future[tuple[Operation[list[Any]], int]]]] = []
        self._in_flight = 0

    async def call(self, argument: T) -> Any:
        """Send a call, alone or with others, and give its result."""
        sent: asyncio.Future[tuple[Operation[list[Any]], int]] = asyncio.get_running_loop().create_future()
        self._waiting.append((argument, sent))
        if self._in_flight < _MAX_IN_FLIGHT:
            self._send()
        try:
            operation, position = await sent
        except asyncio.CancelledError:
            if not sent.cancelled():
                sent.result()[0].give_up()
            raise
        result = (await operation.result())[position]
        if isinstance(result, BaseException):
            raise result
        return result

    def _send(self) -> None:
        # Those that are done were cancelled while they waited.
        waiting = [call for call in self._waiting if not call[1].done()]
        batch, self._waiting = waiting[:_MAX_SIZE], waiting[_MAX_SIZE:]
        if not batch:
            return
        operation = self._start([argument for argument, _ in batch])
        self._in_flight += 1
        operation.task.add_done_callback(self._on_done)
        for position, (_, sent) in enumerate(batch):
            sent.set_result((operation, position))

    def _on_done(self, _: asyncio.Task[Any]) -> None:
        self._in_flight -= 1
        self._send()
