from __future__ import annotations

from typing import Any

import pytest
import trio

from connector.archive.assembly import Archive
from connector.archive.jobs import most_attempts
from connector.archive.models import RegisteredFile
from connector.archive.settings import utc_now
from connector.archive.staging import StagingArea, staging_wait
from persistence.errors import ServiceFailed, Unreachable
from persistence.objects.memory import MemoryStorage
from persistence.objects.values import ObjectStat
from tests.support.memory_archive import ManualClock, memory_archive, working

pytestmark = pytest.mark.trio


async def registered(archive: Archive, name: str, content: bytes | None = b"content") -> RegisteredFile:
    """A registered file, with its object unless there is no content."""
    file = RegisteredFile(
        accession=f"GHGAF-{name}",
        file_id=name,
        box_id="box",
        alias="a",
        storage_alias="embedded",
        object_id=f"{name}.1",
        secret_id="s",
        decrypted_size=4,
        encrypted_size=32,
        decrypted_sha256="0" * 64,
        registered=utc_now(ManualClock()),
    )
    if content is not None:
        await archive.hubs.default.storage.put_object("permanent", file.object_id, content)
    return await archive.database.files.insert(file)


async def wait_for(archive: Archive, file: RegisteredFile) -> int:
    """The seconds that a client is told to wait; 0 if it may fetch the file."""
    found = await archive.downloads.get_object(file.accession, host="h")
    return found if isinstance(found, int) else 0


async def copies(archive: Archive) -> list[str]:
    return [found.object_id async for found in archive.hubs.default.storage.list_objects("download")]


@pytest.mark.parametrize(
    ("size", "seconds"), [(1, 5), (500 * 10**6, 5), (700 * 10**6, 7), (29_900 * 10**6, 299), (10**13, 300)]
)
async def test_clients_wait_by_size(size: int, seconds: int) -> None:
    assert staging_wait(size) == seconds


async def test_a_file_is_staged_when_asked_for(autojump_clock: trio.testing.MockClock) -> None:
    async with memory_archive(staging_delay=5.0) as archive, working(archive):
        file = await registered(archive, "one")
        for _ in range(3):
            assert await wait_for(archive, file) == 5
        await trio.sleep(4.9)
        assert await wait_for(archive, file)
        await trio.sleep(0.5)
        assert not await wait_for(archive, file)
        (copy,) = await copies(archive)
        assert (await archive.hubs.default.storage.stat("download", copy)).size == 7


async def test_a_copy_that_was_made_since_the_file_was_read_stays(autojump_clock: trio.testing.MockClock) -> None:
    async with memory_archive() as archive, working(archive):
        before = await registered(archive, "one")
        await wait_for(archive, before)
        await trio.sleep(5)
        (copy,) = await copies(archive)
        area = StagingArea(archive.database, archive.hubs, archive.settings, ManualClock())
        assert await area.find_copy(before) is None
        await trio.sleep(5)
        assert await copies(archive) == [copy]


async def test_a_copy_that_fails_is_tried_again(autojump_clock: trio.testing.MockClock) -> None:
    async with memory_archive() as archive, working(archive):
        file = await registered(archive, "lost", None)
        assert await wait_for(archive, file)
        await trio.sleep(1)
        await archive.hubs.default.storage.put_object("permanent", file.object_id, b"found")
        assert await wait_for(archive, file)
        await trio.sleep(10)
        assert not await wait_for(archive, file)


async def test_a_file_that_cannot_be_staged_is_refused_in_the_end(autojump_clock: trio.testing.MockClock) -> None:
    clock = ManualClock()
    async with memory_archive(clock) as archive, working(archive):
        file = await registered(archive, "lost", None)
        assert await wait_for(archive, file)
        for _ in range(most_attempts("stage")):
            await trio.sleep(1)
            clock.now += 600
        with pytest.raises(ServiceFailed):
            await wait_for(archive, file)


class AwayStorage(MemoryStorage):
    """Copies nothing while ``away``."""

    away = False

    async def copy_object(self, *names: str, **target: Any) -> ObjectStat:
        if self.away:
            raise Unreachable("No storage.")
        return await super().copy_object(*names, **target)


async def test_a_download_is_served_soon_after_the_storage_is_back(autojump_clock: trio.testing.MockClock) -> None:
    storage = AwayStorage()
    storage.away = True
    async with memory_archive(storage=storage) as archive, working(archive):
        file = await registered(archive, "a")
        for _ in range(40):
            assert await wait_for(archive, file)
            await trio.sleep(60)
        storage.away = False
        await trio.sleep(35)
        assert await wait_for(archive, file) == 0


async def test_unused_copies_are_removed(autojump_clock: trio.testing.MockClock) -> None:
    clock = ManualClock()
    async with memory_archive(clock, stage_lifetime=100.0) as archive, working(archive):

        async def after(seconds: float) -> None:
            clock.now += seconds
            await trio.sleep(1)

        used, unused = await registered(archive, "used"), await registered(archive, "unused")
        for file in (used, unused):
            assert await wait_for(archive, file)
        await after(1)
        assert len(await copies(archive)) == 2
        await after(90)
        assert not await wait_for(archive, used)
        await after(20)
        assert [copy.partition(".")[0] for copy in await copies(archive)] == ["used"]
        assert await wait_for(archive, unused)
        await after(5)
        assert not await wait_for(archive, unused)
        await after(300)
        assert await copies(archive) == []
        assert await archive.jobs.find_all() == []


async def test_many_requests_at_once_stage_once_and_count_as_one_use(autojump_clock: trio.testing.MockClock) -> None:
    clock = ManualClock()
    async with memory_archive(clock) as archive, working(archive):
        file = await registered(archive, "one")
        told: list[int] = []

        async def ask() -> None:
            told.append(await wait_for(archive, file))

        for expected in (5, 0, 0):
            told.clear()
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(ask)
            assert told == [expected] * 20
            clock.now += 100
            await trio.sleep(1)
        assert len(await copies(archive)) == 1


async def test_a_copy_that_the_storage_lost_is_made_again(autojump_clock: trio.testing.MockClock) -> None:
    async with memory_archive() as archive, working(archive):
        file = await registered(archive, "one")
        assert await wait_for(archive, file)
        await trio.sleep(1)
        (copy,) = await copies(archive)
        await archive.hubs.default.storage.delete_object("download", copy)
        assert await wait_for(archive, file)
        await trio.sleep(1)
        assert not await wait_for(archive, file)
