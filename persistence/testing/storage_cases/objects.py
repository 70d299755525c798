"""Objects: put, stat, list, delete."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from persistence.errors import BucketNotFound, ObjectNotFound
from persistence.testing.cases import Cases
from persistence.testing.harness import StorageHarness
from persistence.testing.raising import raises
from persistence.testing.storage_cases.buckets import NO_BUCKET

cases: Cases[StorageHarness] = Cases()


async def read_all(h: StorageHarness, bucket: str, object_id: str) -> bytes:
    async with h.storage.open_range(bucket, object_id) as stream:
        return b"".join([piece async for piece in stream])


async def stream_of(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


@cases
async def a_put_object_reads_back(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "object", b"content")
        assert await read_all(h, bucket, "object") == b"content"


@cases
async def putting_gives_size_and_md5(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        stat = await h.storage.put_object(bucket, "object", b"content")
        assert (stat.bucket, stat.object_id, stat.size) == (bucket, "object", 7)
        assert stat.etag == hashlib.md5(b"content").hexdigest()


@cases
async def stat_says_what_putting_said(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        put = await h.storage.put_object(bucket, "object", b"content")
        stat = await h.storage.stat(bucket, "object")
        assert (stat.size, stat.etag, stat.object_id, stat.bucket) == (put.size, put.etag, "object", bucket)


@cases
async def stat_gives_the_time_in_utc(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "object", b"content")
        modified = (await h.storage.stat(bucket, "object")).modified
        assert modified.tzinfo is not None
        assert abs(datetime.now(UTC) - modified) < timedelta(minutes=2)


@cases.each(empty=0, one_byte=1, a_megabyte=1024**2, odd=3 * 1024**2 + 7)
async def objects_of_any_size(h: StorageHarness, size: object) -> None:
    assert isinstance(size, int)
    content = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    async with h.bucket() as bucket:
        stat = await h.storage.put_object(bucket, "object", content)
        assert stat.size == size
        assert await read_all(h, bucket, "object") == content


@cases.each(bytearray=bytearray(b"content"), memoryview=memoryview(b"-content-")[1:-1])
async def objects_from_any_buffer(h: StorageHarness, data: object) -> None:
    assert isinstance(data, bytearray | memoryview)
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "object", data)
        assert await read_all(h, bucket, "object") == b"content"


@cases
async def an_object_from_a_stream(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        stat = await h.storage.put_object(bucket, "object", stream_of(b"con", b"", b"tent"))
        assert stat.size == 7
        assert await read_all(h, bucket, "object") == b"content"


@cases
async def an_object_from_an_empty_stream(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        assert (await h.storage.put_object(bucket, "object", stream_of())).size == 0
        assert await read_all(h, bucket, "object") == b""


@cases
async def an_object_from_a_long_stream(h: StorageHarness) -> None:
    piece = bytes(range(256)) * 4096
    async with h.bucket() as bucket:
        stat = await h.storage.put_object(bucket, "object", stream_of(*[piece] * 11, b"end"))
        assert stat.size == 11 * len(piece) + 3
        assert await read_all(h, bucket, "object") == piece * 11 + b"end"


@cases
async def a_failing_stream_leaves_nothing(h: StorageHarness) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"x" * 6 * 1024**2
        raise KeyError("the source failed")

    async with h.bucket() as bucket:
        try:
            await h.storage.put_object(bucket, "object", failing())
        except KeyError:
            pass
        else:
            raise AssertionError("the source's error was lost")
        assert not await h.storage.object_exists(bucket, "object")
        assert await h.storage.list_uploads(bucket) == []


@cases
async def putting_again_replaces(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "object", b"old content")
        await h.storage.put_object(bucket, "object", b"new")
        assert await read_all(h, bucket, "object") == b"new"
        assert (await h.storage.stat(bucket, "object")).size == 3


@cases
async def putting_into_a_missing_bucket_is_refused(h: StorageHarness) -> None:
    with raises(BucketNotFound) as caught:
        await h.storage.put_object(NO_BUCKET, "object", b"content")
    assert caught.error.bucket == NO_BUCKET


@cases
async def an_object_exists_or_not(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        assert await h.storage.object_exists(bucket, "object") is False
        await h.storage.put_object(bucket, "object", b"")
        assert await h.storage.object_exists(bucket, "object") is True


@cases
async def existence_in_a_missing_bucket_is_refused(h: StorageHarness) -> None:
    with raises(BucketNotFound):
        await h.storage.object_exists(NO_BUCKET, "object")


@cases
async def stat_of_a_missing_object_is_refused(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        with raises(ObjectNotFound) as caught:
            await h.storage.stat(bucket, "nothing")
        assert (caught.error.bucket, caught.error.object_id) == (bucket, "nothing")


@cases
async def stat_in_a_missing_bucket_is_refused(h: StorageHarness) -> None:
    with raises(BucketNotFound):
        await h.storage.stat(NO_BUCKET, "object")


@cases
async def objects_are_listed_sorted(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        for name in ("b", "a", "B", "a.1", "a-1", "_"):
            await h.storage.put_object(bucket, name, name.encode())
        listed = [stat async for stat in h.storage.list_objects(bucket)]
        assert [stat.object_id for stat in listed] == sorted(["b", "a", "B", "a.1", "a-1", "_"])
        assert [stat.size for stat in listed] == [len(stat.object_id) for stat in listed]
        assert all(stat.etag == hashlib.md5(stat.object_id.encode()).hexdigest() for stat in listed)


@cases
async def objects_are_listed_by_prefix(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        for name in ("run-1", "run-2", "rum-1", "Run-1", "r"):
            await h.storage.put_object(bucket, name, b"")
        assert [s.object_id async for s in h.storage.list_objects(bucket, prefix="run-")] == ["run-1", "run-2"]
        assert [s.object_id async for s in h.storage.list_objects(bucket, prefix="none")] == []


@cases
async def an_empty_bucket_lists_nothing(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        assert [stat async for stat in h.storage.list_objects(bucket)] == []


@cases
async def a_listing_may_be_left_early(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        for number in range(3):
            await h.storage.put_object(bucket, f"object-{number}", b"")
        async for stat in h.storage.list_objects(bucket):
            assert stat.object_id == "object-0"
            break
        await h.storage.put_object(bucket, "after", b"")


@cases
async def listing_a_missing_bucket_is_refused(h: StorageHarness) -> None:
    with raises(BucketNotFound):
        async for _ in h.storage.list_objects(NO_BUCKET):
            raise AssertionError("an object in a missing bucket")


@cases
async def a_deleted_object_is_gone(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "object", b"content")
        await h.storage.delete_object(bucket, "object")
        assert not await h.storage.object_exists(bucket, "object")


@cases
async def deleting_a_missing_object_is_refused(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        with raises(ObjectNotFound):
            await h.storage.delete_object(bucket, "nothing")


@cases
async def deleting_in_a_missing_bucket_is_refused(h: StorageHarness) -> None:
    with raises(BucketNotFound):
        await h.storage.delete_object(NO_BUCKET, "object")


@cases
async def many_objects_are_deleted(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        names = [f"object-{number}" for number in range(12)]
        for name in names:
            await h.storage.put_object(bucket, name, b"")
        assert await h.storage.delete_objects(bucket, [*names[:10], "nothing"]) == {}
        assert [stat.object_id async for stat in h.storage.list_objects(bucket)] == sorted(names[10:])


@cases
async def deleting_no_objects_is_nothing(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        assert await h.storage.delete_objects(bucket, []) == {}


@cases
async def deleting_many_in_a_missing_bucket_is_refused(h: StorageHarness) -> None:
    with raises(BucketNotFound):
        await h.storage.delete_objects(NO_BUCKET, ["object"])
