"""A transaction of MongoDB: DAOs bound to a session."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final, TypeVar

import anyio
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import ConnectionFailure, PyMongoError

from persistence.documents.database import Transaction
from persistence.documents.mongodb.connection import NO_COLLECTION, Call, Connection
from persistence.documents.mongodb.failures import Failures
from persistence.documents.values import Id
from persistence.errors import PersistenceError

T = TypeVar("T")

_ABORT_TIMEOUT: Final = 5.0


class MongoTransaction(Transaction):
    """DAOs bound to a session with an open transaction."""

    def __init__(self, connection: Connection, session: AsyncClientSession) -> None:
        super().__init__(connection)
        self._connection = connection
        self.session = session
        self._one_at_a_time = anyio.Lock()
        self._in_doubt = False

    async def write(self, call: Call[T], failures: Failures, id_: Id | None = None) -> T:
        """Make a call that writes, after all that were given up before."""
        self.check()

        async def step() -> T:
            await self._connection.fence.passed()
            try:
                return await self._connection.start(lambda: call(self.session), limited=True, fenced=True).result()
            except (ConnectionFailure, asyncio.CancelledError):
                self._in_doubt = True
                raise

        async with self._one_at_a_time:
            return await self._connection.run(step, failures, id_)

    read = write

    async def commit(self) -> None:
        """Commit what was written."""

        async def commit(_: object) -> None:
            while True:
                try:
                    return await self.session.commit_transaction()
                except PyMongoError as error:
                    # The answer was lost; committing again is safe and gives it once more.
                    if error.timeout or not error.has_error_label("UnknownTransactionCommitResult"):
                        raise

        await self.write(commit, NO_COLLECTION)

    async def end(self) -> None:
        """End the session, which aborts what is not committed; if a call was not answered, in the background."""
        self.open = False

        async def end() -> None:
            if self._in_doubt:
                self._connection.fence.add_session(self.session)
            else:
                await self._connection.start(self.session.end_session, limited=True).result()

        with anyio.move_on_after(_ABORT_TIMEOUT, shield=True), contextlib.suppress(PersistenceError):
            await self._connection.run(end)
