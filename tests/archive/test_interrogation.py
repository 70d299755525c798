from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from connector.archive.assembly import Archive
from connector.archive.models import FileUpload
from connector.archive.settings import utc_now
from connector.crypt4gh.layout import CIPHER_SEGMENT_SIZE
from persistence.errors import Unreachable
from persistence.objects.memory import MemoryStorage
from tests.support.contract_client import MIB, new_private_key, public_of, seal, unseal
from tests.support.memory_archive import ManualClock, memory_archive

pytestmark = pytest.mark.trio


async def received(archive: Archive, plaintext: bytes, *, content: bytes | None = None, sha256: str = "") -> FileUpload:
    """An upload in the inbox, as closing leaves it."""
    key = new_private_key()
    sealed = content or seal(plaintext, sender=key, recipient=archive.hubs.default.public_key).content
    now = utc_now(ManualClock())
    upload = FileUpload(
        id=os.urandom(8).hex(),
        box_id="box",
        alias="a.bam",
        state="inbox",
        storage_alias="embedded",
        upload_id="u",
        decrypted_size=len(plaintext),
        encrypted_size=len(sealed),
        part_size=5 * MIB,
        created=now,
        state_updated=now,
        decrypted_sha256=sha256 or hashlib.sha256(plaintext).hexdigest(),
    )
    await archive.hubs.default.storage.put_object("inbox", upload.id, sealed)
    await archive.upload_repository.add(upload)
    return upload


@asynccontextmanager
async def interrogating(archive: Archive) -> AsyncIterator[None]:
    """The interrogation at work."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(archive.interrogation.run)
        try:
            yield
        finally:
            nursery.cancel_scope.cancel()


async def until(archive: Archive, upload: FileUpload, *states: str) -> FileUpload:
    with trio.fail_after(30):
        while (found := await archive.upload_repository.get(upload.id)).state not in states:
            await trio.sleep(0.005)
    return found


async def gone(archive: Archive, bucket: str, upload: FileUpload) -> None:
    """Wait, while the interrogation is at work, until the object is deleted: that comes after the change of state."""
    with trio.fail_after(30):
        while await archive.hubs.default.storage.object_exists(bucket, upload.id):
            await trio.sleep(0.005)


async def read(archive: Archive, bucket: str, object_id: str) -> bytes:
    stat = await archive.hubs.default.storage.stat(bucket, object_id)
    buffer = bytearray(stat.size)
    await archive.hubs.default.storage.read_into(bucket, object_id, 0, memoryview(buffer))
    return bytes(buffer)


@pytest.mark.parametrize("size", [1, 65_536, 65_537, 3 * MIB, 20 * MIB + 3])
async def test_a_good_file_is_encrypted_again_and_registered(size: int) -> None:
    async with memory_archive() as archive:
        plaintext = os.urandom(size)
        upload = await received(archive, plaintext)
        archive.interrogation.enqueue(upload)
        async with interrogating(archive):
            done = await until(archive, upload, "archived", "failed")
        assert (done.state, done.failure) == ("archived", None)
        file = await archive.registry.get(done.accession or "")
        content = await read(archive, "permanent", upload.id)
        assert len(content) == file.encrypted_size
        assert not await archive.hubs.default.storage.object_exists("inbox", upload.id)
        reader = new_private_key()
        envelope = await archive.downloads.make_header(file.accession, public_of(reader))
        assert unseal(envelope, content, reader) == plaintext


@pytest.mark.parametrize(
    ("place", "why"), [(2, "header"), (124 + 5, "damaged"), (124 + 8 * MIB + 70, "damaged"), (-1, "damaged")]
)
async def test_damage_anywhere_fails_the_upload(place: int, why: str) -> None:
    async with memory_archive() as archive:
        plaintext = os.urandom(17 * MIB)
        content = bytearray(
            seal(plaintext, sender=new_private_key(), recipient=archive.hubs.default.public_key).content
        )
        content[place] ^= 1
        upload = await received(archive, plaintext, content=bytes(content))
        async with interrogating(archive):
            done = await until(archive, upload, "archived", "failed")
            await gone(archive, "inbox", upload)
        assert done.state == "failed"
        assert why in (done.failure or "")
        assert not await archive.hubs.default.storage.object_exists("permanent", upload.id)
        assert await archive.hubs.default.storage.list_uploads("permanent") == []


async def test_swapped_segments_are_noticed() -> None:
    """Each of them is authentic; only the digest of the whole tells."""
    async with memory_archive() as archive:
        plaintext = os.urandom(3 * 65_536)
        content = seal(plaintext, sender=new_private_key(), recipient=archive.hubs.default.public_key).content
        one, two = content[124 : 124 + CIPHER_SEGMENT_SIZE], content[124 + CIPHER_SEGMENT_SIZE :][:CIPHER_SEGMENT_SIZE]
        swapped = content[:124] + two + one + content[124 + 2 * CIPHER_SEGMENT_SIZE :]
        upload = await received(archive, plaintext, content=swapped)
        async with interrogating(archive):
            done = await until(archive, upload, "archived", "failed")
        assert "sha256" in (done.failure or "")


async def test_a_size_other_than_announced_fails() -> None:
    async with memory_archive() as archive:
        content = seal(b"12345", sender=new_private_key(), recipient=archive.hubs.default.public_key).content
        upload = await received(archive, b"1234", content=content)
        async with interrogating(archive):
            done = await until(archive, upload, "archived", "failed")
        assert "4 bytes" in (done.failure or "")


@pytest.mark.parametrize("state", ["inbox", "interrogated", "awaiting_archival"])
async def test_unfinished_work_goes_on_after_a_restart(state: str) -> None:
    async with memory_archive() as archive:
        upload = await received(archive, b"data")
        if state != "inbox":
            secret_id = await archive.key_store.deposit(os.urandom(32))
            moved = await archive.upload_repository.move(upload, "interrogated", secret_id=secret_id)
            if state == "awaiting_archival":
                assert moved is not None
                await archive.upload_repository.move(moved, "awaiting_archival")
        async with interrogating(archive):  # nobody announces the upload
            done = await until(archive, upload, "archived", "failed")
        assert done.state == "archived"
        assert not await archive.hubs.default.storage.object_exists("inbox", upload.id)


async def test_an_upload_that_is_announced_again_is_interrogated_once() -> None:
    storage = SlowStorage()
    async with memory_archive(storage=storage) as archive:
        upload = await received(archive, b"data")
        async with interrogating(archive):
            await storage.reached.wait()
            archive.interrogation.enqueue(upload)  # the close was repeated
            storage.go_on.set()
            done = await until(archive, upload, "archived", "failed")
            other = await received(archive, b"other")
            archive.interrogation.enqueue(other)
            await until(archive, other, "archived")
        assert done.state == "archived"
        assert await archive.hubs.default.storage.object_exists("permanent", upload.id)
        assert len([secret_id async for secret_id in archive.key_store.ids()]) == 2


async def test_many_small_files() -> None:
    async with memory_archive() as archive:
        uploads = [await received(archive, os.urandom(1 + number)) for number in range(60)]
        async with interrogating(archive):
            done = [await until(archive, upload, "archived", "failed") for upload in uploads]
        assert {upload.state for upload in done} == {"archived"}
        assert len({upload.accession for upload in done}) == 60


class SlowStorage(MemoryStorage):
    """Stops before it writes to the permanent bucket until it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = trio.Event()
        self.go_on = trio.Event()

    async def put_object(self, bucket, object_id, data, *, overwrite=True):  # type: ignore[no-untyped-def]
        if bucket == "permanent":
            self.reached.set()
            await self.go_on.wait()
        return await super().put_object(bucket, object_id, data, overwrite=overwrite)


