from __future__ import annotations

import hashlib
import os
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from connector.archive.assembly import Archive
from connector.archive.errors import (
    ApiError,
    ChecksumMismatch,
    FileUploadAlreadyExists,
    FileUploadNotFound,
    FileUploadStateError,
    S3UploadNotFound,
    TooManyOpenUploads,
)
from connector.archive.jobs import new_job
from connector.archive.models import Box, FileUpload
from connector.archive.settings import utc_now
from connector.archive.upload_checks import check_completion
from connector.wire.payloads import UploadCompletion, UploadCreation
from persistence.documents.memory import MemoryDaoFactory
from persistence.errors import NotFound, StorageFull
from persistence.objects.memory import MemoryStorage
from persistence.objects.values import ObjectStat
from tests.support.contract_client import new_private_key, seal
from tests.support.memory_archive import ManualClock, at_rest, memory_archive, working
from tests.support.stored_upload import stored_upload

pytestmark = pytest.mark.trio

MIB = 1024**2


def announced(alias: str = "a", size: int = 100, **changes: Any) -> UploadCreation:
    body: dict[str, Any] = {"encrypted_size": size + 28 + 124, "part_size": 5 * MIB, "overwrite": False} | changes
    return UploadCreation(alias=alias, decrypted_size=size, **body)


def claimed(*parts: bytes, plaintext: bytes | None = None) -> UploadCompletion:
    md5s = [hashlib.md5(part) for part in parts]
    whole = hashlib.md5(b"".join(md5.digest() for md5 in md5s)).hexdigest()
    return UploadCompletion(
        decrypted_sha256="0" * 64 if plaintext is None else hashlib.sha256(plaintext).hexdigest(),
        encrypted_md5=f"{whole}-{len(parts)}",
        encrypted_parts_md5=tuple(md5.hexdigest() for md5 in md5s),
        encrypted_parts_sha256=("0" * 64,) * len(parts),
    )


async def test_digests_of_parts_that_do_not_make_the_object_are_refused() -> None:
    """The object is whole, and the client's list of its parts is of another file."""
    right, wrong = claimed(b"a" * 276), claimed(b"b" * 276)
    upload = stored_upload(decrypted_size=124)
    stat = ObjectStat("bucket", "upload", 276, right.encrypted_md5, utc_now(ManualClock()))
    check_completion(upload, right, stat)
    untold = attrs.evolve(stat, etag="")
    check_completion(upload, right, untold)
    with pytest.raises(ChecksumMismatch):
        check_completion(upload, attrs.evolve(right, encrypted_parts_md5=wrong.encrypted_parts_md5), untold)
    for claim in (wrong, attrs.evolve(right, encrypted_parts_md5=wrong.encrypted_parts_md5)):
        with pytest.raises(ChecksumMismatch):
            check_completion(upload, claim, stat)


async def new_box(archive: Archive, **options: Any) -> Box:
    return await archive.boxes.create(title="", storage_alias="embedded", **options)


async def test_digests_of_parts_are_read_on_demand_only() -> None:
    """10,000 of them are a megabyte, and a listing reads a thousand uploads."""
    async with memory_archive() as archive:
        box = await new_box(archive)
        upload = await archive.uploads.create(box.id, announced(size=124))
        await archive.hubs.default.storage.put_part("inbox", upload.id, upload.upload_id, 1, b"a" * 276)
        claim = claimed(b"a" * 276)
        await archive.uploads.close(box.id, upload.id, claim)
        (listed,), _ = await archive.uploads.list_uploads(box.id, skip=0, limit=10)
        assert claim.encrypted_parts_md5[0] not in repr(listed)
        found = await archive.uploads.part_digests([listed])
        assert found[upload.id].md5 == "".join(claim.encrypted_parts_md5)
        assert found[upload.id].sha256 == "".join(claim.encrypted_parts_sha256)
        earlier = stored_upload(parts_md5="ab", parts_sha256="cd")
        assert (await archive.uploads.part_digests([earlier]))[earlier.id].sha256 == "cd"

        await archive.uploads.create(box.id, announced(size=124, overwrite=True))
        assert await archive.uploads.part_digests([listed]) == {}


async def usage(archive: Archive, box: Box) -> tuple[int, int]:
    """Open uploads and used size of a box."""
    now = await archive.boxes.get(box.id)
    return now.open_uploads, now.used_size


async def names(archive: Archive, bucket: str) -> list[str]:
    return [found.object_id async for found in archive.hubs.default.storage.list_objects(bucket)]


