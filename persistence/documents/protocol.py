"""What every document database can do: typed documents by id, queries, batches, transactions.

A factory is an async context manager; its DAOs work inside it, from many tasks at once, on
asyncio and on trio. Documents go in and come out as instances of the model's class. The values
that every provider returns as they were stored: None, bool, int of 64 bits, finite float, str,
bytes, UUID, Enum, datetime (aware; UTC, cut to whole milliseconds), lists, dicts with str keys, and
models nested in them; in fields of these types also date, timedelta, Decimal, paths, tuples and sets.

Every write is checked before anything is sent: if the document would not be loaded again, or would
be loaded as another model, the call raises `InvalidValue` and stores nothing. The `_many` forms check
all their models first. Besides the errors named below, every call may raise `InvalidQuery`,
`InvalidValue`, `TooLarge` and the family `Unavailable`.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias, TypeVar
from uuid import UUID

from persistence.documents.index import Index as Index
from persistence.errors import PersistenceError

M = TypeVar("M")
M_co = TypeVar("M_co", covariant=True)
C = TypeVar("C")
T = TypeVar("T")
C_contra = TypeVar("C_contra", contravariant=True)

Id: TypeAlias = str | UUID | int
"""What may identify a document; one collection uses one of these types."""
Where: TypeAlias = Mapping[str, Any]
"""A query in the manner of MongoDB; see `persistence.documents.query`."""
Sort: TypeAlias = Sequence[str | tuple[str, int]]
"""Fields to sort by: `"name"` or `("name", 1)` ascending, `"-name"` or `("name", -1)` descending."""


class Results(AsyncIterable[M_co], Protocol[M_co]):
    """Documents found by a query; fetched in pages, and nothing needs closing after an early break."""

    async def __anext__(self) -> M_co: ...

    async def total_count(self) -> int:
        """How many documents match, whatever `skip`, `limit` and `after` leave out; counted when it is called."""
        ...


class Reads(Protocol[M]):
    """The reading half of a DAO."""

    async def get_by_id(self, id_: Id) -> M:
        """The document with this id; `DocumentNotFound`."""
        ...

    async def find_one(self, where: Where) -> M | None:
        """The first document by id that matches, or None."""
        ...

    def find_all(
        self,
        where: Where = ...,
        *,
        skip: int = 0,
        limit: int | None = None,
        sort: Sort = (),
        after: M | Mapping[str, Any] | None = None,
    ) -> Results[M]:
        """All documents that match, sorted by the given fields and then by id; without a sort in any order.

        Args:
            where: which documents.
            skip: documents left out at the beginning.
            limit: documents at most.
            sort: fields that hold values of one kind or None, which sorts before all values. `InvalidQuery` for
                fields whose type allows several kinds, lists, dicts or models: their order differs by database.
            after: the last document of the page before, or a mapping with its id and its values of the sort
                fields: the results start after it (keyset pagination). Unlike that of `skip`, the cost does not
                grow with the depth.
        """
        ...

    async def count(self, where: Where = ...) -> int:
        """How many documents match."""
        ...


class Writes(Protocol[M]):
    """The writing half that both kinds of DAO share."""

    async def update(self, model: M) -> None:
        """Replace the document of the same id; `DocumentNotFound`, `UniqueViolation`."""
        ...

    async def upsert(self, model: M) -> None:
        """Insert the document or replace the one of the same id; `UniqueViolation`."""
        ...

    async def delete(self, id_: Id) -> None:
        """Delete the document; `DocumentNotFound`."""
        ...

    async def update_many(self, models: Iterable[M]) -> dict[Id, PersistenceError]:
        """Replace each document; return the errors by id, `DocumentNotFound` for each that was missing.

        The others are stored. Of several documents with one id the last one is.
        """
        ...

    async def upsert_many(self, models: Iterable[M]) -> dict[Id, PersistenceError]:
        """Upsert each document; return the errors by id. The others are stored."""
        ...

    async def delete_many(self, ids: Iterable[Id]) -> dict[Id, PersistenceError]:
        """Delete each document; `DocumentNotFound` for each that was missing. The others are deleted."""
        ...

    async def compare_and_set(
        self, id_: Id, *, expected: Where, changes: Mapping[str, Any] = ..., increments: Mapping[str, int | float] = ...
    ) -> M | None:
        """Change fields of one document only if it still matches `expected`, in one atomic step.

        Leases and counters are made of it: `expected={"lease_until": {"$lt": now}}` with the database's time, or
        `expected={"used": {"$lte": capacity - size}}, increments={"used": size}`.

        Args:
            id_: the document; `DocumentNotFound` if it does not exist.
            expected: a `where` mapping, usually fields with the values read before.
            changes: new values of fields (`a`) or nested fields (`a.b`), never of the id.
            increments: numbers to add to fields of type int or float; a whole number for int.

        Returns the changed document, or None if it did not match.
        Raises `UniqueViolation`; `InvalidValue` if a field to be incremented is missing, None or no number in
        the document, the sum does not fit into 64 bits, or the model refuses the changed document. Where a model
        checks values itself (validators, converters, pydantic), MongoDB needs two round trips for it instead of one.
        """
        ...


class Dao(Reads[M], Writes[M], Protocol[M]):
    """Documents whose id the caller sets (natural id)."""

    async def insert(self, model: M) -> M:
        """Store a new document and give it back; `DocumentExists`, `UniqueViolation`."""
        ...

    async def insert_many(self, models: Iterable[M]) -> dict[Id, PersistenceError]:
        """Insert each document; give the error of each that failed. The others are stored."""
        ...


class SurrogateDao(Reads[M], Writes[M], Protocol[M, C_contra]):
    """Documents whose id the provider assigns (surrogate id)."""

    async def insert(self, model: C_contra) -> M:
        """Store a new document from its creation model; give the full one with its id. `UniqueViolation`."""
        ...

    async def insert_many(self, models: Iterable[C_contra]) -> list[M | PersistenceError]:
        """Insert each; give, in their order, each full document or what failed. The others are stored."""
        ...


class Transaction(Protocol):
    """Several DAOs of one factory, all or nothing.

    Reads inside see the writes inside. Use bound DAOs only, and one call at a time.
    """

    def bind(self, dao: Dao[M]) -> Dao[M]:
        """The same DAO, working inside this transaction.

        Raises:
            InvalidQuery: it is bound already, has surrogate ids, or is not one of the transaction's factory
                since that was opened last.
            Closed: the transaction has ended.
        """
        ...

    def bind_surrogate(self, dao: SurrogateDao[M, C]) -> SurrogateDao[M, C]:
        """As `bind`, for a DAO with surrogate ids."""
        ...


class DaoFactory(Protocol):
    """Makes DAOs for collections of one database.

    A factory, its DAOs and its transactions are used in the event loop that opened it, and until it is
    closed; after that, and after it was opened again, DAOs made before raise `Closed`. In another thread
    or event loop they raise `WrongLoop`.
    """

    async def __aenter__(self) -> Self:
        """Open the database; `AlreadyOpen` if it is open."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the database."""
        ...

    async def dao(self, name: str, model: type[M], *, id_field: str, indexes: Sequence[Index] = ()) -> Dao[M]:
        """A DAO for the collection `name`, made with its indexes if they do not exist yet.

        Several DAOs of one name see the same documents, and all indexes of the collection hold for them,
        also those that another DAO was made with. An index that exists with the same fields and options is
        used, whatever its name.

        Args:
            name: of the collection.
            model: an attrs class, a dataclass or a pydantic model.
            id_field: the field with the id, of type str, UUID or int.
            indexes: each over fields that hold single values: no lists, dicts or models.

        Raises:
            InvalidName: the collection's name breaks the rules of `persistence.documents.naming`.
            InvalidQuery: the model cannot be stored, lacks a field, or does not allow an index; or the
                collection has an index over the same fields, or of the same name, with other options.
            UniqueViolation: stored documents break a new unique index.
        """
        ...

    async def surrogate_dao(
        self,
        name: str,
        model: type[M],
        *,
        creation_model: type[C],
        id_field: str,
        indexes: Sequence[Index] = (),
        make_id: Callable[[], Id] = ...,
    ) -> SurrogateDao[M, C]:
        """As `dao`; ids come from `make_id`, by default a random UUID (version 4), as text if the field is str."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """A transaction: committed on leaving the block, rolled back if an exception leaves it.

        Raises `TransactionConflict`, from a call inside or from leaving, if another one interfered.
        """
        ...

    async def with_transaction(self, work: Callable[[Transaction], Awaitable[T]], *, attempts: int = 20) -> T:
        """Run `work` in a transaction and commit; after a conflict run it again in a new one.

        `work` must be safe to repeat. After `attempts` the last `TransactionConflict` is raised.
        """
        ...

    async def now(self) -> datetime:
        """The database's own time: aware, in UTC, cut to whole milliseconds.

        All programs that use one database agree on it, whatever their own clocks say. A condition on a
        time that was read before stays true, since time only goes on: `{"expires": {"$lt": await now()}}`
        in `compare_and_set` takes a lease that has expired, and no other.
        """
        ...
