"""Servers that are gone, hang, refuse or are full: the right family, in time, and nothing leaks."""

from __future__ import annotations

import socket
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest
from pymongo.errors import OperationFailure, WriteError

from persistence.documents import Dao
from persistence.documents.mongodb import MongoDaoFactory
from persistence.documents.mongodb.failures import Failures
from persistence.documents.sqlite import SqliteDaoFactory
from persistence.documents.sqlite.database import SqliteDatabase
from persistence.errors import (
    CredentialsRefused,
    DeadlineExceeded,
    InvalidRange,
    InvalidValue,
    PersistenceError,
    StorageFull,
    Unavailable,
    Unreachable,
)
from persistence.objects.filesystem import FilesystemStorage, UrlSigner
from persistence.objects.protocol import ObjectStorage
from persistence.objects.s3 import S3Settings, S3Storage
from persistence.objects.s3.failures import Target, from_code
from persistence.testing.models import Job
from persistence.testing.servers import S3Endpoint, run_mongod
from persistence.testing.servers.cleaning import settings_of
from persistence.testing.servers.processes import free_port
from tests.support.small_disk import small_disk_at

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

# Far below what a call without a deadline would take, far above what a busy machine needs.
IN_TIME = 20
AT_ONCE = 10

CALLS: dict[str, Callable[[ObjectStorage], Any]] = {
    "bucket_exists": lambda s: s.bucket_exists("bucket"),
    "create_bucket": lambda s: s.create_bucket("bucket"),
    "delete_bucket": lambda s: s.delete_bucket("bucket"),
    "list_buckets": lambda s: s.list_buckets(),
    "stat": lambda s: s.stat("bucket", "object"),
    "list_objects": lambda s: anext(s.list_objects("bucket")),
    "delete_object": lambda s: s.delete_object("bucket", "object"),
    "delete_objects": lambda s: s.delete_objects("bucket", ["object"]),
    "copy_object": lambda s: s.copy_object("bucket", "object", to_bucket="bucket", to_object_id="copy"),
    "read_into": lambda s: s.read_into("bucket", "object", 0, memoryview(bytearray(10))),
    "open_range": lambda s: s.open_range("bucket", "object").__aenter__(),
    "put_object": lambda s: s.put_object("bucket", "object", b"content"),
    "start_upload": lambda s: s.start_upload("bucket", "object"),
    "put_part": lambda s: s.put_part("bucket", "object", "upload", 1, b"content"),
    "upload_exists": lambda s: s.upload_exists("bucket", "object", "upload"),
    "list_parts": lambda s: s.list_parts("bucket", "object", "upload"),
    "list_uploads": lambda s: s.list_uploads("bucket"),
    "complete_upload": lambda s: s.complete_upload("bucket", "object", "upload"),
    "abort_upload": lambda s: s.abort_upload("bucket", "object", "upload"),
}


@pytest.mark.parametrize("name", ["two words", "a/b", "$system", "a.b"])
async def test_a_name_that_no_database_has(name: str) -> None:
    with pytest.raises(InvalidValue):
        async with MongoDaoFactory(f"mongodb://127.0.0.1:{free_port()}", name):
            pass


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never says anything."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1000)
        yield listener.getsockname()[1]


@asynccontextmanager
async def s3_at(port: int, *, deadline: float = 1.0, attempts: int = 2) -> AsyncIterator[S3Storage]:
    settings = S3Settings(f"http://127.0.0.1:{port}", "key", "secret", deadline=deadline, attempts=attempts)
    async with S3Storage(settings) as storage:
        yield storage


def open_files() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


async def settled(before: tuple[int, int]) -> tuple[int, int]:
    """Open files and threads, once those left behind have had time to end."""
    for _ in range(100):
        now = open_files(), threading.active_count()
        if now[0] <= before[0] + 5 and now[1] <= before[1] + 5:
            break
        await anyio.sleep(0.1)
    return open_files(), threading.active_count()


@pytest.mark.parametrize("call", CALLS)
async def test_a_server_that_is_gone_is_unreachable(call: str) -> None:
    async with s3_at(free_port(), deadline=15) as storage:
        began = time.monotonic()
        with pytest.raises(Unreachable):
            await CALLS[call](storage)
        assert time.monotonic() - began < IN_TIME


@pytest.mark.parametrize("call", CALLS)
async def test_a_server_that_hangs_ends_with_the_deadline(call: str, silent_port: int) -> None:
    async with s3_at(silent_port, deadline=0.4) as storage:
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await CALLS[call](storage)
        assert time.monotonic() - began < IN_TIME


@pytest.mark.parametrize("call", CALLS)
async def test_a_cancelled_call_returns_at_once(call: str, silent_port: int) -> None:
    async with s3_at(silent_port, deadline=60) as storage:
        with anyio.move_on_after(0.15) as scope:
            await CALLS[call](storage)
        assert scope.cancelled_caught
        assert anyio.current_time() - scope.deadline < AT_ONCE


