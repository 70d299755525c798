"""The tables of the memory provider, with one writer at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, TypeVar

import anyio.lowlevel

from persistence.documents.codec import ModelCodec
from persistence.documents.database import Database
from persistence.documents.index import IndexSpec, missing_indexes
from persistence.documents.memory.collection import MemoryCollection
from persistence.documents.memory.tables import Table, TableCopies, Tables
from persistence.documents.protocol import Transaction
from persistence.documents.transactions import ProviderTransaction
from persistence.documents.values import normalize
from persistence.documents.writer_lock import WriterLock

T = TypeVar("T")


class MemoryDatabase(Database):
    """One opening of the tables, which outlast it.

    Args:
        tables: the tables by name.
        deadline: seconds that a write may wait for a transaction to end.
        clock: gives the time, aware.
    """

    def __init__(self, tables: Tables, *, deadline: float, clock: Callable[[], datetime]) -> None:
        super().__init__()
        self.tables = tables
        self._clock = clock
        self.writer_lock = WriterLock(deadline=deadline, what="the database")

    async def open(self) -> None:
        """Nothing is to be opened."""

    async def close(self) -> None:
        """The tables stay as they are."""

    async def collection(self, name: str, codec: ModelCodec[Any], indexes: Sequence[IndexSpec]) -> MemoryCollection:
        table = self.tables.get(name)
        if table is None or missing_indexes(table.indexes.values(), indexes):
            async with self.writer_lock.held():
                self.check()
                self.tables.setdefault(name, Table()).add_indexes(name, indexes)
        return MemoryCollection(self, name, self.time)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        async with self.writer_lock.held():
            transaction = _MemoryTransaction(self)
            try:
                yield transaction
                self.check()
                self.tables.update(transaction.tables)
            finally:
                transaction.open = False

    async def now(self) -> datetime:
        return self.time()

    def time(self) -> datetime:
        """The time by the clock, in whole milliseconds."""
        time: datetime = normalize(self._clock())
        return time

    async def read(self, call: Callable[[Tables], T]) -> T:
        """See `persistence.documents.sync_collection.Runner`."""
        self.check()
        await anyio.lowlevel.checkpoint()
        return call(self.tables)

    async def write(self, call: Callable[[Tables], T]) -> T:
        """See `persistence.documents.sync_collection.Runner`."""
        self.check()
        async with self.writer_lock.held():
            return await self.read(call)


class _MemoryTransaction(ProviderTransaction):
    """Runs calls on copies of the tables, which replace the tables when it commits."""

    def __init__(self, database: MemoryDatabase) -> None:
        super().__init__(database)
        self.tables = TableCopies(database.tables)

    async def read(self, call: Callable[[Tables], T]) -> T:
        """See `persistence.documents.sync_collection.Runner`."""
        self.check()
        await anyio.lowlevel.checkpoint()
        return call(self.tables)

    write = read
