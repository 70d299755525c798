"""The SQLite provider: the collections of one file, and its transactions."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import anyio

from persistence.documents.codec import ModelCodec
from persistence.documents.database import Transaction
from persistence.documents.factory import DaoFactory
from persistence.documents.index import IndexSpec
from persistence.documents.sqlite.collection import SqliteCollection
from persistence.documents.sqlite.connections import Connections
from persistence.documents.sqlite.indexes import TableIndexes

T = TypeVar("T")


class SqliteDatabase(Connections):
    """The collections of a file, and its transactions."""

    async def collection(self, name: str, codec: ModelCodec[Any], indexes: Sequence[IndexSpec]) -> SqliteCollection:
        table = TableIndexes(name, codec.id_field, indexes)
        if not await self.read(table.is_complete):
            await self.write(table.create)
        return SqliteCollection(self, name, codec.id_field)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        async with self.only_writer():
            await self.begin()
            transaction = _SqliteTransaction(self)
            try:
                yield transaction
                await self.end(commit=True)
            except BaseException:
                await self.end(commit=False)
                raise
            finally:
                transaction.open = False

    async def now(self) -> datetime:
        query = "SELECT strftime('%Y-%m-%dT%H:%M:%f+00:00','now')"
        return datetime.fromisoformat(await self.read(lambda connection: connection.execute(query).fetchone()[0]))


class _SqliteTransaction(Transaction):
    """Runs calls as steps of the transaction that the writing connection is in."""

    def __init__(self, connections: Connections) -> None:
        super().__init__(connections)
        self._connections = connections
        self._one_at_a_time = anyio.Lock()

    async def read(self, call: Callable[[sqlite3.Connection], T]) -> T:
        """See `persistence.documents.sync_collection.Runner`."""
        self.check()
        async with self._one_at_a_time:
            return await self._connections.step(call)

    async def write(self, call: Callable[[sqlite3.Connection], T]) -> T:
        """See `persistence.documents.sync_collection.Runner`. If the call fails, what it did is undone."""

        def run(connection: sqlite3.Connection) -> T:
            connection.execute("SAVEPOINT step")
            try:
                return call(connection)
            except BaseException:
                connection.execute("ROLLBACK TO step")
                raise
            finally:
                connection.execute("RELEASE step")

        return await self.read(run)


class SqliteDaoFactory(DaoFactory):
    """DAOs over one SQLite file (WAL), which other processes may use at the same time.

    A transaction takes the file's one write lock at its beginning, so it never conflicts; keep
    it short. Commits survive the end of the process; after a power cut the last ones may be
    missing, but never halves of one (`synchronous=NORMAL`).

    Args:
        path: the file; created if missing, its folder is not. It must be on a local disk.
        deadline: seconds that any one call may take, waiting for other writers included.
        readers: reads that run at once, each in a thread with a connection of its own.
    """

    def __init__(self, path: Path, *, deadline: float = 15.0, readers: int = 4) -> None:
        super().__init__(lambda: SqliteDatabase(Path(path), deadline=deadline, readers=readers))
