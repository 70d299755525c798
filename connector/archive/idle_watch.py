"""Closing connections on which nothing has been under way for too long."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import inf

import trio
from hypercorn.trio.task_group import TaskGroup
from hypercorn.typing import Event


class IdleWatch:
    """Stands in for the idle task of one Hypercorn connection, with one task for all of its requests.

    Hypercorn's own starts a task after each request and cancels it before the next, and the last one sleeps on when the
    client has gone, which keeps the socket of each client for as long. ``seconds``: after which an idle connection is
    closed. ``terminated``: once it is set, connections are closed as soon as nothing is under way.
    """

    def __init__(self, seconds: float, terminated: Event) -> None:
        self._seconds = seconds
        self._terminated = terminated
        self._scope = trio.CancelScope()
        self._watching = False
        self._over = False

    async def restart(self, task_group: TaskGroup, close: Callable[[], Awaitable[None]]) -> None:
        """From now on nothing is under way; ``close`` closes the connection when that lasts for too long."""
        self._scope.deadline = -inf if self._terminated.is_set() else trio.current_time() + self._seconds
        if not self._watching:
            self._watching = True
            task_group.spawn(self._watch, close)

    async def stop(self) -> None:
        """A request is under way."""
        self._scope.deadline = inf

    def end(self) -> None:
        """The connection has ended by itself."""
        self._over = True
        self._scope.cancel()

    async def _watch(self, close: Callable[[], Awaitable[None]]) -> None:
        with self._scope:
            await self._terminated.wait()
            if self._scope.deadline == inf:
                await trio.sleep_forever()  # until that request is through
        if not self._over:
            await close()
