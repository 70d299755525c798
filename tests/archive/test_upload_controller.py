from __future__ import annotations

import hashlib
import os
from typing import Any

import pytest
import trio

from connector.archive.assembly import Archive
from connector.archive.errors import (
    ApiError,
    ChecksumMismatch,
    FileUploadAlreadyExists,
    FileUploadNotFound,
    OrphanedMultipartUpload,
    S3UploadNotFound,
    TooManyOpenUploads,
)
from connector.archive.models import Box, FileUpload, UploadState
from connector.archive.upload_repository import UploadRepository
from connector.wire.payloads import UploadCompletion, UploadCreation
from persistence.documents.memory import MemoryDaoFactory
from persistence.errors import NotFound, StorageFull, Unreachable
from persistence.objects.memory import MemoryStorage
from tests.support.memory_archive import memory_archive

pytestmark = pytest.mark.trio

MIB = 1024**2


def announced(alias: str = "a", size: int = 100, **changes: Any) -> UploadCreation:
    body: dict[str, Any] = {"encrypted_size": size + 28 + 124, "part_size": 5 * MIB, "overwrite": False} | changes
    return UploadCreation(alias=alias, decrypted_size=size, **body)


def claimed(*parts: bytes) -> UploadCompletion:
    md5s = [hashlib.md5(part) for part in parts]
    whole = hashlib.md5(b"".join(md5.digest() for md5 in md5s)).hexdigest()
    return UploadCompletion(
        decrypted_sha256="0" * 64,
        encrypted_md5=f"{whole}-{len(parts)}",
        encrypted_parts_md5=tuple(md5.hexdigest() for md5 in md5s),
        encrypted_parts_sha256=("0" * 64,) * len(parts),
    )


async def new_box(archive: Archive, **options: Any) -> Box:
    return await archive.boxes.create(title="", storage_alias="embedded", **options)


async def put(archive: Archive, upload: FileUpload, *parts: bytes) -> None:
    for number, part in enumerate(parts, start=1):
        await archive.hubs.default.storage.put_part("inbox", upload.id, upload.upload_id, number, part)


class StubbornStorage(MemoryStorage):
    """A storage that will not abort uploads."""

    stubborn = False

    async def abort_upload(self, bucket: str, object_id: str, upload_id: str) -> None:
        if self.stubborn:
            raise Unreachable("The storage is gone.")
        await super().abort_upload(bucket, object_id, upload_id)


async def test_orphaned_multipart_upload() -> None:
    storage = StubbornStorage()
    async with memory_archive(storage=storage) as archive:
        box = await new_box(archive)
        upload = await archive.uploads.create(box.id, announced())
        storage.stubborn = True
        with pytest.raises(OrphanedMultipartUpload) as caught:
            await archive.uploads.create(box.id, announced(overwrite=True))
        assert (caught.value.status, caught.value.exception_id) == (409, "orphanedMultipartUpload")
        with pytest.raises(OrphanedMultipartUpload):
            await archive.uploads.cancel(box.id, upload.id)
        storage.stubborn = False
        assert (await archive.uploads.create(box.id, announced(overwrite=True))).id != upload.id


async def test_a_close_goes_on_where_a_crash_cut_it_off() -> None:
    """The storage has the object already, the ledger does not know yet."""
    async with memory_archive() as archive:
        box = await new_box(archive)
        content = os.urandom(252)
        upload = await archive.uploads.create(box.id, announced())
        await put(archive, upload, content)
        await archive.hubs.default.storage.complete_upload("inbox", upload.id, upload.upload_id)
        await archive.uploads.close(box.id, upload.id, claimed(content))
        assert (await archive.upload_repository.get(upload.id)).state == "inbox"


async def test_an_object_of_other_content_is_not_taken_for_a_finished_close() -> None:
    async with memory_archive() as archive:
        box = await new_box(archive)
        upload = await archive.uploads.create(box.id, announced())
        await put(archive, upload, os.urandom(252))
        await archive.hubs.default.storage.complete_upload("inbox", upload.id, upload.upload_id)
        with pytest.raises(ChecksumMismatch):
            await archive.uploads.close(box.id, upload.id, claimed(os.urandom(252)))
        failed = await archive.upload_repository.get(upload.id)
        assert (failed.state, "checksum" in (failed.failure or "")) == ("failed", True)
        assert not await archive.hubs.default.storage.object_exists("inbox", upload.id)


