"""A transaction of MongoDB: DAOs bound to a session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import anyio
from pymongo.asynchronous.client_session import AsyncClientSession

from persistence.documents.mongodb.collection import MongoCollection
from persistence.documents.mongodb.failures import Failures
from persistence.documents.protocol import Dao, Id, SurrogateDao, Transaction
from persistence.documents.typed_dao import TypedDao, TypedSurrogateDao
from persistence.errors import Closed, InvalidQuery

if TYPE_CHECKING:
    from persistence.documents.mongodb.factory import MongoDaoFactory

M = TypeVar("M")
C = TypeVar("C")
T = TypeVar("T")


class MongoTransaction(Transaction):
    """DAOs bound to a session with an open transaction."""

    def __init__(self, factory: MongoDaoFactory, session: AsyncClientSession) -> None:
        self._factory = factory
        self._session = session
        self._one_at_a_time = anyio.Lock()
        self.open = True

    @property
    def session(self) -> AsyncClientSession:
        """The session of this transaction."""
        if not self.open:
            raise Closed("The transaction")
        return self._session

    def bind(self, dao: Dao[M]) -> Dao[M]:
        if not isinstance(dao, TypedDao) or not isinstance(dao.collection, MongoCollection):
            raise InvalidQuery("Only DAOs of the same factory can be bound to its transaction.")
        return dao.on(dao.collection.on(self))

    def bind_surrogate(self, dao: SurrogateDao[M, C]) -> SurrogateDao[M, C]:
        if not isinstance(dao, TypedSurrogateDao) or not isinstance(dao.collection, MongoCollection):
            raise InvalidQuery("Only DAOs of the same factory can be bound to its transaction.")
        return dao.on(dao.collection.on(self))

    async def call(
        self, call: Callable[[], Awaitable[T]], failures: Failures, id_: Id | None = None, *, brief: bool = False
    ) -> T:
        """Run a call as a step of the transaction."""
        if not self.open:
            raise Closed("The transaction")
        async with self._one_at_a_time:
            return await self._factory.call(call, failures, id_, brief=brief)
