"""The provider under test, as the cases of a suite see it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Protocol

import attrs

from persistence.documents import DaoFactory
from persistence.errors import BucketNotFound
from persistence.objects.naming import MIN_PART_SIZE
from persistence.objects.protocol import ObjectStorage
from persistence.objects.values import PresignedPost


@attrs.frozen
class Answer:
    """An HTTP response: status, headers with lower-case names, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Sender(Protocol):
    """Sends requests to presigned URLs: over the network, or to a gateway in the same process."""

    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """Send a request and return the response, whatever its status."""
        ...

    async def post(self, form: PresignedPost, content: bytes) -> Answer:
        """Send a presigned form with content and return the response."""
        ...


@attrs.frozen
class StorageHarness:
    """An open storage to test.

    Attributes:
        storage: the provider under test.
        sender: sends requests to its presigned URLs.
        wait: advances the clock that its presigned URLs are checked against, by seconds.
        part_size: bytes of every part but the last.
        differences: names of the declared differences of its server (docs/persistence.md).
    """

    storage: ObjectStorage
    sender: Sender
    wait: Callable[[float], Awaitable[None]]
    part_size: int = MIN_PART_SIZE
    differences: frozenset[str] = frozenset()

    @asynccontextmanager
    async def bucket(self) -> AsyncIterator[str]:
        """A new bucket, deleted with its content at the end of the block."""
        name = f"suite-{secrets.token_hex(8)}"
        await self.storage.create_bucket(name)
        try:
            yield name
        finally:
            with suppress(BucketNotFound):
                await self.storage.delete_bucket(name, with_content=True)


@attrs.frozen
class DaoHarness:
    """An open database to test.

    Attributes:
        factory: the provider under test.
        make_factory: makes another factory of the same database, not opened.
    """

    factory: DaoFactory
    make_factory: Callable[[], DaoFactory]

    def name(self) -> str:
        """A collection name that is not in use."""
        return f"suite_{secrets.token_hex(8)}"
