"""Workers as processes, on one MongoDB: stopped beyond their lease, killed, told to end, and with wrong clocks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from connector.archive.assembly import Archive
from connector.archive.jobs import find_job
from connector.archive.models import Job
from connector.wire.payloads import UploadCompletion, UploadCreation
from persistence.documents.mongodb import MongoSettings
from tests.support.archive_worker import open_shared_archive
from tests.support.contract_client import MIB, new_private_key, seal

pytestmark = pytest.mark.trio

ROOT = Path(__file__).resolve().parents[2]
OTHER_CLOCK = ROOT / "tests" / "support" / "other_clock"
LEASE = 2.0


@attrs.frozen
class Stage:
    """An archive, and worker processes of it."""

    archive: Archive
    arguments: tuple[str, ...]
    hold: Path
    """As long as this file exists, workers do not commit what they have interrogated."""

    @contextmanager
    def worker(self, clock_shift: int = 0) -> Iterator[subprocess.Popen[str]]:
        """A worker whose clock is wrong by so many seconds."""
        paths = [str(ROOT), *([str(OTHER_CLOCK)] if clock_shift else [])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "CHAOS_CLOCK_SHIFT": str(clock_shift)}
        command = [sys.executable, "-m", "tests.support.archive_worker", *self.arguments]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "working\n"
            yield process
        finally:
            process.kill()
            process.wait()
            process.stdout.close()

    async def upload(self, alias: str, size: int) -> str:
        """Upload a file into a box of its own; returns its id."""
        archive, hub = self.archive, self.archive.hubs.default
        box = await archive.boxes.create(title="", storage_alias=hub.alias)
        file = seal(os.urandom(size), sender=new_private_key(), recipient=hub.public_key, part_size=8 * MIB)
        upload = await archive.uploads.create(box.id, UploadCreation(**file.announcement(alias)))
        for number, part in enumerate(file.parts, start=1):
            await hub.storage.put_part(hub.buckets.inbox, upload.id, upload.upload_id, number, part)
        claim: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in file.claim().items()}
        await archive.uploads.close(box.id, upload.id, UploadCompletion(**claim))
        return upload.id

    async def until_taken(self, file_id: str, *, after: int = 0) -> Job:
        """The job of a file, once a worker has it under a token after this one."""
        with trio.fail_after(180):
            while True:
                job = await find_job(self.archive.database, file_id)
                if job is not None and job.worker is not None and job.token > after:
                    return job
                await trio.sleep(0.002)

    async def until_written(self, job: Job) -> None:
        """Until the worker that has a job has written its object, which it cannot commit yet."""
        with trio.fail_after(180):
            while job.attempt_id not in await self.names("permanent"):
                await trio.sleep(0.01)

    async def until_archived(self, *file_ids: str) -> None:
        with trio.fail_after(180):
            for file_id in file_ids:
                while (await self.archive.upload_repository.get(file_id)).state != "archived":
                    await trio.sleep(0.02)

    async def check(self, count: int) -> None:
        """Each of so many files is registered once, and nothing is left of other attempts."""
        archive, hub = self.archive, self.archive.hubs.default
        files = [file async for file in archive.registry.find_all()]
        assert len(files) == count
        assert (await archive.database.counters.get_by_id("accessions")).value == count
        assert await archive.database.secrets.count({}) == count
        assert await self.names(hub.buckets.permanent) == {file.object_id for file in files}
        assert await self.names(hub.buckets.inbox) == set()
        assert await hub.storage.list_uploads(hub.buckets.permanent) == []
        assert await archive.jobs.find_all() == []

    async def names(self, bucket: str) -> set[str]:
        return {found.object_id async for found in self.archive.hubs.default.storage.list_objects(bucket)}


@pytest.fixture
def open_stage(
    mongodb_databases: Callable[[], MongoSettings], tmp_path: Path
) -> Callable[[], AbstractAsyncContextManager[Stage]]:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Stage]:
        settings = mongodb_databases()
        async with open_shared_archive(settings.uri, settings.database, tmp_path, LEASE) as archive:
            arguments = (settings.uri, settings.database, str(tmp_path), str(LEASE))
            yield Stage(archive, arguments, tmp_path / "hold")

    return opened


async def test_a_worker_that_was_stopped_beyond_its_lease_does_no_harm(
    open_stage: Callable[[], AbstractAsyncContextManager[Stage]],
) -> None:
    async with open_stage() as stage:
        with ExitStack() as processes:
            stage.hold.touch()
            first = processes.enter_context(stage.worker())
            file_id = await stage.upload("a", 20 * MIB)
            job = await stage.until_taken(file_id)
            await stage.until_written(job)
            first.send_signal(signal.SIGSTOP)
            stage.hold.unlink()
            processes.enter_context(stage.worker())
            again = await stage.until_taken(file_id, after=job.token)
            await stage.until_archived(file_id)
            assert (await stage.archive.upload_repository.get(file_id)).object_id == again.attempt_id
            first.send_signal(signal.SIGCONT)
            # It is alive and works on.
            await stage.until_archived(*[await stage.upload(f"more-{number}", 1000) for number in range(4)])
            await trio.sleep(LEASE)
            assert first.poll() is None
        await stage.check(5)


async def test_a_worker_that_is_killed_or_told_to_end_loses_no_job(
    open_stage: Callable[[], AbstractAsyncContextManager[Stage]],
) -> None:
    async with open_stage() as stage:
        stage.hold.touch()
        file_id = await stage.upload("a", 20 * MIB)
        with stage.worker() as first:
            job = await stage.until_taken(file_id)
            await stage.until_written(job)
            first.kill()
        with stage.worker() as second:
            job = await stage.until_taken(file_id, after=job.token)
            assert job.attempts == 1
            second.terminate()
            assert second.wait(180) == 0
        given_back = await find_job(stage.archive.database, file_id)
        assert given_back is not None
        assert given_back.worker is None
        assert given_back.token > job.token or given_back.attempts == 1
        stage.hold.unlink()
        with stage.worker():
            await stage.until_archived(file_id)
        await stage.check(1)


async def test_clocks_a_minute_apart_neither_lose_nor_double_a_job(
    open_stage: Callable[[], AbstractAsyncContextManager[Stage]],
) -> None:
    async with open_stage() as stage:
        with stage.worker(60), stage.worker(-60):
            file_ids = [await stage.upload(f"file-{number}", 20_000) for number in range(20)]
            await stage.until_archived(*file_ids)
        await stage.check(20)
