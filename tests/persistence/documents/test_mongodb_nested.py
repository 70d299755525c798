"""An asyncio loop that is turned by trio: answers, timers, sockets, threads, cancellation, interrupts and its end."""

from __future__ import annotations

import asyncio
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import sniffio
import trio

from persistence.documents.mongodb.loop_thread import LoopThread
from persistence.documents.mongodb.loops import make_loop
from persistence.documents.mongodb.own_loop import OwnLoop
from tests.support.restless import never_rest

pytestmark = [pytest.mark.trio, pytest.mark.skipif(sys.platform != "linux", reason="nested where there is epoll")]

if sys.platform == "linux":
    from persistence.documents.mongodb.nested_loop import NestedLoop


@pytest.fixture
async def loop() -> AsyncIterator[NestedLoop]:
    loop = NestedLoop()
    await loop.start()
    yield loop
    await loop.stop()


async def answer(result: Any = "answer", seconds: float = 0) -> Any:
    await asyncio.sleep(seconds)
    return result


async def fail() -> None:
    await asyncio.sleep(0)
    raise KeyError("error")


@pytest.mark.parametrize("brief", [True, False])
async def test_results_and_errors_come(loop: NestedLoop, brief: bool) -> None:
    assert await loop.run(answer, brief=brief) == "answer"
    assert await loop.run(lambda: answer("later", 0.05), 5, brief=brief) == "later"
    with pytest.raises(KeyError):
        await loop.run(fail, 5, brief=brief)
    assert await loop.run(lambda: answer("after"), 5, brief=brief) == "after"


@pytest.mark.parametrize("brief", [True, False])
async def test_the_deadline_ends_the_waiting_and_the_call_goes_on(loop: NestedLoop, brief: bool) -> None:
    ended = trio.Event()

    async def slow() -> None:
        await asyncio.sleep(0.2)
        ended.set()

    began = time.monotonic()
    with pytest.raises(TimeoutError):
        await loop.run(slow, 0.05, brief=brief)
    assert 0.04 < time.monotonic() - began < 0.19
    with trio.fail_after(2):
        await ended.wait()


@pytest.mark.parametrize("brief", [True, False])
async def test_whoever_is_cancelled_leaves_at_once_and_the_call_goes_on(loop: NestedLoop, brief: bool) -> None:
    ended = trio.Event()

    async def slow() -> None:
        await asyncio.sleep(0.2)
        ended.set()

    with trio.move_on_after(0.02) as scope:
        await loop.run(slow, 5, brief=brief)
    assert scope.cancelled_caught
    assert not ended.is_set()
    with trio.fail_after(2):
        await ended.wait()


@pytest.mark.parametrize("brief", [True, False])
async def test_whoever_has_been_cancelled_before_begins_nothing(loop: NestedLoop, brief: bool) -> None:
    begun = False

    async def call() -> None:
        nonlocal begun
        begun = True

    with trio.CancelScope() as scope:
        scope.cancel()
        await loop.run(call, 5, brief=brief)
    await trio.sleep(0.02)
    assert scope.cancelled_caught
    assert not begun


async def test_a_call_that_is_over_in_the_same_turn_is_not_taken_back_by_a_cancellation(loop: NestedLoop) -> None:
    with trio.CancelScope() as scope:

        async def call() -> str:
            scope.cancel()
            return "done"

        result = await loop.run(call, 5, brief=True)
    assert result == "done"


async def test_timers_go_on_while_nobody_calls(loop: NestedLoop) -> None:
    ticks: list[float] = []

    async def tick() -> None:
        async def work() -> None:
            for _ in range(5):
                await asyncio.sleep(0.02)
                ticks.append(time.monotonic())

        tasks.append(asyncio.create_task(work()))

    tasks: list[asyncio.Task[None]] = []
    began = time.monotonic()
    await loop.run(tick)
    await trio.sleep(0.2)
    assert len(ticks) == 5
    assert ticks[-1] - began < 0.18


