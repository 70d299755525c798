from __future__ import annotations

import pytest

from persistence.errors import AliasNotFound, Closed, InvalidName, NotFound
from persistence.objects.memory import MemoryStorage
from persistence.objects.registry import StoragePlace, StorageRegistry

pytestmark = pytest.mark.anyio


async def test_an_alias_leads_to_its_storage_and_bucket() -> None:
    one, two = MemoryStorage(), MemoryStorage()
    places = {"HD": StoragePlace(one, "inbox"), "TUE": StoragePlace(two, "inbox"), "HD2": StoragePlace(one, "other")}
    async with StorageRegistry(places) as registry:
        await registry.create_buckets()
        await registry.create_buckets()
        await registry["TUE"].storage.put_object(registry["TUE"].bucket, "object", b"")
        assert not await one.object_exists("inbox", "object")
        assert await one.list_buckets() == ["inbox", "other"]
        assert (len(registry), sorted(registry), "HD" in registry) == (3, ["HD", "HD2", "TUE"], True)
    with pytest.raises(Closed):
        await one.list_buckets()


async def test_an_unknown_alias_names_the_known_ones() -> None:
    async with StorageRegistry({"HD": StoragePlace(MemoryStorage(), "inbox")}) as registry:
        with pytest.raises(AliasNotFound, match="HD") as caught:
            registry["TUE"]
        assert isinstance(caught.value, NotFound)


async def test_a_bad_bucket_is_refused_at_once() -> None:
    with pytest.raises(InvalidName):
        StoragePlace(MemoryStorage(), "In Box")


async def test_what_was_opened_is_closed_when_another_fails() -> None:
    class Broken(MemoryStorage):
        async def __aenter__(self) -> Broken:
            raise OSError("broken")

    good = MemoryStorage()
    with pytest.raises(OSError, match="broken"):
        async with StorageRegistry({"A": StoragePlace(good, "one"), "B": StoragePlace(Broken(), "two")}):
            raise AssertionError("it was opened")
    with pytest.raises(Closed):
        await good.list_buckets()
