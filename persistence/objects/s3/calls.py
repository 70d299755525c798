"""Calls of the boto3 client: in threads, within deadlines, with errors of this package."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from persistence.errors import BucketNotFound, Closed, ObjectNotFound, PersistenceError
from persistence.objects.s3.failures import Target, translated
from persistence.objects.s3.presigning import Presigner
from persistence.objects.s3.settings import S3Settings, make_client, make_presigner
from persistence.threads import Threads

T = TypeVar("T")


_MAKING = 60.0
"""Seconds for making a client."""


class Calls:
    """The client of one storage and the threads that use it."""

    def __init__(self, settings: S3Settings) -> None:
        self.settings = settings
        self._client: Any = None
        self._threads: Threads | None = None
        self._presigner = make_presigner(settings)

    async def open(self) -> None:
        """Make the client (which reads boto3's service description from disk)."""
        settings = self.settings
        self._threads = Threads(settings.max_threads, deadline=settings.deadline, what=settings.where)
        # No server is asked, so this is no matter of the calls' deadline: a cold disk may take its time.
        self._client = await self._threads.run(lambda _: make_client(settings), deadline=_MAKING)

    def close(self) -> None:
        """Close the connections that nobody uses."""
        client, self._client, self._threads = self._client, None, None
        if client is not None:
            client.close()

    @property
    def presigner(self) -> Presigner | None:
        """Our own signing, where server and keys are given and not found by boto3; `Closed`."""
        if self._client is None:
            raise Closed("The storage")
        return self._presigner

    @property
    def client(self) -> Any:
        """The client, for presigning, which makes no network call; `Closed`."""
        if self._client is None:
            raise Closed("The storage")
        return self._client

    def target(self, bucket: str = "", object_id: str = "", upload_id: str = "", **more: Any) -> Target:
        """What a call is about."""
        return Target(self.settings.where, bucket, object_id, upload_id, **more)

    async def run(
        self, call: Callable[[Any, threading.Event], T], target: Target, *, deadline: float | None = None
    ) -> T:
        """Run a call with the client in a thread."""
        client = self.client
        assert self._threads is not None
        try:
            return await self._threads.run(lambda gone: call(client, gone), deadline=deadline)
        except (ClientError, BotoCoreError, HTTPError, OSError) as error:
            raise translated(error, target) from error

    async def api(self, operation: str, target: Target, **arguments: Any) -> Any:
        """Run one operation by its name in boto3."""
        return await self.run(lambda client, _: getattr(client, operation)(**arguments), target)

    async def which_is_missing(self, bucket: str, object_id: str) -> PersistenceError:
        """After a HEAD without an answer's body: whether the bucket or the object is missing."""
        try:
            await self.api("head_bucket", self.target(bucket), Bucket=bucket)
        except BucketNotFound as error:
            return error
        return ObjectNotFound(bucket, object_id)
