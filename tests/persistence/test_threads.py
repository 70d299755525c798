"""Calls in threads beside an event loop that never idles: it yields the GIL to them, and only then."""

from __future__ import annotations

import asyncio
import threading
import time
from itertools import pairwise
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from persistence.documents.sqlite import SqliteDaoFactory
from persistence.objects.filesystem import FilesystemStorage
from persistence.objects.signing import UrlSigner
from persistence.testing.models import Job
from persistence.threads import GilYielder, Threads, gil_yielder
from tests.support.restless import never_rest

pytestmark = pytest.mark.anyio


class Clocks:
    """The time and the processor time of one thread."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.used = 5.0
        self.sleeps: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds


class ManualYielder(GilYielder):
    """One that the test checks."""

    def _watch(self) -> None:
        pass


@pytest.mark.parametrize(
    ("outstanding", "share", "call_ends", "sleeps"),
    [(True, 1.0, False, True), (True, 0.1, False, False), (True, 1.0, True, False), (False, 1.0, False, False)],
)
def test_a_busy_loop_sleeps_while_calls_are_outstanding_and_none_ends(
    outstanding: bool, share: float, call_ends: bool, sleeps: bool
) -> None:
    clocks = Clocks()
    yielder = ManualYielder(lambda: clocks.now, lambda: clocks.used, clocks.sleep)
    if outstanding:
        yielder.__enter__()
    for _ in range(10):
        clocks.now += yielder.TICK
        clocks.used += yielder.TICK * share
        if call_ends:
            with yielder:
                pass
        yielder.check()
    assert len(clocks.sleeps) == (10 if sleeps else 0)
    assert 0.05 < sum(clocks.sleeps) / (clocks.now - 1000) < 0.25 or not sleeps


async def test_a_loop_is_checked_every_tick_and_only_while_calls_are_outstanding() -> None:
    checks: list[float] = []

    class Counted(GilYielder):
        def check(self) -> None:
            checks.append(time.monotonic())
            super().check()

    yielder = Counted()
    for _ in range(2):
        with yielder, anyio.fail_after(180):
            while len(checks) < 20:
                await anyio.sleep(0.0001)
        assert all(later - earlier > 0.9 * yielder.TICK for earlier, later in pairwise(checks))
        await anyio.sleep(0.01)
        checks.clear()
        for _ in range(100):
            await anyio.sleep(0.0001)
        assert not checks


async def test_each_loop_has_one() -> None:
    assert gil_yielder() is gil_yielder()
    others = []
    thread = threading.Thread(target=lambda: others.append(asyncio.run(_found())))
    thread.start()
    thread.join()
    assert others[0] is not gil_yielder()


async def _found() -> object:
    return gil_yielder()


@pytest.mark.parametrize("chunk", [0.0001, 0.002])
async def test_calls_in_threads_end_soon_beside_a_task_that_always_computes(tmp_path: Path, chunk: float) -> None:
    """Without the yielder each takes seconds, and the object minutes."""
    signer = UrlSigner("http://here.test", b"x" * 16, time.time)
    threads = Threads(2, deadline=60, what="The service")

    def look_again_and_again(cancelled: threading.Event) -> int:
        return sum(not cancelled.wait(0.0001) for _ in range(10))

    async with (
        SqliteDaoFactory(tmp_path / "jobs.db", deadline=60) as factory,
        FilesystemStorage(tmp_path / "objects", signing=signer) as storage,
        anyio.create_task_group() as tasks,
    ):
        jobs = await factory.dao("jobs", Job, id_field="id")
        await storage.create_bucket("bucket")
        tasks.start_soon(never_rest, chunk)
        with anyio.fail_after(60):
            await jobs.insert(Job(1))
            assert await jobs.get_by_id(1) == Job(1)
            await storage.put_object("bucket", "object", b"x" * 1024**2)
            assert (await storage.stat("bucket", "object")).size == 1024**2
            assert await threads.run(look_again_and_again) == 10
        tasks.cancel_scope.cancel()
