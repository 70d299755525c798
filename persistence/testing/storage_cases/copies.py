"""Objects: copy."""

from __future__ import annotations

from persistence.errors import BucketNotFound, InvalidRange, ObjectNotFound
from persistence.testing.cases import Cases
from persistence.testing.harness import StorageHarness
from persistence.testing.raising import raises
from persistence.testing.storage_cases.buckets import NO_BUCKET
from persistence.testing.storage_cases.objects import read_all

cases: Cases[StorageHarness] = Cases()


@cases
async def a_copy_is_independent(h: StorageHarness) -> None:
    async with h.bucket() as one, h.bucket() as two:
        await h.storage.put_object(one, "object", b"content")
        stat = await h.storage.copy_object(one, "object", to_bucket=two, to_object_id="copy")
        assert (stat.bucket, stat.object_id, stat.size) == (two, "copy", 7)
        await h.storage.delete_object(one, "object")
        assert await read_all(h, two, "copy") == b"content"


@cases
async def a_copy_keeps_the_content_type(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        url = await h.storage.presign_put(bucket, "object", expires=60)
        headers = {"Content-Type": "text/x-suite"}
        assert (await h.sender.send("PUT", url, headers=headers, body=b"0123456789")).status == 200
        kept = await content_type(h, bucket, "object")
        await h.storage.copy_object(bucket, "object", to_bucket=bucket, to_object_id="copy")
        await h.storage.copy_object(bucket, "object", to_bucket=bucket, to_object_id="part", byte_range=(2, 6))
        await h.storage.copy_object(bucket, "object", to_bucket=bucket, to_object_id="object")
        assert kept in ("text/x-suite", None)
        for object_id in ("object", "copy", "part"):
            assert await content_type(h, bucket, object_id) == kept


async def content_type(h: StorageHarness, bucket: str, object_id: str) -> str | None:
    """The one that the object is served with; None where the storage has none."""
    answer = await h.sender.send("GET", await h.storage.presign_get(bucket, object_id, expires=60))
    return answer.headers.get("content-type")


@cases
async def a_copy_of_an_empty_object(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "object", b"")
        assert (await h.storage.copy_object(bucket, "object", to_bucket=bucket, to_object_id="copy")).size == 0


@cases
async def a_copy_replaces(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "object", b"new")
        await h.storage.put_object(bucket, "copy", b"old content")
        await h.storage.copy_object(bucket, "object", to_bucket=bucket, to_object_id="copy")
        assert await read_all(h, bucket, "copy") == b"new"


@cases
async def a_copy_of_a_range(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "object", b"0123456789")
        stat = await h.storage.copy_object(bucket, "object", to_bucket=bucket, to_object_id="copy", byte_range=(2, 6))
        assert stat.size == 4
        assert await read_all(h, bucket, "copy") == b"2345"


@cases
async def a_copy_of_an_empty_range(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "object", b"0123456789")
        await h.storage.copy_object(bucket, "object", to_bucket=bucket, to_object_id="copy", byte_range=(4, 4))
        assert await read_all(h, bucket, "copy") == b""


@cases.each(behind_the_end=(11, 12), backwards=(5, 3), negative=(-1, 3))
async def a_copy_of_an_impossible_range_is_refused(h: StorageHarness, span: object) -> None:
    assert isinstance(span, tuple)
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "object", b"0123456789")
        with raises(InvalidRange):
            await h.storage.copy_object(bucket, "object", to_bucket=bucket, to_object_id="copy", byte_range=span)
        assert not await h.storage.object_exists(bucket, "copy")


@cases
async def copying_a_missing_object_is_refused(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        with raises(ObjectNotFound) as caught:
            await h.storage.copy_object(bucket, "nothing", to_bucket=bucket, to_object_id="copy")
        assert caught.error.object_id == "nothing"


@cases
async def copying_to_a_missing_bucket_is_refused(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "object", b"content")
        with raises(BucketNotFound) as caught:
            await h.storage.copy_object(bucket, "object", to_bucket=NO_BUCKET, to_object_id="copy")
        assert caught.error.bucket == NO_BUCKET
