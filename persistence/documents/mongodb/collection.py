"""One collection of MongoDB: the calls of its documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pymongo import DeleteOne, InsertOne, ReplaceOne, ReturnDocument
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import BulkWriteError

from persistence.documents.changes import Changes
from persistence.documents.codec import ModelCodec
from persistence.documents.collection import Query, Write
from persistence.documents.mongodb.batching import Batcher
from persistence.documents.mongodb.connection import Connection, Session
from persistence.documents.mongodb.decoding import plain
from persistence.documents.mongodb.failures import Failures
from persistence.documents.mongodb.filters import Filters
from persistence.documents.mongodb.operation import Operation
from persistence.documents.mongodb.transaction import MongoTransaction
from persistence.documents.query import And, Term
from persistence.documents.values import Document, Id
from persistence.errors import DocumentNotFound, PersistenceError, ServiceFailed

_PAGE: Final = 1000
"""Documents of a query, or of a batch of writes, per round trip."""


class MongoCollection:
    """Documents whose id field is stored as `_id`; see `persistence.documents.collection.Collection`.

    Args:
        connection: of the factory; concurrent calls outside of a transaction are batched on it.
        stored: the collection of PyMongo.
        codec: of the documents.
    """

    def __init__(self, connection: Connection, stored: AsyncCollection[dict[str, Any]], codec: ModelCodec[Any]) -> None:
        self.name = stored.name
        self.runner: Connection | MongoTransaction = connection
        self._connection = connection
        self._stored = stored
        self._id_field = codec.id_field
        self._filters = Filters(codec.id_field, codec.shape.may_be_list)
        self._failures = Failures(stored.name, codec.id_field)
        self._gets = Batcher(self._start_gets)
        self._inserts = Batcher(self._start_inserts)

    async def get(self, id_: Id) -> Document | None:
        if self.runner.session is None:
            found = await self._connection.run(lambda: self._gets.call(id_), self._failures)
        else:
            found = await self.runner.read(lambda session: self._stored.find_one(id_, session=session), self._failures)
        return self._out(found)

    async def page(self, position: Any) -> tuple[list[Document], Any]:
        cursor = position
        if isinstance(position, Query):
            cursor = self._stored.find(
                self._filters.filter(position.remaining),
                sort=self._filters.sort(position.sort) if position.ordered else None,
                batch_size=_PAGE,
                skip=position.skip,
                limit=position.limit or 0,
                session=self.runner.session,
            )
        documents = await self.runner.read(lambda _: cursor.to_list(_PAGE), self._failures)
        for document in documents:
            self._out(document)
        return documents, cursor if cursor.alive or len(documents) == _PAGE else None

    async def count(self, term: Term) -> int:
        where = self._filters.filter(term)
        return await self.runner.read(lambda session: self._stored.count_documents(where, session), self._failures)

    async def write(self, write: Write) -> None:
        if write.kind == "insert" and self.runner.session is None:
            await self._connection.run(lambda: self._insert(write), self._failures, write.id)
        else:
            await self.runner.write(lambda session: self._write(write, session), self._failures, write.id)

    async def change(self, id_: Id, expected: Term, changes: Changes) -> Document | None:
        where: dict[str, Any] = {"$and": [{"_id": id_}, self._filters.filter(And((expected, changes.guard)))]}
        if changes.reload is not None:
            # Only the whole document tells whether it would be loaded, so it must be the same when it is changed.
            document = await self.get(id_)
            if document is not None and changes.apply(document, expected) is None:
                return None
            where = {"_id": id_, "$expr": {"$eq": ["$$ROOT", {"$literal": self._in(id_, document)}]}}
        parts = {"$set": changes.values, "$inc": changes.increments}
        update = {operator: fields for operator, fields in parts.items() if fields}
        found = await self.runner.write(
            lambda session: self._stored.find_one_and_update(
                where, update, return_document=ReturnDocument.AFTER, session=session
            ),
            self._failures,
            id_,
        )
        if found is None:
            document = await self.get(id_)
            if document is None:
                raise DocumentNotFound(self.name, id_)
            if changes.apply(document, expected) is not None:
                # Another writer has changed it between the two calls.
                return await self.change(id_, expected, changes)
        return self._out(found)

    async def write_many(self, writes: Sequence[Write]) -> dict[Id, PersistenceError]:
        async def write_all(session: Session) -> dict[Id, PersistenceError]:
            failed: dict[Id, PersistenceError] = {}
            for start in range(0, len(writes), _PAGE):
                some = writes[start : start + _PAGE]
                results = await self._write_some(some, session)
                failed |= {write.id: error for write, error in zip(some, results, strict=True) if error is not None}
            return failed

        return await self.runner.write(write_all, self._failures)

    async def _write(self, write: Write, session: Session) -> None:
        key, stored = {"_id": write.id}, self._in(write.id, write.document)
        if write.kind == "insert":
            await self._stored.insert_one(stored, session=session)
            return
        if write.kind == "delete":
            result: Any = await self._stored.delete_one(key, session=session)
        else:
            upsert = write.kind == "upsert"
            result = await self._stored.replace_one(key, stored, upsert=upsert, session=session)
        if result.acknowledged and result.raw_result["n"] == 0:
            raise DocumentNotFound(self.name, write.id)

    async def _write_some(self, writes: Sequence[Write], session: Session) -> list[PersistenceError | None]:
        """Do writes of one kind at once; give what each failed with."""
        present = {write.id for write in writes}
        if writes[0].kind in ("replace", "delete"):
            # The answer to a bulk write does not tell which documents were missing. One that another caller stores
            # only now stays as it is; one that is deleted meanwhile counts as changed before.
            found = self._stored.find({"_id": {"$in": list(present)}}, {"_id": 1}, session=session)
            present = {entry["_id"] for entry in await found.to_list()}
        results: list[PersistenceError | None] = [
            None if write.id in present else DocumentNotFound(self.name, write.id) for write in writes
        ]
        to_send = [(position, write) for position, write in enumerate(writes) if write.id in present]
        try:
            # Unlike `delete_many`, it has a number in its session, so that the write fence holds for it.
            if to_send:
                requests = [self._request(write) for _, write in to_send]
                await self._stored.bulk_write(requests, ordered=False, session=session)
        except BulkWriteError as error:
            if error.has_error_label("TransientTransactionError"):
                raise
            if not error.details["writeErrors"]:
                raise ServiceFailed(f"The batch was not confirmed: {error}.") from error
            for entry in error.details["writeErrors"]:
                position, write = to_send[entry["index"]]
                results[position] = self._failures.write_error(entry, write.id)
        return results

    def _request(self, write: Write) -> InsertOne[dict[str, Any]] | ReplaceOne[dict[str, Any]] | DeleteOne:
        key, stored = {"_id": write.id}, self._in(write.id, write.document)
        if write.kind == "insert":
            return InsertOne(stored)
        if write.kind == "delete":
            return DeleteOne(key)
        return ReplaceOne(key, stored, upsert=write.kind == "upsert")

    def _start_gets(self, ids: list[Id]) -> Operation[list[Any]]:
        async def get() -> list[Any]:
            if len(ids) == 1:
                return [await self._stored.find_one({"_id": ids[0]})]
            found = await self._stored.find({"_id": {"$in": list(set(ids))}}, batch_size=len(ids) + 1).to_list()
            by_id = {document["_id"]: document for document in found}
            # Several callers may ask for the same document, and each changes its own.
            return [dict(by_id[id_]) if id_ in by_id else None for id_ in ids]

        return self._connection.start(get, callers=len(ids))

    async def _insert(self, write: Write) -> None:
        await self._connection.fence.passed()
        await self._inserts.call(write)

    def _start_inserts(self, writes: list[Write]) -> Operation[list[PersistenceError | None]]:
        async def insert(session: Session) -> list[PersistenceError | None]:
            if len(writes) > 1:
                return await self._write_some(writes, session)
            await self._write(writes[0], session)
            return [None]

        return self._connection.start_write(insert, callers=len(writes))

    def _in(self, id_: Id, document: Document | None) -> dict[str, Any]:
        stored = {"_id": id_, **(document or {})}
        stored.pop(self._id_field, None)
        return stored

    def _out(self, stored: dict[str, Any] | None) -> Document | None:
        if stored is not None:
            plain(stored)
            stored[self._id_field] = stored.pop("_id")
        return stored
