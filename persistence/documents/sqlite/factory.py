"""The SQLite provider: DAOs over the tables of one file."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import anyio

from persistence.documents.naming import check_collection
from persistence.documents.protocol import Dao, DaoFactory, Id, Index, SurrogateDao, Transaction
from persistence.documents.sqlite.collection import SqliteCollection
from persistence.documents.sqlite.connections import Connections
from persistence.documents.sqlite.sql import Where, quoted
from persistence.documents.transactions import repeat_on_conflict
from persistence.documents.typed_dao import TypedDao, TypedSurrogateDao, check_creation_model, id_maker, make_codec
from persistence.errors import Closed, InvalidQuery, UniqueViolation

M = TypeVar("M")
C = TypeVar("C")
T = TypeVar("T")


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
        self._connections = Connections(Path(path), deadline=deadline, readers=readers)

    async def __aenter__(self) -> Self:
        await self._connections.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._connections.close()

    async def dao(self, name: str, model: type[M], *, id_field: str, indexes: Sequence[Index] = ()) -> Dao[M]:
        codec = make_codec(model, id_field, indexes)
        return TypedDao(await self._collection(name, id_field, indexes), codec)

    async def surrogate_dao(
        self,
        name: str,
        model: type[M],
        *,
        creation_model: type[C],
        id_field: str,
        indexes: Sequence[Index] = (),
        make_id: Callable[[], Id] | None = None,
    ) -> SurrogateDao[M, C]:
        codec = make_codec(model, id_field, indexes)
        check_creation_model(codec, creation_model)
        maker = id_maker(codec, make_id)
        return TypedSurrogateDao(await self._collection(name, id_field, indexes), codec, creation_model, maker)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        async with self._connections.writer_lock.held():
            await self._connections.begin()
            transaction = _SqliteTransaction(self._connections)
            try:
                yield transaction
            except BaseException:
                await self._connections.end(commit=False)
                raise
            else:
                await self._connections.end(commit=True)
            finally:
                transaction.open = False

    async def with_transaction(self, work: Callable[[Transaction], Awaitable[T]], *, attempts: int = 20) -> T:
        return await repeat_on_conflict(self, work, attempts)

    async def _collection(self, name: str, id_field: str, indexes: Sequence[Index]) -> SqliteCollection:
        check_collection(name)
        unique = {f"{name}__{index.name}": index.fields for index in indexes if index.unique}
        statements = _statements(name, id_field, indexes)

        def create(connection: sqlite3.Connection) -> None:
            for sql in statements:
                try:
                    connection.execute(sql)
                except sqlite3.IntegrityError as error:
                    index = str(error).partition("index '")[2].rstrip("'")
                    raise UniqueViolation(name, None, unique.get(index, ())) from error

        def missing(connection: sqlite3.Connection) -> bool:
            known = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
            return not {name, *unique, *(f"{name}__{index.name}" for index in indexes)} <= known

        if await self._connections.read(missing):
            await self._connections.write(create)
        return SqliteCollection(self._connections, name, id_field, unique)


class _SqliteTransaction(Transaction):
    """DAOs bound to the transaction that the writing connection is in."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._one_at_a_time = anyio.Lock()
        self.open = True

    def bind(self, dao: Dao[M]) -> Dao[M]:
        if not isinstance(dao, TypedDao) or not isinstance(dao.collection, SqliteCollection):
            raise InvalidQuery("Only DAOs of the same factory can be bound to its transaction.")
        return dao.on(dao.collection.on(self))

    def bind_surrogate(self, dao: SurrogateDao[M, C]) -> SurrogateDao[M, C]:
        if not isinstance(dao, TypedSurrogateDao) or not isinstance(dao.collection, SqliteCollection):
            raise InvalidQuery("Only DAOs of the same factory can be bound to its transaction.")
        return dao.on(dao.collection.on(self))

    async def read(self, call: Callable[[sqlite3.Connection], T]) -> T:
        """Run a call as a step of the transaction."""
        if not self.open:
            raise Closed("The transaction")
        async with self._one_at_a_time:
            return await self._connections.step(call)

    async def write(self, call: Callable[[sqlite3.Connection], T]) -> T:
        """Run a call as a step of the transaction; if it fails, what it did is undone."""

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


def _statements(name: str, id_field: str, indexes: Sequence[Index]) -> list[str]:
    table = quoted(name)
    where = Where(id_field)
    found = [f"CREATE TABLE IF NOT EXISTS {table} (id NOT NULL PRIMARY KEY, doc TEXT NOT NULL)"]
    for index in indexes:
        values = [where.value(field) for field in index.fields]
        label = f"{name}__{index.name}"
        if index.unique:
            # SQLite lets NULLs differ in unique indexes, MongoDB does not: a text stands in for them,
            # one that no stored text equals. Queries do not match that expression, so they get their own.
            alike = ",".join(f"ifnull({value},'$')" for value in values)
            found.append(f"CREATE UNIQUE INDEX IF NOT EXISTS {quoted(label)} ON {table} ({alike})")
            label += "_order"
        # Ending with the id makes the index give the whole order of a sorted query.
        ordered = ",".join([*values, "id"])
        found.append(f"CREATE INDEX IF NOT EXISTS {quoted(label)} ON {table} ({ordered})")
    return found
