"""Storage aliases: each stands for a storage and a bucket in it, since a data hub may have several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import attrs

from persistence.errors import AliasNotFound
from persistence.objects.naming import check_bucket
from persistence.objects.protocol import ObjectStorage


@attrs.frozen
class StoragePlace:
    """The storage and the bucket of an alias."""

    storage: ObjectStorage
    bucket: str = attrs.field(converter=check_bucket)


class StorageRegistry(Mapping[str, StoragePlace]):
    """Storages and buckets by alias; opens each storage once, and closes them all.

    Args:
        places: by alias; several may share one storage.
    """

    def __init__(self, places: Mapping[str, StoragePlace]) -> None:
        self._places = dict(places)
        self._stack: AsyncExitStack | None = None

    async def __aenter__(self) -> Self:
        storages = {id(place.storage): place.storage for place in self._places.values()}
        async with AsyncExitStack() as stack:
            for storage in storages.values():
                await stack.enter_async_context(storage)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stack, self._stack = self._stack, None
        if stack is not None:
            await stack.__aexit__(kind, error, trace)

    def __getitem__(self, alias: str) -> StoragePlace:
        """The storage and bucket of an alias; raises `AliasNotFound`, which is no KeyError."""
        try:
            return self._places[alias]
        except KeyError:
            raise AliasNotFound(alias, list(self._places)) from None

    def __contains__(self, alias: object) -> bool:
        return alias in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    async def create_buckets(self) -> None:
        """Create the buckets that do not exist yet."""
        for place in self._places.values():
            if not await place.storage.bucket_exists(place.bucket):
                await place.storage.create_bucket(place.bucket)
