"""One opening of a SQLite file: its collections and its transactions."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, TypeVar

import anyio

from persistence.documents.codec import ModelCodec
from persistence.documents.database import Database
from persistence.documents.index import IndexSpec
from persistence.documents.protocol import Transaction
from persistence.documents.sqlite.collection import SqliteCollection
from persistence.documents.sqlite.connections import Connections
from persistence.documents.sqlite.indexes import TableIndexes
from persistence.documents.transactions import ProviderTransaction

T = TypeVar("T")


class SqliteDatabase(Database):
    """Runs calls on the connections, each alone.

    Args:
        connections: not open yet.
    """

    def __init__(self, connections: Connections) -> None:
        super().__init__()
        self._connections = connections

    async def open(self) -> None:
        """See `persistence.documents.database.Database`."""
        await self._connections.open()

    async def close(self) -> None:
        """See `persistence.documents.database.Database`."""
        await self._connections.close()

    async def collection(self, name: str, codec: ModelCodec[Any], indexes: Sequence[IndexSpec]) -> SqliteCollection:
        """See `persistence.documents.database.Database`."""
        table = TableIndexes(name, codec.id_field, indexes)
        if not await self.read(table.is_complete):
            await self.write(table.create)
        return SqliteCollection(self, name, codec.id_field)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """See `persistence.documents.database.Database`."""
        async with self._connections.writer_lock.held():
            await self._connections.begin()
            transaction = _SqliteTransaction(self, self._connections)
            try:
                yield transaction
            except BaseException:
                await self._connections.end(commit=False)
                raise
            else:
                await self._connections.end(commit=True)
            finally:
                transaction.open = False

    async def now(self) -> datetime:
        """See `persistence.documents.database.Database`."""
        query = "SELECT strftime('%Y-%m-%dT%H:%M:%f+00:00','now')"
        return datetime.fromisoformat(await self.read(lambda connection: connection.execute(query).fetchone()[0]))

    async def read(self, call: Callable[[sqlite3.Connection], T]) -> T:
        """See `persistence.documents.sqlite.collection.Runner`."""
        self.check()
        return await self._connections.read(call)

    async def write(self, call: Callable[[sqlite3.Connection], T]) -> T:
        """See `persistence.documents.sqlite.collection.Runner`."""
        self.check()
        return await self._connections.write(call)


class _SqliteTransaction(ProviderTransaction):
    """Runs calls as steps of the transaction that the writing connection is in."""

    def __init__(self, database: SqliteDatabase, connections: Connections) -> None:
        super().__init__(database)
        self._connections = connections
        self._one_at_a_time = anyio.Lock()

    async def read(self, call: Callable[[sqlite3.Connection], T]) -> T:
        """See `persistence.documents.sqlite.collection.Runner`."""
        self.check()
        async with self._one_at_a_time:
            return await self._connections.step(call)

    async def write(self, call: Callable[[sqlite3.Connection], T]) -> T:
        """See `persistence.documents.sqlite.collection.Runner`. If the call fails, what it did is undone."""

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
