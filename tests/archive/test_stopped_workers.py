"""A worker that is stopped in the middle of a job gives it back at once, and the next one does it."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest
import trio

from connector.archive.assembly import Archive
from connector.archive.database import Database
from connector.archive.jobs import JobQueue, find_job, schedule
from connector.archive.models import FileUpload, Job
from connector.archive.worker import Lease, Worker
from persistence.errors import Unreachable
from persistence.objects.memory import MemoryStorage
from tests.archive.test_interrogation import names, received
from tests.support.contract_client import MIB
from tests.support.memory_archive import at_rest, memory_archive, working

pytestmark = pytest.mark.trio

CALLS = (
    "read_into",
    "stat",
    "object_exists",
    "put_object",
    "copy_object",
    "delete_object",
    "delete_objects",
    "start_upload",
    "put_part",
    "complete_upload",
    "abort_upload",
    "list_uploads",
)
"""What the works of jobs call of a storage."""
DEADLINE = 30.0
"""Seconds after which a call that is not answered fails."""
SLACK = 12.0
"""Seconds in which a worker ends although its storage does not answer."""


class StallingStorage(MemoryStorage):
    """Does not answer the call with number ``stalled``, counted from 1, before or after it has done it; nor those that
    come after it, if ``for_good``."""

    def __init__(self, stalled: int, *, afterwards: bool = False, for_good: bool = False) -> None:
        super().__init__()
        self._left = stalled
        self._afterwards = afterwards
        self._for_good = for_good
        self.counting = False
        self.reached = trio.Event()

    async def call(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Make a call of the storage, or one that is not answered."""
        stalls = False
        if self.counting:
            self._left -= 1
            stalls = self._left == 0 or (self._for_good and self._left < 0)
        if stalls and not self._afterwards:
            await self._stall()
        result = await getattr(super(), name)(*arguments, **options)
        if stalls:
            await self._stall()
        return result

    async def _stall(self) -> None:
        self.reached.set()
        await trio.sleep(DEADLINE)
        raise Unreachable("The storage did not answer in time.")


def _stalling(name: str) -> Callable[..., Awaitable[Any]]:
    async def call(self: StallingStorage, *arguments: Any, **options: Any) -> Any:
        return await self.call(name, *arguments, **options)

    return call


for _name in CALLS:
    setattr(StallingStorage, _name, _stalling(_name))


@attrs.frozen
class Scene:
    """A job that is due, and in which state its upload is once all is done."""

    prepare: Callable[[Archive], Awaitable[FileUpload]]
    state: str
    left: tuple[int, int, int] = (0, 1, 0)
    """Objects in the inbox, the permanent and the download bucket in the end."""


async def upload_of_two_parts(archive: Archive) -> FileUpload:
    return await received(archive, os.urandom(8 * MIB + 70_000))


async def small_upload(archive: Archive) -> FileUpload:
    return await received(archive, b"content")


async def damaged_upload(archive: Archive) -> FileUpload:
    return await received(archive, b"content", sha256="0" * 64)


async def staging(archive: Archive) -> FileUpload:
    upload = await small_upload(archive)
    async with working(archive):
        await at_rest(archive)
    now = await archive.database.factory.now()
    await schedule(archive.database, upload.id, "stage", hub="embedded", now=now)
    return upload


SCENES = {
    "small upload": Scene(small_upload, "archived"),
    "damaged upload": Scene(damaged_upload, "failed", (0, 0, 0)),
    "staging": Scene(staging, "archived", (0, 1, 1)),
}


async def stop_when_reached(archive: Archive, storage: StallingStorage) -> bool:
    """Run a worker, and stop it when the storage does not answer; tells whether that came to pass."""
    storage.counting = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(archive.make_worker().run)
        with trio.fail_after(60):
            while not storage.reached.is_set() and await archive.jobs.find_all(scheduled=False):
                await trio.sleep(0.002)
        nursery.cancel_scope.cancel()
    storage.counting = False
    return storage.reached.is_set()


async def stop_in_every_call(scene: Scene, *, afterwards: bool) -> None:
    number = 0
    while True:
        number += 1
        storage = StallingStorage(number, afterwards=afterwards)
        async with memory_archive(storage=storage) as archive:
            upload = await scene.prepare(archive)
            if not await stop_when_reached(archive, storage):
                break
            await check_given_back(archive, upload)
            async with working(archive):
                await at_rest(archive)
            assert (await archive.upload_repository.get(upload.id)).state == scene.state
            buckets = archive.hubs.default.buckets.names
            assert tuple([len(await names(archive, bucket)) for bucket in buckets]) == scene.left
            assert [await storage.list_uploads(bucket) for bucket in buckets] == [[], [], []]
    assert number > 1, "no call was reached"


async def check_given_back(archive: Archive, upload: FileUpload) -> None:
    """Another worker may take the job of an upload at once, as if it had not been taken before."""
    job = await find_job(archive.database, upload.id)
    assert job is not None
    assert (job.worker, job.attempts) == (None, 0)
    assert job.due is not None
    assert job.due <= await archive.database.factory.now()


@pytest.mark.parametrize("afterwards", [False, True])
@pytest.mark.parametrize("scene", SCENES)
async def test_in_any_call_of_the_storage(scene: str, afterwards: bool, autojump_clock: trio.testing.MockClock) -> None:
    await stop_in_every_call(SCENES[scene], afterwards=afterwards)


@pytest.mark.parametrize("afterwards", [False, True])
async def test_in_any_call_for_a_file_of_several_parts(afterwards: bool) -> None:
    """Which threads decrypt and encrypt, so its time is not virtual."""
    await stop_in_every_call(Scene(upload_of_two_parts, "archived"), afterwards=afterwards)


async def test_a_storage_that_does_not_answer_does_not_keep_it(autojump_clock: trio.testing.MockClock) -> None:
    """Nor does it for what the interrogation would remove."""
    for number in range(1, 4):
        storage = StallingStorage(number, for_good=True)
        async with memory_archive(storage=storage) as archive:
            upload = await small_upload(archive)
            before = trio.current_time()
            assert await stop_when_reached(archive, storage)
            assert trio.current_time() - before < SLACK
            await check_given_back(archive, upload)


async def test_while_a_failure_is_recorded(autojump_clock: trio.testing.MockClock) -> None:
    recording = trio.Event()

    class Slow(JobQueue):
        async def fail(self, job: Job, reason: str) -> Job | None:
            recording.set()
            await trio.sleep_forever()
            raise AssertionError

    async def work(lease: Lease) -> None:
        raise Unreachable("No storage.")

    async def put(database: Database) -> None:
        await schedule(database, "one", "clean", hub="embedded", now=await database.factory.now())

    async with memory_archive() as archive:
        await put(archive.database)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Worker(Slow(archive.database, 30.0), {"clean": work}).run)
            await recording.wait()
            nursery.cancel_scope.cancel()
        assert [job.id async for job in archive.jobs.claim({"clean": 1}, worker="other")] == ["one"]
