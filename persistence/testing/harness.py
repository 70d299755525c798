"""What a suite needs of the provider it is run against."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Protocol

import attrs

from persistence.documents.protocol import DaoFactory
from persistence.errors import BucketNotFound
from persistence.objects.naming import MIN_PART_SIZE
from persistence.objects.protocol import ObjectStorage, PresignedPost


@attrs.frozen
class Answer:
    """An HTTP response: status, headers with lower-case names, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Sender(Protocol):
    """Sends requests to presigned URLs: over the network, or to a stand-in within the process."""

    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """Send a request and give the answer, whatever its status."""
        ...

    async def post(self, form: PresignedPost, content: bytes) -> Answer:
        """Post a form with content."""
        ...


@attrs.frozen
class StorageHarness:
    """A storage to test, opened.

    Attributes:
        storage: the provider.
        sender: reaches its presigned URLs.
        wait: lets seconds pass, as its URLs see them.
        part_size: bytes of a part that is not the last.
        differences: names of declared differences of the server behind it; see the docs.
    """

    storage: ObjectStorage
    sender: Sender
    wait: Callable[[float], Awaitable[None]]
    part_size: int = MIN_PART_SIZE
    differences: frozenset[str] = frozenset()

    @asynccontextmanager
    async def bucket(self) -> AsyncIterator[str]:
        """A fresh bucket, deleted with its content afterwards."""
        name = f"suite-{secrets.token_hex(8)}"
        await self.storage.create_bucket(name)
        try:
            yield name
        finally:
            with suppress(BucketNotFound):
                await self.storage.delete_bucket(name, with_content=True)


@attrs.frozen
class DaoHarness:
    """A database to test, opened."""

    factory: DaoFactory

    def name(self) -> str:
        """A fresh collection name."""
        return f"suite_{secrets.token_hex(8)}"
