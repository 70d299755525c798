"""One table of documents: the calls of a collection."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from persistence.documents.collection import Query, Write
from persistence.documents.matching import matches, sort_documents
from persistence.documents.memory.tables import Tables
from persistence.documents.query import Term
from persistence.documents.sync_collection import Runner, SyncCollection
from persistence.documents.values import Document, Id, normalize
from persistence.errors import DocumentExists, DocumentNotFound


class MemoryCollection(SyncCollection[Tables]):
    """Documents of one table, or of its copy in a transaction.

    Args:
        runner: runs calls on the tables themselves, or on the copies that a transaction works with.
        name: of the collection.
        time: gives the time by which documents expire.
    """

    def __init__(self, runner: Runner[Tables], name: str, time: Callable[[], datetime]) -> None:
        super().__init__(runner, name)
        self._time = time

    def _get(self, store: Tables, id_: Id) -> Document | None:
        document = store[self.name].documents.get(id_)
        return None if document is None else normalize(document)

    def _page(self, store: Tables, query: Query, size: int) -> list[Document]:
        remaining = query.remaining
        found = [document for document in store[self.name].documents.values() if matches(remaining, document)]
        return list(map(normalize, sort_documents(found, query.sort)[query.skip : query.skip + size]))

    def _count(self, store: Tables, term: Term) -> int:
        return sum(matches(term, document) for document in store[self.name].documents.values())

    def _write(self, store: Tables, write: Write) -> None:
        table = store[self.name]
        table.drop_expired(self._time())
        known = write.id in table.documents
        if write.kind == "insert" and known:
            raise DocumentExists(self.name, write.id)
        if write.kind in ("replace", "delete") and not known:
            raise DocumentNotFound(self.name, write.id)
        if write.document is None:
            table.drop(write.id)
        else:
            table.put(self.name, write.id, write.document)
