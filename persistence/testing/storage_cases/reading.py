"""Reading bytes: into buffers, and as streams."""

from __future__ import annotations

import anyio

from persistence.errors import BucketNotFound, InvalidRange, ObjectNotFound
from persistence.testing.cases import Cases
from persistence.testing.harness import StorageHarness
from persistence.testing.raising import raises
from persistence.testing.storage_cases.buckets import NO_BUCKET

cases: Cases[StorageHarness] = Cases()

CONTENT = bytes(range(256)) * 20_000


@cases.each(whole=(0, len(CONTENT)), start=(0, 10), middle=(70_000, 2_000_000), last_byte=(len(CONTENT) - 1, 1))
async def reading_fills_the_buffer(h: StorageHarness, span: object) -> None:
    assert isinstance(span, tuple)
    start, size = span
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "object", CONTENT)
        buffer = bytearray(size)
        assert await h.storage.read_into(bucket, "object", start, memoryview(buffer)) == size
        assert buffer == CONTENT[start : start + size]


@cases
async def reading_stops_at_the_end(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "object", b"0123456789")
        buffer = bytearray(b"-" * 8)
        assert await h.storage.read_into(bucket, "object", 7, memoryview(buffer)) == 3
        assert buffer == b"789-----"


@cases
async def reading_at_the_end_gives_nothing(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "object", b"0123456789")
        assert await h.storage.read_into(bucket, "object", 10, memoryview(bytearray(4))) == 0


@cases
async def reading_an_empty_object_gives_nothing(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "object", b"")
        assert await h.storage.read_into(bucket, "object", 0, memoryview(bytearray(4))) == 0


@cases
async def reading_into_an_empty_buffer_gives_nothing(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "object", b"0123456789")
        assert await h.storage.read_into(bucket, "object", 3, memoryview(bytearray(0))) == 0


@cases.each(behind=11, negative=-1)
async def reading_outside_is_refused(h: StorageHarness, start: object) -> None:
    assert isinstance(start, int)
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "object", b"0123456789")
        with raises(InvalidRange):
            await h.storage.read_into(bucket, "object", start, memoryview(bytearray(4)))


@cases
async def reading_a_missing_object_is_refused(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        with raises(ObjectNotFound):
            await h.storage.read_into(bucket, "nothing", 0, memoryview(bytearray(4)))


@cases
async def reading_in_a_missing_bucket_is_refused(h: StorageHarness) -> None:
    with raises(BucketNotFound):
        await h.storage.read_into(NO_BUCKET, "object", 0, memoryview(bytearray(4)))


@cases.each(
    whole=(0, None),
    from_the_middle=(1_500_000, None),
    a_range=(5, 3_000_000),
    to_behind_the_end=(5_000_000, 99_000_000),
    nothing=(7, 7),
    the_end=(len(CONTENT), None),
)
async def streaming_a_range(h: StorageHarness, span: object) -> None:
    assert isinstance(span, tuple)
    start, stop = span
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "object", CONTENT)
        async with h.storage.open_range(bucket, "object", start, stop) as stream:
            pieces = [piece async for piece in stream]
        assert b"".join(pieces) == CONTENT[start:stop]
        assert max(map(len, pieces), default=0) <= 1024**2


@cases
async def a_stream_may_be_left_early(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "object", CONTENT)
        for _ in range(20):
            async with h.storage.open_range(bucket, "object") as stream:
                async for piece in stream:
                    assert CONTENT.startswith(piece)
                    break


@cases
async def many_streams_at_once(h: StorageHarness) -> None:
    async def read(start: int) -> None:
        async with h.storage.open_range(bucket, "object", start) as stream:
            assert b"".join([piece async for piece in stream]) == CONTENT[start:]

    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "object", CONTENT)
        async with anyio.create_task_group() as tasks:
            for start in range(0, 40_000, 4_000):
                tasks.start_soon(read, start)


@cases.each(behind=(11, None), backwards=(5, 3), negative=(-1, None))
async def streaming_an_impossible_range_is_refused(h: StorageHarness, span: object) -> None:
    assert isinstance(span, tuple)
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "object", b"0123456789")
        with raises(InvalidRange):
            async with h.storage.open_range(bucket, "object", *span):
                raise AssertionError("it was opened")


@cases
async def streaming_a_missing_object_is_refused(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        with raises(ObjectNotFound):
            async with h.storage.open_range(bucket, "nothing"):
                raise AssertionError("it was opened")


@cases
async def streaming_in_a_missing_bucket_is_refused(h: StorageHarness) -> None:
    with raises(BucketNotFound):
        async with h.storage.open_range(NO_BUCKET, "object"):
            raise AssertionError("it was opened")
