"""One table of documents: the calls of a collection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from persistence.documents.changes import Changes
from persistence.documents.codec import Document, normalize
from persistence.documents.collection import Query, Write, write_each
from persistence.documents.matching import matches, sort_documents
from persistence.documents.memory.tables import Table
from persistence.documents.protocol import Id
from persistence.documents.query import And, Or, Term, keyset
from persistence.errors import DocumentExists, DocumentNotFound, PersistenceError

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

    async def page(self, position: Any) -> tuple[list[Document], Query | None]:
        """See `persistence.documents.collection.Collection`."""
        query: Query = position
        table = await self.runner.read(self.name)
        terms = (query.term,) if query.after is None else (query.term, Or(keyset(query.sort, query.after)))
        found = [document for document in table.documents.values() if matches(And(terms), document)]
        size = query.page_size(_PAGE)
        page = [_copied(d) for d in sort_documents(found, query.sort)[query.skip : query.skip + size]]
        return page, query.following(page, size)

    async def count(self, term: Term) -> int:
        """See `persistence.documents.collection.Collection`."""
        table = await self.runner.read(self.name)
        return sum(matches(term, document) for document in table.documents.values())

    async def write(self, write: Write) -> None:
        """See `persistence.documents.collection.Collection`."""
        await self.runner.write(self.name, lambda table: self._write(table, write))

    async def change(self, id_: Id, expected: Term, changes: Changes) -> Document | None:
        """See `persistence.documents.collection.Collection`."""

        def run(table: Table) -> Document | None:
            document = table.documents.get(id_)
            if document is None:
                raise DocumentNotFound(self.name, id_)
            changed = changes.apply(document, expected)
            if changed is None:
                return None
            table.put(self.name, id_, changed)
            return _copied(changed)

        return await self.runner.write(self.name, run)

    async def write_many(self, writes: Sequence[Write]) -> dict[Id, PersistenceError]:
        """See `persistence.documents.collection.Collection`."""
        return await self.runner.write(self.name, lambda table: write_each(writes, partial(self._write, table)))

    def _write(self, table: Table, write: Write) -> None:
        known = write.id in table.documents
        if write.kind == "insert" and known:
            raise DocumentExists(self.name, write.id)
        if write.kind in ("replace", "delete") and not known:
            raise DocumentNotFound(self.name, write.id)
        if write.document is None:
            table.drop(write.id)
        else:
            table.put(self.name, write.id, write.document)


def _copied(document: Document) -> Document:
    copied: Document = normalize(document)
    return copied
