"""Documents without types: what a provider implements, once, for both kinds of DAO.

A provider gives a `Collection` of plain documents (see `persistence.documents.codec`);
`persistence.documents.typed_dao` makes the DAOs of the protocol from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

import attrs

from persistence.documents.codec import Document, ModelCodec
from persistence.documents.protocol import Id
from persistence.documents.query import Term
from persistence.errors import PersistenceError

M = TypeVar("M")

FIRST_PAGE: Final = object()
"""The position of the first page of a query."""


@attrs.frozen
class Query:
    """Which documents, in which order, how many. `after` are values of the sort fields to continue behind.

    Where the order was not asked for (`ordered` is false), a database may give its own instead of `sort`.
    """

    term: Term
    sort: tuple[tuple[str, int], ...]
    skip: int = 0
    limit: int | None = None
    after: tuple[Any, ...] | None = None
    ordered: bool = True


@attrs.frozen
class Write:
    """One write of a batch: insert or upsert of a document, or deletion by id."""

    kind: str
    id: Id
    document: Document | None = None


class Collection(Protocol):
    """The documents of one name in one database, or in one transaction of it."""

    @property
    def name(self) -> str:
        """The collection's name."""
        ...

    @property
    def runner(self) -> object:
        """What runs the calls: the open database, or a transaction of it."""
        ...

    def on(self, runner: Any) -> Collection:
        """The same collection with its calls run by a transaction."""
        ...

    async def get(self, id_: Id) -> Document | None:
        """The document with this id."""
        ...

    async def page(self, query: Query, position: Any) -> tuple[list[Document], Any]:
        """Some documents of a query, for `loader`, and the position of the next, or None at the end.

        The first position is `FIRST_PAGE`.
        """
        ...

    def loader(self, codec: ModelCodec[M]) -> Callable[[Any], M]:
        """What makes models of the documents of a page: `codec.load`, unless those are in a form of their own."""
        ...

    async def count(self, term: Term) -> int:
        """How many documents match."""
        ...

    async def insert(self, id_: Id, document: Document) -> None:
        """Store a new document; `DocumentExists`, `UniqueViolation`."""
        ...

    async def replace(self, id_: Id, document: Document) -> None:
        """Replace a document; `DocumentNotFound`, `UniqueViolation`."""
        ...

    async def upsert(self, id_: Id, document: Document) -> None:
        """Insert or replace; `UniqueViolation`."""
        ...

    async def remove(self, id_: Id) -> None:
        """Delete a document; `DocumentNotFound`."""
        ...

    async def change(self, id_: Id, term: Term, changes: dict[str, Any]) -> Document | None:
        """Set fields if the document matches; None if not; `DocumentNotFound`, `UniqueViolation`."""
        ...

    async def write_many(self, writes: Sequence[Write]) -> dict[Id, PersistenceError]:
        """Do each write; give the errors of those that failed."""
        ...