async def test_a_cancelled_read_never_touches_the_buffer_again(s3: S3Endpoint) -> None:
    async with S3Storage(settings_of(s3)) as storage:
        await storage.create_bucket("buffers")
        await storage.put_object("buffers", "object", b"x" * 20_000_000)
        for delay in (0.001, 0.005, 0.02):
            buffer = bytearray(20_000_000)
            with anyio.move_on_after(delay):
                await storage.read_into("buffers", "object", 0, memoryview(buffer))
            seen = bytes(buffer)
            await anyio.sleep(0.15)
            assert buffer == seen


async def test_wrong_credentials_are_refused(s3: S3Endpoint) -> None:
    wrong = attrs.evolve(settings_of(s3), secret_key="wrong")
    async with S3Storage(settings_of(s3)) as storage:
        await storage.create_bucket("bucket")
        await storage.put_object("bucket", "object", b"content")
    async with S3Storage(wrong) as storage:
        for name in ("list_buckets", "stat", "list_objects", "read_into", "put_object", "start_upload"):
            with pytest.raises(CredentialsRefused):
                await CALLS[name](storage)


@pytest.mark.parametrize(
    ("code", "family"),
    [
        ("XMinioStorageFull", StorageFull), ("QuotaExceeded", StorageFull), ("507", StorageFull),
        ("SlowDown", Unavailable), ("InternalError", Unavailable), ("RequestTimeout", DeadlineExceeded),
        ("ExpiredToken", CredentialsRefused), ("InvalidRange", InvalidRange), ("SomethingElse", PersistenceError),
    ],
)  # fmt: skip
async def test_codes_of_servers_have_families(code: str, family: type) -> None:
    error = from_code(code, "said the server", Target("the server", "bucket", "object"))
    assert isinstance(error, family)


async def test_a_full_database_is_full_whichever_way_it_says_so() -> None:
    failures = Failures("jobs", "id")
    entry = {"index": 0, "code": 14031, "errmsg": "available disk space is below the minimum"}
    assert isinstance(failures.write_error(entry, 1), StorageFull)
    assert isinstance(failures.translated(WriteError("no room", 14031, entry), 1), StorageFull)
    assert isinstance(failures.translated(OperationFailure("no room", 14031), None), StorageFull)


async def test_an_error_is_told_without_all_that_the_database_answered() -> None:
    error = OperationFailure("not authorized", 13, {"errmsg": "not authorized", "$clusterTime": "1795898236"})
    told = Failures("jobs", "id").translated(error)
    assert "not authorized" in told.message
    assert "clusterTime" not in told.message


async def test_a_thousand_failures_leak_nothing() -> None:
    async with s3_at(free_port(), deadline=20, attempts=1) as storage:
        with pytest.raises(Unreachable):
            await storage.list_buckets()
        before = open_files(), threading.active_count()

        async def fail(count: int) -> None:
            for _ in range(count):
                with pytest.raises(Unreachable):
                    await storage.stat("bucket", "object")

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(fail, 250)
        files, threads = await settled(before)
    assert files <= before[0] + 5
    assert threads <= before[1] + 8


async def test_many_cancelled_calls_leave_nothing_behind(silent_port: int) -> None:
    async with s3_at(silent_port, deadline=0.5, attempts=1) as storage:

        async def call() -> None:
            with suppress(DeadlineExceeded):  # on a machine that is busy
                await CALLS["stat"](storage)

        before = open_files(), threading.active_count()
        for _ in range(10):
            with anyio.move_on_after(0.05):
                async with anyio.create_task_group() as tasks:
                    for _ in range(30):
                        tasks.start_soon(call)
        # Threads left behind count until they end: there are never more than the limit.
        assert threading.active_count() <= before[1] + 40
        await anyio.sleep(0.8)
    # Idle threads stay for the next call; it is the files that must go.
    files, _ = await settled((before[0], before[1] + 40))
    assert files <= before[0] + 5


async def test_a_database_that_is_gone_is_unavailable() -> None:
    began = time.monotonic()
    with pytest.raises(Unavailable):
        async with MongoDaoFactory(f"mongodb://127.0.0.1:{free_port()}", "gone", deadline=1):
            raise AssertionError("it was opened")
    assert time.monotonic() - began < IN_TIME


async def test_a_database_that_hangs_is_unavailable(silent_port: int) -> None:
    began = time.monotonic()
    with pytest.raises(Unavailable):
        async with MongoDaoFactory(f"mongodb://127.0.0.1:{silent_port}", "hangs", deadline=1):
            raise AssertionError("it was opened")
    assert time.monotonic() - began < IN_TIME