async def test_an_earlier_timer_of_a_brief_call_is_not_slept_over(loop: NestedLoop) -> None:
    background: list[asyncio.Task[None]] = []

    async def set_long() -> None:
        background.append(asyncio.create_task(asyncio.sleep(60)))

    await loop.run(set_long)
    await trio.sleep(0.02)
    with trio.fail_after(5):
        assert await loop.run(lambda: answer("early", 0.1), brief=True) == "early"


async def test_sockets_and_threads_of_the_loop_are_heard(loop: NestedLoop) -> None:
    async def talk() -> str:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for _ in range(100):
                writer.write((await reader.readexactly(100_000))[::-1])
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        data = os.urandom(100_000)
        for _ in range(100):
            writer.write(data)
            assert await reader.readexactly(len(data)) == data[::-1]
        writer.close()
        server.close()
        return await asyncio.get_running_loop().run_in_executor(None, lambda: threading.current_thread().name)

    with trio.fail_after(20):
        assert "asyncio" in await loop.run(talk)


async def test_many_calls_at_once_are_served_together(loop: NestedLoop) -> None:
    results: dict[int, int] = {}

    async def call(number: int) -> None:
        for _ in range(20):
            results[number] = await loop.run(lambda: answer(number, 0.01))

    began = time.monotonic()
    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(call, number)
    assert results == {number: number for number in range(50)}
    assert time.monotonic() - began < 3


async def test_brief_calls_leave_others_their_turn(loop: NestedLoop) -> None:
    rounds = 0

    async def other() -> None:
        nonlocal rounds
        while True:
            await trio.lowlevel.checkpoint()
            rounds += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        for _ in range(100):
            await loop.run(answer, brief=True)
        nursery.cancel_scope.cancel()
    assert rounds > 90


async def test_nobody_stays_awake_once_the_answer_is_there(loop: NestedLoop) -> None:
    took = []
    for _ in range(10):
        began = time.monotonic()
        await loop.run(answer, brief=True)
        took.append(time.monotonic() - began)
    assert min(took) < 0.0004


async def test_a_brief_call_without_an_answer_holds_nobody_up(loop: NestedLoop) -> None:
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            began = time.monotonic()
            await trio.sleep(0.001)
            longest = max(longest, time.monotonic() - began)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        used = time.thread_time()
        await loop.run(lambda: answer(seconds=0.5), brief=True)
        used = time.thread_time() - used
        nursery.cancel_scope.cancel()
    assert longest < 0.1
    assert used < 0.25


@pytest.mark.parametrize("brief", [True, False])
async def test_a_program_that_never_rests_does_not_starve_the_loop(loop: NestedLoop, brief: bool) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(never_rest, 0.001)
        began = time.monotonic()
        for _ in range(5):
            await loop.run(lambda: answer(seconds=0.001), 10, brief=brief)
        took = time.monotonic() - began
        nursery.cancel_scope.cancel()
    assert took < 1


async def test_the_loop_knows_that_it_is_asyncio_and_trio_that_it_is_trio(loop: NestedLoop) -> None:
    async def library() -> str:
        await asyncio.sleep(0)
        return sniffio.current_async_library()

    for brief in (True, False):
        assert await loop.run(library, brief=brief) == "asyncio"
        assert sniffio.current_async_library() == "trio"


async def test_the_end_cancels_what_still_runs_and_leaves_nothing_open() -> None:
    open_before, threads_before = len(os.listdir("/proc/self/fd")), threading.active_count()
    cancelled = False
    loop = NestedLoop()
    await loop.start()

    async def hang() -> None:
        nonlocal cancelled
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled = True
            raise

    with trio.move_on_after(0.02):
        await loop.run(hang)
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            with pytest.raises(RuntimeError, match="stopped"):
                await loop.run(hang)

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        await loop.stop()
    assert cancelled
    assert len(os.listdir("/proc/self/fd")) == open_before
    assert threading.active_count() == threads_before


async def test_a_loop_that_is_stopped_at_once() -> None:
    loop = NestedLoop()
    await loop.start()
    with trio.fail_after(2):
        await loop.stop()