async def test_an_upload_that_the_storage_lost() -> None:
    async with memory_archive() as archive:
        box = await new_box(archive)
        upload = await archive.uploads.create(box.id, announced())
        await archive.hubs.default.storage.abort_upload("inbox", upload.id, upload.upload_id)
        with pytest.raises(S3UploadNotFound):
            await archive.uploads.part_url(box.id, upload.id, 1)
        with pytest.raises(S3UploadNotFound):
            await archive.uploads.close(box.id, upload.id, claimed(os.urandom(252)))
        await archive.uploads.cancel(box.id, upload.id)
        assert (await archive.upload_repository.get(upload.id)).state == "cancelled"


class FullStorage(MemoryStorage):
    """A storage whose disk is full as long as it says so."""

    full = False

    async def start_upload(self, bucket: str, object_id: str) -> str:
        if self.full:
            raise StorageFull("There is no room left.")
        return await super().start_upload(bucket, object_id)


async def test_a_full_disk_costs_no_file_that_was_to_be_replaced() -> None:
    storage = FullStorage()
    async with memory_archive(storage=storage) as archive:
        box = await new_box(archive)
        content = os.urandom(252)
        upload = await archive.uploads.create(box.id, announced())
        await put(archive, upload, content)
        await archive.uploads.close(box.id, upload.id, claimed(content))
        storage.full = True
        with pytest.raises(StorageFull):
            await archive.uploads.create(box.id, announced(overwrite=True))
        assert (await archive.upload_repository.get(upload.id)).state == "inbox"
        assert await archive.hubs.default.storage.object_exists("inbox", upload.id)


async def test_two_clients_want_one_alias() -> None:
    async with memory_archive() as archive:
        box = await new_box(archive)
        results: list[str] = []

        async def create() -> None:
            try:
                results.append((await archive.uploads.create(box.id, announced())).state)
            except FileUploadAlreadyExists as error:
                results.append(error.exception_id)

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(create)
        assert sorted(results) == ["fileUploadAlreadyExists"] * 3 + ["init"]


async def test_the_cap_on_open_uploads_holds_under_a_rush() -> None:
    async with memory_archive(open_uploads=3) as archive:
        box = await new_box(archive)
        refused = 0

        async def create(number: int) -> None:
            nonlocal refused
            try:
                await archive.uploads.create(box.id, announced(f"f{number}"))
            except TooManyOpenUploads:
                refused += 1

        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(create, number)
        assert refused == 7


async def test_a_close_that_is_repeated_enqueues_what_was_received() -> None:
    """The change of state was stored, its response was lost: the interrogation does not know of the upload."""
    async with memory_archive() as archive, trio.open_nursery() as nursery:
        box = await new_box(archive)
        upload = await archive.uploads.create(box.id, announced())
        nursery.start_soon(archive.interrogation.run)
        await trio.sleep(0.05)
        await archive.upload_repository.move(upload, "inbox", decrypted_sha256="0" * 64)
        await trio.sleep(0.05)
        assert (await archive.upload_repository.get(upload.id)).state == "inbox"
        await archive.uploads.close(box.id, upload.id, claimed(b""))
        with trio.fail_after(5):
            while (await archive.upload_repository.get(upload.id)).state != "failed":  # it has no content
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()


async def test_two_closes_at_once_are_one() -> None:
    async with memory_archive() as archive:
        box = await new_box(archive)
        content = os.urandom(252)
        upload = await archive.uploads.create(box.id, announced())
        await put(archive, upload, content)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(archive.uploads.close, box.id, upload.id, claimed(content))
        assert (await archive.upload_repository.get(upload.id)).state == "inbox"


async def test_overwriting_what_waits_in_the_inbox_frees_its_storage_and_size() -> None:
    async with memory_archive() as archive:
        box = await new_box(archive, max_size=100)
        content = os.urandom(252)
        upload = await archive.uploads.create(box.id, announced())
        await put(archive, upload, content)
        await archive.uploads.close(box.id, upload.id, claimed(content))
        assert await archive.hubs.default.storage.object_exists("inbox", upload.id)
        await archive.uploads.create(box.id, announced(overwrite=True))
        assert not await archive.hubs.default.storage.object_exists("inbox", upload.id)
        with pytest.raises(FileUploadNotFound):
            await archive.upload_repository.get(upload.id)
        usage = await archive.upload_repository.usage(box.id)
        assert (usage.open_uploads, usage.used_size) == (1, 100)


