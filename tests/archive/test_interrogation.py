from __future__ import annotations

import hashlib
import os

import pytest
import trio
from crypt4gh import header

from connector.archive import admin
from connector.archive.assembly import Archive
from connector.archive.database import Database
from connector.archive.jobs import LostLease, most_attempts, schedule
from connector.archive.models import FileUpload
from connector.archive.worker import Lease
from connector.crypt4gh.keys import make_header
from connector.crypt4gh.segments import CIPHER_SEGMENT_SIZE, HEADER_SIZE
from connector.wire.payloads import UploadCreation
from persistence.errors import Unreachable
from persistence.objects.memory import MemoryStorage
from persistence.objects.values import Data, ObjectStat
from tests.support.contract_client import MIB, new_private_key, public_of, seal, unseal
from tests.support.memory_archive import ManualClock, at_rest, memory_archive, until_state, working
from tests.support.stored_upload import stored_upload

pytestmark = pytest.mark.trio


async def received(archive: Archive, plaintext: bytes, *, content: bytes | None = None, sha256: str = "") -> FileUpload:
    """An upload in the inbox, as closing leaves it."""
    key = new_private_key()
    sealed = content or seal(plaintext, sender=key, recipient=archive.hubs.default.public_key).content
    box = await archive.boxes.create(title="", storage_alias="embedded")
    upload = stored_upload(
        id=os.urandom(8).hex(),
        box_id=box.id,
        state="inbox",
        decrypted_size=len(plaintext),
        encrypted_size=len(sealed),
        decrypted_sha256=sha256 or hashlib.sha256(plaintext).hexdigest(),
    )
    await archive.hubs.default.storage.put_object("inbox", upload.id, sealed)

    async def enter(database: Database) -> None:
        await database.uploads.insert(upload)
        await schedule(database, upload.id, "interrogate", hub="embedded", now=await database.factory.now())

    await archive.database.transact(enter)
    return upload


async def names(archive: Archive, bucket: str) -> list[str]:
    return [found.object_id async for found in archive.hubs.default.storage.list_objects(bucket)]


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
        async with working(archive):
            done = await until_state(archive, upload.id, "archived", "failed")
        assert (done.state, done.failure) == ("archived", None)
        file = await archive.registry.get(done.accession or "")
        content = await read(archive, "permanent", file.object_id)
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
        async with working(archive):
            done = await until_state(archive, upload.id, "archived", "failed")
            await at_rest(archive)
        assert await names(archive, "inbox") == []
        assert done.state == "failed"
        assert why in (done.failure or "")
        assert await names(archive, "permanent") == []
        assert await archive.hubs.default.storage.list_uploads("permanent") == []
        assert await archive.jobs.find_all() == []


async def test_swapped_segments_are_noticed() -> None:
    """Each of them is authentic; only the digest of the whole tells."""
    async with memory_archive() as archive:
        plaintext = os.urandom(3 * 65_536)
        content = seal(plaintext, sender=new_private_key(), recipient=archive.hubs.default.public_key).content
        one, two = content[124 : 124 + CIPHER_SEGMENT_SIZE], content[124 + CIPHER_SEGMENT_SIZE :][:CIPHER_SEGMENT_SIZE]
        swapped = content[:124] + two + one + content[124 + 2 * CIPHER_SEGMENT_SIZE :]
        upload = await received(archive, plaintext, content=swapped)
        async with working(archive):
            done = await until_state(archive, upload.id, "archived", "failed")
        assert "sha256" in (done.failure or "")


async def test_a_size_other_than_announced_fails() -> None:
    async with memory_archive() as archive:
        content = seal(b"12345", sender=new_private_key(), recipient=archive.hubs.default.public_key).content
        upload = await received(archive, b"1234", content=content)
        async with working(archive):
            done = await until_state(archive, upload.id, "archived", "failed")
        assert "4 bytes" in (done.failure or "")


async def test_a_file_that_was_made_for_another_key_fails() -> None:
    async with memory_archive() as archive:
        content = seal(b"data", sender=new_private_key(), recipient=public_of(new_private_key())).content
        upload = await received(archive, b"data", content=content)
        async with working(archive):
            done = await until_state(archive, upload.id, "archived", "failed")
        assert "key" in (done.failure or "")


