"""Buckets."""

from __future__ import annotations

import secrets

from persistence.errors import AlreadyExists, BucketExists, BucketNotEmpty, BucketNotFound, Conflict, NotFound
from persistence.testing.cases import Cases
from persistence.testing.harness import StorageHarness
from persistence.testing.raising import raises

cases: Cases[StorageHarness] = Cases()

NO_BUCKET = "suite-no-such-bucket"


@cases
async def a_created_bucket_exists(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        assert await h.storage.bucket_exists(bucket) is True


@cases
async def a_missing_bucket_does_not_exist(h: StorageHarness) -> None:
    assert await h.storage.bucket_exists(NO_BUCKET) is False


@cases
async def creating_a_bucket_twice_is_refused(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        with raises(BucketExists) as caught:
            await h.storage.create_bucket(bucket)
        assert isinstance(caught.error, AlreadyExists)
        assert bucket in str(caught.error)


@cases
async def a_deleted_bucket_is_gone(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        await h.storage.delete_bucket(bucket)
        assert not await h.storage.bucket_exists(bucket)
        assert bucket not in await h.storage.list_buckets()


@cases
async def a_deleted_bucket_can_be_created_again_and_is_empty(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "old", b"old")
        await h.storage.delete_bucket(bucket, with_content=True)
        await h.storage.create_bucket(bucket)
        assert [stat async for stat in h.storage.list_objects(bucket)] == []


@cases
async def deleting_a_missing_bucket_is_refused(h: StorageHarness) -> None:
    with raises(BucketNotFound) as caught:
        await h.storage.delete_bucket(NO_BUCKET)
    assert isinstance(caught.error, NotFound)


@cases
async def deleting_a_missing_bucket_with_content_is_refused(h: StorageHarness) -> None:
    with raises(BucketNotFound):
        await h.storage.delete_bucket(NO_BUCKET, with_content=True)


@cases
async def a_bucket_with_objects_is_not_deleted(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "kept", b"kept")
        with raises(BucketNotEmpty) as caught:
            await h.storage.delete_bucket(bucket)
        assert isinstance(caught.error, Conflict)
        assert await h.storage.object_exists(bucket, "kept")


@cases
async def a_bucket_is_deleted_with_its_content(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        for number in range(5):
            await h.storage.put_object(bucket, f"object-{number}", b"x")
        await h.storage.start_upload(bucket, "open")
        await h.storage.delete_bucket(bucket, with_content=True)
        assert not await h.storage.bucket_exists(bucket)


@cases
async def a_bucket_with_an_open_upload_only_is_deleted(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        await h.storage.start_upload(bucket, "open")
        await h.storage.delete_bucket(bucket)
        assert not await h.storage.bucket_exists(bucket)


@cases
async def buckets_are_listed_sorted(h: StorageHarness) -> None:
    async with h.bucket() as one, h.bucket() as two:
        listed = await h.storage.list_buckets()
        assert {one, two} <= set(listed)
        assert listed == sorted(listed)


@cases
async def objects_of_two_buckets_are_apart(h: StorageHarness) -> None:
    async with h.bucket() as one, h.bucket() as two:
        await h.storage.put_object(one, "same", b"one")
        assert not await h.storage.object_exists(two, "same")


@cases
async def the_longest_bucket_name_works(h: StorageHarness) -> None:
    name = f"suite-{secrets.token_hex(28)}x"
    assert len(name) == 63
    await h.storage.create_bucket(name)
    assert await h.storage.bucket_exists(name)
    await h.storage.delete_bucket(name)
