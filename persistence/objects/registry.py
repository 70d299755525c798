"""Storage aliases: each stands for a storage and a bucket in it, since a data hub may have several."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any, Self

import attrs

from persistence.errors import AliasNotFound
from persistence.objects.naming import check_bucket
from persistence.objects.protocol import ObjectStorage


@attrs.frozen
class StoragePlace:
    """The storage and the bucket of an alias."""

    storage: ObjectStorage
    bucket: str = attrs.field(converter=check_bucket)


class StorageRegistry(dict[str, StoragePlace]):
    """Storages and buckets by alias; opens each storage once, and closes them all.

    `registry[alias]` raises `AliasNotFound`, which is no KeyError. Several aliases may share one storage.
    """

    _stack: AsyncExitStack

    def __missing__(self, alias: str) -> StoragePlace:
        raise AliasNotFound(alias, list(self)) from None

    async def __aenter__(self) -> Self:
        storages = {id(place.storage): place.storage for place in self.values()}
        async with AsyncExitStack() as stack:
            for storage in storages.values():
                await stack.enter_async_context(storage)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._stack.__aexit__(*error)

    async def create_buckets(self) -> None:
        """Create the buckets that do not exist yet."""
        for place in self.values():
            if not await place.storage.bucket_exists(place.bucket):
                await place.storage.create_bucket(place.bucket)
