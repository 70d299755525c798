from __future__ import annotations

import pytest
import trio

from connector.archive.models import RegisteredFile
from connector.archive.settings import utc_now
from connector.archive.staging import staging_wait
from persistence.errors import NotFound
from tests.support.memory_archive import ManualClock, memory_archive

pytestmark = pytest.mark.trio


def registered(object_id: str) -> RegisteredFile:
    return RegisteredFile(
        accession=f"GHGAF-{object_id}",
        file_id=object_id,
        box_id="box",
        alias="a",
        storage_alias="embedded",
        object_id=object_id,
        secret_id="s",
        decrypted_size=4,
        encrypted_size=32,
        decrypted_sha256="0" * 64,
        registered=utc_now(ManualClock()),
    )


@pytest.mark.parametrize(
    ("size", "seconds"), [(1, 5), (500 * 10**6, 5), (700 * 10**6, 7), (29_900 * 10**6, 299), (10**13, 300)]
)
async def test_clients_wait_by_size(size: int, seconds: int) -> None:
    assert staging_wait(size) == seconds


async def test_a_file_is_staged_when_asked_for(autojump_clock: trio.testing.MockClock) -> None:
    async with memory_archive(staging_delay=5.0) as archive, trio.open_nursery() as nursery:
        nursery.start_soon(archive.staging.run)
        await archive.hubs.default.storage.put_object("permanent", "one", b"content")
        for _ in range(3):
            assert not await archive.staging.is_staged(registered("one"))
        await trio.sleep(4.9)
        assert not await archive.staging.is_staged(registered("one"))
        await trio.sleep(0.2)
        assert await archive.staging.is_staged(registered("one"))
        assert (await archive.hubs.default.storage.stat("download", "one")).size == 7
        nursery.cancel_scope.cancel()


async def test_a_copy_that_fails_is_told_once_and_tried_again(autojump_clock: trio.testing.MockClock) -> None:
    async with memory_archive() as archive, trio.open_nursery() as nursery:
        nursery.start_soon(archive.staging.run)
        assert not await archive.staging.is_staged(registered("lost"))
        await trio.sleep(1)
        with pytest.raises(NotFound):
            await archive.staging.is_staged(registered("lost"))
        await archive.hubs.default.storage.put_object("permanent", "lost", b"found")
        assert not await archive.staging.is_staged(registered("lost"))
        await trio.sleep(1)
        assert await archive.staging.is_staged(registered("lost"))
        nursery.cancel_scope.cancel()


async def test_unused_copies_are_removed() -> None:
    clock = ManualClock()
    async with memory_archive(clock, stage_lifetime=100.0) as archive:
        for name in ("used", "unused"):
            await archive.hubs.default.storage.put_object("download", name, b"content")
        await archive.staging.sweep()
        clock.now += 90
        assert await archive.staging.is_staged(registered("used"))
        clock.now += 20
        await archive.staging.sweep()
        assert await archive.hubs.default.storage.object_exists("download", "used")
        assert not await archive.hubs.default.storage.object_exists("download", "unused")
