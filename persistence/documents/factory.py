"""The factory that all providers share: opening and closing, DAOs, transactions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from persistence.documents.codec import ModelCodec
from persistence.documents.collection import Collection
from persistence.documents.database import Database
from persistence.documents.index import resolve_indexes
from persistence.documents.naming import check_collection
from persistence.documents.protocol import Dao, DaoFactory, Id, Index, SurrogateDao, Transaction
from persistence.documents.transactions import repeat_on_conflict
from persistence.documents.typed_dao import TypedDao, TypedSurrogateDao, check_creation_model, id_maker, make_codec
from persistence.errors import AlreadyOpen, Closed

M = TypeVar("M")
C = TypeVar("C")
T = TypeVar("T")
D = TypeVar("D", bound=Database)


class ProviderFactory(DaoFactory, Generic[D]):
    """Opens a `Database` and makes DAOs over its collections.

    Args:
        make_database: gives a database that is yet to be opened.
    """

    def __init__(self, make_database: Callable[[], D]) -> None:
        self._make_database = make_database
        self._database: D | None = None

    @property
    def database(self) -> D:
        """The open database; `Closed`, `WrongLoop`."""
        if self._database is None:
            raise Closed("The database")
        self._database.check()
        return self._database

    async def __aenter__(self) -> Self:
        if self._database is not None:
            raise AlreadyOpen("The database")
        self._database = database = self._make_database()
        try:
            await database.open()
        except BaseException:
            self._database = None
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        database = self.database
        database.closed = True
        try:
            await database.close()
        finally:
            self._database = None

    async def dao(self, name: str, model: type[M], *, id_field: str, indexes: Sequence[Index] = ()) -> Dao[M]:
        codec = make_codec(model, id_field)
        return TypedDao(await self._collection(name, codec, indexes), codec)

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
        codec = make_codec(model, id_field)
        check_creation_model(codec, creation_model)
        maker = id_maker(codec, make_id)
        return TypedSurrogateDao(await self._collection(name, codec, indexes), codec, creation_model, maker)

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        return self.database.transaction()

    async def with_transaction(self, work: Callable[[Transaction], Awaitable[T]], *, attempts: int = 20) -> T:
        return await repeat_on_conflict(self, work, attempts)

    async def now(self) -> datetime:
        return await self.database.now()

    async def _collection(self, name: str, codec: ModelCodec[Any], indexes: Sequence[Index]) -> Collection:
        specs = resolve_indexes(indexes, codec.shape, codec.id_field, codec.encode)
        return await self.database.collection(check_collection(name), codec, specs)
