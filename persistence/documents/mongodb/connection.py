"""PyMongo's asyncio client, with each call within a deadline, for tasks of asyncio and of trio."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final, TypeVar

import anyio
import sniffio
from bson.errors import BSONError
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import ConnectionFailure, PyMongoError, ServerSelectionTimeoutError

from persistence.documents.database import Database
from persistence.documents.mongodb.decoding import CODEC_OPTIONS
from persistence.documents.mongodb.failures import Failures
from persistence.documents.mongodb.loop_thread import LoopThread
from persistence.documents.mongodb.operation import Operation
from persistence.documents.mongodb.write_fence import WriteFence
from persistence.documents.values import Id
from persistence.errors import DeadlineExceeded

T = TypeVar("T")

Session = AsyncClientSession | None
NO_COLLECTION: Final = Failures("", "")
Call = Callable[[Session], Awaitable[T]]
"""A call of PyMongo, given the session it is made in."""

_CLOSE_TIMEOUT: Final = 2.0
_DRIVER_SHARE: Final = 0.9
"""Share of the deadline after which PyMongo and the server end a call, so that their error is seen."""
_SELECTION_SHARE: Final = 0.8
"""Share of the deadline after which PyMongo gives up finding a server."""


class Connection(Database):
    """The client of one database, on the running asyncio loop, or under trio on one in a thread.

    Attributes:
        session: none, since calls are in no transaction.
        stored: the database of PyMongo.
        fence: what writes wait for.

    Args:
        uri: `mongodb://` or `mongodb+srv://`.
        database: its name.
        deadline: seconds that any one call may take.
        options: further options of `AsyncMongoClient`.
    """

    session: Session = None

    def __init__(self, uri: str, database: str, deadline: float, options: Mapping[str, Any]) -> None:
        super().__init__()
        self._uri = uri
        self._name = database
        self._deadline = deadline
        self._options = {
            "serverSelectionTimeoutMS": int(deadline * _SELECTION_SHARE * 1000),
            "connectTimeoutMS": int(deadline * _SELECTION_SHARE * 1000),
            "appname": "persistence",
            **options,
        }
        self._client: AsyncMongoClient[dict[str, Any]] | None = None
        self._thread: LoopThread | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        if sniffio.current_async_library() == "trio":
            self._thread = LoopThread()
        await self.run(self._connect)

    async def close(self) -> None:
        """See `persistence.documents.database.Database`. Calls that still run fail."""
        try:
            if self._client is not None:
                with anyio.move_on_after(_CLOSE_TIMEOUT, shield=True), contextlib.suppress(PyMongoError):
                    await self._on_loop(self.fence.passed)
                with anyio.CancelScope(shield=True):
                    await self._on_loop(self._disconnect)
        finally:
            if self._thread is not None:
                await self._thread.stop()

    async def read(self, call: Call[T], failures: Failures = NO_COLLECTION) -> T:
        """Make a call that changes nothing."""
        return await self.run(lambda: self.start(lambda: call(None)).result(), failures)

    async def write(self, call: Call[T], failures: Failures, id_: Id | None = None) -> T:
        """Make a call that writes, after all that were given up before."""

        async def write() -> T:
            await self.fence.passed()
            return await self.start_write(call).result()

        return await self.run(write, failures, id_)

    async def run(
        self, call: Callable[[], Awaitable[T]], failures: Failures = NO_COLLECTION, id_: Id | None = None
    ) -> T:
        """Await a call on the client's loop.

        Args:
            call: uses the methods of this class that run there.
            failures: translates the errors of PyMongo for a collection.
            id_: of the document that is written.

        Raises:
            DeadlineExceeded: it did not end within the deadline, and was ended on its connection.
            PersistenceError: what PyMongo's error means.
        """
        self.check()

        async def within_deadline() -> T:
            async with asyncio.timeout(self._deadline):
                return await call()

        try:
            return await self._on_loop(within_deadline)
        except (PyMongoError, BSONError, OverflowError) as error:
            raise failures.translated(error, id_) from error
        except TimeoutError as error:
            raise DeadlineExceeded(f"The database did not answer within {self._deadline:g} s.") from error

    def start(
        self, call: Callable[[], Awaitable[T]], *, limited: bool = False, fenced: bool = False, callers: int = 1
    ) -> Operation[T]:
        """Start a call of PyMongo, on the client's loop.

        Args:
            call: the call.
            limited: whether PyMongo and the server end it by the deadline, too. The server would apply that to the
                sum of all batches of a cursor.
            fenced: whether later writes wait for its end if it is given up.
            callers: how many share it.
        """
        operation = Operation(
            call,
            self._deadline * _DRIVER_SHARE if limited else None,
            callers=callers,
            on_give_up=self.fence.add_task if fenced else None,
        )
        self._tasks.add(operation.task)
        operation.task.add_done_callback(self._tasks.discard)
        return operation

    def start_write(self, call: Call[T], *, callers: int = 1) -> Operation[T]:
        """Start a write in a session of its own, on the client's loop; `fence.passed` comes first."""

        async def in_session() -> T:
            if not self.stored.write_concern.acknowledged:
                return await call(None)
            session = self.stored.client.start_session(causal_consistency=False)
            in_doubt = False
            try:
                return await call(session)
            except (ConnectionFailure, asyncio.CancelledError) as error:
                in_doubt = not isinstance(error, ServerSelectionTimeoutError)  # before which nothing was sent
                raise
            finally:
                if in_doubt:
                    self.fence.add_session(session)
                else:
                    await session.end_session()

        return self.start(in_session, limited=True, fenced=True, callers=callers)

    async def _connect(self) -> None:
        client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(self._uri, **self._options)
        self.stored = client.get_database(self._name, codec_options=CODEC_OPTIONS)  # fails for names that are none
        self._client = client
        self.fence = WriteFence(self.stored, lambda call: self.start(call, limited=True))
        await self.start(lambda: self.stored.command("ping")).result()

    async def _disconnect(self) -> None:
        closing = Operation(self.stored.client.close, _CLOSE_TIMEOUT)
        # None of PyMongo's calls may be left, for loops cancel them when they end: see `Operation`.
        await asyncio.wait({closing.task, *self._tasks}, timeout=2 * _CLOSE_TIMEOUT)

    async def _on_loop(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if self._thread is None:
            return await call()
        return await self._thread.run(call)
