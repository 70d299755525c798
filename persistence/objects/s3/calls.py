"""Calls of the boto3 client: in threads, within deadlines, with errors of this package."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple, TypeVar

import anyio

from persistence.errors import Closed, ObjectNotFound, PersistenceError
from persistence.objects.s3.bodies import GuardedReader
from persistence.objects.s3.failures import Target, translated
from persistence.objects.s3.presigning import Presigner
from persistence.objects.s3.settings import S3Settings, connect
from persistence.threads import CallerCancelled, Threads

T = TypeVar("T")

_OPENING: Final = 60.0
"""Seconds for creating a client."""
_CLEANUP: Final = 5.0
"""Seconds for removing what a failed call has created."""
_SLOWEST: Final = 1024**2
"""Bytes per second below which a transfer counts as hanging."""


class Connection(NamedTuple):
    """The client of an open storage, the threads that use it, and what signs its URLs."""

    client: Any
    threads: Threads
    presigner: Presigner


class Calls:
    """The calls of one storage."""

    def __init__(self, settings: S3Settings) -> None:
        self.settings = settings
        self._connection: Connection | None = None

    async def open(self) -> None:
        """Create the client (which reads boto3's service description from disk)."""
        settings = self.settings
        threads = Threads(settings.max_threads, deadline=settings.deadline, what=settings.where)
        try:
            # No server is involved, so the deadline of calls does not apply: a cold disk may take longer.
            client, presigner = await threads.run(lambda _: connect(settings), deadline=_OPENING)
        except Exception as error:
            raise translated(error, Target(settings.where)) from error
        self._connection = Connection(client, threads, presigner)

    def close(self) -> None:
        """Close the idle connections."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.client.close()

    @property
    def connection(self) -> Connection:
        """The open connection; `Closed` outside of the storage's `async with` block."""
        if self._connection is None:
            raise Closed("The storage")
        return self._connection

    async def run(self, call: Callable[[Any, threading.Event], T], arguments: Mapping[str, Any], *, size: int = 0) -> T:
        """Run a call with the client in a thread.

        Args:
            call: gets the client, and an event that is set when its caller has been cancelled.
            arguments: of the operation in boto3's names, for errors.
            size: bytes to be transferred, which extend the deadline.

        Raises:
            PersistenceError: whatever the call raises.
        """
        client, threads, _ = self.connection
        deadline = self.settings.deadline + size / _SLOWEST
        try:
            return await threads.run(lambda cancelled: call(client, cancelled), deadline=deadline)
        except (PersistenceError, CallerCancelled):
            raise
        except Exception as error:
            names = (arguments.get(name, "") for name in ("Bucket", "Key", "UploadId"))
            raise translated(error, Target(self.settings.where, *names)) from error

    async def api(self, operation: str, **arguments: Any) -> Any:
        """Run one operation by its name in boto3."""
        return await self.run(lambda client, _: getattr(client, operation)(**arguments), arguments)

    async def pages(self, operation: str, **arguments: Any) -> list[Any]:
        """Run a listing, page after page, and return the answers."""
        return await self.run(lambda client, _: list(client.get_paginator(operation).paginate(**arguments)), arguments)

    async def send(self, operation: str, view: memoryview, **arguments: Any) -> Any:
        """Run one operation with a body."""

        def send(client: Any, cancelled: threading.Event) -> Any:
            return getattr(client, operation)(Body=GuardedReader(view, cancelled), **arguments)

        return await self.run(send, arguments, size=len(view))

    async def clean_up(self, operation: str, **arguments: Any) -> None:
        """Run an operation after a failure, for a short while even if cancelled; its own errors are dropped."""
        with anyio.move_on_after(_CLEANUP, shield=True), suppress(PersistenceError):
            await self.api(operation, **arguments)

    async def head(self, bucket: str, object_id: str) -> Any:
        """HEAD of an object; `BucketNotFound`, `ObjectNotFound`."""
        try:
            return await self.api("head_object", Bucket=bucket, Key=object_id)
        except ObjectNotFound:
            # The answer to a HEAD has no body that says which of both is missing.
            with suppress(ObjectNotFound):
                await self.api("head_bucket", Bucket=bucket)
            raise
