"""Databases that allow one writer at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from persistence.documents.database import Database
from persistence.errors import DeadlineExceeded, NotBound


class SingleWriterDatabase(Database):
    """A database with a fair lock, which each write and each transaction holds.

    Args:
        deadline: seconds to wait for the lock.
        what: the database, for the error's message.
    """

    def __init__(self, *, deadline: float, what: str) -> None:
        super().__init__()
        self._deadline = deadline
        self._what = what
        self._writer_lock = anyio.Lock()

    @asynccontextmanager
    async def only_writer(self) -> AsyncIterator[None]:
        """Hold the lock within the block.

        Raises:
            DeadlineExceeded: another task or transaction did not release it in time.
            NotBound: the same task holds it already, within a transaction.
        """
        try:
            with anyio.fail_after(self._deadline):
                await self._writer_lock.acquire()
        except TimeoutError as error:
            text = f"Another transaction kept {self._what} busy for more than {self._deadline:g} s."
            raise DeadlineExceeded(text) from error
        except RuntimeError as error:
            # Raised by anyio and trio where a task acquires a lock that it holds.
            text = "A DAO that is not bound to the transaction was used to write inside of it."
            raise NotBound(text, hint="Use the DAO that `bind` of the transaction gives.") from error
        try:
            yield
        finally:
            self._writer_lock.release()
