"""Arguments that are not valid: only errors of this package, whichever library is behind the provider."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import AsyncIterator
from typing import Any

from persistence.errors import DigestMismatch, InvalidName, InvalidRange, InvalidValue, PersistenceError
from persistence.testing.cases import Cases
from persistence.testing.harness import StorageHarness
from persistence.testing.raising import raises
from persistence.testing.storage_cases.objects import read_all, stream_of

cases: Cases[StorageHarness] = Cases()

GIANT = 10**5000
"""An int that cannot even be printed."""


def released() -> memoryview:
    view = memoryview(bytearray(4))
    view.release()
    return view


NO_CONTENT: dict[str, Any] = {
    "released": released(), "not_contiguous": memoryview(bytearray(8))[::2], "text": "text", "number": 5, "none": None,
    "items": [1, 2],
}  # fmt: skip
WIDE: dict[str, Any] = {
    "ints": lambda: memoryview(array("I", range(6))),
    "doubles": lambda: memoryview(array("d", range(3))),
    "signed_bytes": lambda: memoryview(bytearray(24)).cast("b"),
    "a_matrix": lambda: memoryview(bytearray(24)).cast("H", (3, 4)),
    "one_number": lambda: memoryview(bytearray(24)).cast("B", (1, 1, 24)),
}


@cases.each(**NO_CONTENT)
async def content_that_is_none_is_refused(h: StorageHarness, data: Any) -> None:
    async with h.bucket() as bucket:
        upload = await h.storage.start_upload(bucket, "object")
        with raises(InvalidValue):
            await h.storage.put_object(bucket, "object", data)
        with raises(InvalidValue):
            await h.storage.put_part(bucket, "object", upload, 1, data)
        assert not await h.storage.object_exists(bucket, "object")
        assert await h.storage.list_parts(bucket, "object", upload) == []


@cases.each(read_only=b"1234", read_only_view=memoryview(b"1234"), **NO_CONTENT)
async def a_buffer_that_cannot_be_filled_is_refused(h: StorageHarness, buffer: Any) -> None:
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "object", b"0123456789")
        with raises(InvalidValue):
            await h.storage.read_into(bucket, "object", 0, buffer)


@cases.each(**WIDE)
async def sizes_of_wide_buffers_are_bytes(h: StorageHarness, make: Any) -> None:
    content = bytes(range(1, 25))
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "object", content + b"more")
        buffer: memoryview = make()
        assert await h.storage.read_into(bucket, "object", 0, buffer) == 24
        assert buffer.tobytes() == content
        assert await h.storage.read_into(bucket, "object", 20, buffer) == 8
        assert buffer.tobytes() == content[20:] + b"more" + content[8:]
        stat = await h.storage.put_object(bucket, "copy", buffer)
        assert (stat.size, stat.etag) == (24, hashlib.md5(buffer.tobytes()).hexdigest())
        assert await read_all(h, bucket, "copy") == buffer.tobytes()
        upload = await h.storage.start_upload(bucket, "parts")
        assert (await h.storage.put_part(bucket, "parts", upload, 1, buffer)).size == 24
        stream = stream_of(buffer, b"more")  # type: ignore[arg-type]
        assert (await h.storage.put_object(bucket, "stream", stream)).size == 28


@cases
async def a_wide_buffer_without_items_takes_nothing(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "object", memoryview(array("I")))
        assert await h.storage.read_into(bucket, "object", 0, memoryview(array("I"))) == 0


@cases.each(text="text", number=5, none=None, items=[1, 2], not_contiguous=memoryview(bytearray(8))[::2])
async def a_stream_of_other_things_leaves_nothing(h: StorageHarness, piece: Any) -> None:
    async with h.bucket() as bucket:
        upload = await h.storage.start_upload(bucket, "object")
        with raises(InvalidValue):
            await h.storage.put_object(bucket, "object", stream_of(b"first", piece))
        with raises(InvalidValue):
            await h.storage.put_part(bucket, "object", upload, 1, stream_of(b"first", piece))
        assert not await h.storage.object_exists(bucket, "object")
        assert await h.storage.list_parts(bucket, "object", upload) == []


@cases.each(
    os_error=FileNotFoundError("source"), value=ValueError("source"), buffer=BufferError("source"),
    recursion=RecursionError("source"), timeout=TimeoutError("source"),
    group=ExceptionGroup("source", [OSError("source")]),
)  # fmt: skip
async def the_error_of_a_stream_is_passed_on(h: StorageHarness, error: Any) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"first"
        raise error

    async with h.bucket() as bucket:
        upload = await h.storage.start_upload(bucket, "object")
        calls = (
            lambda: h.storage.put_object(bucket, "object", failing()),
            lambda: h.storage.put_part(bucket, "object", upload, 1, failing()),
        )
        for call in calls:
            found: BaseException | None = None
            try:
                await call()
            except Exception as raised:
                found = raised
            assert found is error, "the error of the stream was lost"
        assert not await h.storage.object_exists(bucket, "object")


@cases.each(empty="", short="ab" * 15, long="ab" * 17, letters="x" * 32, wide="١" * 32, binary=b"a" * 32, number=5)
async def an_md5_that_is_none_is_refused(h: StorageHarness, md5: Any) -> None:
    async with h.bucket() as bucket:
        upload = await h.storage.start_upload(bucket, "object")
        with raises(DigestMismatch):
            await h.storage.put_part(bucket, "object", upload, 1, b"part", md5=md5)
        with raises(DigestMismatch):
            await h.storage.presign_part(bucket, "object", upload, 1, expires=60, md5=md5)


@cases
async def an_md5_may_be_in_capitals(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        upload = await h.storage.start_upload(bucket, "object")
        await h.storage.put_part(bucket, "object", upload, 1, b"part", md5=hashlib.md5(b"part").hexdigest().upper())


@cases.each(large=2**63, giant=GIANT, negative=-GIANT, text="0", none=None, fraction=0.5, boolean=True)
async def an_offset_that_no_object_has_is_refused(h: StorageHarness, offset: Any) -> None:
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "object", b"0123456789")
        with raises(InvalidRange):
            await h.storage.read_into(bucket, "object", offset, memoryview(bytearray(4)))
        with raises(InvalidRange):
            await h.storage.copy_object(
                bucket, "object", to_bucket=bucket, to_object_id="copy", byte_range=(offset, offset)
            )
        with raises(InvalidRange):
            async with h.storage.open_range(bucket, "object", offset):
                raise AssertionError("it was opened")


@cases.each(large=2**63, giant=GIANT)
async def a_range_may_end_far_behind_the_end(h: StorageHarness, stop: Any) -> None:
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "object", b"0123456789")
        async with h.storage.open_range(bucket, "object", 7, stop) as stream:
            assert b"".join([piece async for piece in stream]) == b"789"
        stat = await h.storage.copy_object(bucket, "object", to_bucket=bucket, to_object_id="c", byte_range=(7, stop))
        assert stat.size == 3


@cases.each(one=(1,), three=(1, 2, 3), number=5)
async def a_range_that_is_no_pair_is_refused(h: StorageHarness, span: Any) -> None:
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "object", b"0123456789")
        with raises(InvalidValue):
            await h.storage.copy_object(bucket, "object", to_bucket=bucket, to_object_id="copy", byte_range=span)


@cases.each(large=2**63, giant=GIANT, negative=-1, text="60", fraction=1.5, none=None, boolean=True)
async def a_number_that_is_out_of_bounds_is_refused(h: StorageHarness, number: Any) -> None:
    async with h.bucket() as bucket:
        upload = await h.storage.start_upload(bucket, "object")
        with raises(InvalidName):
            await h.storage.presign_get(bucket, "object", expires=number if number is not True else GIANT)
        with raises(InvalidValue):
            await h.storage.presign_post(bucket, "object", expires=60, max_size=number)
        with raises(InvalidName):
            await h.storage.put_part(bucket, "object", upload, number, b"x")
        if number is not None:
            with raises(InvalidValue):
                await h.storage.list_parts(bucket, "object", upload, limit=number)
            with raises(PersistenceError):
                await h.storage.complete_upload(bucket, "object", upload, expected_parts=number)


@cases.each(surrogate="a\ud800", number=5, binary=b"name")
async def a_file_name_that_is_no_text_is_refused(h: StorageHarness, name: Any) -> None:
    async with h.bucket() as bucket:
        with raises(InvalidValue):
            await h.storage.presign_get(bucket, "object", expires=60, file_name=name)


@cases.each(text="abc", number=5, none=None)
async def ids_that_are_no_collection_are_refused(h: StorageHarness, ids: Any) -> None:
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "a", b"")
        with raises(InvalidValue):
            await h.storage.delete_objects(bucket, ids)
        assert await h.storage.object_exists(bucket, "a")


@cases.each(number=5, none=None, binary=b"object", surrogate="a\ud800", giant=GIANT, items=["object"])
async def a_name_of_another_type_is_refused(h: StorageHarness, name: Any) -> None:
    async with h.bucket() as bucket:
        for call in (
            lambda: h.storage.bucket_exists(name),
            lambda: h.storage.stat(bucket, name),
            lambda: h.storage.list_parts(bucket, "object", name),
            lambda: h.storage.presign_put(bucket, name, expires=60),
            lambda: h.storage.delete_objects(bucket, [name]),
            lambda: h.storage.copy_object(bucket, "object", to_bucket=bucket, to_object_id=name),
        ):
            with raises(InvalidName):
                await call()
        with raises(InvalidName):
            await anext(h.storage.list_objects(bucket, prefix=name))