@pytest.mark.parametrize("replaced", [False, True])
async def test_an_upload_withdrawn_meanwhile_leaves_nothing(replaced: bool) -> None:
    storage = SlowStorage()
    async with memory_archive(storage=storage) as archive:
        upload = await received(archive, b"data")
        async with interrogating(archive):
            await storage.reached.wait()
            moved = await archive.upload_repository.move(await archive.upload_repository.get(upload.id), "cancelled")
            if replaced:
                assert moved is not None
                await archive.upload_repository.remove(moved)
            storage.go_on.set()
            other = await received(archive, b"other")
            archive.interrogation.enqueue(other)
            await until(archive, other, "archived")
            await gone(archive, "permanent", upload)
        assert [file.file_id async for file in archive.registry.find_all()] == [other.id]


class FlakyStorage(MemoryStorage):
    """Fails the first reads from the inbox."""

    failures = 0

    async def read_into(self, bucket: str, object_id: str, start: int, buffer: memoryview) -> int:
        if bucket == "inbox" and self.failures:
            self.failures -= 1
            raise Unreachable("The disk is away for a moment.")
        return await super().read_into(bucket, object_id, start, buffer)


async def test_a_passing_failure_of_the_storage_is_tried_again(autojump_clock: trio.testing.MockClock) -> None:
    storage = FlakyStorage()
    async with memory_archive(storage=storage) as archive:
        upload = await received(archive, b"data")
        storage.failures = 2
        async with interrogating(archive):
            assert (await until(archive, upload, "archived", "failed")).state == "archived"


async def test_a_longer_failure_postpones_the_file_instead_of_failing_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    storage = FlakyStorage()
    async with memory_archive(storage=storage) as archive:
        upload = await received(archive, b"data")
        storage.failures = 6
        async with interrogating(archive):
            await trio.sleep(30)
            assert (await archive.upload_repository.get(upload.id)).state == "inbox"
            await trio.sleep(60)
            assert (await archive.upload_repository.get(upload.id)).state == "archived"
