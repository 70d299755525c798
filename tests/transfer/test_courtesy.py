"""A loop that never rests stands back for threads at work; one that rests is left alone."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path

import pytest
import trio

import connector
from connector.transfer.courtesy import Courtesy
from tests.support.restless import never_rest

pytestmark = pytest.mark.trio


class Loop:
    """A loop's rounds as the instrument sees them, on a clock of its own."""

    def __init__(self, *, at_work: bool = True) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []
        threads = trio.CapacityLimiter(2)
        if at_work:
            threads.acquire_on_behalf_of_nowait("work")
        self.courtesy = Courtesy(threads, clock=lambda: self.now, pause=self._pause)

    def rounds(self, seconds: float, *, computing: float, looking: float = 0.000002) -> None:
        """Go around for so many seconds, ``computing`` and ``looking`` at the sockets in each round."""
        until = self.now + seconds
        while self.now < until:
            self.now += computing
            self.courtesy.before_io_wait(0)
            self.now += looking
            self.courtesy.after_io_wait(0)

    def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


async def test_it_stands_back_again_and_again_but_most_of_the_time_is_the_loops():
    loop = Loop()
    with loop.courtesy.shown():
        loop.rounds(1.0, computing=0.001)
    assert 50 < len(loop.pauses) < 400
    assert sum(loop.pauses) < 0.25


@pytest.mark.parametrize("looking", [0.0002, 0.005])
async def test_a_loop_that_rests_is_left_alone(looking):
    loop = Loop()
    with loop.courtesy.shown():
        loop.rounds(1.0, computing=0.001, looking=looking)
    assert loop.pauses == []


async def test_nobody_at_work_nothing_to_stand_back_for():
    loop = Loop(at_work=False)
    with loop.courtesy.shown():
        loop.rounds(1.0, computing=0.001)
    assert loop.pauses == []


async def test_after_a_rest_it_takes_its_time_again():
    loop = Loop()
    with loop.courtesy.shown():
        loop.rounds(0.1, computing=0.001)
        loop.rounds(0.001, computing=0.0001, looking=0.001)
        loop.pauses.clear()
        loop.rounds(0.015, computing=0.001)
    assert loop.pauses == []


async def test_it_is_in_the_loop_only_while_it_is_shown():
    pauses: list[float] = []
    threads = trio.CapacityLimiter(1)
    threads.acquire_on_behalf_of_nowait("work")
    clock = count(1000.0, 0.00002)  # no look at the sockets takes longer than that
    courtesy = Courtesy(threads, clock=lambda: next(clock), pause=pauses.append)

    async def compute() -> int:
        before = len(pauses)
        for _ in range(2000):
            await trio.lowlevel.checkpoint()
        return len(pauses) - before

    assert not await compute()
    with courtesy.shown():
        assert await compute()
    assert not await compute()


@pytest.mark.parametrize("chunk", [0.0001, 0.002])
async def test_a_task_that_always_computes_does_not_stop_the_transfers_beside_it(tmp_path: Path, chunk: float):
    """Without courtesy the few megabytes take minutes."""
    source, sealed, opened = tmp_path / "source", tmp_path / "source.c4gh", tmp_path / "opened"
    source.write_bytes(os.urandom(8 * 1024**2))
    keys = connector.KeyPair.of(os.urandom(32))
    settings = connector.Settings()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(never_rest, chunk)
        with trio.fail_after(20):
            request = connector.RecryptRequest(source, sealed)
            (outcome,) = await connector.encrypt_files(settings, keys.private, [keys.public], [request])
            assert outcome.ok
            (outcome,) = await connector.decrypt_files(
                settings, keys.private, [connector.RecryptRequest(sealed, opened)]
            )
            assert outcome.ok
        nursery.cancel_scope.cancel()
    assert opened.read_bytes() == source.read_bytes()