async def test_a_header_of_many_packets_is_read_to_its_end() -> None:
    """Packets for keys of others, before and behind ours, make it longer than most headers."""
    async with memory_archive() as archive:
        plaintext, key, sender = os.urandom(70_000), os.urandom(32), new_private_key()
        hub = archive.hubs.default.public_key
        readers = [*(public_of(new_private_key()) for _ in range(20)), hub, public_of(new_private_key())]
        head = make_header(key, sender_private_key=sender, recipient_public_keys=readers)
        assert len(head) > 2000
        one_reader = seal(plaintext, sender=sender, recipient=hub, key=key).content
        upload = await received(archive, plaintext, content=head + one_reader[HEADER_SIZE:])
        async with working(archive):
            done = await until_state(archive, upload.id, "archived", "failed")
        assert done.state == "archived", done.failure


async def test_an_edit_list_is_not_taken() -> None:
    """What is registered is the content: one that readers are to skip parts of would be another file."""
    async with memory_archive() as archive:
        key, sender, hub = os.urandom(32), new_private_key(), archive.hubs.default.public_key
        packets = [header.make_packet_data_enc(0, key), header.make_packet_data_edit_list([0, 2])]
        head = header.serialize(sealed for packet in packets for sealed in header.encrypt(packet, [(0, sender, hub)]))
        content = head + seal(b"data", sender=sender, recipient=hub, key=key).content[HEADER_SIZE:]
        upload = await received(archive, b"data", content=content)
        async with working(archive):
            done = await until_state(archive, upload.id, "archived", "failed")
        assert done.state == "failed"
        assert "edit list" in (done.failure or "")


async def test_an_object_that_is_shorter_than_was_received_fails() -> None:
    async with memory_archive() as archive:
        upload = await received(archive, os.urandom(500))
        await archive.hubs.default.storage.put_object("inbox", upload.id, bytes(100))
        async with working(archive):
            done = await until_state(archive, upload.id, "archived", "failed")
        assert done.state == "failed"
        assert str(upload.encrypted_size) in (done.failure or "")


async def test_an_object_that_is_gone_fails() -> None:
    async with memory_archive() as archive:
        upload = await received(archive, b"data")
        await archive.hubs.default.storage.delete_object("inbox", upload.id)
        async with working(archive):
            done = await until_state(archive, upload.id, "archived", "failed")
            await at_rest(archive)
        assert done.state == "failed"


async def test_many_small_files() -> None:
    async with memory_archive() as archive:
        uploads = [await received(archive, os.urandom(1 + number)) for number in range(60)]
        async with working(archive):
            done = [await until_state(archive, upload.id, "archived", "failed") for upload in uploads]
        assert {upload.state for upload in done} == {"archived"}
        assert len({upload.accession for upload in done}) == 60