async def put(archive: Archive, upload: FileUpload, *parts: bytes) -> None:
    for number, part in enumerate(parts, start=1):
        await archive.hubs.default.storage.put_part("inbox", upload.id, upload.upload_id, number, part)


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
        async with working(archive):
            await at_rest(archive)
        assert await names(archive, "inbox") == []


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


class DeletedAtOnce(MemoryStorage):
    """One in which an object is deleted when it is complete. S3 then says of it that it is not there."""

    delete: Callable[[], Awaitable[None]]

    async def complete_upload(self, bucket: str, object_id: str, upload_id: str, **expected: Any) -> ObjectStat:
        await super().complete_upload(bucket, object_id, upload_id, **expected)
        await self.delete()
        return await self.stat(bucket, object_id)


async def test_an_upload_that_is_deleted_as_soon_as_its_object_is_complete(autojump_clock: MockClock) -> None:
    storage = DeletedAtOnce()
    async with memory_archive(storage=storage) as archive:
        box = await new_box(archive)
        content = os.urandom(252)
        upload = await archive.uploads.create(box.id, announced())
        await put(archive, upload, content)
        storage.delete = partial(archive.uploads.cancel, box.id, upload.id)
        with pytest.raises(FileUploadStateError):
            await archive.uploads.close(box.id, upload.id, claimed(content))
        assert await usage(archive, box) == (0, 0)


class CollidingStorage(MemoryStorage):
    """One that tells a size of an object while another call is still making it, as JuiceFS does."""

    async def complete_upload(self, bucket: str, object_id: str, upload_id: str, **expected: Any) -> ObjectStat:
        stat = await super().complete_upload(bucket, object_id, upload_id, **expected)
        return attrs.evolve(stat, size=0, etag="")


async def test_the_size_of_an_object_that_another_call_still_makes_fails_no_upload(autojump_clock: MockClock) -> None:
    async with memory_archive(storage=CollidingStorage()) as archive:
        box = await new_box(archive)
        content = os.urandom(252)
        upload = await archive.uploads.create(box.id, announced())
        await put(archive, upload, content)
        await archive.uploads.close(box.id, upload.id, claimed(content))
        assert (await archive.upload_repository.get(upload.id)).state == "inbox"


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
        assert await names(archive, "inbox") == [upload.id]
        await archive.uploads.create(box.id, announced(overwrite=True))
        with pytest.raises(FileUploadNotFound):
            await archive.upload_repository.get(upload.id)
        assert await usage(archive, box) == (1, 100)
        async with working(archive):
            await at_rest(archive)
        assert await names(archive, "inbox") == []


async def test_an_object_that_appears_after_its_upload_was_deleted_is_removed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """As where a server dies while the storage is completing the upload."""
    async with memory_archive() as archive, working(archive):
        box = await new_box(archive)
        upload = await archive.uploads.create(box.id, announced())
        await archive.uploads.cancel(box.id, upload.id)
        assert await archive.hubs.default.storage.list_uploads("inbox") == []
        await trio.sleep(20)
        await archive.hubs.default.storage.put_object("inbox", upload.id, b"content")
        await trio.sleep(60)
        assert await names(archive, "inbox") == []
        assert await archive.jobs.find_all() == []


class RepeatingStorage(MemoryStorage):
    """A storage whose response was lost, so that its client has asked again."""

    async def start_upload(self, bucket: str, object_id: str) -> str:
        await super().start_upload(bucket, object_id)
        return await super().start_upload(bucket, object_id)


async def test_uploads_that_were_started_twice_leave_nothing() -> None:
    async with memory_archive(storage=RepeatingStorage()) as archive, working(archive):
        box, storage = await new_box(archive, max_size=10**6), archive.hubs.default.storage
        file = seal(os.urandom(1000), sender=new_private_key(), recipient=archive.hubs.default.public_key)
        upload = await archive.uploads.create(box.id, UploadCreation(**file.announcement("a")))
        await put(archive, upload, file.content)
        assert len(await storage.list_uploads("inbox")) == 2
        await archive.uploads.close(box.id, upload.id, claimed(file.content, plaintext=file.plaintext))
        await at_rest(archive)
        assert (await archive.upload_repository.get(upload.id)).state == "archived"
        assert [await storage.list_uploads(bucket) for bucket in ("inbox", "permanent")] == [[], []]


