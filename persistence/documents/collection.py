"""Plain documents: what a provider implements, once, for both kinds of DAO.

A provider implements a `Collection` of plain documents (see `persistence.documents.values`);
the DAOs of `persistence.documents.dao` are made from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import attrs

from persistence.documents.changes import Changes
from persistence.documents.query import And, Or, Term, keyset
from persistence.documents.values import Document, Id
from persistence.errors import PersistenceError


@attrs.frozen
class Query:
    """Which documents, in which order, and how many.

    Args:
        term: what they match.
        sort: fields and directions that make the order total.
        skip: documents left out at the beginning.
        limit: documents at most.
        after: values of the sort fields; the results start after them (keyset pagination).
        ordered: if false, no order was asked for, and a database may return its own instead of `sort`.
    """

    term: Term
    sort: tuple[tuple[str, int], ...]
    skip: int = 0
    limit: int | None = None
    after: tuple[Any, ...] | None = None
    ordered: bool = True

    @property
    def remaining(self) -> Term:
        """What all documents of the results match, those up to `after` left out."""
        return self.term if self.after is None else And((self.term, Or(keyset(self.sort, self.after))))


@attrs.frozen
class Write:
    """One write: `insert`, `replace` or `upsert` of a document, or `delete` by id."""

    kind: str
    id: Id
    document: Document | None = None


class Collection(Protocol):
    """The documents of one name in one database, or in one transaction of it."""

    name: str
    runner: Any
    """What runs the calls: the open database, or a transaction of it."""

    async def get(self, id_: Id) -> Document | None:
        """The document with this id."""

    async def page(self, position: Any) -> tuple[list[Any], Any]:
        """Some documents of a query, and the position of the next, or None at the end.

        The first position is the `Query`.
        """

    async def count(self, term: Term) -> int:
        """How many documents match."""

    async def write(self, write: Write) -> None:
        """Insert (`DocumentExists`), replace or delete (`DocumentNotFound`), or upsert; `UniqueViolation`."""

    async def change(self, id_: Id, expected: Term, changes: Changes) -> Document | None:
        """Change a document in one atomic step, as `Changes.apply` does; `DocumentNotFound`, `UniqueViolation`."""

    async def write_many(self, writes: Sequence[Write]) -> dict[Id, PersistenceError]:
        """Do each write, all of one kind; return the errors of those that failed."""
