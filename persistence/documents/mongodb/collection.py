"""One collection of MongoDB: the calls of its documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from pymongo import InsertOne, ReplaceOne, ReturnDocument
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.cursor import AsyncCursor
from pymongo.errors import BulkWriteError

from persistence.documents.changes import Changes
from persistence.documents.codec import Document, ModelCodec
from persistence.documents.collection import Query, Write
from persistence.documents.mongodb.batching import Batcher
from persistence.documents.mongodb.caller import Caller, Shortcut
from persistence.documents.mongodb.commands import answer, find_command, first_batch
from persistence.documents.mongodb.decoding import Reader, encoded
from persistence.documents.mongodb.failures import Failures
from persistence.documents.mongodb.filters import Filters
from persistence.documents.protocol import Id
from persistence.documents.query import And, Or, Term, keyset
from persistence.errors import DocumentNotFound, PersistenceError, ServiceFailed

M = TypeVar("M")
T = TypeVar("T")

_PAGE: Final = 1000
"""Documents of a query, or of a deletion by ids, per round trip."""


class MongoCollection:
    """Documents whose id field is stored as `_id`."""

    def __init__(
        self,
        caller: Caller,
        shortcut: Shortcut | None,
        stored: AsyncCollection[dict[str, Any]],
        name: str,
        id_field: str,
        reader: Reader,
        filters: Filters,
        failures: Failures,
    ) -> None:
        self.name = name
        self.stored = stored
        self._caller = caller
        self._shortcut = shortcut
        self._id_field = id_field
        self._reader = reader
        self._filters = filters
        self._failures = failures
        self._gets: Batcher[Id] = Batcher(self._get_several)
        self._inserts: Batcher[Id] = Batcher(self._insert_several)

    @property
    def runner(self) -> Caller:
        """See `persistence.documents.collection.Collection`."""
        return self._caller

    def on(self, runner: Caller) -> MongoCollection:
        """See `persistence.documents.collection.Collection`; it has no shortcut."""
        return MongoCollection(
            runner, None, self.stored, self.name, self._id_field, self._reader, self._filters, self._failures
        )

    async def get(self, id_: Id) -> Document | None:
        """See `persistence.documents.collection.Collection`."""
        caller, shortcut = self._caller, self._shortcut
        if shortcut is not None and shortcut.alone:
            command = find_command(self.stored, {"_id": id_}, 1)
            documents = await shortcut.quick_call(
                self.name, lambda stored: answer(stored, command), self._failures, brief=True
            )
            found = documents[0] if documents else None
        elif caller.session is None:
            found = await caller.call(lambda: self._gets.call(id_), self._failures, brief=True)
        else:
            found = await caller.call(
                lambda: self.stored.find_one({"_id": id_}, session=caller.session), self._failures
            )
        return self._out(found)

    async def page(self, position: Any) -> tuple[list[Document], Any]:
        """See `persistence.documents.collection.Collection`."""
        if isinstance(position, Query) and position.limit == 1:
            return await self._first(position), None
        cursor = self._find(position) if isinstance(position, Query) else position

        documents = await self._caller.call(lambda: cursor.to_list(_PAGE), self._failures)
        return documents, cursor if cursor.alive or len(documents) == _PAGE else None

    def loader(self, codec: ModelCodec[M]) -> Callable[[Any], M]:
        """See `persistence.documents.collection.Collection`."""
        return self._reader.load

    async def count(self, term: Term) -> int:
        """See `persistence.documents.collection.Collection`."""
        where = self._filters.filter(term)
        caller = self._caller
        return await caller.call(lambda: self.stored.count_documents(where, session=caller.session), self._failures)

    async def write(self, write: Write) -> None:
        """See `persistence.documents.collection.Collection`."""
        if write.document is None:
            await self.remove(write.id)
        elif write.kind == "insert":
            await self.insert(write.id, write.document)
        else:
            matched = await self._replace(write.id, write.document, upsert=write.kind == "upsert")
            if write.kind == "replace" and not matched:
                raise DocumentNotFound(self.name, write.id)

    async def insert(self, id_: Id, document: Document) -> None:
        """See `persistence.documents.collection.Collection`."""
        caller, shortcut, stored = self._caller, self._shortcut, self._in(id_, document)
        if shortcut is not None and shortcut.alone_to_insert and self.stored.write_concern.acknowledged:
            await shortcut.quick_call(self.name, lambda there: there.insert_one(stored), self._failures, id_)
        elif caller.session is None:
            await caller.call(lambda: self._inserts.call(id_, stored), self._failures, id_)
        else:
            await caller.call(lambda: self.stored.insert_one(stored, session=caller.session), self._failures, id_)

    async def remove(self, id_: Id) -> None:
        """See `persistence.documents.collection.Collection`."""
        caller = self._caller
        result = await caller.call(lambda: self.stored.delete_one({"_id": id_}, session=caller.session), self._failures)
        if result.deleted_count == 0:
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
        caller = self._caller
        found = await caller.call(
            lambda: self.stored.find_one_and_update(
                where, update, return_document=ReturnDocument.AFTER, session=caller.session
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
        if not writes:
            return {}
        if writes[0].kind == "delete":
            return await self._remove_many([write.id for write in writes])
        requests: list[Any] = []
        for write in writes:
            stored = self._in(write.id, write.document or {})
            if write.kind == "insert":
                requests.append(InsertOne(stored))
            else:
                requests.append(ReplaceOne({"_id": write.id}, stored, upsert=write.kind == "upsert"))
        caller = self._caller
        failed: dict[Id, PersistenceError] = {}
        counts: dict[str, Any] = {}

        async def write_all() -> None:
            try:
                result = await self.stored.bulk_write(requests, ordered=False, session=caller.session)
                counts.update(result.bulk_api_result)
            except BulkWriteError as error:
                if error.has_error_label("TransientTransactionError"):
                    raise
                for entry in error.details["writeErrors"]:
                    id_ = writes[entry["index"]].id
                    failed[id_] = self._failures.write_error(entry, id_)
                if not failed:
                    raise ServiceFailed(f"The batch was not confirmed: {error}.") from error
                counts.update(error.details)

        await caller.call(write_all, self._failures)
        if writes[0].kind == "replace" and counts.get("nMatched", len(writes)) + len(failed) < len(writes):
            return failed | await self._replace_present([write for write in writes if write.id not in failed], counts)
        return failed

    async def _replace_present(self, writes: list[Write], counts: dict[str, Any]) -> dict[Id, PersistenceError]:
        """Say which documents of a batch were missing; replace those again that may have come meanwhile."""
        caller = self._caller
        where = {"_id": {"$in": [write.id for write in writes]}}
        found = await caller.call(
            lambda: self.stored.find(where, {"_id": 1}, session=caller.session).to_list(), self._failures
        )
        present = {entry["_id"] for entry in found}
        missing = {write.id: DocumentNotFound(self.name, write.id) for write in writes if write.id not in present}
        if counts["nMatched"] + len(missing) == len(writes):
            return {**missing}
        return missing | await self.write_many([write for write in writes if write.id in present])

    async def _remove_many(self, ids: list[Id]) -> dict[Id, PersistenceError]:
        caller = self._caller
        failed: dict[Id, PersistenceError] = {}
        for start in range(0, len(ids), _PAGE):
            where = {"_id": {"$in": ids[start : start + _PAGE]}}

            async def remove() -> list[dict[str, Any]]:
                found = await self.stored.find(where, {"_id": 1}, session=caller.session).to_list()  # noqa: B023
                await self.stored.delete_many(where, session=caller.session)  # noqa: B023
                return found

            known = {entry["_id"] for entry in await caller.call(remove, self._failures)}
            for id_ in ids[start : start + _PAGE]:
                if id_ not in known:
                    failed[id_] = DocumentNotFound(self.name, id_)
        return failed

    async def _first(self, query: Query) -> list[Document]:
        where = self._where(query)
        sort = self._filters.sort(query.sort)
        caller, shortcut = self._caller, self._shortcut
        if shortcut is not None and shortcut.alone and not query.skip:
            command = find_command(self.stored, where, 1, sort)
            return await shortcut.quick_call(
                self.name, lambda stored: answer(stored, command), self._failures, brief=True
            )

        async def first() -> dict[str, Any] | None:
            if caller.session is not None or query.skip:
                return await self.stored.find_one(where, sort=sort, skip=query.skip, session=caller.session)
            found = await self._quick_find(where, 1, sort)
            return found[0] if found else None

        document = await caller.call(first, self._failures, brief=True)
        return [] if document is None else [document]

    async def _quick_find(
        self, where: dict[str, Any], limit: int, sort: list[tuple[str, int]] | None = None
    ) -> list[dict[str, Any]]:
        stored = self.stored
        command = find_command(stored, where, limit, sort)
        reply = await stored.database.command(
            command, read_preference=stored.read_preference, codec_options=stored.codec_options
        )
        return first_batch(reply)

    async def _get_several(self, entries: list[tuple[Id, Any]]) -> list[Any]:
        if len(entries) == 1:
            return [*await self._quick_find({"_id": entries[0][0]}, 1)] or [None]
        ids = list({id_ for id_, _ in entries})
        documents = await self._quick_find({"_id": {"$in": ids}}, len(ids))
        found = {document["_id"]: document for document in documents}
        return [dict(found[id_]) if id_ in found else None for id_, _ in entries]

    async def _insert_several(self, entries: list[tuple[Id, Any]]) -> list[Any]:
        if len(entries) == 1:
            await self.stored.insert_one(entries[0][1])
            return [None]
        results: list[Any] = [None] * len(entries)
        try:
            await self.stored.insert_many([stored for _, stored in entries], ordered=False)
        except BulkWriteError as error:
            if not error.details["writeErrors"]:
                raise
            for entry in error.details["writeErrors"]:
                position = entry["index"]
                results[position] = self._failures.write_error(entry, entries[position][0])
        return results

    def _find(self, query: Query) -> AsyncCursor[dict[str, Any]]:
        return self._reader.reading(self.stored).find(
            encoded(self._where(query)),
            sort=self._filters.sort(query.sort) if query.ordered else None,
            batch_size=_PAGE,
            skip=query.skip,
            limit=query.limit or 0,
            session=self._caller.session,
        )

    def _where(self, query: Query) -> dict[str, Any]:
        if query.after is None:
            return self._filters.filter(query.term)
        return self._filters.filter(And((query.term, Or(keyset(query.sort, query.after)))))

    async def _replace(self, id_: Id, document: Document, *, upsert: bool) -> int:
        caller, stored = self._caller, self._in(id_, document)
        result = await caller.call(
            lambda: self.stored.replace_one({"_id": id_}, stored, upsert=upsert, session=caller.session),
            self._failures,
            id_,
        )
        return result.matched_count

    def _in(self, id_: Id, document: Document) -> dict[str, Any]:
        stored = {"_id": id_, **document}
        del stored[self._id_field]
        return stored

    def _out(self, stored: dict[str, Any] | None) -> Document | None:
        if stored is not None:
            stored[self._id_field] = stored.pop("_id")
        return stored
