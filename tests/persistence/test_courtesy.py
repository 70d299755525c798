"""An event loop that never rests stands back for threads; one that rests, or has no calls in threads, is left alone."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from persistence.courtesy import AsyncioCourtesy, TrioCourtesy, courtesy
from persistence.documents.sqlite import SqliteDaoFactory
from persistence.objects.filesystem import FilesystemStorage
from persistence.objects.signing import UrlSigner
from persistence.testing.models import Job
from persistence.threads import Threads
from tests.support.restless import never_rest

pytestmark = pytest.mark.anyio
TRIO = pytest.mark.parametrize("anyio_backend", ["trio"])
ASYNCIO = pytest.mark.parametrize("anyio_backend", ["asyncio"])


class Clocks:
    """The time and the processor time of one thread."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.used = 5.0
        self.pauses: list[float] = []

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def go_around(clocks: Clocks, loop: TrioCourtesy, seconds: float, *, computing: float, looking: float = 2e-6) -> None:
    until = clocks.now + seconds
    while clocks.now < until:
        clocks.now += computing
        loop.before_io_wait(0)
        clocks.now += looking
        loop.after_io_wait(0)


@TRIO
async def test_trio_stands_back_while_calls_are_outstanding_and_it_does_not_rest() -> None:
    clocks = Clocks()
    loop = TrioCourtesy(lambda: clocks.now, clocks.pause)
    with loop:
        go_around(clocks, loop, 1.0, computing=0.001)
        assert 0.05 < sum(clocks.pauses) < 0.25
        clocks.pauses.clear()
        go_around(clocks, loop, 1.0, computing=0.001, looking=0.001)
        assert clocks.pauses == []
    go_around(clocks, loop, 0.5, computing=0.001)
    assert clocks.pauses == []


@TRIO
async def test_trio_is_left_a_second_after_the_last_call() -> None:
    now = 1000.0

    def clock() -> float:
        nonlocal now
        now += 0.00002  # no look at the sockets takes longer than that
        return now

    async def pauses_come() -> bool:
        before = len(pauses)
        for _ in range(2000):
            await anyio.lowlevel.checkpoint()
        return len(pauses) > before

    pauses: list[float] = []
    loop = TrioCourtesy(clock, pauses.append)
    with loop:
        assert await pauses_come()
    assert not await pauses_come()
    assert loop.there
    now += 2
    assert not await pauses_come()
    assert not loop.there
    with loop:
        assert await pauses_come()


@ASYNCIO
@pytest.mark.parametrize(
    ("share", "ending", "stands_back"), [(1.0, False, True), (0.1, False, False), (1.0, True, False)]
)
async def test_asyncio_stands_back_if_it_is_busy_and_no_call_ends(
    share: float, ending: bool, stands_back: bool
) -> None:
    clocks = Clocks()
    loop = AsyncioCourtesy(lambda: clocks.now, lambda: clocks.used, clocks.pause)
    with loop:
        for _ in range(10):
            clocks.now += 0.01
            clocks.used += 0.01 * share
            if ending:
                with loop:
                    pass
            await asyncio.sleep(0.05)  # longer than from tick to tick
    assert bool(clocks.pauses) == stands_back
    await asyncio.sleep(0.05)
    assert not loop._ticking


async def test_each_loop_has_one() -> None:
    assert courtesy() is courtesy()
    others = []
    thread = threading.Thread(target=lambda: others.append(asyncio.run(_found())))
    thread.start()
    thread.join()
    assert others[0] is not courtesy()


async def _found() -> object:
    return courtesy()


@pytest.mark.parametrize("chunk", [0.0001, 0.002])
async def test_calls_in_threads_end_soon_beside_a_task_that_always_computes(tmp_path: Path, chunk: float) -> None:
    """Without courtesy each takes seconds, and the object minutes."""
    signer = UrlSigner("http://here.test", b"x" * 16, time.time)
    threads = Threads(2, deadline=10, what="The service")

    def look_again_and_again(gone: threading.Event) -> int:
        return sum(not gone.wait(0.0001) for _ in range(10))

    async with (
        SqliteDaoFactory(tmp_path / "jobs.db", deadline=10) as factory,
        FilesystemStorage(tmp_path / "objects", signing=signer) as storage,
        anyio.create_task_group() as tasks,
    ):
        jobs = await factory.dao("jobs", Job, id_field="id")
        await storage.create_bucket("bucket")
        tasks.start_soon(never_rest, chunk)
        with anyio.fail_after(8):
            await jobs.insert(Job(1))
            assert await jobs.get_by_id(1) == Job(1)
            await storage.put_object("bucket", "object", b"x" * 1024**2)
            assert (await storage.stat("bucket", "object")).size == 1024**2
            assert await threads.run(look_again_and_again) == 10
        tasks.cancel_scope.cancel()
