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

from persistence.documents.mongodb.loops import make_loop
from persistence.documents.mongodb.own_loop import OwnLoop
from persistence.documents.mongodb.polling import BusyPolling, processors

NEAR, MIDDLE, FAR, IN_VAIN = 0.0002, 0.0007, 0.002, 0.0015


def after(*calls: float, processors: int = 2) -> float:
    polling = BusyPolling(processors)
    for seconds in calls:
        polling.took(seconds)
    return polling.limit


def until_again(polling: BusyPolling) -> int:
    """How many calls, each over soon, it takes until they are waited for awake again."""
    for calls in range(10_000):
        if polling.limit:
            return calls
        polling.took(NEAR)
    raise AssertionError("never")


def test_answers_that_come_at_once_are_waited_for_awake() -> None:
    assert 0 < after() == after(*[NEAR] * 50) < 0.002


@pytest.mark.parametrize("seconds", [MIDDLE, FAR, 10.0])
def test_answers_that_take_longer_are_not(seconds: float) -> None:
    assert after(*[seconds] * 20) == 0


def test_a_single_processor_is_left_to_who_is_to_answer() -> None:
    assert after(processors=1) == after(*[NEAR] * 50, processors=1) == 0
    assert processors() >= 1


def test_one_call_that_stood_still_changes_nothing() -> None:
    assert after(*[NEAR] * 20, 10.0) > 0


def test_answers_that_have_become_quick_again_are_waited_for_awake_again() -> None:
    assert after(*[10.0] * 100, *[NEAR] * 100) > 0


def test_what_is_in_vain_is_left_for_longer_each_time_and_tried_again() -> None:
    polling = BusyPolling(2)
    pauses = []
    for _ in range(12):
        while polling.limit:
            polling.took(IN_VAIN)
        pauses.append(until_again(polling))
    assert pauses[0] >= 32
    assert pauses == sorted(pauses)
    assert pauses[-1] == pauses[-2] == 2048
    for _ in range(3000):
        polling.took(NEAR)
    while polling.limit:
        polling.took(IN_VAIN)
    assert until_again(polling) == pauses[0]


def test_a_few_in_vain_among_many_are_no_reason_to_leave_it() -> None:
    polling = BusyPolling(2)
    for seconds in ([NEAR] * 9 + [IN_VAIN]) * 50:
        polling.took(seconds)
        assert polling.limit


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
async def test_nobody_stays_awake_where_there_is_one_processor_for_both() -> None:
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
        late = 0
        for _ in range(600):
            used = time.thread_time()
            assert await loop.run(ask, 10, brief=True) == b"question"
            late += time.thread_time() - used > 0.0008
        assert late < 2
    finally:
        os.sched_setaffinity(0, allowed)
        ours.close()
        child.wait(10)
        await loop.stop()
