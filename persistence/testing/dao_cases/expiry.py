"""Documents that expire."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import anyio

from persistence.documents import Index
from persistence.testing.cases import Cases
from persistence.testing.harness import DaoHarness
from persistence.testing.models import Job

cases: Cases[DaoHarness] = Cases()


_EXPIRY_DEADLINE = 130
"""Seconds to wait for expired documents to be gone: MongoDB looks for them each minute."""


@cases
async def documents_expire_by_the_time_in_a_field(h: DaoHarness) -> None:
    dao = await h.factory.dao(h.name(), Job, id_field="id", indexes=[Index("due", expire_after=60)])
    now = await h.factory.now()
    await dao.insert_many([
        Job(1, due=now - timedelta(seconds=61)), Job(2, due=now + timedelta(seconds=180)),
        Job(3, due=now - timedelta(seconds=-120)), Job(4), Job(5, due=now - timedelta(days=36500)),
    ])  # fmt: skip
    number = 100
    with anyio.fail_after(_EXPIRY_DEADLINE):
        while await dao.count({"id": {"$in": [1, 5]}}):
            await dao.insert(Job(number))
            number += 1
            await anyio.sleep(0.3)
    assert [job.id async for job in dao.find_all({"id": {"$lt": 100}}, sort=["id"])] == [2, 3, 4]


@cases
async def documents_expire_whatever_the_dao_knows(h: DaoHarness) -> None:
    name = h.name()
    await h.factory.dao(name, Job, id_field="id", indexes=[Index("-due", expire_after=0, unique=True)])
    dao = await h.factory.dao(name, Job, id_field="id")
    await dao.insert(Job(1, due=await h.factory.now()))
    number = 2
    with anyio.fail_after(_EXPIRY_DEADLINE):
        while await dao.count({"id": 1}):
            await dao.upsert(Job(number, due=datetime(2999, 1, number % 28 + 1, tzinfo=UTC)))
            number = number + 1 if number < 20 else 2
            await anyio.sleep(0.3)
    assert await dao.count({"due": {"$gt": datetime(2900, 1, 1, tzinfo=UTC)}}) == await dao.count()
