"""One opening of a MongoDB database: its collections, its transactions and its time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final

from pymongo.errors import CollectionInvalid, OperationFailure

from persistence.documents.codec import ModelCodec
from persistence.documents.index import IndexSpec
from persistence.documents.mongodb.collection import MongoCollection
from persistence.documents.mongodb.connection import Connection
from persistence.documents.mongodb.failures import Failures
from persistence.documents.mongodb.filters import Filters
from persistence.documents.mongodb.indexes import CollectionIndexes
from persistence.documents.mongodb.transaction import MongoTransaction
from persistence.documents.protocol import Transaction

_EXISTS: Final = 48
_NO_COLLECTION: Final = Failures("", "")


class MongoDatabase(Connection):
    """The collections of a connection, and its transactions."""

    async def collection(self, name: str, codec: ModelCodec[Any], indexes: Sequence[IndexSpec]) -> MongoCollection:
        """See `persistence.documents.database.Database`."""
        self.check()
        filters = Filters(codec.id_field, codec.shape.may_be_list)
        failures = Failures(name, codec.id_field)
        wanted = CollectionIndexes(codec.id_field, indexes)
        stored = self.stored[name]

        async def create(_: object) -> None:
            try:
                await self.stored.create_collection(name)
            except CollectionInvalid:
                pass
            except OperationFailure as error:
                if error.code != _EXISTS:
                    raise
            await wanted.create(stored)

        await self.read(create, failures)
        return MongoCollection(self, self, stored, name, codec.id_field, filters, failures)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """See `persistence.documents.database.Database`."""
        transaction = MongoTransaction(self, await self.run(self.start_transaction))
        try:
            yield transaction
            await transaction.commit()
        finally:
            await transaction.end()

    async def now(self) -> datetime:
        """See `persistence.documents.database.Database`."""
        answer = await self.read(lambda _: self.stored.command("hello"), _NO_COLLECTION)
        return datetime.fromtimestamp(answer["localTime"].timestamp(), UTC)

    async def drop(self) -> None:
        """Delete the whole database."""
        await self.read(lambda _: self.stored.client.drop_database(self.stored.name), _NO_COLLECTION)
