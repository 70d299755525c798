"""Calls of the boto3 client: in threads, within deadlines, with errors of this package."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, TypeVar

import anyio

from persistence.errors import Closed, ObjectNotFound, PersistenceError
from persistence.objects.s3.bodies import GuardedReader
from persistence.objects.s3.failures import Target, translated
from persistence.objects.s3.settings import S3Settings, make_client
from persistence.threads import CallerCancelled, Threads

T = TypeVar("T")

_OPENING: Final = 60.0
"""Seconds for creating a client."""
_CLEANUP: Final = 5.0
"""Seconds for removing what a failed call has created."""
_SLOWEST: Final = 1024**2
"""Bytes per second below which a transfer counts as hanging."""


class Calls:
    """The client of one storage and the threads that use it."""

    def __init__(self, settings: S3Settings) -> None:
        self.settings = settings
        self._client: Any = None
        self._threads: Threads | None = None

    async def open(self) -> None:
        """Create the client (which reads boto3's service description from disk)."""
        settings = self.settings
        self._threads = Threads(settings.max_threads, deadline=settings.deadline, what=settings.where)
        try:
            # No server is involved, so the deadline of calls does not apply: a cold disk may take longer.
            self._client = await self._threads.run(lambda _: make_client(settings), deadline=_OPENING)
        except Exception as error:
            raise translated(error, Target(settings.where)) from error

    def close(self) -> None:
        """Close the idle connections."""
        client, self._client, self._threads = self._client, None, None
        if client is not None:
            client.close()

    @property
    def client(self) -> Any:
        """The client; `Closed` outside of the storage's `async with` block."""
        if self._client is None:
            raise Closed("The storage")
        return self._client

    async def run(
        self,
        call: Callable[[Any, threading.Event], T],
        arguments: Mapping[str, Any],
        *,
        size: int = 0,
    ) -> T:
        """Run a call with the client in a thread.

        Args:
            call: gets the client, and an event that is set when its caller has been cancelled.
            arguments: of the operation in boto3's names, for errors.
            size: bytes to be transferred, which extend the deadline.

        Raises:
            PersistenceError: whatever the call raises.
        """
        client, settings = self.client, self.settings
        assert self._threads is not None
        try:
            return await self._threads.run(
                lambda cancelled: call(client, cancelled), deadline=settings.deadline + size / _SLOWEST
            )
        except (PersistenceError, CallerCancelled):
            raise
        except Exception as error:
            names = (arguments.get(name, "") for name in ("Bucket", "Key", "UploadId"))
            raise translated(error, Target(settings.where, *names)) from error

    async def api(self, operation: str, **arguments: Any) -> Any:
        """Run one operation by its name in boto3."""
        return await self.run(lambda client, _: getattr(client, operation)(**arguments), arguments)

    async def send(self, operation: str, view: memoryview, **arguments: Any) -> Any:
        """Run one operation with a body."""

        def send(client: Any, cancelled: threading.Event) -> Any:
            return getattr(client, operation)(Body=GuardedReader(view, cancelled), **arguments)

        return await self.run(send, arguments, size=len(view))

    async def clean_up(self, operation: str, **arguments: Any) -> None:
        """Run an operation after a failure, for a short while even if cancelled; its own errors are dropped."""
        with anyio.move_on_after(_CLEANUP, shield=True):
            with suppress(PersistenceError):
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