@pytest.mark.parametrize("state", ["interrogated", "awaiting_archival", "archived"])
async def test_what_is_interrogated_is_not_overwritten_and_can_be_deleted(state: UploadState) -> None:
    async with memory_archive() as archive:
        box = await new_box(archive, max_size=100)
        content = os.urandom(252)
        upload = await archive.uploads.create(box.id, announced())
        await put(archive, upload, content)
        await archive.uploads.close(box.id, upload.id, claimed(content))
        secret_id = await archive.key_store.deposit(os.urandom(32))
        await archive.hubs.default.storage.put_object("permanent", upload.id, content)
        moved = await archive.upload_repository.move(
            await archive.upload_repository.get(upload.id), state, secret_id=secret_id
        )
        assert moved is not None
        await archive.registry.register(moved, secret_id=secret_id)
        with pytest.raises(FileUploadAlreadyExists):
            await archive.uploads.create(box.id, announced(overwrite=True))
        # Closing again is still no error.
        await archive.uploads.close(box.id, upload.id, claimed(content))
        await archive.uploads.cancel(box.id, upload.id)
        assert await archive.registry.find(upload.id) is None
        for bucket in ("inbox", "permanent"):
            assert not await archive.hubs.default.storage.object_exists(bucket, upload.id)
        with pytest.raises(NotFound):
            await archive.key_store.fetch(secret_id)
        assert (await archive.upload_repository.usage(box.id)).used_size == 0


async def test_a_failed_upload_gives_way_and_can_be_deleted() -> None:
    async with memory_archive() as archive:
        box = await new_box(archive, max_size=100)
        upload = await archive.uploads.create(box.id, announced())
        await archive.upload_repository.move(upload, "failed", failure="why")
        again = await archive.uploads.create(box.id, announced())
        with pytest.raises(FileUploadNotFound):
            await archive.uploads.cancel(box.id, upload.id)
        await archive.upload_repository.move(again, "failed", failure="why")
        await archive.uploads.cancel(box.id, again.id)
        uploads, count = await archive.uploads.list_uploads(box.id, skip=0, limit=10)
        assert ([upload.state for upload in uploads], count) == (["cancelled"], 1)


@pytest.mark.parametrize(
    ("changes", "exception_id"),
    [
        ({"part_size": 5 * MIB - 1}, "malformedRequest"),
        ({"part_size": 5 * MIB, "size": 5 * MIB * 10_000, "encrypted_size": 5 * MIB * 10_010}, "invalidPartSize"),
        ({"encrypted_size": 100 + 28 + 123}, "malformedRequest"),
        ({"alias": "  "}, "malformedRequest"),
        ({"alias": "x" * 1025}, "malformedRequest"),
        ({"size": 0, "encrypted_size": 124}, "malformedRequest"),
    ],
)
async def test_announcements_that_cannot_be(changes: dict[str, Any], exception_id: str) -> None:
    async with memory_archive() as archive:
        box = await new_box(archive)
        with pytest.raises(ApiError) as caught:
            await archive.uploads.create(box.id, announced(**changes))
        assert caught.value.exception_id == exception_id


async def test_a_larger_envelope_is_allowed() -> None:
    async with memory_archive() as archive:
        box = await new_box(archive)
        assert (await archive.uploads.create(box.id, announced(encrypted_size=100 + 28 + 232))).state == "init"


async def test_the_usage_of_a_box_is_counted_from_the_documents() -> None:
    async with MemoryDaoFactory() as documents, memory_archive(documents=documents) as archive:
        box = await new_box(archive)
        for number in range(3):
            await archive.uploads.create(box.id, announced(f"f{number}"))
        fresh = UploadRepository(await documents.dao("uploads", FileUpload, id_field="id"), lambda: 0.0)
        usage = await fresh.usage(box.id)
        assert (usage.open_uploads, usage.used_size) == (3, 300)


async def test_what_another_process_changes_is_seen_by_the_next_part_url() -> None:
    async with MemoryDaoFactory() as documents, memory_archive(documents=documents) as archive:
        box = await new_box(archive)
        upload = await archive.uploads.create(box.id, announced())
        assert await archive.uploads.part_url(box.id, upload.id, 1)
        uploads = await documents.dao("uploads", FileUpload, id_field="id")
        await uploads.compare_and_set(upload.id, expected={}, changes={"state": "cancelled"})
        with pytest.raises(S3UploadNotFound):
            await archive.uploads.part_url(box.id, upload.id, 1)
