"""Counts and outcomes are exact although several processes change the same box or upload at once.

Two archives with nothing in common but their database and storage stand for two serving processes.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pymongo
import pytest
import trio

from connector.archive.assembly import Archive, assemble, open_key_ring
from connector.archive.errors import ApiError
from connector.archive.hubs import Hub, Hubs
from connector.archive.key_rotation import complete_ring
from connector.archive.models import Box
from connector.archive.settings import ArchiveSettings
from persistence.documents import DaoFactory
from persistence.documents.mongodb import MongoDaoFactory, MongoSettings
from persistence.documents.sqlite import SqliteDaoFactory
from persistence.errors import Conflict, PersistenceError, Unavailable
from persistence.objects.memory import MemoryStorage
from persistence.objects.values import ObjectStat
from tests.archive.test_upload_controller import announced, claimed, names, new_box, put, usage
from tests.support.contract_client import new_private_key, seal
from tests.support.memory_archive import ManualClock, at_rest, given_keys, working

pytestmark = pytest.mark.trio


@pytest.fixture(params=["sqlite", "mongodb"])
def make_factory(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], DaoFactory]:
    """Opens one database as often as it is called."""
    if request.param == "sqlite":
        return lambda: SqliteDaoFactory(tmp_path / "archive.sqlite")
    settings: MongoSettings = request.getfixturevalue("mongodb_databases")()
    return lambda: MongoDaoFactory(settings.uri, settings.database)


@asynccontextmanager
async def two_archives(
    make_factory: Callable[[], DaoFactory], storage: MemoryStorage | None = None
) -> AsyncIterator[tuple[Archive, Archive]]:
    masters, storage = given_keys(), storage or MemoryStorage()
    async with storage, make_factory() as one, make_factory() as two:
        archives = []
        for factory in (one, two):
            ring = await open_key_ring(factory, masters)
            await complete_ring(ring, {"embedded": None})
            hub = Hub(alias="embedded", ring=ring, storage=storage)
            await hub.create_buckets()
            archives.append(await assemble(ArchiveSettings(), ring, Hubs([hub]), factory, clock=ManualClock()))
        first, second = archives
        yield first, second


async def outcomes(calls: list[Callable[[], Awaitable[object]]]) -> Counter[str]:
    """How often each id of an error came of calls at once; `done` stands for none."""
    found: Counter[str] = Counter()

    async def count(call: Callable[[], Awaitable[object]]) -> None:
        try:
            await call()
        except ApiError as error:
            found[error.exception_id] += 1
        else:
            found["done"] += 1

    async with trio.open_nursery() as nursery:
        for call in calls:
            nursery.start_soon(count, call)
    return found


async def test_the_cap_and_the_size_of_a_box_hold_under_a_rush(make_factory: Callable[[], DaoFactory]) -> None:
    async with two_archives(make_factory) as archives:
        box = await new_box(archives[0], max_size=399)

        def create(number: int) -> Callable[[], Awaitable[object]]:
            return lambda: archives[number % 2].uploads.create(box.id, announced(f"file-{number}"))

        found = await outcomes([create(number) for number in range(50)])
        assert found["done"] == 3
        assert found.keys() <= {"done", "boxMaxSizeExceeded", "tooManyOpenUploads"}
        assert found.total() == 50
        assert await usage(archives[0], box) == (3, 300)
        uploads, count = await archives[1].uploads.list_uploads(box.id, skip=0, limit=100)
        assert (len(uploads), count) == (3, 3)
        async with working(archives[0]):
            await at_rest(archives[0])
        opened = await archives[0].hubs.default.storage.list_uploads("inbox")
        assert {ref.object_id for ref in opened} == {upload.id for upload in uploads}


async def test_one_alias_goes_to_one_of_many(make_factory: Callable[[], DaoFactory]) -> None:
    async with two_archives(make_factory) as archives:
        box = await new_box(archives[0])

        def create(number: int) -> Callable[[], Awaitable[object]]:
            return lambda: archives[number % 2].uploads.create(box.id, announced("same"))

        found = await outcomes([create(number) for number in range(20)])
        assert found == {"done": 1, "fileUploadAlreadyExists": 19}
        assert await usage(archives[0], box) == (1, 100)


async def test_closes_and_deletes_at_once_have_one_outcome(make_factory: Callable[[], DaoFactory]) -> None:
    async with two_archives(make_factory) as archives:
        for _ in range(3):
            box = await new_box(archives[0])
            content = os.urandom(252)
            upload = await archives[0].uploads.create(box.id, announced())
            await put(archives[0], upload, content)

            def close(number: int, box: Box = box, file_id: str = upload.id, content: bytes = content) -> object:
                return lambda: archives[number % 2].uploads.close(box.id, file_id, claimed(content))

            def delete(number: int, box: Box = box, file_id: str = upload.id) -> object:
                return lambda: archives[number % 2].uploads.cancel(box.id, file_id)

            found = await outcomes([(close if number % 4 < 2 else delete)(number) for number in range(40)])  # type: ignore[misc]
            # A delete is possible in every state, so all of them pass.
            assert found.keys() <= {"done", "fileUploadStateError", "s3UploadNotFound"}
            assert found["done"] >= 20
            assert (await archives[1].upload_repository.get(upload.id)).state == "cancelled"
            assert await usage(archives[0], box) == (0, 0)
            async with working(archives[1]):
                await at_rest(archives[1])
            assert await names(archives[0], "inbox") == []
            assert await archives[0].hubs.default.storage.list_uploads("inbox") == []


async def test_a_right_and_a_wrong_close_at_once_have_one_outcome(make_factory: Callable[[], DaoFactory]) -> None:
    async with two_archives(make_factory) as archives:
        box = await new_box(archives[0])
        content = os.urandom(252)
        upload = await archives[0].uploads.create(box.id, announced())
        await put(archives[0], upload, content)

        def close(number: int) -> Callable[[], Awaitable[object]]:
            claim = claimed(content if number % 4 < 2 else os.urandom(252))
            return lambda: archives[number % 2].uploads.close(box.id, upload.id, claim)

        found = await outcomes([close(number) for number in range(20)])
        state = (await archives[1].upload_repository.get(upload.id)).state
        if state == "inbox":
            assert found == {"done": 20}
            assert await usage(archives[0], box) == (0, 100)
        else:
            assert state == "failed"
            assert found.keys() <= {"checksumMismatch", "fileUploadStateError"}
            assert await usage(archives[0], box) == (0, 0)


async def test_a_box_is_locked_before_or_after_a_close(make_factory: Callable[[], DaoFactory]) -> None:
    async with two_archives(make_factory) as archives:
        box = await new_box(archives[0])
        content = os.urandom(252)
        upload = await archives[0].uploads.create(box.id, announced())
        await put(archives[0], upload, content)
        found = await outcomes(
            [
                lambda: archives[0].uploads.close(box.id, upload.id, claimed(content)),
                lambda: archives[1].boxes.set_state(box.id, "locked"),
            ]
        )
        state = (await archives[1].upload_repository.get(upload.id)).state
        assert found in ({"done": 2}, {"done": 1, "boxStateError": 1})
        assert state == ("inbox" if found["done"] == 2 else "init")


class SteppingDown(MemoryStorage):
    """Has the primary of a replica set step down when the first object is complete, and its close is not."""

    def __init__(self, uri: str) -> None:
        super().__init__()
        self._uri = uri
        self.has_stepped_down = False

    async def complete_upload(self, bucket: str, object_id: str, upload_id: str, **expected: Any) -> ObjectStat:
        stat = await super().complete_upload(bucket, object_id, upload_id, **expected)
        if not self.has_stepped_down:
            self.has_stepped_down = True
            await trio.to_thread.run_sync(self._step_down)
        return stat

    def _step_down(self) -> None:
        client: pymongo.MongoClient[dict[str, Any]]
        with pymongo.MongoClient(self._uri) as client, suppress(pymongo.errors.AutoReconnect):
            client.admin.command("replSetStepDown", 2, secondaryCatchUpPeriodSecs=1, force=True)


async def test_closes_have_one_outcome_while_the_primary_steps_down(mongodb_replica_set: str) -> None:
    name, storage = f"test_{os.urandom(8).hex()}", SteppingDown(mongodb_replica_set)
    async with two_archives(lambda: MongoDaoFactory(mongodb_replica_set, name), storage) as archives:
        box = await new_box(archives[0])
        hub_key, sender = archives[0].hubs.default.public_key, new_private_key()
        files = {f"file-{number}": seal(os.urandom(100), sender=sender, recipient=hub_key) for number in range(4)}
        ids = {}
        for alias, file in files.items():
            upload = await archives[0].uploads.create(box.id, announced(alias))
            await put(archives[0], upload, file.content)
            ids[alias] = upload.id
        refused: list[PersistenceError] = []

        async def close(archive: Archive, alias: str) -> None:
            """Close it as a client does that is told to come again."""
            with trio.fail_after(120):
                while True:
                    try:
                        claim = claimed(files[alias].content, plaintext=files[alias].plaintext)
                        return await archive.uploads.close(box.id, ids[alias], claim)
                    except (Unavailable, Conflict) as error:
                        refused.append(error)

        async with trio.open_nursery() as nursery:
            for archive in archives:
                for alias in files:
                    nursery.start_soon(close, archive, alias)
        assert storage.has_stepped_down
        print(f"{len(refused)} refused")
        assert await usage(archives[1], box) == (0, 400)
        assert {(job.kind, job.attempts) for job in await archives[1].jobs.find_all()} == {("interrogate", 0)}
        async with working(archives[1]):
            await at_rest(archives[1])
        uploads, count = await archives[0].uploads.list_uploads(box.id, skip=0, limit=100)
        assert ([upload.state for upload in uploads], count) == (["archived"] * 4, 4)
        assert len([file async for file in archives[0].registry.find_all()]) == 4
    pymongo.MongoClient[dict[str, Any]](mongodb_replica_set).drop_database(name)
