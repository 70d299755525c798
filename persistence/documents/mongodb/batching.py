"""Calls of many tasks at once, made as one.

While a call is on its way to the database, further ones of the same kind gather, and go together
when it is back: 32 tasks that read by id cost a few round trips and not 32. A single task does not
wait for others, so it loses nothing. Everything here runs on the asyncio side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_LARGEST: Final = 100
_ON_THE_WAY: Final = 2


class Batcher(Generic[K]):
    """Gathers calls that each have a key and something to send.

    Args:
        send: makes one call of several entries and gives their results in the same order, where an
            exception stands for an entry that failed; an exception that it raises fails them all.
    """

    def __init__(self, send: Callable[[list[tuple[K, Any]]], Awaitable[list[Any]]]) -> None:
        self._send = send
        self._waiting: list[tuple[K, Any, asyncio.Future[Any]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._on_the_way = 0

    async def call(self, key: K, value: Any = None) -> Any:
        """Send an entry, alone or with others, and give its result."""
        if self._on_the_way < _ON_THE_WAY and not self._waiting:
            return await self._send_alone(key, value)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, value, future))
        return await future

    async def _send_alone(self, key: K, value: Any) -> Any:
        self._on_the_way += 1
        try:
            (result,) = await self._send([(key, value)])
        finally:
            self._on_the_way -= 1
            if self._waiting:
                # A task of its own: whoever asked first may be cancelled without the others noticing.
                task = asyncio.get_running_loop().create_task(self._send_waiting())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        if isinstance(result, BaseException):
            raise result
        return result

    async def _send_waiting(self) -> None:
        self._on_the_way += 1
        try:
            await self._work()
        finally:
            self._on_the_way -= 1

    async def _work(self) -> None:
        while self._waiting:
            entries, self._waiting = self._waiting[:_LARGEST], self._waiting[_LARGEST:]
            wanted = [entry for entry in entries if not entry[2].done()]
            if not wanted:
                continue
            try:
                results = await self._send([(key, value) for key, value, _ in wanted])
            except BaseException as error:
                for _, _, future in wanted:
                    _fail(future, error)
                if isinstance(error, asyncio.CancelledError):
                    raise
                continue
            for (_, _, future), result in zip(wanted, results, strict=True):
                if isinstance(result, BaseException):
                    _fail(future, result)
                elif not future.done():
                    future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if future.done():
        return
    if isinstance(error, asyncio.CancelledError):
        future.cancel()
    else:
        future.set_exception(error)