async def test_a_database_that_goes_away_fails_in_time_and_leaks_nothing(tmp_path: Path) -> None:
    server = run_mongod(tmp_path)
    uri = await anyio.to_thread.run_sync(server.__enter__)
    async with MongoDaoFactory(uri, "away", deadline=1) as factory:
        jobs = await factory.dao("jobs", Job, id_field="id")
        await jobs.insert(Job(1))
        await anyio.to_thread.run_sync(server.__exit__, None, None, None)
        before = open_files(), threading.active_count()

        async def fail() -> None:
            for call in (lambda: jobs.get_by_id(1), lambda: jobs.insert(Job(2)), lambda: jobs.count()):
                began = time.monotonic()
                with pytest.raises(Unavailable):
                    await call()
                assert time.monotonic() - began < IN_TIME

        async with anyio.create_task_group() as tasks:
            for _ in range(100):  # more at once are slow for themselves
                tasks.start_soon(fail)
        files, threads = await settled(before)
    assert files <= before[0] + 5
    assert threads <= before[1] + 5


async def test_calls_cancelled_while_the_database_is_away_do_not_harm_the_others(tmp_path: Path) -> None:
    server = run_mongod(tmp_path)
    uri = await anyio.to_thread.run_sync(server.__enter__)
    async with MongoDaoFactory(uri, "away", deadline=2) as factory:
        jobs = await factory.dao("jobs", Job, id_field="id")
        await anyio.to_thread.run_sync(server.__exit__, None, None, None)
        failures: list[BaseException] = []

        async def fail() -> None:
            try:
                await jobs.count()
            except Exception as error:
                failures.append(error)

        async def leave(delay: float) -> None:
            with anyio.move_on_after(delay):
                await fail()

        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(fail)
            # PyMongo looks again every half second: cancelled just then, it once lost a lock they all share.
            for number in range(900):
                tasks.start_soon(leave, 0.45 + number % 300 / 1000)
    assert len(failures) == 50
    assert all(isinstance(error, (Unavailable, DeadlineExceeded)) for error in failures), failures


async def test_a_database_refuses_credentials(tmp_path: Path) -> None:
    key = {"directConnection": True}
    with run_mongod(tmp_path) as uri:
        wrong = uri.replace("mongodb://", "mongodb://nobody:wrong@")
        with pytest.raises(CredentialsRefused):
            async with MongoDaoFactory(wrong, "refused", deadline=5, options=key):
                raise AssertionError("it was opened")


async def test_a_cancelled_database_call_returns_at_once(mongodb: str) -> None:
    async with MongoDaoFactory(mongodb, "cancelled", deadline=20) as factory:
        jobs = await factory.dao("jobs", Job, id_field="id")
        await jobs.insert_many([Job(number) for number in range(2000)])
        for delay in (0.0001, 0.001, 0.003):
            with anyio.move_on_after(delay) as scope:
                while True:
                    assert len([job async for job in jobs.find_all()]) == 2000
                    await jobs.get_by_id(1)
            assert anyio.current_time() - scope.deadline < AT_ONCE
        assert await jobs.count() == 2000


async def fill(jobs: Dao[Job]) -> None:
    for number in range(100):
        await jobs.insert(Job(number + 2, owner="x" * 5000))


async def test_a_full_sqlite_file(tmp_path: Path) -> None:
    path = tmp_path / "documents.db"
    async with SqliteDaoFactory(path) as factory:
        jobs = await factory.dao("jobs", Job, id_field="id")
        await jobs.insert(Job(1))

        def limit(connection: sqlite3.Connection) -> None:
            connection.execute("PRAGMA max_page_count=20")

        assert isinstance(factory.database, SqliteDatabase)
        await factory.database.write(limit)
        with pytest.raises(StorageFull):
            await fill(jobs)
        assert await jobs.get_by_id(1) == Job(1)


async def test_a_sqlite_file_that_another_process_holds(tmp_path: Path) -> None:
    path = tmp_path / "documents.db"
    async with SqliteDaoFactory(path, deadline=0.4) as factory:
        jobs = await factory.dao("jobs", Job, id_field="id")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await jobs.insert(Job(1))
        assert time.monotonic() - began < IN_TIME
    async with SqliteDaoFactory(path, deadline=60) as factory:
        jobs = await factory.dao("jobs", Job, id_field="id")
        with anyio.move_on_after(0.1) as scope:
            await jobs.insert(Job(2))
        assert scope.cancelled_caught
        assert anyio.current_time() - scope.deadline < AT_ONCE
        assert await jobs.count() == 0
        other.execute("ROLLBACK")
        other.close()
        await jobs.insert(Job(3))
        assert [job.id async for job in jobs.find_all()] == [3]


async def test_a_sqlite_file_in_no_folder(tmp_path: Path) -> None:
    with pytest.raises(Unreachable):
        async with SqliteDaoFactory(tmp_path / "none" / "documents.db"):
            raise AssertionError("it was opened")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk_at(tmp_path / "small", "1m") as place:
        yield place


async def test_a_full_disk(small_disk: Path) -> None:
    signer = UrlSigner("http://storage.test", b"0" * 16, time.time)
    async with FilesystemStorage(small_disk, signing=signer) as storage:
        await storage.create_bucket("bucket")
        with pytest.raises(StorageFull):
            await storage.put_object("bucket", "object", bytes(1 << 20))
        assert not await storage.object_exists("bucket", "object")
        await storage.put_object("bucket", "object", bytes(1 << 18))
