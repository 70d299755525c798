"""The lock of the one writer, for databases that allow one writer at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from persistence.errors import DeadlineExceeded, NotBound


class WriterLock:
    """A fair lock with a deadline, held by each write and by each transaction.

    Args:
        deadline: seconds to wait for it.
        what: the database that it locks, for the error's message.
    """

    def __init__(self, *, deadline: float, what: str) -> None:
        self._deadline = deadline
        self._what = what
        self._lock = anyio.Lock()

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Acquire the lock and hold it within the block.

        Raises:
            DeadlineExceeded: another task or transaction did not release it in time.
            NotBound: the same task holds it already, within a transaction.
        """
        try:
            with anyio.fail_after(self._deadline):
                await self._lock.acquire()
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"Another transaction kept {self._what} busy for more than {self._deadline:g} s."
            ) from error
        except RuntimeError as error:
            # Raised by anyio and trio where a task acquires a lock that it holds.
            raise NotBound from error
        try:
            yield
        finally:
            self._lock.release()