async def test_what_is_interrogated_is_not_overwritten_and_can_be_deleted() -> None:
    async with memory_archive() as archive, working(archive):
        box = await new_box(archive, max_size=10**6)
        file = seal(os.urandom(1000), sender=new_private_key(), recipient=archive.hubs.default.public_key)
        upload = await archive.uploads.create(box.id, UploadCreation(**file.announcement("a")))
        await put(archive, upload, file.content)
        await archive.uploads.close(box.id, upload.id, claimed(file.content, plaintext=file.plaintext))
        await at_rest(archive)
        done = await archive.upload_repository.get(upload.id)
        assert done.state == "archived"
        await archive.downloads.get_object(done.accession or "", host="h")
        await at_rest(archive)
        assert len(await names(archive, "download")) == 1
        with pytest.raises(FileUploadAlreadyExists):
            await archive.uploads.create(box.id, announced(overwrite=True))
        # Closing again is still no error.
        await archive.uploads.close(box.id, upload.id, claimed(file.content))
        await archive.uploads.cancel(box.id, upload.id)
        assert await archive.database.files.find_one({"file_id": upload.id}) is None
        with pytest.raises(NotFound):
            await archive.key_store.fetch(done.secret_id or "")
        assert await usage(archive, box) == (0, 0)
        await at_rest(archive)
        for bucket in ("inbox", "permanent", "download"):
            assert await names(archive, bucket) == []
        assert await archive.jobs.find_all() == []


async def test_an_upload_that_is_not_completed_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    clock = ManualClock()
    async with memory_archive(clock, open_uploads=1) as archive, working(archive):
        box = await new_box(archive)
        upload = await archive.uploads.create(box.id, announced())
        await put(archive, upload, b"part")
        clock.now += 71 * 3600
        await trio.sleep(1)
        assert (await archive.upload_repository.get(upload.id)).state == "init"
        clock.now += 3600
        await trio.sleep(1)
        stale = await archive.upload_repository.get(upload.id)
        assert (stale.state, "72 hours" in (stale.failure or "")) == ("failed", True)
        assert await usage(archive, box) == (0, 0)
        assert await archive.hubs.default.storage.list_uploads("inbox") == []
        assert (await archive.uploads.create(box.id, announced())).state == "init"


async def test_a_creation_that_was_killed_leaves_nothing_for_good(autojump_clock: trio.testing.MockClock) -> None:
    clock = ManualClock()
    async with memory_archive(clock) as archive:
        now = await archive.database.factory.now()
        due = now + timedelta(hours=72)
        await archive.database.jobs.insert(new_job("file", "expire", hub="embedded", now=now, due=due))
        await archive.hubs.default.storage.start_upload("inbox", "file")
        async with working(archive):
            clock.now += 73 * 3600
            await trio.sleep(1)
        assert await archive.hubs.default.storage.list_uploads("inbox") == []
        assert await archive.jobs.find_all() == []


class LateStorage(MemoryStorage):
    """A storage that starts uploads some seconds after it was asked, also for clients that do not wait any more."""

    def __init__(self, nursery: trio.Nursery, delay: float) -> None:
        super().__init__()
        self._nursery = nursery
        self._delay = delay

    async def start_upload(self, bucket: str, object_id: str) -> str:
        async def later() -> None:
            await trio.sleep(self._delay)
            await super(LateStorage, self).start_upload(bucket, object_id)

        self._nursery.start_soon(later)
        await trio.sleep_forever()


@pytest.mark.parametrize("delay", [0.0, 30.0])
async def test_a_creation_whose_client_goes_leaves_nothing(
    delay: float, autojump_clock: trio.testing.MockClock
) -> None:
    async with trio.open_nursery() as nursery, memory_archive(storage=LateStorage(nursery, delay)) as archive:
        box = await new_box(archive)
        with trio.move_on_after(1):
            await archive.uploads.create(box.id, announced())
        await trio.sleep(delay)
        assert len(await archive.hubs.default.storage.list_uploads("inbox")) == 1
        async with working(archive):
            await trio.sleep(65)
        assert await archive.hubs.default.storage.list_uploads("inbox") == []
        assert await archive.jobs.find_all() == []
        assert await usage(archive, box) == (0, 0)


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


async def test_what_another_process_changes_is_seen_by_the_next_part_url() -> None:
    async with MemoryDaoFactory() as documents, memory_archive(documents=documents) as archive:
        box = await new_box(archive)
        upload = await archive.uploads.create(box.id, announced())
        assert await archive.uploads.part_url(box.id, upload.id, 1)
        uploads = await documents.dao("uploads", FileUpload, id_field="id")
        await uploads.compare_and_set(upload.id, expected={}, changes={"state": "cancelled"})
        with pytest.raises(S3UploadNotFound):
            await archive.uploads.part_url(box.id, upload.id, 1)
