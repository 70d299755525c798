"""Concurrent calls of the same kind, sent to the server as one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Any, Final, Generic, TypeVar

from persistence.documents.mongodb.operation import Operation

K = TypeVar("K", bound=Hashable)

_MAX_SIZE: Final = 100
_MAX_IN_FLIGHT: Final = 2

Entry = tuple[K, Any]
"""The key and the value of a call."""


class Batcher(Generic[K]):
    """Batches calls that have a key and a value each.

    A call is sent at once while fewer than two batches are in flight. Calls that come later wait until one of these
    is answered and are then sent together, so that 32 tasks that read by id take a few round trips instead of 32. It is
    used on the asyncio loop of the client.

    Args:
        start: starts the operation of some entries. It gives their results in the same order, where an exception
            stands for an entry that failed; an exception that it raises fails all of them.
    """

    def __init__(self, start: Callable[[list[Entry[K]]], Operation[list[Any]]]) -> None:
        self._start = start
        self._waiting: list[tuple[K, Any, asyncio.Future[tuple[Operation[list[Any]], int]]]] = []
        self._in_flight = 0

    async def call(self, key: K, value: Any = None) -> Any:
        """Send an entry, alone or with others, and give its result."""
        sent: asyncio.Future[tuple[Operation[list[Any]], int]] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, value, sent))
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
        waiting = [entry for entry in self._waiting if not entry[2].done()]
        batch, self._waiting = waiting[:_MAX_SIZE], waiting[_MAX_SIZE:]
        if not batch:
            return
        operation = self._start([(key, value) for key, value, _ in batch])
        self._in_flight += 1
        operation.task.add_done_callback(self._on_done)
        for position, (_, _, sent) in enumerate(batch):
            sent.set_result((operation, position))

    def _on_done(self, _: asyncio.Task[Any]) -> None:
        self._in_flight -= 1
        if self._waiting:
            self._send()
