"""Staying awake for an answer that is nearly there: only while answers come at once, and never for long."""

from __future__ import annotations

import asyncio
import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from persistence.providers.mongodb.loops import make_loop
from persistence.providers.mongodb.own_loop import OwnLoop
from persistence.providers.mongodb.polling import BusyPolling

NEAR, FAR = 0.0002, 0.001


def after(*calls: float) -> float:
    polling = BusyPolling()
    for seconds in calls:
        polling.took(seconds)
    return polling.limit


def test_answers_that_come_at_once_are_waited_for_awake() -> None:
    assert 0 < after() == after(*[NEAR] * 50) < 0.001


def test_answers_from_far_away_are_not() -> None:
    assert after(*[FAR] * 10) == 0


def test_one_call_that_stood_still_changes_nothing() -> None:
    assert after(*[NEAR] * 20, 10.0) > 0


def test_answers_that_have_become_quick_again_are_waited_for_awake_again() -> None:
    assert after(*[10.0] * 100, *[NEAR] * 20) > 0


class Watched(selectors.DefaultSelector):
    """A selector that counts how often it went to sleep, and how often it only looked."""

    slept = looked = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout == 0:
            self.looked += 1
        else:
            self.slept += 1
        return super().select(timeout)


def watched(work: Callable[[Watched], Awaitable[Any]]) -> Watched:
    selector = Watched()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:

        async def main() -> None:
            selector.slept = selector.looked = 0
            await work(selector)

        runner.run(main())
    return selector


def soon(seconds: float) -> Callable[[], Awaitable[str]]:
    """Gives an answer after so long, without anything that the loop would have to do meanwhile."""

    async def call() -> str:
        await asyncio.sleep(seconds)
        return "answer"

    return call


@pytest.mark.parametrize("brief", [True, False])
def test_asyncio_does_not_sleep_during_a_brief_call(brief: bool) -> None:
    async def work(selector: Watched) -> None:
        assert await OwnLoop().run(soon(0.0003), 5, brief=brief) == "answer"

    assert (watched(work).slept == 0) is brief


def test_asyncio_sleeps_when_the_answer_does_not_come() -> None:
    async def work(selector: Watched) -> None:
        assert await OwnLoop().run(soon(0.1), 5, brief=True) == "answer"

    used = time.thread_time()
    selector = watched(work)
    assert selector.slept >= 1
    assert time.thread_time() - used < 0.05


def test_asyncio_stays_awake_no_more_where_answers_take_long() -> None:
    looks: dict[bool, int] = {}

    async def work(selector: Watched) -> None:
        loop = OwnLoop()
        for brief in (False, True):
            for _ in range(10):
                await loop.run(soon(0.002), 5, brief=brief)
            selector.looked = 0
            await loop.run(soon(0.002), 5, brief=brief)
            looks[brief] = selector.looked

    watched(work)
    assert looks[True] <= looks[False] + 2


def test_others_have_their_turn_while_asyncio_stays_awake() -> None:
    async def work(selector: Watched) -> None:
        rounds = 0

        async def other() -> None:
            nonlocal rounds
            while True:
                await asyncio.sleep(0)
                rounds += 1

        task = asyncio.create_task(other())
        await OwnLoop().run(soon(0.0003), 5, brief=True)
        task.cancel()
        assert rounds > 3

    watched(work)


ECHO = (
    "import socket, sys; line = socket.socket(fileno=int(sys.argv[1]))\nwhile data := line.recv(99): line.sendall(data)"
)


@pytest.mark.anyio
@pytest.mark.skipif(sys.platform != "linux", reason="needs processors that can be chosen")
async def test_whoever_is_to_answer_gets_the_processor_where_there_is_one_for_both() -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    ours, theirs = socket.socketpair()
    child = subprocess.Popen([sys.executable, "-c", ECHO, str(theirs.fileno())], pass_fds=[theirs.fileno()])
    theirs.close()
    ours.setblocking(False)
    loop = make_loop()
    await loop.start()

    async def ask() -> bytes:
        running = asyncio.get_running_loop()
        await running.sock_sendall(ours, b"question")
        return await running.sock_recv(ours, 99)

    try:
        await loop.run(ask, 10)  # once the child is there
        # Not every question finds the answerer waiting behind us: of 600 some would take until we go to sleep.
        for _ in range(5):
            late = 0
            for _ in range(600):
                used = time.thread_time()
                assert await loop.run(ask, 10, brief=True) == b"question"
                late += time.thread_time() - used > 0.0004
            if late < 2:
                break
        assert late < 2
    finally:
        os.sched_setaffinity(0, allowed)
        ours.close()
        child.wait(10)
        await loop.stop()
