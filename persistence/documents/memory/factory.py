"""Documents in memory, with the same queries, indexes and transactions as a database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import anyio.lowlevel

from persistence.documents.codec import Document, ModelCodec, normalize
from persistence.documents.collection import FIRST_PAGE, Query, Write
from persistence.documents.matching import matches, sort_documents
from persistence.documents.memory.tables import Table
from persistence.documents.naming import check_collection
from persistence.documents.protocol import Dao, DaoFactory, Id, Index, SurrogateDao, Transaction
from persistence.documents.query import Or, Term, apply_changes, keyset, value_at
from persistence.documents.transactions import repeat_on_conflict
from persistence.documents.typed_dao import TypedDao, TypedSurrogateDao, check_creation_model, id_maker, make_codec
from persistence.documents.writer_lock import WriterLock
from persistence.errors import (
    Closed,
    DocumentExists,
    DocumentNotFound,
    InvalidQuery,
    PersistenceError,
)

M = TypeVar("M")
C = TypeVar("C")
T = TypeVar("T")

_PAGE: Final = 500


class MemoryDaoFactory(DaoFactory):
    """DAOs over dicts; they last as long as the factory object, not just its `async with` block.

    Args:
        deadline: seconds that a write may wait for a transaction to end.
    """

    def __init__(self, *, deadline: float = 15.0) -> None:
        self.deadline = deadline
        self.tables: dict[str, Table] = {}
        self._writer_lock: WriterLock | None = None

    async def __aenter__(self) -> Self:
        self._writer_lock = WriterLock(deadline=self.deadline, what="the database")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer_lock = None

    async def dao(self, name: str, model: type[M], *, id_field: str, indexes: Sequence[Index] = ()) -> Dao[M]:
        codec = make_codec(model, id_field, indexes)
        return TypedDao(self._collection(name, indexes), codec)

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
        return TypedSurrogateDao(self._collection(name, indexes), codec, creation_model, maker)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        async with self.writer_lock().held():
            transaction = _MemoryTransaction(self)
            try:
                yield transaction
                self.tables.update(transaction.tables)
            finally:
                transaction.open = False

    async def with_transaction(self, work: Callable[[Transaction], Awaitable[T]], *, attempts: int = 20) -> T:
        return await repeat_on_conflict(self, work, attempts)

    def writer_lock(self) -> WriterLock:
        """The turn of writers; `Closed` outside of the `async with` block."""
        if self._writer_lock is None:
            raise Closed("The database")
        return self._writer_lock

    def _collection(self, name: str, indexes: Sequence[Index]) -> MemoryCollection:
        self.writer_lock()
        table = self.tables.setdefault(check_collection(name), Table())
        for index in indexes:
            if index.unique and index.fields not in table.unique:
                table.add_unique(name, index.fields)
        return MemoryCollection(self, name, None)


class MemoryCollection:
    """Documents of one table, or of its copy in a transaction."""

    def __init__(self, factory: MemoryDaoFactory, name: str, transaction: _MemoryTransaction | None) -> None:
        self.factory = factory
        self.name = name
        self._transaction = transaction

    async def get(self, id_: Id) -> Document | None:
        """See `persistence.documents.collection.Collection`."""
        table = await self._read()
        document = table.documents.get(id_)
        return None if document is None else _copied(document)

    async def page(self, query: Query, position: Any) -> tuple[list[Document], Any]:
        """See `persistence.documents.collection.Collection`."""
        table = await self._read()
        after, skip, left = (
            (query.after, query.skip, query.limit) if position is FIRST_PAGE else (position[0], 0, position[1])
        )
        found = [document for document in table.documents.values() if matches(query.term, document)]
        if after is not None:
            behind = Or(keyset(query.sort, after))
            found = [document for document in found if matches(behind, document)]
        size = _PAGE if left is None else min(_PAGE, left)
        page = [_copied(d) for d in sort_documents(found, query.sort)[skip : skip + size]]
        left = None if left is None else left - len(page)
        if len(page) < size or left == 0:
            return page, None
        return page, (tuple(value_at(page[-1], field) for field, _ in query.sort), left)

    def loader(self, codec: ModelCodec[M]) -> Callable[[Any], M]:
        """See `persistence.documents.collection.Collection`."""
        return codec.load

    async def count(self, term: Term) -> int:
        """See `persistence.documents.collection.Collection`."""
        table = await self._read()
        return sum(matches(term, document) for document in table.documents.values())

    async def insert(self, id_: Id, document: Document) -> None:
        """See `persistence.documents.collection.Collection`."""
        await self._write(lambda table: self._insert(table, id_, document))

    async def replace(self, id_: Id, document: Document) -> None:
        """See `persistence.documents.collection.Collection`."""

        def run(table: Table) -> None:
            if id_ not in table.documents:
                raise DocumentNotFound(self.name, id_)
            table.put(self.name, id_, document)

        await self._write(run)

    async def upsert(self, id_: Id, document: Document) -> None:
        """See `persistence.documents.collection.Collection`."""
        await self._write(lambda table: table.put(self.name, id_, document))

    async def remove(self, id_: Id) -> None:
        """See `persistence.documents.collection.Collection`."""
        await self._write(lambda table: self._remove(table, id_))

    async def change(self, id_: Id, term: Term, changes: dict[str, Any]) -> Document | None:
        """See `persistence.documents.collection.Collection`."""

        def run(table: Table) -> Document | None:
            document = table.documents.get(id_)
            if document is None:
                raise DocumentNotFound(self.name, id_)
            if not matches(term, document):
                return None
            changed = apply_changes(document, changes)
            table.put(self.name, id_, changed)
            return _copied(changed)

        return await self._write(run)

    async def write_many(self, writes: Sequence[Write]) -> dict[Id, PersistenceError]:
        """See `persistence.documents.collection.Collection`."""

        def run(table: Table) -> dict[Id, PersistenceError]:
            failed: dict[Id, PersistenceError] = {}
            for write in writes:
                try:
                    if write.kind == "insert":
                        self._insert(table, write.id, write.document or {})
                    elif write.kind == "upsert":
                        table.put(self.name, write.id, write.document or {})
                    else:
                        self._remove(table, write.id)
                except PersistenceError as error:
                    failed[write.id] = error
            return failed

        return await self._write(run)

    def _insert(self, table: Table, id_: Id, document: Document) -> None:
        if id_ in table.documents:
            raise DocumentExists(self.name, id_)
        table.put(self.name, id_, document)

    def _remove(self, table: Table, id_: Id) -> None:
        if not table.drop(id_):
            raise DocumentNotFound(self.name, id_)

    async def _read(self) -> Table:
        self.factory.writer_lock()
        await anyio.lowlevel.checkpoint()
        return self._transaction.table(self.name) if self._transaction else self.factory.tables[self.name]

    async def _write(self, call: Callable[[Table], T]) -> T:
        if self._transaction:
            return call(await self._read())
        async with self.factory.writer_lock().held():
            return call(await self._read())


class _MemoryTransaction(Transaction):
    """Copies of the tables that a transaction uses; they replace the tables when it commits."""

    def __init__(self, factory: MemoryDaoFactory) -> None:
        self._factory = factory
        self.tables: dict[str, Table] = {}
        self.open = True

    def bind(self, dao: Dao[M]) -> Dao[M]:
        if not isinstance(dao, TypedDao) or not self._owns(dao.collection):
            raise InvalidQuery("Only DAOs of the same factory can be bound to its transaction.")
        return dao.on(MemoryCollection(self._factory, dao.collection.name, self))

    def bind_surrogate(self, dao: SurrogateDao[M, C]) -> SurrogateDao[M, C]:
        if not isinstance(dao, TypedSurrogateDao) or not self._owns(dao.collection):
            raise InvalidQuery("Only DAOs of the same factory can be bound to its transaction.")
        return dao.on(MemoryCollection(self._factory, dao.collection.name, self))

    def table(self, name: str) -> Table:
        """The transaction's copy of a table."""
        if not self.open:
            raise Closed("The transaction")
        if name not in self.tables:
            self.tables[name] = self._factory.tables[name].copy()
        return self.tables[name]

    def _owns(self, collection: object) -> bool:
        return isinstance(collection, MemoryCollection) and collection.factory is self._factory


def _copied(document: Document) -> Document:
    copied: Document = normalize(document)
    return copied
