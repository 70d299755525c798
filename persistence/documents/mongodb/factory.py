"""The MongoDB provider: DAOs over the collections of one database."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import anyio
from pymongo import AsyncMongoClient, IndexModel, MongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import CollectionInvalid, OperationFailure, PyMongoError

from persistence.documents.codec import ModelCodec
from persistence.documents.mongodb.collection import MongoCollection
from persistence.documents.mongodb.decoding import STANDARD, Reader
from persistence.documents.mongodb.failures import Failures, translated
from persistence.documents.mongodb.filters import Filters
from persistence.documents.mongodb.lane import Client, QuickLane, Stored
from persistence.documents.mongodb.loops import Loop, make_loop
from persistence.documents.mongodb.transaction import MongoTransaction
from persistence.documents.mongodb.waiting import find_home
from persistence.documents.naming import check_collection
from persistence.documents.protocol import Dao, DaoFactory, Id, Index, SurrogateDao, Transaction
from persistence.documents.transactions import repeat_on_conflict
from persistence.documents.typed_dao import TypedDao, TypedSurrogateDao, check_creation_model, id_maker, make_codec
from persistence.errors import Closed, DeadlineExceeded

M = TypeVar("M")
C = TypeVar("C")
T = TypeVar("T")

_EXISTS: Final = 48
_ABORT_DEADLINE: Final = 5.0
_NO_FAILURES: Final = Failures("", {})


class MongoDaoFactory(DaoFactory):
    """DAOs over one MongoDB database, through PyMongo's asyncio client.

    Transactions need a replica set (one member is enough). What the URI can say, it says: hosts,
    credentials, `replicaSet`, `tls`, `tlsCAFile`, `w`, `readConcernLevel`, `readPreference`.

    Args:
        uri: `mongodb://` or `mongodb+srv://`.
        database: its name.
        deadline: seconds that any one call may take.
        options: further options of `AsyncMongoClient`.
        make_loop: makes what runs that client; by default what suits the system and the library that runs.
    """

    def __init__(
        self,
        uri: str,
        database: str,
        *,
        deadline: float = 15.0,
        options: Mapping[str, Any] | None = None,
        make_loop: Callable[[], Loop] = make_loop,
    ) -> None:
        self._uri = uri
        self._database_name = database
        self._deadline = deadline
        self._options = dict(options or {})
        self._make_loop = make_loop
        self._loop: Loop | None = None
        self._lane: QuickLane | None = None
        self._blocking: dict[str, Stored] = {}
        self._under_way = 0
        self._client: AsyncMongoClient[dict[str, Any]] | None = None
        self._database: AsyncDatabase[dict[str, Any]] | None = None

    @property
    def session(self) -> AsyncClientSession | None:
        """None: calls of the factory's own DAOs are in no transaction."""
        return None

    async def __aenter__(self) -> Self:
        loop = self._make_loop()
        await loop.start()
        self._loop = loop
        try:
            await self.call(self._connect, _NO_FAILURES)
        except BaseException:
            self._loop = None
            await loop.stop()
            raise
        self._blocking = {}
        self._lane = QuickLane(self._connect_lane, find_home())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        loop, self._loop = self._loop, None
        lane, self._lane = self._lane, None
        client, self._client, self._database = self._client, None, None
        if loop is None:
            return
        try:
            if lane is not None:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(lane.close)
            if client is not None:
                with anyio.move_on_after(_ABORT_DEADLINE, shield=True):
                    await loop.run(client.close)
        finally:
            await loop.stop()

    async def dao(self, name: str, model: type[M], *, id_field: str, indexes: Sequence[Index] = ()) -> Dao[M]:
        codec = make_codec(model, id_field, indexes)
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
        codec = make_codec(model, id_field, indexes)
        check_creation_model(codec, creation_model)
        maker = id_maker(codec, make_id)
        return TypedSurrogateDao(await self._collection(name, codec, indexes), codec, creation_model, maker)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        session = await self.call(self._start, _NO_FAILURES)
        transaction = MongoTransaction(self, session)
        try:
            yield transaction
            await self._commit(session)
        finally:
            transaction.open = False
            # Ending a session aborts what it has not committed.
            with anyio.move_on_after(_ABORT_DEADLINE, shield=True):
                await self._quietly(session.end_session)

    async def with_transaction(self, work: Callable[[Transaction], Awaitable[T]], *, attempts: int = 20) -> T:
        return await repeat_on_conflict(self, work, attempts)

    async def call(
        self, call: Callable[[], Awaitable[T]], failures: Failures, id_: Id | None = None, *, brief: bool = False
    ) -> T:
        """Run a call of PyMongo within the deadline and translate its errors."""
        if self._loop is None:
            raise Closed("The database")
        answer = self._loop.run(call, self._deadline, brief=brief and not self._under_way)
        return await self._ended(answer, failures, id_)

    @property
    def alone(self) -> bool:
        """Whether nothing else is under way, and the lane is free and the quicker way."""
        return self.alone_to_insert and self._loop is not None and not self._loop.prompt

    @property
    def alone_to_insert(self) -> bool:
        """Whether nothing else is under way, and the lane is free."""
        return self._lane is not None and not self._under_way and self._lane.free

    async def quick_call(
        self,
        name: str,
        call: Callable[[Stored], T],
        failures: Failures,
        id_: Id | None = None,
        *,
        brief: bool = False,
    ) -> T:
        """Run a call of PyMongo's blocking client on the collection, if `alone` or `alone_to_insert`."""
        if self._lane is None or self._loop is None:
            raise Closed("The database")
        began = time.monotonic()

        def run(client: Client) -> T:
            stored = self._blocking.get(name)
            if stored is None:
                stored = self._blocking[name] = client.get_database(self._database_name, codec_options=STANDARD)[name]
            return call(stored)

        found = await self._ended(self._lane.run(run, self._deadline), failures, id_)
        if brief:
            self._loop.took(time.monotonic() - began)
        return found

    async def _ended(self, answer: Awaitable[T], failures: Failures, id_: Id | None) -> T:
        self._under_way += 1
        try:
            return await answer
        except (PyMongoError, OverflowError) as error:
            raise failures.translated(error, id_) from error
        except TimeoutError as error:
            raise DeadlineExceeded(f"The database did not answer within {self._deadline} s.") from error
        finally:
            self._under_way -= 1

    async def now(self) -> datetime:
        database = self._database
        if database is None:
            raise Closed("The database")
        answer = await self.call(lambda: database.command("hello"), _NO_FAILURES)
        return datetime.fromtimestamp(answer["localTime"].timestamp(), UTC)

    async def drop_database(self) -> None:
        """Delete the whole database: for tests."""
        client = self._client
        if client is None:
            raise Closed("The database")
        await self.call(lambda: client.drop_database(self._database_name), _NO_FAILURES)

    def _client_options(self, **further: Any) -> dict[str, Any]:
        return {
            "serverSelectionTimeoutMS": int(self._deadline * 800),
            "connectTimeoutMS": int(self._deadline * 800),
            "appname": "persistence",
            **further,
            **self._options,
        }

    def _connect_lane(self) -> Client:
        # Nobody but these timeouts ends a call in a thread, and one monitor of each server is enough.
        further = {"socketTimeoutMS": int(self._deadline * 1000), "serverMonitoringMode": "poll", "maxPoolSize": 1}
        return MongoClient(self._uri, **self._client_options(**further))

    async def _connect(self) -> None:
        self._client = AsyncMongoClient(self._uri, **self._client_options())
        self._database = self._client.get_database(self._database_name, codec_options=STANDARD)
        await self._database.command("ping")

    async def _start(self) -> AsyncClientSession:
        if self._client is None:
            raise Closed("The database")
        session = self._client.start_session()
        await session.start_transaction()
        return session

    async def _commit(self, session: AsyncClientSession) -> None:
        async def commit() -> None:
            while True:
                try:
                    return await session.commit_transaction()
                except PyMongoError as error:
                    # The answer was lost; committing again is safe and gives it once more.
                    if not error.has_error_label("UnknownTransactionCommitResult"):
                        raise

        await self.call(commit, _NO_FAILURES)

    async def _quietly(self, call: Callable[[], Awaitable[None]]) -> None:
        try:
            if self._loop is not None:
                await self._loop.run(call)
        except PyMongoError:
            # The server ends a transaction by itself when nobody speaks for it any more.
            pass

    async def _collection(self, name: str, codec: ModelCodec[Any], indexes: Sequence[Index]) -> MongoCollection:
        database = self._database
        if database is None:
            raise Closed("The database")
        stored = database[check_collection(name)]
        filters = Filters(codec.id_field, codec.shape.may_be_list)
        failures = Failures(name, {index.name: index.fields for index in indexes})
        models = [
            IndexModel(
                # Ending with the id makes the index give the whole order of a sorted query.
                filters.sort(
                    (*((field, 1) for field in index.fields), *(() if index.unique else ((codec.id_field, 1),)))
                ),
                name=index.name,
                unique=index.unique,
            )
            for index in indexes
        ]

        async def create() -> None:
            try:
                await database.create_collection(name)
            except CollectionInvalid:
                pass
            except OperationFailure as error:
                if error.code != _EXISTS:
                    raise
            if models:
                await stored.create_indexes(models)

        await self.call(create, failures)
        return MongoCollection(self, self, stored, name, codec.id_field, Reader(codec), filters, failures)


__all__ = ["MongoDaoFactory", "translated"]
