"""Keeps writes that were given up from taking effect after later ones."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure

from persistence.documents.mongodb.operation import Operation

_COLLECTION: Final = "persistence_fence"
"""Never created: what is deleted from it matches nothing."""
_UNAUTHORIZED: Final = 13


class WriteFence:
    """Delays writes until none that was given up before can take effect any more.

    A command that was given up may still be in a buffer of the server, or of a proxy, and be executed later, although
    its connection is closed. But MongoDB numbers the writes of a session and rejects one whose number is lower than
    the last it has seen (`TransactionTooOld`; "Retryable Writes" and "Driver Sessions" of MongoDB's specifications),
    and it executes the writes of a session one after the other. So each write has a session of its own; if it was
    given up, the fence makes a further write in that session, which changes nothing. Once the server has acknowledged
    it, the earlier one has taken effect or never will. For a transaction the same aborts it.

    This needs retryable writes, which a server that is no replica set does not have, and a user that may delete from
    the database.

    Args:
        database: the database that is written to.
        start: starts an operation.
    """

    def __init__(
        self, database: AsyncDatabase[dict[str, Any]], start: Callable[[Callable[[], Awaitable[None]]], Operation[None]]
    ) -> None:
        self._database = database
        self._start = start
        self._given_up: set[asyncio.Task[Any]] = set()
        self._sessions: list[AsyncClientSession] = []
        self._fencing: Operation[None] | None = None

    def add_task(self, task: asyncio.Task[Any]) -> None:
        """Fence off a write that was given up and still runs."""
        self._given_up.add(task)
        task.add_done_callback(self._given_up.discard)
        self._begin()

    def add_session(self, session: AsyncClientSession) -> None:
        """Fence off what was sent in a session and not answered; the session is ended then."""
        self._sessions.append(session)
        self._begin()

    async def passed(self) -> None:
        """Wait until nothing that was given up before can take effect any more; errors are PyMongo's."""
        while self._given_up or self._sessions:
            begun_here, fencing = self._begin()
            try:
                await asyncio.shield(fencing.task)
            except Exception:
                # A fence that began earlier has less time than this caller.
                if begun_here:
                    raise

    def _begin(self) -> tuple[bool, Operation[None]]:
        if self._fencing is not None and not self._fencing.task.done():
            return False, self._fencing
        self._fencing = self._start(self._fence)
        # Retrieved, since no write may come that waits for it.
        self._fencing.task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return True, self._fencing

    async def _fence(self) -> None:
        while self._given_up or self._sessions:
            if self._given_up:
                await asyncio.wait(self._given_up)
            for error in await asyncio.gather(*map(self._fence_session, self._sessions), return_exceptions=True):
                if error is not None:
                    raise error

    async def _fence_session(self, session: AsyncClientSession) -> None:
        # The write may wait for a lock: the server need not know yet that its connection is closed.
        await self._database.client.admin.command({"killSessions": [session.session_id]})
        if session.in_transaction:
            await session.abort_transaction()
        try:
            await self._database[_COLLECTION].delete_one({"_id": {"$in": []}}, session=session)
        except OperationFailure as error:
            if error.code != _UNAUTHORIZED:
                raise
        self._sessions.remove(session)
        await session.end_session()
