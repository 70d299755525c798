"""The key ring as several processes see it: each `KeyRing` here stands for one."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock

from connector.archive.assembly import open_key_ring
from connector.archive.database import open_database
from connector.archive.jobs import Change, Next
from connector.archive.key_ring import MAX_AGE, KeyRing, MissingMasterKeyError
from connector.archive.key_rotation import (
    HUB_KEY_CACHED,
    SECRETS_UNDER_WAY,
    KeyRotation,
    complete_ring,
    describe,
)
from connector.archive.key_store import KeyStore
from connector.archive.master_keys import GivenMasterKeys, MasterKeyDirectory
from connector.archive.models import ArchiveKey, KeyKind, StoredSecret
from connector.archive.sealing import MasterKey
from connector.archive.upload_repository import UploadRepository
from connector.archive.worker import Lease
from connector.errors import LocalError, UsageError
from connector.wire.payloads import UploadCreation
from persistence.documents import DaoFactory
from persistence.documents.memory import MemoryDaoFactory
from persistence.documents.sqlite import SqliteDaoFactory
from tests.archive.test_interrogation import received
from tests.support.contract_client import new_private_key, seal
from tests.support.memory_archive import ManualClock, given_keys, memory_archive, memory_ring

pytestmark = pytest.mark.trio


async def reopened(ring: KeyRing, documents: DaoFactory) -> KeyRing:
    """The ring in another process that has the same master keys."""
    return await open_key_ring(documents, ring.masters)


async def rotation_of(ring: KeyRing, documents: DaoFactory) -> tuple[KeyRotation, KeyStore]:
    """What rotates these keys, a day later than it is, and the key store with them."""
    clock = ManualClock((await documents.now() + timedelta(days=1)).timestamp())
    store = KeyStore(await documents.dao("secrets", StoredSecret, id_field="id"), ring)
    uploads = UploadRepository(await open_database(documents), clock)
    return KeyRotation(ring, store, uploads, clock), store


async def test_a_new_archive_gets_a_key_of_each_kind_once() -> None:
    async with MemoryDaoFactory() as documents:
        ring = await memory_ring(documents)
        assert sorted(key.kind for key in ring.all()) == ["hub", "master", "signing", "url"]
        another = await reopened(ring, documents)
        await complete_ring(another, {"embedded": None})
        assert another.all() == ring.all()
        await complete_ring(another, {"embedded": None, "second": None})
        assert another.current("hub", "second").secret != another.current("hub", "embedded").secret


async def test_processes_that_open_a_new_archive_at_once_agree(tmp_path: Path) -> None:
    async with SqliteDaoFactory(tmp_path / "archive.sqlite") as documents:
        rings = [await open_key_ring(documents, MasterKeyDirectory(tmp_path)) for _ in range(4)]
        async with trio.open_nursery() as nursery:
            for ring in rings:
                nursery.start_soon(complete_ring, ring, {"embedded": None})
        for ring in rings:
            await ring.refresh()
        for kind, hub in (("master", ""), ("signing", ""), ("url", ""), ("hub", "embedded")):
            assert len({ring.current(kind, hub).id for ring in rings}) == 1  # type: ignore[arg-type]


async def test_a_configured_hub_key_becomes_the_current_one_once() -> None:
    async with MemoryDaoFactory() as documents:
        ring = await memory_ring(documents)
        made, configured = ring.current("hub", "embedded").secret, os.urandom(32)
        await complete_ring(ring, {"embedded": configured})
        assert [key.secret for key in ring.keys("hub", "embedded")] == [configured, made]
        await ring.add_hub_key("embedded", rotated := os.urandom(32))
        await complete_ring(ring, {"embedded": configured})
        assert ring.current("hub", "embedded").secret == rotated


async def test_nothing_secret_is_in_the_database_or_in_representations(tmp_path: Path) -> None:
    async with SqliteDaoFactory(tmp_path / "archive.sqlite") as documents:
        ring = await memory_ring(documents)
        await ring.add_hub_key("embedded", os.urandom(32))
        secrets = [key.secret for key in ring.all() if key.secret] + [ring.master.key]
        shown = repr(ring.all()) + repr(ring.master) + repr(describe([]))
    content = b"".join(file.read_bytes() for file in tmp_path.glob("archive.sqlite*"))
    for secret in secrets:
        assert secret not in content
        assert secret.hex().encode() not in content
        assert repr(secret) not in shown


async def test_a_rotation_is_followed_after_some_seconds_and_at_once_when_it_matters(autojump_clock: MockClock) -> None:
    async with MemoryDaoFactory() as documents:
        ring = await memory_ring(documents)
        another = await reopened(ring, documents)
        old = another.current("signing").id
        rotation, _ = await rotation_of(ring, documents)
        new = await rotation.rotate("signing")
        await another.follow()
        assert another.current("signing").id == old
        await trio.sleep(MAX_AGE + 1)
        await another.follow()
        assert [key.id for key in another.keys("signing")] == [new, old]
        assert another.keys("signing")[1].superseded == another.current("signing").created
        newest = await rotation.rotate("signing")
        await trio.sleep(0.1)
        await another.refresh()
        assert another.current("signing").id == newest


async def test_keys_of_one_moment_have_an_order() -> None:
    async with MemoryDaoFactory() as documents:
        moment = await documents.now()

        async def now() -> datetime:
            return moment

        ring = KeyRing(await documents.dao("keys", ArchiveKey, id_field="id"), given_keys(), now)
        await complete_ring(ring, {"embedded": None})
        ids = [await ring.add_hub_key("embedded", os.urandom(32)) for _ in range(20)]
        assert [key.id for key in ring.keys("hub", "embedded")][:20] == ids[::-1]


async def test_a_process_without_the_master_key_says_which_it_lacks(caplog: pytest.LogCaptureFixture) -> None:
    async with MemoryDaoFactory() as documents:
        ring = await memory_ring(documents)
        stranger = await open_key_ring(documents, given_keys())
        assert stranger.all() == []
        assert ring.master.id in caplog.text
        with pytest.raises(LocalError, match="master key"):
            _ = stranger.master
        with pytest.raises(LocalError, match="can be used"):
            stranger.current("signing")
        with pytest.raises(MissingMasterKeyError, match=ring.master.id):
            await stranger.find_master(ring.master.id)
        with pytest.raises(LocalError, match="master key"):
            await complete_ring(stranger, {"embedded": None})
        await ring.refresh()
        assert len(ring.all()) == 4, "the stranger has made none"


async def test_a_key_that_was_tampered_with_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    async with MemoryDaoFactory() as documents:
        ring = await memory_ring(documents)
        dao = await documents.dao("keys", ArchiveKey, id_field="id")
        signing, url = ring.current("signing"), ring.current("url")
        await dao.update(attrs.evolve(await dao.get_by_id(signing.id), sealed=(await dao.get_by_id(url.id)).sealed))
        another = await reopened(ring, documents)
        assert another.keys("signing") == []
        assert another.current("url") == url
        assert "damaged" in caplog.text


class TestMasterKeys:
    async def test_a_rotation_seals_everything_again_and_others_follow(self, tmp_path: Path) -> None:
        async with MemoryDaoFactory() as documents:
            source = MasterKeyDirectory(tmp_path)
            ring = await open_key_ring(documents, source)
            await complete_ring(ring, {"embedded": None})
            another = await reopened(ring, documents)
            secrets = await documents.dao("secrets", StoredSecret, id_field="id")
            rotation, store = await rotation_of(ring, documents)
            other_store = KeyStore(secrets, another)
            deposited = {await store.deposit(content): content for content in (os.urandom(32) for _ in range(250))}
            old = ring.master
            new = await rotation.rotate("master")
            assert {secret.key_id async for secret in secrets.find_all()} == {new}
            keys = await documents.dao("keys", ArchiveKey, id_field="id")
            assert {key.master_id async for key in keys.find_all() if key.id != old.id} == {new}
            # The other one still believes that the old key is the current one, and opens everything all the same.
            assert another.master == old
            assert {secret_id: await other_store.fetch(secret_id) for secret_id in deposited} == deposited
            late = await other_store.deposit(bytes(32))
            assert (await secrets.get_by_id(late)).key_id == new
            (use,) = [use for use in await rotation.list() if use.key.id == old.id]
            assert not use.needed_by
            await rotation.remove(old.id)
            assert set(source.read()) == {new}
            fresh = KeyStore(secrets, await open_key_ring(documents, source))
            assert {secret_id: await fresh.fetch(secret_id) for secret_id in deposited} == deposited

    async def test_one_under_which_something_is_sealed_is_not_removed(self, tmp_path: Path) -> None:
        async with MemoryDaoFactory() as documents:
            ring = await open_key_ring(documents, MasterKeyDirectory(tmp_path))
            await complete_ring(ring, {"embedded": None})
            secrets = await documents.dao("secrets", StoredSecret, id_field="id")
            rotation, store = await rotation_of(ring, documents)
            old = ring.master
            await rotation.rotate("master")
            # A process that was slow has stored one under the old key.
            await secrets.insert(StoredSecret("late", old.id, old.seal(bytes(32), "late")))
            for force in (False, True):
                with pytest.raises(UsageError, match="1 file secrets"):
                    await rotation.remove(old.id, force=force)
            assert await rotation.reseal() == 1
            await rotation.remove(old.id)
            assert await store.fetch("late") == bytes(32)

    async def test_one_that_was_added_is_used_instead_of_making_one(self) -> None:
        async with MemoryDaoFactory() as documents:
            one, two = MasterKey(os.urandom(32)), MasterKey(os.urandom(32))
            ring = await open_key_ring(documents, GivenMasterKeys((one,)))
            await complete_ring(ring, {"embedded": None})
            rotation, _ = await rotation_of(ring, documents)
            with pytest.raises(UsageError, match="no key"):
                await rotation.rotate("master")
            with_both = await open_key_ring(documents, GivenMasterKeys((one, two)))
            rotation, _ = await rotation_of(with_both, documents)
            assert await rotation.rotate("master") == two.id
            with_new = await open_key_ring(documents, GivenMasterKeys((two,)))
            assert with_new.current("signing") == ring.current("signing")


class TestHostsWithDirectoriesOfTheirOwn:
    """Each host has its own directory of master keys, as `docs/archive.md` describes it for several hosts."""

    @asynccontextmanager
    async def hosts(self, tmp_path: Path) -> AsyncIterator[tuple[DaoFactory, list[KeyRing], list[Path]]]:
        """Three hosts: the first has made the keys, which were copied to the others."""
        directories = [tmp_path / name for name in ("serving-1", "serving-2", "working")]
        async with SqliteDaoFactory(tmp_path / "archive.sqlite") as documents:
            first = await open_key_ring(documents, MasterKeyDirectory(directories[0]))
            await complete_ring(first, {"embedded": None})
            for directory in directories[1:]:
                with pytest.raises(LocalError, match="master keys"):
                    await complete_ring(await open_key_ring(documents, MasterKeyDirectory(directory)), {})
                shutil.copytree(directories[0], directory)
            others = [await open_key_ring(documents, MasterKeyDirectory(one)) for one in directories[1:]]
            for ring in others:
                await complete_ring(ring, {"embedded": None})
            yield documents, [first, *others], directories

    async def test_every_rotation_reaches_all_of_them(self, tmp_path: Path) -> None:
        async with self.hosts(tmp_path) as (documents, rings, directories):
            rotations = [await rotation_of(ring, documents) for ring in rings]
            deposited = [await store.deposit(bytes([number]) * 32) for number, (_, store) in enumerate(rotations)]
            old = rings[0].master
            new = MasterKey(os.urandom(32))
            for directory in directories:
                MasterKeyDirectory(directory).add(new)
            kinds: tuple[KeyKind, ...] = ("signing", "hub", "master", "url", "hub", "signing")
            for (rotation, _), kind in zip(rotations * 2, kinds, strict=True):
                key_id = await rotation.rotate(kind, "embedded" if kind == "hub" else "")
                assert kind != "master" or key_id == new.id
                for ring in rings:
                    await ring.refresh()
                    assert ring.current(kind, "embedded" if kind == "hub" else "").id == key_id
            # Removed where it was not rotated.
            await rotations[1][0].remove(old.id)
            assert [set(MasterKeyDirectory(one).read()) for one in directories] == [
                {old.id, new.id},
                {new.id},
                {old.id, new.id},
            ]
            for number, secret_id in enumerate(deposited):
                assert [await store.fetch(secret_id) for _, store in rotations] == [bytes([number]) * 32] * 3

    async def test_one_that_lacks_the_new_key_has_it_as_soon_as_it_is_copied(self, tmp_path: Path) -> None:
        async with self.hosts(tmp_path) as (documents, rings, directories):
            rotations = [await rotation_of(ring, documents) for ring in rings]
            new = await rotations[0][0].rotate("master")
            secret_id = await rotations[0][1].deposit(bytes(32))
            # It seals under the old key, which the others have, and which is needed for that long.
            late = await rotations[1][1].deposit(bytes(32))
            with pytest.raises(MissingMasterKeyError, match=new):
                await rotations[1][1].fetch(secret_id)
            assert await rotations[0][1].fetch(late) == bytes(32)
            for path in directories[0].glob("master-*.key"):
                shutil.copy2(path, directories[1])
            assert await rotations[1][1].fetch(secret_id) == bytes(32)

    async def test_a_removed_key_that_was_left_is_not_taken_instead_of_the_new_one(self, tmp_path: Path) -> None:
        async with self.hosts(tmp_path) as (documents, rings, directories):
            (rotation, _), (other, _), _ = [await rotation_of(ring, documents) for ring in rings]
            old = rings[0].master
            MasterKeyDirectory(directories[1]).add(MasterKey(os.urandom(32)))
            await other.rotate("master")
            await other.remove(old.id)
            current = rings[1].master
            for key in (current, MasterKey(os.urandom(32))):
                MasterKeyDirectory(directories[0]).add(key)
            with pytest.raises(UsageError, match=old.id):
                await rotation.rotate("master")
            MasterKeyDirectory(directories[0]).remove(old.id)
            assert await rotation.rotate("master") not in (old.id, current.id)


class Slow(Lease):
    """A lease whose work is committed only after something else was done."""

    meanwhile: Callable[[], Awaitable[None]]

    async def commit(self, change: Change | None = None, *, then: Next | None = None) -> None:
        await self.meanwhile()
        await super().commit(change, then=then)


async def test_a_secret_that_is_being_stored_when_its_master_key_is_rotated_is_not_lost() -> None:
    """The old key is sealed under nothing that the database knows of, and is about to be."""
    clock = ManualClock()
    async with MemoryDaoFactory() as documents, memory_archive(clock, documents=documents) as archive:
        clock.now = (await documents.now()).timestamp()
        upload = await received(archive, b"content")
        old = archive.keys.master
        archive.keys.masters = GivenMasterKeys((old, MasterKey(os.urandom(32))))
        (job,) = [one async for one in archive.jobs.claim({"interrogate": 1}, worker="slow")]
        lease = Slow(archive.jobs, job)

        async def rotate() -> None:
            await archive.key_rotation.rotate("master")
            with pytest.raises(UsageError, match="worker"):
                await archive.key_rotation.remove(old.id)

        lease.meanwhile = rotate
        await archive.works["interrogate"](lease)
        clock.now += SECRETS_UNDER_WAY.total_seconds() + 60
        with pytest.raises(UsageError, match="1 file secrets"):
            await archive.key_rotation.remove(old.id, force=True)
        secret_id = (await archive.upload_repository.get(upload.id)).secret_id
        assert secret_id is not None
        assert len(await archive.key_store.fetch(secret_id)) == 32


class TestRemoval:
    async def test_a_current_key_and_one_that_is_unknown(self) -> None:
        async with memory_archive() as archive:
            for key in archive.keys.all():
                with pytest.raises(UsageError, match="current"):
                    await archive.key_rotation.remove(key.id, force=True)
            with pytest.raises(UsageError, match="no key"):
                await archive.key_rotation.remove("nothing")

    @pytest.mark.parametrize("kind", ["signing", "url"])
    async def test_what_has_signed_is_needed_for_some_minutes(self, kind: str) -> None:
        clock = ManualClock()
        async with MemoryDaoFactory() as documents, memory_archive(clock, documents=documents) as archive:
            clock.now = (await documents.now()).timestamp()
            old = archive.keys.current(kind).id  # type: ignore[arg-type]
            await archive.key_rotation.rotate(kind)  # type: ignore[arg-type]
            with pytest.raises(UsageError, match="still"):
                await archive.key_rotation.remove(old)
            clock.now += 3600
            await archive.key_rotation.remove(old)
            assert len(archive.keys.keys(kind)) == 1  # type: ignore[arg-type]

    async def test_a_hub_key_is_needed_by_uploads_that_began_in_its_time(self) -> None:
        clock = ManualClock()
        async with MemoryDaoFactory() as documents, memory_archive(clock, documents=documents) as archive:
            clock.now = (await documents.now()).timestamp()
            box = await archive.boxes.create(title="", storage_alias="embedded")
            file = seal(b"x", sender=new_private_key(), recipient=archive.hubs.default.public_key)
            upload = await archive.uploads.create(box.id, UploadCreation(**file.announcement("a")))
            old = archive.keys.current("hub", "embedded")
            await archive.key_rotation.rotate("hub", "embedded")
            clock.now += HUB_KEY_CACHED.total_seconds() + 60
            with pytest.raises(UsageError, match="1 uploads"):
                await archive.key_rotation.remove(old.id)
            await archive.uploads.cancel(box.id, upload.id)
            clock.now -= 600
            with pytest.raises(UsageError, match="still"):
                await archive.key_rotation.remove(old.id)
            await archive.key_rotation.remove(old.id, force=True)
            assert archive.hubs.default.private_keys == [archive.keys.current("hub", "embedded").secret]

    async def test_the_listing_says_what_needs_a_key_and_nothing_secret(self) -> None:
        async with memory_archive() as archive:
            await archive.key_rotation.rotate("hub", "embedded")
            rows = describe(await archive.key_rotation.list())
        assert [(row["kind"], row["state"]) for row in rows] == [
            ("hub", "current"),
            ("hub", "old"),
            ("master", "current"),
            ("signing", "current"),
            ("url", "current"),
        ]
        assert rows[1]["superseded"] == rows[0]["created"]
        assert all(key.secret.hex() not in str(rows) for key in archive.keys.all() if key.secret)
