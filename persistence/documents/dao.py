"""What can be done with the documents of a collection, the same on every provider: by id, queries, batches.

DAOs come from a factory (`persistence.documents.factory`) and work inside its `async with` block, from many tasks at
once, on asyncio and on trio. Documents go in and come out as instances of the model's class. The values that every
provider returns as they were stored: None, bool, int of 64 bits, finite float, str, bytes, UUID, Enum, datetime (aware;
UTC, cut to whole milliseconds), lists, dicts with str keys, and models nested in them; in fields of these types also
date, timedelta, Decimal, paths, tuples and sets.

Every write is checked before anything is sent: if the document would not be loaded again, or would be loaded as another
model, the call raises `InvalidValue` and stores nothing. The `_many` forms check all their models first. Besides the
errors named below, every call may raise `InvalidQuery`, `InvalidValue`, `TooLarge`, `Closed`, `WrongLoop` and the
family `Unavailable`.

What providers implement is `persistence.documents.database` and `persistence.documents.collection`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Generic, TypeVar

from persistence.documents.changes import parse_changes
from persistence.documents.codec import ModelCodec
from persistence.documents.collection import Collection, Query, Write
from persistence.documents.index import check_sort
from persistence.documents.paging import PagedResults
from persistence.documents.query import (
    Compare,
    Sort,
    Where,
    check_amount,
    check_page,
    parse_sort,
    parse_where,
    value_at,
)
from persistence.documents.values import Document, Id
from persistence.errors import DocumentNotFound, InvalidQuery, PersistenceError

M = TypeVar("M")
C = TypeVar("C")

_NOTHING: Final[Mapping[str, Any]] = {}


class _Documents(Generic[M]):
    """What both kinds of DAO share.

    Args:
        collection: holds the documents.
        codec: makes documents of models, and models of documents.
    """

    def __init__(self, collection: Collection, codec: ModelCodec[M]) -> None:
        self.collection = collection
        self.codec = codec

    async def get_by_id(self, id_: Id) -> M:
        """The document with this id; `DocumentNotFound`."""
        document = await self.collection.get(self.codec.check_id(id_))
        if document is None:
            raise DocumentNotFound(self.collection.name, id_)
        return self.codec.load(document)

    async def find_one(self, where: Where) -> M | None:
        """The first document by id that matches, or None."""
        term = parse_where(where, self.codec.encode)
        by_id = (self.codec.id_field, "eq")
        if isinstance(term, Compare) and (term.field, term.op) == by_id and type(term.value) in self.codec.id_types:
            document = await self.collection.get(term.value)
        else:
            documents, _ = await self.collection.page(Query(term, ((self.codec.id_field, 1),), limit=1))
            document = documents[0] if documents else None
        return None if document is None else self.codec.load(document)

    def find_all(
        self,
        where: Where = _NOTHING,
        *,
        skip: int = 0,
        limit: int | None = None,
        sort: Sort = (),
        after: M | Mapping[str, Any] | None = None,
    ) -> PagedResults[M]:
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
        check_page(skip, limit)
        if after is not None and not sort:
            raise InvalidQuery("There is no order to continue in.", hint="Give the same sort for each page.")
        order = parse_sort(sort, self.codec.id_field)
        for field, _ in order[:-1]:
            check_sort(self.codec.shape, field)
        cursor = None if after is None else self._values(after, order)
        query = Query(parse_where(where, self.codec.encode), order, skip, limit, cursor, ordered=bool(sort))
        if cursor is not None:
            check_amount(query.remaining)
        return PagedResults(self.collection, query, self.codec.load)

    async def count(self, where: Where = _NOTHING) -> int:
        """How many documents match."""
        return await self.collection.count(parse_where(where, self.codec.encode))

    async def update(self, model: M) -> None:
        """Replace the document of the same id; `DocumentNotFound`, `UniqueViolation`."""
        await self.collection.write(self._write("replace", self.codec.dump(model)))

    async def upsert(self, model: M) -> None:
        """Insert the document or replace the one of the same id; `UniqueViolation`."""
        await self.collection.write(self._write("upsert", self.codec.dump(model)))

    async def delete(self, id_: Id) -> None:
        """Delete the document; `DocumentNotFound`."""
        await self.collection.write(Write("delete", self.codec.check_id(id_)))

    async def update_many(self, models: Iterable[M]) -> dict[Id, PersistenceError]:
        """Replace each document; return the errors by id, `DocumentNotFound` for each that was missing.

        The others are stored. Of several documents with one id the last one is.
        """
        return await self._write_many("replace", models)

    async def upsert_many(self, models: Iterable[M]) -> dict[Id, PersistenceError]:
        """Upsert each document; return the errors by id. The others are stored."""
        return await self._write_many("upsert", models)

    async def delete_many(self, ids: Iterable[Id]) -> dict[Id, PersistenceError]:
        """Delete each document; `DocumentNotFound` for each that was missing. The others are deleted."""
        wanted = dict.fromkeys(self.codec.check_id(id_) for id_ in ids)
        return await self.collection.write_many([Write("delete", id_) for id_ in wanted])

    async def compare_and_set(
        self,
        id_: Id,
        *,
        expected: Where,
        changes: Mapping[str, Any] = _NOTHING,
        increments: Mapping[str, int | float] = _NOTHING,
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
        codec = self.codec
        parsed = parse_changes(codec, changes, increments)
        document = await self.collection.change(codec.check_id(id_), parse_where(expected, codec.encode), parsed)
        return None if document is None else codec.load(document)

    async def _write_many(self, kind: str, models: Iterable[M]) -> dict[Id, PersistenceError]:
        writes = [self._write(kind, self.codec.dump(model)) for model in models]
        if kind != "insert":
            writes = list({write.id: write for write in writes}.values())
        return await self.collection.write_many(writes) if writes else {}

    def _write(self, kind: str, document: Document) -> Write:
        return Write(kind, self.codec.check_id(document[self.codec.id_field]), document)

    def _values(self, after: M | Mapping[str, Any], order: tuple[tuple[str, int], ...]) -> tuple[Any, ...]:
        if not isinstance(after, Mapping):
            document = self.codec.dump(after)
            return tuple(value_at(document, field) for field, _ in order)
        missing = [field for field, _ in order if field not in after]
        if missing:
            raise InvalidQuery(f"The place to continue after lacks {', '.join(missing)}.")
        return tuple(self.codec.encode(field, after[field]) for field, _ in order)


class Dao(_Documents[M]):
    """Documents whose id the caller sets (natural id)."""

    async def insert(self, model: M) -> M:
        """Store a new document and give it back; `DocumentExists`, `UniqueViolation`."""
        document, again = self.codec.dump_and_load(model)
        await self.collection.write(self._write("insert", document))
        return again

    async def insert_many(self, models: Iterable[M]) -> dict[Id, PersistenceError]:
        """Insert each document; give the error of each that failed. The others are stored."""
        return await self._write_many("insert", models)


class SurrogateDao(_Documents[M], Generic[M, C]):
    """Documents whose id the provider assigns (surrogate id).

    Args:
        collection: holds the documents.
        codec: of the full model.
        creation_model: the class of models without an id.
        make_id: gives a new id at each call.
    """

    def __init__(
        self, collection: Collection, codec: ModelCodec[M], creation_model: type[C], make_id: Callable[[], Id]
    ) -> None:
        super().__init__(collection, codec)
        self._creation_model = creation_model
        self._make_id = make_id

    async def insert(self, model: C) -> M:
        """Store a new document from its creation model; give the full one with its id. `UniqueViolation`."""
        write, full = self._complete(model)
        await self.collection.write(write)
        return full

    async def insert_many(self, models: Iterable[C]) -> list[M | PersistenceError]:
        """Insert each; give, in their order, each full document or what failed. The others are stored."""
        complete = [self._complete(model) for model in models]
        failed = await self.collection.write_many([write for write, _ in complete])
        return [failed.get(write.id, full) for write, full in complete]

    def _complete(self, model: C) -> tuple[Write, M]:
        if not isinstance(model, self._creation_model):
            raise InvalidQuery(f"{model!r} is not a {self._creation_model.__name__}.")
        document, full = self.codec.complete(model, self._make_id())
        return self._write("insert", document), full
