"""The MongoDB provider: the collections of one database, its transactions and its time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeVar

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import AutoReconnect, OperationFailure, ServerSelectionTimeoutError

from persistence.documents.codec import ModelCodec
from persistence.documents.database import Transaction
from persistence.documents.factory import DaoFactory
from persistence.documents.index import IndexSpec
from persistence.documents.mongodb.collection import MongoCollection
from persistence.documents.mongodb.connection import Connection
from persistence.documents.mongodb.decoding import CODEC_OPTIONS
from persistence.documents.mongodb.failures import Failures
from persistence.documents.mongodb.indexes import create_indexes
from persistence.documents.mongodb.transaction import MongoTransaction

T = TypeVar("T")

_EXISTS: Final = 48


class MongoDatabase(Connection):
    """The collections of a connection, and its transactions."""

    async def collection(self, name: str, codec: ModelCodec[Any], indexes: Sequence[IndexSpec]) -> MongoCollection:
        stored = self.stored[name]

        async def create() -> None:
            try:
                await self.stored.create_collection(name, check_exists=False)
            except OperationFailure as error:
                if error.code != _EXISTS:
                    raise
            await create_indexes(stored, codec.id_field, indexes)

        await self.read(lambda _: _twice(create), Failures(name, codec.id_field))
        return MongoCollection(self, stored, codec)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        async def start() -> AsyncClientSession:
            session = self.stored.client.start_session()
            await session.start_transaction()
            return session

        transaction = MongoTransaction(self, await self.run(start))
        try:
            yield transaction
            await transaction.commit()
        finally:
            await transaction.end()

    async def now(self) -> datetime:
        hello = partial(self.stored.command, "hello", codec_options=CODEC_OPTIONS)
        answer = await self.read(lambda _: _twice(hello))
        time: datetime = answer["localTime"]
        return time


async def _twice(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a call if the primary is gone. PyMongo does so for queries and writes, but not for other commands."""
    try:
        return await call()
    except AutoReconnect as error:
        if isinstance(error, ServerSelectionTimeoutError):
            raise  # it has waited for another primary
        return await call()


class MongoDaoFactory(DaoFactory):
    """DAOs over one MongoDB database, through PyMongo's asyncio client.

    Transactions need a replica set (one member is enough). The URI sets the hosts, credentials, `replicaSet`, `tls`,
    `tlsCAFile`, `w`, `readConcernLevel` and `readPreference`.

    Args:
        uri: `mongodb://` or `mongodb+srv://`.
        database: its name.
        deadline: seconds that any one call may take.
        options: further options of `AsyncMongoClient`.
    """

    def __init__(
        self, uri: str, database: str, *, deadline: float = 15.0, options: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(lambda: MongoDatabase(uri, database, deadline, options or {}))
