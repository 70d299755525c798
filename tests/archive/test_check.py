"""`archive check`: each kind of fault is planted in an archive, found, and repaired where that is safe."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args
from uuid import uuid4

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from connector.archive.assembly import Archive, open_archive
from connector.archive.config import FilesystemBuckets, SqliteDocuments, embedded
from connector.archive.errors import NoSuchStorage
from connector.archive.faults import Fault, FaultKind
from connector.archive.inventory import group_sorted
from connector.archive.leftovers import settle
from connector.archive.models import FileUpload, RegisteredFile, StoredSecret
from connector.archive.sealing import MasterKey
from connector.errors import LocalError
from connector.wire.payloads import UploadCompletion, UploadCreation
from persistence.documents import DaoFactory
from persistence.documents.mongodb import MongoDaoFactory, MongoSettings
from persistence.objects.filesystem import FilesystemStorage
from persistence.objects.memory import MemoryStorage
from persistence.objects.values import ObjectStat
from tests.support.archive_process import run_cli
from tests.support.contract_client import SealedFile, new_private_key, seal
from tests.support.memory_archive import at_rest, memory_archive, working
from tests.support.served_archive import ServedArchive

NOTHING = "00000000-0000-4000-8000-000000000000"


async def send(
    archive: Archive,
    box_id: str,
    alias: str,
    *,
    close: bool = True,
    damage: bool = False,
    file: SealedFile | None = None,
) -> str:
    file = file or seal(os.urandom(1000), sender=new_private_key(), recipient=archive.hubs.default.public_key)
    if damage:
        file = SealedFile(file.plaintext, file.content[:-1] + bytes([file.content[-1] ^ 1]), file.part_size)
    upload = await archive.uploads.create(box_id, UploadCreation(**file.announcement(alias)))
    await archive.hubs.default.storage.put_part("inbox", upload.id, upload.upload_id, 1, file.content)
    if close:
        await complete(archive, box_id, upload.id, file)
    return upload.id


async def complete(archive: Archive, box_id: str, upload_id: str, file: SealedFile) -> None:
    claim: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in file.claim().items()}
    await archive.uploads.close(box_id, upload_id, UploadCompletion(**claim))


async def furnish(archive: Archive) -> None:
    """Uploads in every state that lasts: archived (one staged), open, received, failed, deleted."""
    box = await archive.boxes.create(title="", storage_alias="embedded")
    async with working(archive):
        for alias in ("archived", "staged", "deleted"):
            await send(archive, box.id, alias)
        await send(archive, box.id, "failed", damage=True)
        await at_rest(archive)
        staged = await file_of(archive, "staged")
        with trio.fail_after(180):
            while isinstance(await archive.downloads.get_object(staged.accession, host="h"), int):
                await trio.sleep(0.01)
        await archive.uploads.cancel(box.id, (await file_of(archive, "deleted")).file_id)
        await at_rest(archive)
    await send(archive, box.id, "open", close=False)
    await send(archive, box.id, "received")


async def upload_of(archive: Archive, alias: str) -> FileUpload:
    (upload,) = [one async for one in archive.database.uploads.find_all({"alias": alias})]
    return upload


async def file_of(archive: Archive, alias: str) -> RegisteredFile:
    (file,) = [one async for one in archive.database.files.find_all({"alias": alias})]
    return file


async def check(archive: Archive, *, repair: bool = False, delete_unknown: bool = False) -> list[Fault]:
    """The faults that are left."""
    faults: list[Fault] = []

    def report(fault: Fault, repaired: bool) -> None:
        assert not (repaired and fault.repair is None)
        if not repaired:
            faults.append(fault)

    left = await archive.check.run(report, repair=repair, delete_unknown=delete_unknown, pause=0.0)
    assert left == len(faults)
    return faults


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("furnished") / "archive"

    async def make() -> None:
        async with open_archive(embedded(root)) as archive:
            await furnish(archive)

    trio.run(make)
    return root


@pytest.fixture
def root(furnished: Path, tmp_path: Path) -> Path:
    shutil.copytree(furnished, tmp_path / "archive")
    return tmp_path / "archive"


Plant = Callable[[Archive], Awaitable[object]]


async def lost_upload(archive: Archive) -> None:
    upload = await upload_of(archive, "open")
    await archive.hubs.default.storage.abort_upload("inbox", upload.id, upload.upload_id)


async def missing_object(archive: Archive) -> None:
    await archive.hubs.default.storage.delete_object("permanent", (await file_of(archive, "archived")).object_id)


async def missing_inbox_object(archive: Archive) -> None:
    await archive.hubs.default.storage.delete_object("inbox", (await upload_of(archive, "received")).id)


async def wrong_size(archive: Archive) -> None:
    object_id = (await file_of(archive, "archived")).object_id
    await archive.hubs.default.storage.put_object("permanent", object_id, b"cut short")


async def missing_secret(archive: Archive) -> None:
    await archive.database.secrets.delete((await file_of(archive, "archived")).secret_id)


async def not_registered(archive: Archive) -> None:
    file = await file_of(archive, "archived")
    await archive.database.files.delete(file.accession)


async def not_archived(archive: Archive) -> None:
    await archive.database.uploads.delete((await upload_of(archive, "archived")).id)


async def missing_copy(archive: Archive) -> None:
    file = await file_of(archive, "staged")
    await archive.hubs.default.storage.delete_object("download", str(file.staged_id))


def leftover_object(bucket: str, of: str | None) -> Plant:
    async def plant(archive: Archive) -> None:
        file_id = (await upload_of(archive, of)).id if of else NOTHING
        name = file_id if bucket == "inbox" else f"{file_id}.1"
        await archive.hubs.default.storage.put_object(bucket, name, b"content")

    return plant


def leftover_upload(bucket: str, of: str | None) -> Plant:
    async def plant(archive: Archive) -> None:
        file_id = (await upload_of(archive, of)).id if of else NOTHING
        await archive.hubs.default.storage.start_upload(bucket, file_id)

    return plant


def leftover_content(bucket: str) -> Plant:
    async def plant(archive: Archive) -> None:
        await write_content(archive, bucket)

    return plant


async def write_content(archive: Archive, bucket: str) -> Path:
    """A content file as a process leaves it that is killed before it names it."""
    storage = archive.hubs.default.storage
    assert isinstance(storage, FilesystemStorage)
    stat, find_spans = await storage.local_files("permanent", (await file_of(archive, "archived")).object_id)
    [(other, _, _), *_] = find_spans(0, stat.size)
    name = os.urandom(16).hex()
    path = other.parents[3] / bucket / "data" / name[:2] / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"cut short")
    return path


async def leftover_secret(archive: Archive) -> None:
    await archive.key_store.deposit(bytes(32))


def missing_job(of: str) -> Plant:
    async def plant(archive: Archive) -> None:
        await archive.database.jobs.delete((await upload_of(archive, of)).id)

    return plant


async def job_set_aside(archive: Archive) -> None:
    job_id = (await upload_of(archive, "received")).id
    await archive.database.jobs.compare_and_set(job_id, expected={}, changes={"due": None, "reason": "no way"})


async def unknown_hub(archive: Archive) -> None:
    upload = await upload_of(archive, "failed")
    await archive.database.uploads.update(attrs.evolve(upload, storage_alias="elsewhere"))


async def unknown_box(archive: Archive) -> None:
    upload = await upload_of(archive, "failed")
    await archive.database.uploads.update(attrs.evolve(upload, box_id=NOTHING))


async def wrong_counters(archive: Archive) -> None:
    (box,) = [one async for one in archive.database.boxes.find_all()]
    await archive.database.boxes.update(attrs.evolve(box, open_uploads=7, used_size=3))


async def old_master_key(archive: Archive) -> None:
    old = archive.keys.master
    await archive.key_rotation.rotate("master")
    secret_id = (await file_of(archive, "archived")).secret_id
    sealed = old.seal(await archive.key_store.fetch(secret_id), secret_id)
    await archive.database.secrets.update(StoredSecret(secret_id, old.id, sealed))


async def missing_master_key(archive: Archive) -> None:
    lost = MasterKey(os.urandom(32))
    secret_id = (await file_of(archive, "archived")).secret_id
    await archive.database.secrets.update(StoredSecret(secret_id, lost.id, lost.seal(bytes(32), secret_id)))


REPAIRED: list[tuple[FaultKind, Plant]] = [
    ("lost_upload", lost_upload),
    ("missing_copy", missing_copy),
    *(("leftover_object", leftover_object(bucket, "archived")) for bucket in ("inbox", "permanent", "download")),
    ("leftover_object", leftover_object("inbox", "failed")),
    ("leftover_upload", leftover_upload("inbox", "archived")),
    *(("leftover_content", leftover_content(bucket)) for bucket in ("inbox", "permanent", "download")),
    ("leftover_secret", leftover_secret),
    ("missing_job", missing_job("open")),
    ("missing_job", missing_job("received")),
    ("wrong_counters", wrong_counters),
    ("old_master_key", old_master_key),
]
DELETED_ON_DEMAND: list[tuple[FaultKind, Plant]] = [
    *(("unknown_object", leftover_object(bucket, None)) for bucket in ("inbox", "permanent", "download")),
    *(("unknown_upload", leftover_upload(bucket, None)) for bucket in ("inbox", "permanent", "download")),
]
LOST: list[tuple[FaultKind, Plant]] = [
    ("missing_object", missing_object),
    ("missing_object", missing_inbox_object),
    ("wrong_size", wrong_size),
    ("missing_secret", missing_secret),
    ("not_registered", not_registered),
    ("not_archived", not_archived),
    ("job_set_aside", job_set_aside),
    ("unknown_hub", unknown_hub),
    ("unknown_box", unknown_box),
    ("missing_master_key", missing_master_key),
]


def test_every_kind_of_fault_is_planted_here() -> None:
    assert {kind for kind, _ in (*REPAIRED, *DELETED_ON_DEMAND, *LOST)} == set(get_args(FaultKind))


@pytest.mark.trio
async def test_an_archive_with_work_to_do_has_no_faults(root: Path) -> None:
    async with open_archive(embedded(root)) as archive:
        assert await check(archive) == []


@pytest.mark.parametrize(("kind", "plant"), REPAIRED, ids=[f"{kind}-{n}" for n, (kind, _) in enumerate(REPAIRED)])
@pytest.mark.trio
async def test_what_is_safe_to_repair(root: Path, kind: FaultKind, plant: Plant) -> None:
    async with open_archive(embedded(root)) as archive:
        await plant(archive)
        assert [fault.kind for fault in await check(archive)] == [kind]
        assert await check(archive, repair=True) == []
        assert await check(archive) == []
        # Nothing else was touched: all that was valid is finished as if nothing had happened.
        async with working(archive):
            await at_rest(archive)
            assert await check(archive) == []
        assert {file.alias async for file in archive.registry.find_all()} >= {"archived", "staged", "received"}


@pytest.mark.parametrize(("kind", "plant"), DELETED_ON_DEMAND)
@pytest.mark.trio
async def test_what_the_database_does_not_know_is_deleted_on_demand(root: Path, kind: FaultKind, plant: Plant) -> None:
    async with open_archive(embedded(root)) as archive:
        await plant(archive)
        for repair in (False, True, True):
            assert [fault.kind for fault in await check(archive, repair=repair)] == [kind]
        assert await check(archive, repair=True, delete_unknown=True) == []
        assert await check(archive) == []


@pytest.mark.trio
async def test_a_check_with_another_database_deletes_nothing(root: Path) -> None:
    """An empty one, as by a name that is misspelt."""
    config = embedded(root)
    other = attrs.evolve(config, documents=SqliteDocuments(path=root / "other.sqlite"))
    async with open_archive(other) as archive:
        assert {fault.kind for fault in await check(archive, repair=True)} == {"unknown_object", "unknown_upload"}
    async with open_archive(config) as archive:
        assert await check(archive) == []


@pytest.mark.trio
async def test_what_others_have_put_into_a_bucket_is_never_deleted(root: Path) -> None:
    async with open_archive(embedded(root)) as archive:
        await archive.hubs.default.storage.put_object("permanent", "inventory-2026.csv", b"somebody else's")
        for options in ({}, {"repair": True}, {"repair": True, "delete_unknown": True}):
            assert [fault.kind for fault in await check(archive, **options)] == ["unknown_object"]


@pytest.mark.parametrize("swapped", [("permanent", "inbox"), ("download", "permanent"), ("inbox", "download")])
@pytest.mark.trio
async def test_buckets_that_are_swapped_lose_nothing(root: Path, swapped: tuple[str, str]) -> None:
    config = embedded(root)
    (hub,) = config.hubs
    one, other = swapped
    buckets = FilesystemBuckets(path=root / "objects", **{one: other, other: one})
    async with open_archive(attrs.evolve(config, hubs=(attrs.evolve(hub, storage=buckets),))) as archive:
        assert await check(archive, repair=True, delete_unknown=True)
    async with open_archive(config) as archive:
        # Of the staged copies there may be another one at any time.
        assert {fault.kind for fault in await check(archive)} <= {"missing_copy"}
        assert {file.alias async for file in archive.registry.find_all()} == {"archived", "staged"}
        assert (await upload_of(archive, "open")).state == "init"


@pytest.mark.trio
async def test_a_hub_that_is_not_configured_loses_nothing(root: Path) -> None:
    """Its alias may be misspelt: what it has is not to be seen, and nothing is changed for that."""
    config = embedded(root)
    (hub,) = config.hubs
    elsewhere = attrs.evolve(hub, alias="misspelt", storage=FilesystemBuckets(path=root / "elsewhere"))
    async with open_archive(attrs.evolve(config, hubs=(elsewhere,))) as archive:
        assert {fault.kind for fault in await check(archive, repair=True, delete_unknown=True)} == {"unknown_hub"}
        file = await file_of(archive, "archived")
        with pytest.raises(NoSuchStorage):
            await archive.uploads.cancel(file.box_id, file.file_id)
        with pytest.raises(NoSuchStorage):
            await archive.downloads.get_object(file.accession, host="h")
    async with open_archive(config) as archive:
        assert await check(archive) == []
        assert (await archive.registry.get(file.accession)).file_id == file.file_id


@pytest.mark.trio
async def test_a_hub_under_another_alias_loses_nothing(root: Path) -> None:
    """As where it was renamed, or its `storage_alias` left out: the same buckets, of a hub that no document names."""
    config = embedded(root)
    (hub,) = config.hubs
    async with open_archive(attrs.evolve(config, hubs=(attrs.evolve(hub, alias="renamed"),))) as archive:
        kinds = {fault.kind for fault in await check(archive, repair=True, delete_unknown=True)}
        assert kinds == {"unknown_hub", "unknown_object"}
    async with open_archive(config) as archive:
        assert await check(archive) == []


@pytest.mark.trio
async def test_a_directory_that_is_not_mounted_loses_nothing(root: Path) -> None:
    """With empty buckets in its place, jobs would let uploads fail that were received."""
    (root / "objects").rename(root / "elsewhere")
    (root / "objects").mkdir()
    with pytest.raises(LocalError, match="permanent"):
        async with open_archive(embedded(root)):
            pass
    buckets = root / "objects" / "buckets"
    assert not any(buckets.glob("*"))
    shutil.rmtree(root / "objects")
    (root / "elsewhere").rename(root / "objects")
    # A backup has this bucket only.
    shutil.rmtree(buckets / "download")
    async with open_archive(embedded(root)) as archive:
        assert [fault.kind for fault in await check(archive)] == ["missing_copy"]
        assert (await upload_of(archive, "received")).state == "inbox"
        file = await file_of(archive, "archived")
        assert await archive.hubs.default.storage.object_exists("permanent", file.object_id)
    # What the hint says where everything is lost.
    shutil.rmtree(root / "objects")
    for name in ("objects", "data", "uploads"):
        (buckets / "permanent" / name).mkdir(parents=True)
    async with open_archive(embedded(root)) as archive:
        assert {fault.kind for fault in await check(archive)} >= {"missing_object", "lost_upload"}
        await archive.hubs.default.storage.put_object("permanent", "one", b"a later file")


@pytest.mark.parametrize("state", ["init", "inbox"])
@pytest.mark.trio
async def test_an_earlier_database_deletes_no_object_that_came_later(tmp_path: Path, state: str) -> None:
    """A database that was restored calls for jobs that were done since, about files that are in the archive by now.

    A later backup, which has their secrets, may still be found.
    """
    config = embedded(tmp_path / "archive")
    copy = tmp_path / "copy"
    async with open_archive(config) as archive:
        box = await archive.boxes.create(title="", storage_alias="embedded")
        file = seal(bytes(1000), sender=new_private_key(), recipient=archive.hubs.default.public_key)
        upload_id = await send(archive, box.id, "one", file=file, close=state == "inbox")
        changes = {"due": await archive.database.factory.now()}
        await archive.database.jobs.compare_and_set(upload_id, expected={}, changes=changes)
    shutil.copytree(tmp_path / "archive", copy)
    async with open_archive(config) as archive:
        if state == "init":
            await complete(archive, box.id, upload_id, file)
        async with working(archive):
            await at_rest(archive)
        object_id = (await file_of(archive, "one")).object_id
    shutil.copy(copy / "archive.sqlite", tmp_path / "archive")
    async with open_archive(config) as archive:
        for _ in range(3):  # the object is named like a later attempt of the job
            async with working(archive):
                with trio.fail_after(60):
                    while not (job := await archive.database.jobs.get_by_id(upload_id)).attempts:
                        await trio.sleep(0.01)
            assert "permanent" in str(job.reason)
            assert (await upload_of(archive, "one")).state == state
            await archive.jobs.retry([upload_id])
        assert await archive.hubs.default.storage.object_exists("permanent", object_id)
        await archive.uploads.cancel(box.id, upload_id)  # by its owner, who is not blocked


@pytest.mark.parametrize(("kind", "plant"), LOST, ids=[f"{kind}-{n}" for n, (kind, _) in enumerate(LOST)])
@pytest.mark.trio
async def test_what_is_lost_is_found_and_left_alone(root: Path, kind: FaultKind, plant: Plant) -> None:
    async with open_archive(embedded(root)) as archive:
        await plant(archive)
        found = await check(archive)
        assert kind in [fault.kind for fault in found]
        left = await check(archive, repair=True)
        assert kind in [fault.kind for fault in left]
        assert all(fault.repair is None for fault in left)


@pytest.mark.trio
async def test_a_lost_upload_has_failed_with_a_reason(root: Path) -> None:
    async with open_archive(embedded(root)) as archive:
        await lost_upload(archive)
        await check(archive, repair=True)
        upload = await upload_of(archive, "open")
        assert upload.state == "failed"
        assert "upload it again" in str(upload.failure)
        assert (await archive.boxes.get(upload.box_id)).open_uploads == 0


@pytest.mark.trio
async def test_content_that_a_process_may_be_writing_is_left_alone(root: Path) -> None:
    async with open_archive(embedded(root)) as archive, open_archive(embedded(root)) as served:
        await settle(served.hubs)
        path = await write_content(archive, "inbox")
        assert await check(archive) == []
        assert await check(served) == []
        assert path.exists()
    async with open_archive(embedded(root)) as archive:
        assert [fault.kind for fault in await check(archive)] == ["leftover_content"]
        assert await check(archive, repair=True) == []
        assert not path.exists()


@pytest.mark.trio
async def test_secrets_of_another_name_are_found_by_the_documents(root: Path) -> None:
    async with open_archive(embedded(root)) as archive:
        file, upload = await file_of(archive, "archived"), await upload_of(archive, "archived")
        secret_id = await archive.key_store.deposit(await archive.key_store.fetch(file.secret_id))
        await archive.database.secrets.delete(file.secret_id)
        await archive.database.files.update(attrs.evolve(file, secret_id=secret_id))
        await archive.database.uploads.update(attrs.evolve(upload, secret_id=secret_id))
        assert await check(archive, repair=True) == []
        assert await archive.key_store.fetch(secret_id)


@pytest.fixture
async def documents(request: pytest.FixtureRequest) -> AsyncIterator[DaoFactory | None]:
    """A database of each kind; that of memory is made with the archive."""
    if request.param == "memory":
        yield None
    else:
        settings: MongoSettings = request.getfixturevalue("mongodb_databases")()
        async with MongoDaoFactory(settings.uri, settings.database) as factory:
            yield factory


@pytest.mark.parametrize("documents", ["memory", "mongodb"], indirect=True)
@pytest.mark.trio
async def test_an_archive_that_is_busy_has_no_faults(documents: DaoFactory | None) -> None:
    """Also not for a moment: whatever is being done is either finished or known to a job."""
    async with memory_archive(documents=documents, open_uploads=50) as archive:
        box = await archive.boxes.create(title="", storage_alias="embedded")

        async def keep_uploading(number: int) -> None:
            for count in range(12):
                file_id = await send(archive, box.id, f"{number}-{count}", damage=count % 5 == 0)
                if count % 3 == 0:
                    await archive.uploads.cancel(box.id, file_id)

        async with working(archive):
            async with trio.open_nursery() as nursery:
                for number in range(4):
                    nursery.start_soon(keep_uploading, number)
                for _ in range(10):
                    assert await check(archive) == []
                    await trio.sleep(0.02)
            await at_rest(archive)
        assert await check(archive) == []
        await wrong_counters(archive)
        await leftover_secret(archive)
        await leftover_object("permanent", None)(archive)
        assert {fault.kind for fault in await check(archive)} == {
            "wrong_counters",
            "leftover_secret",
            "unknown_object",
        }
        assert await check(archive, repair=True, delete_unknown=True) == []


class WatchedStorage(MemoryStorage):
    """Calls ``change`` whenever it is asked about an object, as another process may do something at any moment."""

    change: Callable[[], Awaitable[object]] | None = None

    async def stat(self, bucket: str, object_id: str) -> ObjectStat:
        if self.change is not None:
            await self.change()
        return await super().stat(bucket, object_id)


@pytest.mark.parametrize("changes", [1, 1000])
@pytest.mark.trio
async def test_what_is_changed_while_it_is_looked_at_is_no_fault(changes: int) -> None:
    storage = WatchedStorage()
    async with memory_archive(storage=storage) as archive:
        await furnish(archive)
        file = await file_of(archive, "staged")
        assert file.staged_id is not None
        await storage.delete_object("download", file.staged_id)
        count = 0

        async def unstage() -> None:
            """As the worker that has removed the copy does it; or clients that ask for it all the time."""
            nonlocal count
            count += 1
            told = {"staged_id": None} if changes == 1 else {"last_used": file.registered + timedelta(seconds=count)}
            await archive.database.files.compare_and_set(file.accession, expected={}, changes=told)

        storage.change = unstage
        assert await check(archive) == []
        assert count > 1
        storage.change = None
        assert [fault.kind for fault in await check(archive)] == (["missing_copy"] if changes > 1 else [])


def test_the_command_tells_and_repairs(root: Path) -> None:
    async def plant() -> None:
        async with open_archive(embedded(root)) as archive:
            await leftover_secret(archive)
            await missing_object(archive)

    assert run_cli("archive", "check", "--root", str(root)).returncode == 0
    trio.run(plant)
    found = run_cli("archive", "check", "--root", str(root), "--json")
    assert found.returncode == 6
    rows = [json.loads(line) for line in found.stdout.splitlines()]
    assert {row["fault"]: row["state"] for row in rows} == {"leftover_secret": "repairable", "missing_object": "lost"}
    assert "--repair" in found.stderr
    repaired = run_cli("archive", "check", "--root", str(root), "--repair")
    assert repaired.returncode == 6
    assert repaired.stdout.splitlines()[0].split(":")[0] in ("repaired", "lost")
    assert "1 repaired" in repaired.stderr
    assert len(run_cli("archive", "check", "--root", str(root), "--json").stdout.splitlines()) == 1
    assert run_cli("archive", "check", "--root", str(root), "--delete-unknown").returncode == 2


def test_the_command_on_both_set_ups(archive: ServedArchive) -> None:
    """The archive is busy with other tests, so only what is planted here counts."""
    subject = str(uuid4())

    async def plant(opened: Archive) -> None:
        hub = opened.hubs.default
        for bucket in hub.buckets.names:
            await hub.storage.put_object(bucket, subject, b"content")
        await hub.storage.start_upload(hub.buckets.permanent, subject)
        await opened.database.secrets.insert(await opened.key_store.seal(bytes(32), f"{subject}.1"))

    def found(*options: str) -> list[tuple[str, str]]:
        done = run_cli("archive", "check", "--json", *options, *map(str, archive.location))
        assert done.returncode in (0, 6), done.stderr
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        return sorted((row["fault"], row["state"]) for row in rows if row["subject"] == subject)

    archive.administer(plant)
    unknown = [("unknown_object", "unknown")] * 3 + [("unknown_upload", "unknown")]
    assert found() == [("leftover_secret", "repairable"), *unknown]
    assert found("--repair") == [("leftover_secret", "repaired"), *unknown]
    assert found("--repair", "--delete-unknown") == [(kind, "repaired") for kind, _ in unknown]
    assert found() == []


@given(st.lists(st.lists(st.sampled_from("abcdefg")).map(sorted), max_size=5))
def test_sorted_streams_are_merged_by_key(keys: list[list[str]]) -> None:
    async def stream(number: int) -> AsyncIterator[tuple[str, tuple[str, int]]]:
        for key in keys[number]:
            yield key, (key, number)

    async def merge() -> list[tuple[str, list[tuple[str, int]]]]:
        return [group async for group in group_sorted([stream(number) for number in range(len(keys))])]

    groups = trio.run(merge)
    assert [key for key, _ in groups] == sorted({key for one in keys for key in one})
    assert all(item[0] == key for key, items in groups for item in items)
    found = sorted(item for _, items in groups for item in items)
    assert found == sorted((key, number) for number, one in enumerate(keys) for key in one)
