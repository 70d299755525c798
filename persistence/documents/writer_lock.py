"""The one writer's turn, for databases within or beside the process that have only one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from persistence.errors import DeadlineExceeded, NotBound


class WriterLock:
    """A fair lock with a deadline: writes and transactions take it one after the other.

    Args:
        deadline: seconds to wait for it.
        what: whose turn it is, for the error's message.
    """

    def __init__(self, *, deadline: float, what: str) -> None:
        self._deadline = deadline
        self._what = what
        self._lock = anyio.Lock()

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Wait for the turn and hold it; `NotBound` if the same task holds it already."""
        try:
            with anyio.fail_after(self._deadline):
                await self._lock.acquire()
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"Another transaction kept {self._what} busy for more than {self._deadline:g} s."
            ) from error
        except RuntimeError as error:
            # anyio and trio say so of a task that waits for itself.
            raise NotBound from error
        try:
            yield
        finally:
            self._lock.release()
