"""Waiting for another thread: its answers, errors and deadlines, also where the own thread never rests."""

from __future__ import annotations

import asyncio
import threading
import time
from uuid import uuid4

import anyio
import pytest

from persistence.documents.mongodb import MongoDaoFactory
from persistence.documents.mongodb.loop_thread import LoopThread
from persistence.documents.mongodb.waiting import Home, Waiter, find_home
from persistence.testing.models import Job
from tests.support.restless import never_rest

pytestmark = pytest.mark.anyio


def in_a_thread(home: Home, waiter: Waiter, seconds: float, result: object, error: BaseException | None = None) -> None:
    def work() -> None:
        time.sleep(seconds)
        waiter.result, waiter.error = result, error
        home.post(waiter.wake)

    threading.Thread(target=work, daemon=True).start()


@pytest.mark.parametrize("seconds", [0, 0.03, 0.15])
async def test_results_and_errors_come_whenever_they_are_ready(seconds: float) -> None:
    home = find_home()
    good, bad = home.make_waiter(), home.make_waiter()
    in_a_thread(home, good, seconds, "result")
    in_a_thread(home, bad, seconds, None, KeyError("error"))
    assert await good.wait(5) == "result"
    with pytest.raises(KeyError):
        await bad.wait(None)
    assert not good.left


async def test_the_deadline_ends_the_waiting_and_what_comes_later_is_dropped() -> None:
    home = find_home()
    waiter = home.make_waiter()
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        await waiter.wait(0.1)
    assert 0.09 < time.monotonic() - began < 2
    assert waiter.left
    waiter.wake()
    await anyio.sleep(0.05)


async def test_whoever_is_cancelled_leaves_at_once() -> None:
    waiter = find_home().make_waiter()
    with anyio.move_on_after(0.05) as scope:
        await waiter.wait(5)
    assert scope.cancelled_caught
    assert waiter.left
    waiter.wake()
    await anyio.sleep(0.05)


@pytest.mark.parametrize("anyio_backend", ["trio"])
@pytest.mark.parametrize("chunk", [0.0001, 0.001, 0.004])
async def test_another_threads_loop_is_not_starved_by_a_loop_that_never_rests(chunk: float) -> None:
    loop = LoopThread()
    await loop.start()

    async def rounds() -> str:
        # As PyMongo's asyncio client: a dozen rounds, each of which lets go of the lock.
        for _ in range(12):
            await asyncio.sleep(0)
            time.sleep(0)
        return "done"

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(never_rest, chunk)
        began = time.monotonic()
        for _ in range(5):
            assert await loop.run(rounds, 10) == "done"
        took = time.monotonic() - began
        tasks.cancel_scope.cancel()
    await loop.stop()
    assert took < 1


@pytest.mark.parametrize("callers", [1, 4])
async def test_calls_of_a_program_that_never_rests_are_answered_soon(mongodb: str, callers: int) -> None:
    async with MongoDaoFactory(mongodb, f"busy_{uuid4().hex[:8]}", deadline=10) as factory:
        jobs = await factory.dao("jobs", Job, id_field="id")
        await jobs.insert(Job(0))

        async def call(number: int) -> None:
            await jobs.insert(Job(number))
            assert await jobs.get_by_id(number) == Job(number)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(never_rest, 0.001)
            began = time.monotonic()
            async with anyio.create_task_group() as calls:
                for caller in range(callers):
                    calls.start_soon(call, caller + 1)
            took = time.monotonic() - began
            tasks.cancel_scope.cancel()
        assert took < 2
        await factory.drop_database()
