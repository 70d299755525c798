"""Multipart uploads: completion."""

from __future__ import annotations

from persistence.errors import PartsMismatch, UploadNotFound
from persistence.testing.cases import Cases
from persistence.testing.harness import StorageHarness
from persistence.testing.raising import raises
from persistence.testing.storage_cases.objects import read_all

cases: Cases[StorageHarness] = Cases()


@cases
async def completion_with_the_expected_parts(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        upload = await h.storage.start_upload(bucket, "object")
        await h.storage.put_part(bucket, "object", upload, 1, b"1" * h.part_size)
        await h.storage.put_part(bucket, "object", upload, 2, b"2")
        stat = await h.storage.complete_upload(
            bucket, "object", upload, expected_parts=2, expected_part_size=h.part_size
        )
        assert stat.size == h.part_size + 1


@cases
async def completion_with_too_few_parts_is_refused(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        upload = await h.storage.start_upload(bucket, "object")
        await h.storage.put_part(bucket, "object", upload, 1, b"1")
        with raises(PartsMismatch) as caught:
            await h.storage.complete_upload(bucket, "object", upload, expected_parts=2)
        assert caught.error.upload_id == upload
        # The upload is still open, and goes on.
        await h.storage.complete_upload(bucket, "object", upload, expected_parts=1)
        assert await read_all(h, bucket, "object") == b"1"


@cases
async def completion_with_too_many_parts_is_refused(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        upload = await h.storage.start_upload(bucket, "object")
        for number in (1, 2):
            await h.storage.put_part(bucket, "object", upload, number, b"1")
        with raises(PartsMismatch):
            await h.storage.complete_upload(bucket, "object", upload, expected_parts=1)


@cases
async def completion_without_parts_is_refused(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        upload = await h.storage.start_upload(bucket, "object")
        with raises(PartsMismatch):
            await h.storage.complete_upload(bucket, "object", upload)


@cases
async def completion_with_a_gap_is_refused(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        upload = await h.storage.start_upload(bucket, "object")
        await h.storage.put_part(bucket, "object", upload, 1, b"1" * h.part_size)
        await h.storage.put_part(bucket, "object", upload, 3, b"3")
        with raises(PartsMismatch):
            await h.storage.complete_upload(bucket, "object", upload)
        assert not await h.storage.object_exists(bucket, "object")


@cases
async def completion_with_a_small_middle_part_is_refused(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        upload = await h.storage.start_upload(bucket, "object")
        await h.storage.put_part(bucket, "object", upload, 1, b"small")
        await h.storage.put_part(bucket, "object", upload, 2, b"last")
        with raises(PartsMismatch):
            await h.storage.complete_upload(bucket, "object", upload)


@cases
async def completion_with_another_part_size_is_refused(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        upload = await h.storage.start_upload(bucket, "object")
        await h.storage.put_part(bucket, "object", upload, 1, b"1" * (h.part_size + 1))
        await h.storage.put_part(bucket, "object", upload, 2, b"2")
        with raises(PartsMismatch):
            await h.storage.complete_upload(bucket, "object", upload, expected_part_size=h.part_size)


@cases
async def completion_with_a_large_last_part_is_refused(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        upload = await h.storage.start_upload(bucket, "object")
        await h.storage.put_part(bucket, "object", upload, 1, b"12345")
        with raises(PartsMismatch):
            await h.storage.complete_upload(bucket, "object", upload, expected_part_size=4)


@cases
async def completion_replaces_an_object(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "object", b"old")
        upload = await h.storage.start_upload(bucket, "object")
        await h.storage.put_part(bucket, "object", upload, 1, b"new")
        assert await read_all(h, bucket, "object") == b"old"
        await h.storage.complete_upload(bucket, "object", upload)
        assert await read_all(h, bucket, "object") == b"new"


@cases
async def two_uploads_of_one_object_do_not_mix(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        one = await h.storage.start_upload(bucket, "object")
        two = await h.storage.start_upload(bucket, "object")
        await h.storage.put_part(bucket, "object", one, 1, b"one")
        await h.storage.put_part(bucket, "object", two, 1, b"two")
        await h.storage.abort_upload(bucket, "object", one)
        await h.storage.complete_upload(bucket, "object", two)
        assert await read_all(h, bucket, "object") == b"two"


@cases
async def a_completed_upload_is_not_completed_again(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        upload = await h.storage.start_upload(bucket, "object")
        await h.storage.put_part(bucket, "object", upload, 1, b"x")
        await h.storage.complete_upload(bucket, "object", upload)
        with raises(UploadNotFound):
            await h.storage.complete_upload(bucket, "object", upload)
