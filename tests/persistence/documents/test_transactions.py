"""Conflicting transactions within one process: no update is lost."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest
from anyio.abc import TaskGroup

from persistence.documents import DaoFactory, Transaction
from persistence.documents.memory import MemoryDaoFactory
from persistence.documents.mongodb import MongoDaoFactory
from persistence.documents.sqlite import SqliteDaoFactory
from persistence.errors import DeadlineExceeded, NotBound
from persistence.testing.models import Job

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["memory", "sqlite", "mongodb"])
def factory(request: pytest.FixtureRequest, tmp_path: Path) -> DaoFactory:
    if request.param == "mongodb":
        return MongoDaoFactory(request.getfixturevalue("mongodb"), "transactions")
    return MemoryDaoFactory() if request.param == "memory" else SqliteDaoFactory(tmp_path / "documents.db")


async def test_eight_writers_lose_no_update(factory: DaoFactory) -> None:
    async with factory:
        counters = await factory.dao("counters", Job, id_field="id")
        log = await factory.dao("log", Job, id_field="id")
        await counters.insert(Job(0))

        async def count_up(writer: int) -> None:
            for step in range(5):

                async def work(transaction: Transaction) -> None:
                    bound = transaction.bind(counters)
                    job = await bound.get_by_id(0)
                    await bound.update(dataclasses.replace(job, version=job.version + 1))
                    await transaction.bind(log).insert(Job(writer * 100 + step, version=job.version))  # noqa: B023

                await factory.with_transaction(work, attempts=1000)

        async with anyio.create_task_group() as tasks:
            for writer in range(8):
                tasks.start_soon(count_up, writer)
        assert (await counters.get_by_id(0)).version == 40
        assert sorted([job.version async for job in log.find_all()]) == list(range(40))


async def test_a_conflict_leaves_nothing_of_the_loser(factory: DaoFactory) -> None:
    async with factory:
        jobs = await factory.dao("jobs", Job, id_field="id")
        await jobs.insert(Job(0))
        attempts = 0

        async def work(transaction: Transaction) -> None:
            nonlocal attempts
            attempts += 1
            bound = transaction.bind(jobs)
            await bound.insert(Job(attempts))
            await bound.compare_and_set(0, expected={}, changes={"owner": str(attempts)})
            raise RuntimeError("given up")

        for _ in range(3):
            with pytest.raises(RuntimeError, match="given up"):
                await factory.with_transaction(work)
        assert [job async for job in jobs.find_all()] == [Job(0)]


async def in_another_task(tasks: TaskGroup, call: Callable[[], Awaitable[object]]) -> None:
    error: list[Exception] = []
    done = anyio.Event()

    async def run() -> None:
        try:
            await call()
        except Exception as failure:
            error.append(failure)
        done.set()

    tasks.start_soon(run)
    await done.wait()
    if error:
        raise error[0]


@pytest.mark.parametrize("kind", [MemoryDaoFactory, SqliteDaoFactory])
async def test_an_unbound_write_inside_fails_in_time(kind: type, tmp_path: Path) -> None:
    made = kind(deadline=1.0) if kind is MemoryDaoFactory else kind(tmp_path / "documents.db", deadline=1.0)
    async with made as factory:
        jobs = await factory.dao("jobs", Job, id_field="id")
        with pytest.raises(NotBound):
            async with factory.transaction():
                await jobs.insert(Job(1))
        async with anyio.create_task_group() as tasks, factory.transaction():
            began = anyio.current_time()
            with pytest.raises(DeadlineExceeded):
                await in_another_task(tasks, lambda: jobs.insert(Job(1)))
            assert 0.9 < anyio.current_time() - began < 30
        await jobs.insert(Job(1))