def _forgotten(tasks_take: float) -> tuple[list[str], Callable[[], Any], list[Any]]:
    """A main function that leaves an async generator behind, which is closed when trio's system tasks are over."""
    seen: list[str] = []
    kept: list[Any] = []

    async def generate() -> AsyncIterator[None]:
        loop = NestedLoop()
        await loop.start()
        try:
            with trio.move_on_after(0.02):
                await loop.run(lambda: asyncio.sleep(60))
            yield
        finally:
            with trio.move_on_after(5, shield=True):
                seen.append(await loop.run(lambda: answer("closed", tasks_take)))
            await loop.stop()
            seen.append("stopped")

    async def main() -> None:
        generator = generate()
        kept.append(generator)
        await generator.asend(None)

    return seen, main, kept


@pytest.mark.parametrize("seconds", [0, 0.05])
async def test_a_loop_that_is_stopped_when_trio_has_ended_its_tasks(seconds: float) -> None:
    def run() -> list[str]:
        seen, main, _ = _forgotten(seconds)
        trio.run(main)
        return seen

    began = time.monotonic()
    assert await trio.to_thread.run_sync(run) == ["closed", "stopped"]
    assert time.monotonic() - began < 1.5


async def test_it_is_what_trio_gets(loop: NestedLoop) -> None:
    assert isinstance(make_loop(), NestedLoop)


def _interrupted(brief: bool) -> tuple[list[str], Callable[[], Any]]:
    seen: list[str] = []

    async def main() -> None:
        loop = NestedLoop()
        await loop.start()

        async def call() -> None:
            signal.raise_signal(signal.SIGINT)
            seen.append("went on")

        try:
            await loop.run(call, brief=brief)
            await trio.sleep(1)
            seen.append("not interrupted")
        finally:
            await loop.stop()

    return seen, main


@pytest.mark.parametrize("brief", [True, False])
async def test_an_interrupt_waits_until_the_loop_has_had_its_turn(brief: bool) -> None:
    # A run of trio of its own, in a process of its own: signals belong to main threads.
    code = (
        "import trio; from tests.persistence.test_mongodb_nested import _interrupted\n"
        f"seen, main = _interrupted({brief})\n"
        "try: trio.run(main)\n"
        "except KeyboardInterrupt: print(seen)\n"
    )
    done = await trio.run_process([sys.executable, "-c", code], capture_stdout=True, cwd=Path(__file__).parents[2])
    assert done.stdout.decode().split() == ["['went", "on']"]


async def _kind_of_loop() -> str:
    loop = make_loop()
    await loop.start()
    try:
        return f"{type(loop).__name__}: {await loop.run(answer, 5)}"
    finally:
        await loop.stop()


async def test_as_asyncios_guest_trio_gets_the_loop_in_a_thread() -> None:
    async def host() -> str:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Any] = loop.create_future()
        trio.lowlevel.start_guest_run(
            _kind_of_loop, run_sync_soon_threadsafe=loop.call_soon_threadsafe, done_callback=ended.set_result
        )
        outcome = await ended
        kind: str = outcome.unwrap()
        return kind

    assert await trio.to_thread.run_sync(asyncio.run, host()) == f"{LoopThread.__name__}: answer"


async def test_as_another_hosts_guest_trio_gets_the_nested_loop() -> None:
    def host() -> str:
        todo: queue.SimpleQueue[Any] = queue.SimpleQueue()
        trio.lowlevel.start_guest_run(
            _kind_of_loop, run_sync_soon_threadsafe=todo.put, done_callback=lambda outcome: todo.put(outcome)
        )
        while callable(entry := todo.get()):
            entry()
        kind: str = entry.unwrap()
        return kind

    assert await trio.to_thread.run_sync(host) == f"{NestedLoop.__name__}: answer"


async def test_asyncio_gets_its_own() -> None:
    async def kind() -> str:
        return type(make_loop()).__name__

    assert await trio.to_thread.run_sync(asyncio.run, kind()) == OwnLoop.__name__
