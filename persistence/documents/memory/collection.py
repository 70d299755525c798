"""One table of documents: the calls of a collection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

from persistence.documents.codec import Document, ModelCodec, normalize
from persistence.documents.collection import FIRST_PAGE, Query, Write
from persistence.documents.matching import matches, sort_documents
from persistence.documents.memory.tables import Table
from persistence.documents.protocol import Id
from persistence.documents.query import Or, Term, apply_changes, keyset, value_at
from persistence.errors import DocumentExists, DocumentNotFound, PersistenceError

M = TypeVar("M")
T = TypeVar("T")

_PAGE: Final = 500


class Runner(Protocol):
    """Gives the tables themselves, or the copies that a transaction works with."""

    async def read(self, name: str) -> Table:
        """The table of that name, to be read before anything else is awaited."""
        ...

    async def write(self, name: str, call: Callable[[Table], T]) -> T:
        """Run a call that changes the table."""
        ...


class MemoryCollection:
    """Documents of one table, or of its copy in a transaction.

    Args:
        runner: gives the table.
        name: of the collection.
    """

    def __init__(self, runner: Runner, name: str) -> None:
        self.runner = runner
        self.name = name

    def on(self, runner: Runner) -> MemoryCollection:
        """See `persistence.documents.collection.Collection`."""
        return MemoryCollection(runner, self.name)

    async def get(self, id_: Id) -> Document | None:
        """See `persistence.documents.collection.Collection`."""
        table = await self.runner.read(self.name)
        document = table.documents.get(id_)
        return None if document is None else _copied(document)

    async def page(self, query: Query, position: Any) -> tuple[list[Document], Any]:
        """See `persistence.documents.collection.Collection`."""
        table = await self.runner.read(self.name)
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
        table = await self.runner.read(self.name)
        return sum(matches(term, document) for document in table.documents.values())

    async def insert(self, id_: Id, document: Document) -> None:
        """See `persistence.documents.collection.Collection`."""
        await self.runner.write(self.name, lambda table: self._insert(table, id_, document))

    async def replace(self, id_: Id, document: Document) -> None:
        """See `persistence.documents.collection.Collection`."""

        def run(table: Table) -> None:
            if id_ not in table.documents:
                raise DocumentNotFound(self.name, id_)
            table.put(self.name, id_, document)

        await self.runner.write(self.name, run)

    async def upsert(self, id_: Id, document: Document) -> None:
        """See `persistence.documents.collection.Collection`."""
        await self.runner.write(self.name, lambda table: table.put(self.name, id_, document))

    async def remove(self, id_: Id) -> None:
        """See `persistence.documents.collection.Collection`."""
        await self.runner.write(self.name, lambda table: self._remove(table, id_))

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

        return await self.runner.write(self.name, run)

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

        return await self.runner.write(self.name, run)

    def _insert(self, table: Table, id_: Id, document: Document) -> None:
        if id_ in table.documents:
            raise DocumentExists(self.name, id_)
        table.put(self.name, id_, document)

    def _remove(self, table: Table, id_: Id) -> None:
        if not table.drop(id_):
            raise DocumentNotFound(self.name, id_)


def _copied(document: Document) -> Document:
    copied: Document = normalize(document)
    return copied
