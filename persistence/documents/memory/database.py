"""Documents in memory, with the same queries, indexes and transactions as a database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import anyio.lowlevel

from persistence.documents.codec import ModelCodec
from persistence.documents.database import Transaction
from persistence.documents.factory import DaoFactory
from persistence.documents.index import IndexSpec, missing_indexes
from persistence.documents.memory.collection import MemoryCollection
from persistence.documents.memory.tables import Table, TableCopies, Tables
from persistence.documents.single_writer import SingleWriterDatabase
from persistence.documents.values import normalize

T = TypeVar("T")


class MemoryDatabase(SingleWriterDatabase):
    """One opening of the tables, which outlast it.

    Args:
        tables: the tables by name.
        deadline: seconds that a write may wait for a transaction to end.
        clock: gives the time, aware.
    """

    def __init__(self, tables: Tables, *, deadline: float, clock: Callable[[], datetime]) -> None:
        super().__init__(deadline=deadline, what="the database")
        self.tables = tables
        self._clock = clock

    async def open(self) -> None:
        """Nothing is to be opened."""

    async def close(self) -> None:
        """The tables stay as they are."""

    async def collection(self, name: str, codec: ModelCodec[Any], indexes: Sequence[IndexSpec]) -> MemoryCollection:
        table = self.tables.get(name)
        if table is None or missing_indexes(table.indexes.values(), indexes):
            async with self.only_writer():
                self.check()
                self.tables.setdefault(name, Table()).add_indexes(name, indexes)
        return MemoryCollection(self, name, self.time)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        async with self.only_writer():
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
        async with self.only_writer():
            return await self.read(call)


class _MemoryTransaction(Transaction):
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


class MemoryDaoFactory(DaoFactory):
    """DAOs over dicts; the documents last as long as the factory object, not just its `async with` block.

    Args:
        deadline: seconds that a write may wait for a transaction to end.
        clock: gives the time for `now` and for documents that expire, aware; that of the system by default.
    """

    def __init__(self, *, deadline: float = 15.0, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        tables: Tables = {}
        super().__init__(lambda: MemoryDatabase(tables, deadline=deadline, clock=clock))
