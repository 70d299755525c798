"""One collection of MongoDB: the calls of its documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pymongo import DeleteOne, InsertOne, ReplaceOne, ReturnDocument
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.cursor import AsyncCursor
from pymongo.errors import BulkWriteError

from persistence.documents.changes import Changes
from persistence.documents.codec import Document
from persistence.documents.collection import Query, Write
from persistence.documents.mongodb.batching import Batcher, Entry
from persistence.documents.mongodb.connection import Caller, Connection, Session
from persistence.documents.mongodb.failures import Failures
from persistence.documents.mongodb.filters import Filters
from persistence.documents.mongodb.operation import Operation
from persistence.documents.protocol import Id
from persistence.documents.query import And, Or, Term, keyset
from persistence.errors import DocumentNotFound, PersistenceError, ServiceFailed

_PAGE: Final = 1000
"""Documents of a query, or of a batch of writes, per round trip."""


class MongoCollection:
    """Documents whose id field is stored as `_id`.

    Args:
        connection: of the factory; concurrent calls outside of a transaction are batched on it.
        runner: makes the calls: the connection, or a transaction.
        stored: the collection of PyMongo.
        name: its name.
        id_field: the field that is stored as `_id`.
        filters: translates terms.
        failures: translates errors.
    """

    def __init__(
        self,
        connection: Connection,
        runner: Caller,
        stored: AsyncCollection[dict[str, Any]],
        name: str,
        id_field: str,
        filters: Filters,
        failures: Failures,
    ) -> None:
        self.name = name
        self.stored = stored
        self._connection = connection
        self.runner = runner
        self._id_field = id_field
        self._filters = filters
        self._failures = failures
        self._gets: Batcher[Id] = Batcher(self._start_gets)
        self._inserts: Batcher[Id] = Batcher(self._start_inserts)

    def on(self, runner: Caller) -> MongoCollection:
        """See `persistence.documents.collection.Collection`."""
        return MongoCollection(
            self._connection, runner, self.stored, self.name, self._id_field, self._filters, self._failures
        )

    async def get(self, id_: Id) -> Document | None:
        """See `persistence.documents.collection.Collection`."""
        if self.runner.session is None:
            found = await self._connection.run(lambda: self._gets.call(id_), self._failures)
        else:
            found = await self.runner.read(
                lambda session: self.stored.find_one({"_id": id_}, session=session), self._failures
            )
        return self._out(found)

    async def page(self, position: Any) -> tuple[list[Document], Any]:
        """See `persistence.documents.collection.Collection`."""
        cursor = self._find(position) if isinstance(position, Query) else position
        documents = await self.runner.read(lambda _: cursor.to_list(_PAGE), self._failures)
        for document in documents:
            self._out(document)
        return documents, cursor if cursor.alive or len(documents) == _PAGE else None

    async def count(self, term: Term) -> int:
        """See `persistence.documents.collection.Collection`."""
        where = self._filters.filter(term)
        return await self.runner.read(
            lambda session: self.stored.count_documents(where, session=session), self._failures
        )

    async def write(self, write: Write) -> None:
        """See `persistence.documents.collection.Collection`."""
        id_, stored = write.id, self._in(write.id, write.document)
        if write.kind == "insert" and self.runner.session is None:
            await self._connection.run(lambda: self._insert(id_, stored), self._failures, id_)
        elif write.kind == "insert":
            await self.runner.write(
                lambda session: self.stored.insert_one(stored, session=session), self._failures, id_
            )
        elif write.kind == "delete":
            deleted = await self.runner.write(
                lambda session: self.stored.delete_one({"_id": id_}, session=session), self._failures, id_
            )
            if deleted.deleted_count == 0:
                raise DocumentNotFound(self.name, id_)
        else:
            upsert = write.kind == "upsert"
            replaced = await self.runner.write(
                lambda session: self.stored.replace_one({"_id": id_}, stored, upsert=upsert, session=session),
                self._failures,
                id_,
            )
            if replaced.matched_count == 0 and not upsert and self.stored.write_concern.acknowledged:
                raise DocumentNotFound(self.name, id_)

    async def change(self, id_: Id, expected: Term, changes: Changes) -> Document | None:
        """See `persistence.documents.collection.Collection`."""
        where: dict[str, Any] = {"$and": [{"_id": id_}, self._filters.filter(And((expected, changes.guard)))]}
        if changes.reload is not None:
            # Only the whole document tells whether it would be loaded, so it must be the same when it is changed.
            document = await self.get(id_)
            if document is not None and changes.apply(document, expected) is None:
                return None
            where = {
                "_id": id_,
                "$expr": {"$eq": ["$$ROOT", {"$literal": self._in(id_, document or {self._id_field: id_})}]},
            }
        parts = {"$set": changes.values, "$inc": changes.increments}
        update = {operator: fields for operator, fields in parts.items() if fields}
        found = await self.runner.write(
            lambda session: self.stored.find_one_and_update(
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
        """See `persistence.documents.collection.Collection`."""

        async def write_all(session: Session) -> dict[Id, PersistenceError]:
            failed: dict[Id, PersistenceError] = {}
            for start in range(0, len(writes), _PAGE):
                failed |= await self._write_some(writes[start : start + _PAGE], session)
            return failed

        return await self.runner.write(write_all, self._failures)

    async def _write_some(self, writes: Sequence[Write], session: Session) -> dict[Id, PersistenceError]:
        failed: dict[Id, PersistenceError] = {}
        if writes[0].kind in ("replace", "delete"):
            # The answer to a bulk write does not tell which documents were missing. One that another caller stores
            # only now stays as it is; one that is deleted meanwhile counts as changed before.
            where = {"_id": {"$in": [write.id for write in writes]}}
            present = {entry["_id"] for entry in await self.stored.find(where, {"_id": 1}, session=session).to_list()}
            failed = {write.id: DocumentNotFound(self.name, write.id) for write in writes if write.id not in present}
            writes = [write for write in writes if write.id in present]
        try:
            # Unlike `delete_many`, it has a number in its session, so that the write fence holds for it.
            if writes:
                await self.stored.bulk_write(list(map(self._request, writes)), ordered=False, session=session)
        except BulkWriteError as error:
            if error.has_error_label("TransientTransactionError"):
                raise
            if not error.details["writeErrors"]:
                raise ServiceFailed(f"The batch was not confirmed: {error}.") from error
            for entry in error.details["writeErrors"]:
                id_ = writes[entry["index"]].id
                failed[id_] = self._failures.write_error(entry, id_)
        return failed

    def _request(self, write: Write) -> InsertOne[dict[str, Any]] | ReplaceOne[dict[str, Any]] | DeleteOne:
        if write.kind == "insert":
            return InsertOne(self._in(write.id, write.document))
        if write.kind == "delete":
            return DeleteOne({"_id": write.id})
        return ReplaceOne({"_id": write.id}, self._in(write.id, write.document), upsert=write.kind == "upsert")

    def _start_gets(self, entries: list[Entry[Id]]) -> Operation[list[Any]]:
        async def get() -> list[Any]:
            if len(entries) == 1:
                return [await self.stored.find_one({"_id": entries[0][0]})]
            ids = list({id_ for id_, _ in entries})
            found = await self.stored.find({"_id": {"$in": ids}}, batch_size=len(ids) + 1).to_list()
            by_id = {document["_id"]: document for document in found}
            # Several callers may ask for the same document, and each changes its own.
            return [dict(by_id[id_]) if id_ in by_id else None for id_, _ in entries]

        return self._connection.start(get, callers=len(entries))

    async def _insert(self, id_: Id, stored: dict[str, Any]) -> None:
        await self._connection.passed_fence()
        await self._inserts.call(id_, stored)

    def _start_inserts(self, entries: list[Entry[Id]]) -> Operation[list[Any]]:
        async def insert(session: Session) -> list[Any]:
            results: list[Any] = [None] * len(entries)
            if len(entries) == 1:
                await self.stored.insert_one(entries[0][1], session=session)
                return results
            try:
                await self.stored.insert_many([stored for _, stored in entries], ordered=False, session=session)
            except BulkWriteError as error:
                if not error.details["writeErrors"]:
                    raise
                for entry in error.details["writeErrors"]:
                    position = entry["index"]
                    results[position] = self._failures.write_error(entry, entries[position][0])
            return results

        return self._connection.start_write(insert, callers=len(entries))

    def _find(self, query: Query) -> AsyncCursor[dict[str, Any]]:
        return self.stored.find(
            self._where(query),
            sort=self._filters.sort(query.sort) if query.ordered else None,
            batch_size=_PAGE,
            skip=query.skip,
            limit=query.limit or 0,
            session=self.runner.session,
        )

    def _where(self, query: Query) -> dict[str, Any]:
        if query.after is None:
            return self._filters.filter(query.term)
        return self._filters.filter(And((query.term, Or(keyset(query.sort, query.after)))))

    def _in(self, id_: Id, document: Document | None) -> dict[str, Any]:
        stored = {"_id": id_, **(document or {})}
        stored.pop(self._id_field, None)
        return stored

    def _out(self, stored: dict[str, Any] | None) -> Document | None:
        if stored is not None:
            stored[self._id_field] = stored.pop("_id")
        return stored