class SlowStorage(MemoryStorage):
    """Stops before it writes to the permanent bucket until it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = trio.Event()
        self.go_on = trio.Event()

    async def put_object(self, bucket: str, object_id: str, data: Data, *, overwrite: bool = True) -> ObjectStat:
        if bucket == "permanent":
            self.reached.set()
            await self.go_on.wait()
        return await super().put_object(bucket, object_id, data, overwrite=overwrite)


@pytest.mark.parametrize("replaced", [False, True])
async def test_an_upload_withdrawn_meanwhile_leaves_nothing(
    replaced: bool, autojump_clock: trio.testing.MockClock
) -> None:
    storage = SlowStorage()
    async with memory_archive(storage=storage) as archive:
        upload = await received(archive, b"data")
        async with working(archive):
            await storage.reached.wait()
            if replaced:
                creation = UploadCreation(
                    alias=upload.alias, decrypted_size=1, encrypted_size=153, part_size=5 * MIB, overwrite=True
                )
                await archive.uploads.create(upload.box_id, creation)
            else:
                await archive.uploads.cancel(upload.box_id, upload.id)
            storage.go_on.set()
            other = await received(archive, b"other")
            done = await until_state(archive, other.id, "archived")
            with trio.fail_after(180):
                while any(job.kind != "expire" for job in await archive.jobs.find_all()):
                    await trio.sleep(0.1)
        assert await names(archive, "permanent") == [done.object_id]
        assert await names(archive, "inbox") == []
        assert [file.file_id async for file in archive.registry.find_all()] == [other.id]
        assert await archive.database.secrets.count({}) == 1


async def test_a_worker_that_has_lost_its_lease_changes_nothing() -> None:
    """Another worker has interrogated the file meanwhile; the first one comes to its end all the same."""
    storage = SlowStorage()
    async with memory_archive(storage=storage) as archive:
        upload = await received(archive, b"data")
        jobs = archive.jobs
        async with trio.open_nursery() as nursery:
            (job,) = [one async for one in jobs.claim({"interrogate": 1}, worker="first")]
            lease = Lease(jobs, job)
            late: list[BaseException] = []

            async def interrogate() -> None:
                try:
                    await archive.works["interrogate"](lease)
                except LostLease as error:
                    late.append(error)

            nursery.start_soon(interrogate)
            await storage.reached.wait()
            await archive.database.jobs.compare_and_set(job.id, expected={}, changes={"due": job.created})
            storage.go_on.set()
            (again,) = [one async for one in jobs.claim({"interrogate": 1}, worker="second")]
            second = Lease(jobs, again)
            await archive.works["interrogate"](second)
            await archive.works["register"](second)
        assert len(late) == 1
        done = await archive.upload_repository.get(upload.id)
        assert (done.state, done.object_id) == ("archived", again.attempt_id)
        assert await names(archive, "permanent") == [again.attempt_id]
        assert await archive.database.secrets.count({}) == 1


async def test_a_worker_that_is_stopped_before_its_last_step_leaves_nothing() -> None:
    """Its job is given back: it has not failed."""
    async with memory_archive() as archive:
        upload = await received(archive, b"data")
        (job,) = [one async for one in archive.jobs.claim({"interrogate": 1}, worker="stopped")]
        await archive.hubs.default.storage.put_object("permanent", job.attempt_id, b"all of it")
        await archive.jobs.give_back(job)
        async with working(archive):
            done = await until_state(archive, upload.id, "archived", "failed")
            await at_rest(archive)
        assert await names(archive, "permanent") == [done.object_id]


async def test_what_a_dead_worker_has_stored_is_removed_by_the_next() -> None:
    async with memory_archive() as archive:
        upload = await received(archive, b"data")
        storage = archive.hubs.default.storage
        (job,) = [one async for one in archive.jobs.claim({"interrogate": 1}, worker="dead")]
        await storage.put_object("permanent", job.attempt_id, b"half of it")
        await storage.start_upload("permanent", job.attempt_id)
        await archive.database.jobs.compare_and_set(job.id, expected={}, changes={"due": job.created})
        async with working(archive):
            done = await until_state(archive, upload.id, "archived", "failed")
            await at_rest(archive)
        assert await names(archive, "permanent") == [done.object_id]
        assert await storage.list_uploads("permanent") == []


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
        async with working(archive):
            assert (await until_state(archive, upload.id, "archived", "failed")).state == "archived"


async def test_a_longer_failure_postpones_the_file_instead_of_failing_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    storage = FlakyStorage()
    async with memory_archive(storage=storage) as archive:
        upload = await received(archive, b"data")
        storage.failures = 12
        async with working(archive):
            await trio.sleep(30)
            (job,) = await archive.jobs.find_all(scheduled=False)
            assert (job.kind, job.attempts > 1, "disk" in (job.reason or "")) == ("interrogate", True, True)
            assert (await archive.upload_repository.get(upload.id)).state == "inbox"
            await trio.sleep(120)
            assert (await archive.upload_repository.get(upload.id)).state == "archived"


async def test_after_the_last_failure_the_job_is_set_aside_until_it_is_retried(
    autojump_clock: trio.testing.MockClock,
) -> None:
    storage, clock = FlakyStorage(), ManualClock()
    async with memory_archive(clock, storage=storage) as archive:
        upload = await received(archive, b"data")
        storage.failures = 10**6
        async with working(archive):
            for _ in range(most_attempts("interrogate")):
                await trio.sleep(10)
                clock.now += 600
            (row,) = await admin.list_jobs(archive)
            assert (row["state"], row["due"], "disk" in row["reason"]) == ("set aside", None, True)
            storage.failures = 0
            clock.now += 7200
            await trio.sleep(1)
            assert (await archive.upload_repository.get(upload.id)).state == "inbox"
            assert await admin.retry_jobs(archive, []) == 1
            await until_state(archive, upload.id, "archived")
