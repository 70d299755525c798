"""The DAOs of the protocol, made from a codec and a collection of plain documents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar
from uuid import UUID, uuid4

from persistence.documents.changes import parse_changes
from persistence.documents.codec import ModelCodec
from persistence.documents.collection import Collection, Query, Write
from persistence.documents.index import check_sort
from persistence.documents.naming import check_field
from persistence.documents.paging import PagedResults
from persistence.documents.plain import PlainCodec
from persistence.documents.protocol import Id, Sort, Where
from persistence.documents.query import Compare, check_amount, check_page, parse_sort, parse_where, value_at
from persistence.documents.shape import Shape
from persistence.documents.values import Document
from persistence.errors import DocumentNotFound, InvalidQuery, PersistenceError

M = TypeVar("M")
C = TypeVar("C")

_NOTHING: Mapping[str, Any] = {}


class _Documents(Generic[M]):
    """What both kinds of DAO share; see `persistence.documents.protocol`."""

    def __init__(self, collection: Collection, codec: ModelCodec[M]) -> None:
        self.collection = collection
        self.codec = codec

    async def get_by_id(self, id_: Id) -> M:
        document = await self.collection.get(self.codec.check_id(id_))
        if document is None:
            raise DocumentNotFound(self.collection.name, id_)
        return self.codec.load(document)

    async def find_one(self, where: Where) -> M | None:
        term = parse_where(where, self.codec.encode)
        by_id = [(self.codec.id_field, "eq", kind) for kind in self.codec.id_types]
        if isinstance(term, Compare) and (term.field, term.op, type(term.value)) in by_id:
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
        return await self.collection.count(parse_where(where, self.codec.encode))

    async def update(self, model: M) -> None:
        await self.collection.write(Write("replace", *self._dump(model)))

    async def upsert(self, model: M) -> None:
        await self.collection.write(Write("upsert", *self._dump(model)))

    async def delete(self, id_: Id) -> None:
        await self.collection.write(Write("delete", self.codec.check_id(id_)))

    async def update_many(self, models: Iterable[M]) -> dict[Id, PersistenceError]:
        return await self._write_many("replace", models)

    async def upsert_many(self, models: Iterable[M]) -> dict[Id, PersistenceError]:
        return await self._write_many("upsert", models)

    async def delete_many(self, ids: Iterable[Id]) -> dict[Id, PersistenceError]:
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
        codec = self.codec
        parsed = parse_changes(codec, changes, increments)
        document = await self.collection.change(codec.check_id(id_), parse_where(expected, codec.encode), parsed)
        return None if document is None else codec.load(document)

    async def _write_many(self, kind: str, models: Iterable[M]) -> dict[Id, PersistenceError]:
        writes = [Write(kind, *self._dump(model)) for model in models]
        if kind != "insert":
            writes = list({write.id: write for write in writes}.values())
        return await self.collection.write_many(writes) if writes else {}

    def _dump(self, model: M) -> tuple[Id, Document]:
        document = self.codec.dump(model)
        return self.codec.check_id(document[self.codec.id_field]), document

    def _values(self, after: M | Mapping[str, Any], order: tuple[tuple[str, int], ...]) -> tuple[Any, ...]:
        if not isinstance(after, Mapping):
            document = self.codec.dump(after)
            return tuple(value_at(document, field) for field, _ in order)
        missing = [field for field, _ in order if field not in after]
        if missing:
            raise InvalidQuery(f"The place to continue after lacks {', '.join(missing)}.")
        return tuple(self.codec.encode(field, after[field]) for field, _ in order)


class TypedDao(_Documents[M]):
    """A DAO with natural ids over any collection."""

    async def insert(self, model: M) -> M:
        document, again = self.codec.dump_and_load(model)
        await self.collection.write(Write("insert", self.codec.check_id(document[self.codec.id_field]), document))
        return again

    async def insert_many(self, models: Iterable[M]) -> dict[Id, PersistenceError]:
        return await self._write_many("insert", models)


class TypedSurrogateDao(_Documents[M], Generic[M, C]):
    """A DAO that assigns ids, over any collection."""

    def __init__(
        self, collection: Collection, codec: ModelCodec[M], creation_model: type[C], make_id: Callable[[], Id]
    ) -> None:
        super().__init__(collection, codec)
        self._creation_model = creation_model
        self._make_id = make_id

    async def insert(self, model: C) -> M:
        full, id_, document = self._complete(model)
        await self.collection.write(Write("insert", id_, document))
        return full

    async def insert_many(self, models: Iterable[C]) -> list[M | PersistenceError]:
        complete = [self._complete(model) for model in models]
        failed = await self.collection.write_many([Write("insert", id_, doc) for _, id_, doc in complete])
        return [failed.get(id_, full) for full, id_, _ in complete]

    def _complete(self, model: C) -> tuple[M, Id, Document]:
        if not isinstance(model, self._creation_model):
            raise InvalidQuery(f"{model!r} is not a {self._creation_model.__name__}.")
        id_ = self._make_id()
        document, full = self.codec.complete(model, id_)
        return full, id_, document


def make_codec(model: type[M], id_field: str) -> ModelCodec[M]:
    """The codec of a model, `dict` included."""
    check_field(id_field)
    plain: Any = PlainCodec(id_field) if model is dict else None
    codec: ModelCodec[M] = plain or ModelCodec(model, id_field)
    return codec


def id_maker(codec: ModelCodec[Any], make_id: Callable[[], Id] | None) -> Callable[[], Id]:
    """The source of surrogate ids; `InvalidQuery` if there is none for the id field's type."""
    if make_id is not None:
        return make_id
    if codec.id_types == (UUID,):
        return uuid4
    if codec.id_types == (str,):
        return lambda: str(uuid4())
    raise InvalidQuery(f"{codec.model.__name__} has whole numbers as ids.", hint="Give a make_id for them.")


def check_creation_model(codec: ModelCodec[Any], creation_model: type[Any]) -> None:
    """Raise `InvalidQuery` unless the creation model has fields of the model only, and not its id."""
    fields = Shape.of(creation_model).fields
    odd = sorted(set(fields) - (set(codec.shape.fields) - {codec.id_field}))
    if odd:
        raise InvalidQuery(
            f"{creation_model.__name__} has fields that {codec.model.__name__} has not: {', '.join(odd)}."
        )
