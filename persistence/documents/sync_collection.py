"""Collections over a store whose calls do not await anything: what memory and SQLite share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

import attrs

from persistence.documents.changes import Changes
from persistence.documents.collection import Query, Write
from persistence.documents.query import Term, value_at
from persistence.documents.values import Document, Id
from persistence.errors import DocumentNotFound, PersistenceError

S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)
T = TypeVar("T")

_PAGE: Final = 500


class Runner(Protocol[S_co]):
    """Runs calls on a store: each alone, or as steps of a transaction."""

    async def read(self, call: Callable[[S_co], T]) -> T:
        """Run a call that reads."""

    async def write(self, call: Callable[[S_co], T]) -> T:
        """Run a call that writes, all or nothing."""


class SyncCollection(Protocol[S]):
    """See `persistence.documents.collection.Collection`. The methods to implement are given the store.

    Args:
        runner: runs the calls.
        name: of the collection.
    """

    name: str
    runner: Runner[S]

    def __init__(self, runner: Runner[S], name: str) -> None:
        self.runner = runner
        self.name = name

    async def get(self, id_: Id) -> Document | None:
        return await self.runner.read(lambda store: self._get(store, id_))

    async def page(self, position: Any) -> tuple[list[Document], Query | None]:
        query: Query = position
        size = _PAGE if query.limit is None else min(_PAGE, query.limit)
        page = await self.runner.read(lambda store: self._page(store, query, size))
        left = None if query.limit is None else query.limit - len(page)
        if len(page) < size or left == 0:
            return page, None
        last = tuple(value_at(page[-1], field) for field, _ in query.sort)
        return page, attrs.evolve(query, after=last, skip=0, limit=left)

    async def count(self, term: Term) -> int:
        return await self.runner.read(lambda store: self._count(store, term))

    async def write(self, write: Write) -> None:
        await self.runner.write(lambda store: self._write(store, write))

    async def change(self, id_: Id, expected: Term, changes: Changes) -> Document | None:
        def change(store: S) -> Document | None:
            document = self._get(store, id_)
            if document is None:
                raise DocumentNotFound(self.name, id_)
            changed = changes.apply(document, expected)
            if changed is not None:
                self._write(store, Write("replace", id_, changed))
            return changed

        return await self.runner.write(change)

    async def write_many(self, writes: Sequence[Write]) -> dict[Id, PersistenceError]:
        def write_each(store: S) -> dict[Id, PersistenceError]:
            failed: dict[Id, PersistenceError] = {}
            for write in writes:
                try:
                    self._write(store, write)
                except PersistenceError as error:
                    failed[write.id] = error
            return failed

        return await self.runner.write(write_each)

    def _get(self, store: S, id_: Id) -> Document | None:
        """The document with this id, which the caller may change."""

    def _page(self, store: S, query: Query, size: int) -> list[Document]:
        """The first documents of a query, `size` of them at most."""

    def _count(self, store: S, term: Term) -> int:
        """How many documents match."""

    def _write(self, store: S, write: Write) -> None:
        """Do one write; `DocumentExists`, `DocumentNotFound`, `UniqueViolation`."""
