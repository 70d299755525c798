"""The memory provider with a clock of the test's own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from persistence.documents import Index
from persistence.documents.memory import MemoryDaoFactory
from persistence.errors import Closed, UniqueViolation
from persistence.testing.models import Job

pytestmark = pytest.mark.anyio

START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.time = START + timedelta(microseconds=1234)

    def __call__(self) -> datetime:
        return self.time


async def test_the_time_and_expiry_follow_the_clock() -> None:
    clock = Clock()
    async with MemoryDaoFactory(clock=clock) as factory:
        assert await factory.now() == START + timedelta(milliseconds=1)
        dao = await factory.dao("jobs", Job, id_field="id", indexes=[Index("due", expire_after=60)])
        await dao.insert(Job(1, due=START))
        clock.time = START + timedelta(seconds=60)
        await dao.insert(Job(2))
        assert await dao.count() == 2
        clock.time += timedelta(seconds=1.5)
        async with factory.transaction() as transaction:
            await transaction.bind(dao).insert(Job(3))
        assert [job.id async for job in dao.find_all(sort=["id"])] == [2, 3]


async def test_an_index_made_beside_a_transaction_is_kept() -> None:
    async with MemoryDaoFactory() as factory:
        dao = await factory.dao("jobs", Job, id_field="id")
        await dao.insert(Job(1, owner="me"))
        async with factory.transaction() as transaction:
            await transaction.bind(dao).insert(Job(2, owner="you"))
        await factory.dao("jobs", Job, id_field="id", indexes=[Index("owner", unique=True)])
        async with factory.transaction() as transaction:
            await transaction.bind(dao).insert(Job(3, owner="they"))
        with pytest.raises(UniqueViolation):
            await dao.insert(Job(4, owner="me"))


async def test_a_transaction_is_not_committed_after_the_closing() -> None:
    factory = MemoryDaoFactory()
    async with factory:
        dao = await factory.dao("jobs", Job, id_field="id")
        transaction = factory.transaction()
        await transaction.__aenter__()
    with pytest.raises(Closed):
        await transaction.__aexit__(None, None, None)
    async with factory:
        dao = await factory.dao("jobs", Job, id_field="id")
        assert await dao.count() == 0
