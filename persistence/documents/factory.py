"""Opening a database, and making its DAOs and transactions, the same for every provider."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Final, Self, TypeVar
from uuid import UUID, uuid4

import anyio

from persistence.documents.codec import ModelCodec
from persistence.documents.collection import Collection
from persistence.documents.dao import Dao, SurrogateDao
from persistence.documents.database import Database, Transaction
from persistence.documents.index import Index, resolve_indexes
from persistence.documents.naming import check_collection, check_field
from persistence.documents.plain import PlainCodec
from persistence.documents.shape import Shape
from persistence.documents.values import Id
from persistence.errors import AlreadyOpen, Closed, InvalidQuery, TransactionConflict

M = TypeVar("M")
C = TypeVar("C")
T = TypeVar("T")

_MAX_PAUSE: Final = 0.5


class DaoFactory:
    """Makes DAOs for collections of one database; an async context manager.

    A factory, its DAOs and its transactions are used in the event loop that opened it, and until it is
    closed; after that, and after it was opened again, DAOs made before raise `Closed`. In another thread
    or event loop they raise `WrongLoop`.

    Args:
        make_database: gives a database that is yet to be opened.
    """

    def __init__(self, make_database: Callable[[], Database]) -> None:
        self._make_database = make_database
        self._database: Database | None = None

    @property
    def database(self) -> Database:
        """The open database; `Closed`, `WrongLoop`."""
        if self._database is None:
            raise Closed("The database")
        self._database.check()
        return self._database

    async def __aenter__(self) -> Self:
        """Open the database; `AlreadyOpen` if it is open."""
        if self._database is not None:
            raise AlreadyOpen("The database is open already.", hint="Share the factory, or make another one.")
        self._database = database = self._make_database()
        try:
            await database.open()
        except BaseException:
            self._database = None
            await database.close()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close the database."""
        database = self.database
        database.closed = True
        try:
            await database.close()
        finally:
            self._database = None

    async def dao(self, name: str, model: type[M], *, id_field: str, indexes: Sequence[Index] = ()) -> Dao[M]:
        """A DAO for the collection `name`, made with its indexes if they do not exist yet.

        Several DAOs of one name see the same documents, and all indexes of the collection hold for them,
        also those that another DAO was made with. An index that exists with the same fields and options is
        used, whatever its name.

        Args:
            name: of the collection.
            model: an attrs class, a dataclass or a pydantic model; `dict` for plain documents.
            id_field: the field with the id, of type str, UUID or int.
            indexes: each over fields that hold single values: no lists, dicts or models.

        Raises:
            InvalidName: the collection's name breaks the rules of `persistence.documents.naming`.
            InvalidQuery: the model cannot be stored, lacks a field, or does not allow an index; or the
                collection has an index over the same fields, or of the same name, with other options.
            UniqueViolation: stored documents break a new unique index.
        """
        codec = _codec(model, id_field)
        return Dao(await self._collection(name, codec, indexes), codec)

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
        """As `dao`; ids come from `make_id`, by default a random UUID (version 4), as text if the field is str."""
        codec = _codec(model, id_field)
        odd = sorted(Shape.of(creation_model).fields.keys() - (codec.shape.fields.keys() - {id_field}))
        if odd:
            raise InvalidQuery(f"{creation_model.__name__} has fields that {model.__name__} has not: {', '.join(odd)}.")
        maker = make_id or _id_maker(codec)
        return SurrogateDao(await self._collection(name, codec, indexes), codec, creation_model, maker)

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """A transaction: committed on leaving the block, rolled back if an exception leaves it.

        Raises `TransactionConflict`, from a call inside or from leaving, if another one interfered.
        """
        return self.database.transaction()

    async def with_transaction(self, work: Callable[[Transaction], Awaitable[T]], *, attempts: int = 20) -> T:
        """Run `work` in a transaction and commit; after a conflict run it again in a new one.

        `work` must be safe to repeat; the pauses before it are random and grow to 0.5 s. After `attempts` the last
        `TransactionConflict` is raised.
        """
        pause = 0.005
        for attempt in range(1, attempts + 1):
            try:
                async with self.transaction() as transaction:
                    return await work(transaction)
            except TransactionConflict:
                if attempt == attempts:
                    raise
            await anyio.sleep(random.uniform(0, pause))
            pause = min(pause * 2, _MAX_PAUSE)
        raise ValueError("attempts must be at least 1")

    async def now(self) -> datetime:
        """The database's own time: aware, in UTC, cut to whole milliseconds.

        All programs that use one database agree on it, whatever their own clocks say. A condition on a
        time that was read before stays true, since time only goes on: `{"expires": {"$lt": await now()}}`
        in `compare_and_set` takes a lease that has expired, and no other.
        """
        return await self.database.now()

    async def _collection(self, name: str, codec: ModelCodec[Any], indexes: Sequence[Index]) -> Collection:
        specs = resolve_indexes(indexes, codec.shape, codec.id_field, codec.encode)
        return await self.database.collection(check_collection(name), codec, specs)


def _codec(model: type[M], id_field: str) -> ModelCodec[M]:
    check_field(id_field)
    plain: Any = PlainCodec(id_field) if model is dict else None
    codec: ModelCodec[M] = plain or ModelCodec(model, id_field)
    return codec


def _id_maker(codec: ModelCodec[Any]) -> Callable[[], Id]:
    if codec.id_types == (UUID,):
        return uuid4
    if codec.id_types == (str,):
        return lambda: str(uuid4())
    raise InvalidQuery(f"{codec.model.__name__} has whole numbers as ids.", hint="Give a make_id for them.")
