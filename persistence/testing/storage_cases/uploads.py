"""Multipart uploads."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import anyio

from persistence.errors import BucketNotFound, DigestMismatch, Rejected, UploadNotFound
from persistence.testing.cases import Cases
from persistence.testing.harness import StorageHarness
from persistence.testing.raising import raises
from persistence.testing.storage_cases.buckets import NO_BUCKET
from persistence.testing.storage_cases.objects import read_all, stream_of

cases: Cases[StorageHarness] = Cases()

NO_UPLOAD = "2~AbCdEfGhIjKlMnOpQrStUvWxYz012345"


@cases
async def parts_become_an_object(h: StorageHarness) -> None:
    first, last = b"1" * h.part_size, b"the end"
    async with h.bucket() as bucket:
        upload = await h.storage.start_upload(bucket, "object")
        await h.storage.put_part(bucket, "object", upload, 1, first)
        await h.storage.put_part(bucket, "object", upload, 2, last)
        assert not await h.storage.object_exists(bucket, "object")
        stat = await h.storage.complete_upload(bucket, "object", upload)
        assert (stat.object_id, stat.size) == ("object", len(first) + len(last))
        assert await read_all(h, bucket, "object") == first + last


@cases
async def the_etag_is_that_of_the_parts(h: StorageHarness) -> None:
    first, last = b"1" * h.part_size, b"the end"
    binary = hashlib.md5(first).digest() + hashlib.md5(last).digest()
    async with h.bucket() as bucket:
        upload = await h.storage.start_upload(bucket, "object")
        await h.storage.put_part(bucket, "object", upload, 2, last)
        await h.storage.put_part(bucket, "object", upload, 1, first)
        stat = await h.storage.complete_upload(bucket, "object", upload)
        assert stat.etag == f"{hashlib.md5(binary).hexdigest()}-2"
        assert (await h.storage.stat(bucket, "object")).etag == stat.etag


@cases
async def one_small_part_is_enough(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        upload = await h.storage.start_upload(bucket, "object")
        await h.storage.put_part(bucket, "object", upload, 1, b"small")
        stat = await h.storage.complete_upload(bucket, "object", upload)
        assert stat.etag == f"{hashlib.md5(hashlib.md5(b'small').digest()).hexdigest()}-1"
        assert await read_all(h, bucket, "object") == b"small"


@cases
async def a_multipart_object_is_read_across_its_parts(h: StorageHarness) -> None:
    content = bytes(range(251)) * (2 * h.part_size // 251)
    async with h.bucket() as bucket:
        upload = await h.storage.start_upload(bucket, "object")
        for number, start in enumerate(range(0, len(content), h.part_size), 1):
            await h.storage.put_part(bucket, "object", upload, number, content[start : start + h.part_size])
        await h.storage.complete_upload(bucket, "object", upload)
        start = h.part_size - 1000
        buffer = bytearray(5000)
        assert await h.storage.read_into(bucket, "object", start, memoryview(buffer)) == 5000
        assert buffer == content[start : start + 5000]
        async with h.storage.open_range(bucket, "object", start, start + 5000) as stream:
            assert b"".join([piece async for piece in stream]) == buffer


@cases
async def a_multipart_object_is_copied(h: StorageHarness) -> None:
    first, last = b"1" * h.part_size, b"the end"
    async with h.bucket() as bucket:
        upload = await h.storage.start_upload(bucket, "object")
        await h.storage.put_part(bucket, "object", upload, 1, first)
        await h.storage.put_part(bucket, "object", upload, 2, last)
        await h.storage.complete_upload(bucket, "object", upload)
        await h.storage.copy_object(bucket, "object", to_bucket=bucket, to_object_id="copy")
        span = (h.part_size - 3, h.part_size + 3)
        await h.storage.copy_object(bucket, "object", to_bucket=bucket, to_object_id="span", byte_range=span)
        await h.storage.delete_object(bucket, "object")
        assert await read_all(h, bucket, "copy") == first + last
        assert await read_all(h, bucket, "span") == b"111the"


@cases
async def a_part_says_its_size_and_md5(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        upload = await h.storage.start_upload(bucket, "object")
        part = await h.storage.put_part(bucket, "object", upload, 7, memoryview(b"-part-")[1:-1])
        assert (part.number, part.size, part.etag) == (7, 4, hashlib.md5(b"part").hexdigest())


@cases
async def a_part_from_a_stream(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        upload = await h.storage.start_upload(bucket, "object")
        part = await h.storage.put_part(bucket, "object", upload, 1, stream_of(b"pa", b"rt"))
        assert (part.size, part.etag) == (4, hashlib.md5(b"part").hexdigest())


@cases
async def a_part_with_its_md5(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        upload = await h.storage.start_upload(bucket, "object")
        await h.storage.put_part(bucket, "object", upload, 1, b"part", md5=hashlib.md5(b"part").hexdigest())
        assert len(await h.storage.list_parts(bucket, "object", upload)) == 1


@cases
async def a_part_with_another_md5_is_refused(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        upload = await h.storage.start_upload(bucket, "object")
        with raises(DigestMismatch) as caught:
            await h.storage.put_part(bucket, "object", upload, 1, b"part", md5=hashlib.md5(b"art").hexdigest())
        assert isinstance(caught.error, Rejected)
        assert await h.storage.list_parts(bucket, "object", upload) == []


@cases
async def an_upload_exists_until_it_is_completed_or_aborted(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        assert not await h.storage.upload_exists(bucket, "object", NO_UPLOAD)
        for end in (h.storage.complete_upload, h.storage.abort_upload):
            upload = await h.storage.start_upload(bucket, "object")
            assert await h.storage.upload_exists(bucket, "object", upload)
            await h.storage.put_part(bucket, "object", upload, 1, b"part")
            assert await h.storage.upload_exists(bucket, "object", upload)
            await end(bucket, "object", upload)
            assert not await h.storage.upload_exists(bucket, "object", upload)


@cases
async def parts_are_listed_by_number(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        upload = await h.storage.start_upload(bucket, "object")
        for number in (10, 2, 1):
            await h.storage.put_part(bucket, "object", upload, number, b"x" * number)
        listed = await h.storage.list_parts(bucket, "object", upload)
        assert [(part.number, part.size) for part in listed] == [(1, 1), (2, 2), (10, 10)]
        assert listed[1].etag == hashlib.md5(b"xx").hexdigest()


@cases
async def some_parts_are_listed(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        upload = await h.storage.start_upload(bucket, "object")
        for number in (1, 2, 4, 9, 10_000):
            await h.storage.put_part(bucket, "object", upload, number, b"x")

        async def numbers(first: int, limit: int | None) -> list[int]:
            parts = await h.storage.list_parts(bucket, "object", upload, first=first, limit=limit)
            return [part.number for part in parts]

        assert await numbers(1, 2) == [1, 2]
        assert await numbers(2, None) == [2, 4, 9, 10_000]
        assert await numbers(3, 2) == [4, 9]
        assert await numbers(10_000, 5) == [10_000]
        assert await numbers(5, 10_001) == [9, 10_000]


@cases
async def a_part_put_again_replaces(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        upload = await h.storage.start_upload(bucket, "object")
        await h.storage.put_part(bucket, "object", upload, 1, b"old content")
        await h.storage.put_part(bucket, "object", upload, 1, b"new")
        assert [part.size for part in await h.storage.list_parts(bucket, "object", upload)] == [3]
        await h.storage.complete_upload(bucket, "object", upload)
        assert await read_all(h, bucket, "object") == b"new"


@cases
async def parts_are_put_at_once(h: StorageHarness) -> None:
    async def put(number: int) -> None:
        await h.storage.put_part(bucket, "object", upload, number, bytes([number]) * h.part_size)

    async with h.bucket() as bucket:
        upload = await h.storage.start_upload(bucket, "object")
        async with anyio.create_task_group() as tasks:
            for number in (1, 2, 3):
                tasks.start_soon(put, number)
        await h.storage.complete_upload(bucket, "object", upload, expected_parts=3)
        buffer = bytearray(3)
        for number in (1, 2, 3):
            await h.storage.read_into(bucket, "object", number * h.part_size - 3, memoryview(buffer))
            assert buffer == bytes([number]) * 3


@cases
async def open_uploads_are_listed(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        one = await h.storage.start_upload(bucket, "one")
        two = await h.storage.start_upload(bucket, "two")
        again = await h.storage.start_upload(bucket, "one")
        listed = await h.storage.list_uploads(bucket)
        assert {(ref.object_id, ref.upload_id) for ref in listed} == {("one", one), ("two", two), ("one", again)}
        assert all(abs(datetime.now(UTC) - ref.started) < timedelta(minutes=2) for ref in listed)


@cases
async def open_uploads_of_one_object_are_listed(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        one = await h.storage.start_upload(bucket, "one")
        await h.storage.start_upload(bucket, "one-more")
        assert [ref.upload_id for ref in await h.storage.list_uploads(bucket, "one")] == [one]
        assert await h.storage.list_uploads(bucket, "none") == []


@cases
async def a_finished_upload_is_not_listed(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        done = await h.storage.start_upload(bucket, "object")
        await h.storage.put_part(bucket, "object", done, 1, b"x")
        await h.storage.complete_upload(bucket, "object", done)
        dropped = await h.storage.start_upload(bucket, "object")
        await h.storage.abort_upload(bucket, "object", dropped)
        assert await h.storage.list_uploads(bucket) == []


@cases
async def listing_uploads_of_a_missing_bucket_is_refused(h: StorageHarness) -> None:
    with raises(BucketNotFound):
        await h.storage.list_uploads(NO_BUCKET)


@cases
async def uploading_to_a_missing_bucket_is_refused(h: StorageHarness) -> None:
    with raises(BucketNotFound):
        await h.storage.start_upload(NO_BUCKET, "object")


@cases
async def an_aborted_upload_takes_no_part(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        upload = await h.storage.start_upload(bucket, "object")
        await h.storage.put_part(bucket, "object", upload, 1, b"x")
        await h.storage.abort_upload(bucket, "object", upload)
        with raises(UploadNotFound) as caught:
            await h.storage.put_part(bucket, "object", upload, 2, b"x")
        assert (caught.error.bucket, caught.error.object_id) == (bucket, "object")
        assert not await h.storage.object_exists(bucket, "object")


@cases
async def a_missing_upload_takes_no_part(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        with raises(UploadNotFound):
            await h.storage.put_part(bucket, "object", NO_UPLOAD, 1, b"x")


@cases
async def a_missing_upload_lists_no_parts(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        with raises(UploadNotFound):
            await h.storage.list_parts(bucket, "object", NO_UPLOAD)


@cases
async def a_missing_upload_is_not_completed(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        with raises(UploadNotFound):
            await h.storage.complete_upload(bucket, "object", NO_UPLOAD)


@cases
async def a_missing_upload_is_not_aborted(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        with raises(UploadNotFound):
            await h.storage.abort_upload(bucket, "object", NO_UPLOAD)


@cases
async def the_upload_of_another_object_is_not_found(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        upload = await h.storage.start_upload(bucket, "object")
        if "uploads-of-any-object" in h.differences:
            await h.storage.put_part(bucket, "other", upload, 1, b"x")
            return
        with raises(UploadNotFound):
            await h.storage.put_part(bucket, "other", upload, 1, b"x")
