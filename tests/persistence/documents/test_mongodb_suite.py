"""The DAO suite on a real mongod: on the running loop under asyncio, through a thread under trio."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from persistence.documents.mongodb import MongoDaoFactory
from persistence.testing import Case, DaoHarness, dao_suite

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture
async def mongo_harness(anyio_backend: str, mongodb_server: str) -> AsyncIterator[DaoHarness]:
    def make_factory() -> MongoDaoFactory:
        return MongoDaoFactory(mongodb_server, "suite")

    async with make_factory() as factory:
        yield DaoHarness(factory, make_factory)


@pytest.mark.parametrize("case", dao_suite(), ids=str)
async def test_dao(case: Case[DaoHarness], mongo_harness: DaoHarness) -> None:
    await case.run(mongo_harness)


async def test_the_time_is_the_same_in_every_time_zone(
    mongo_harness: DaoHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        now = await mongo_harness.factory.now()
    finally:
        monkeypatch.undo()
        time.tzset()
    assert abs(now - datetime.now(UTC)) < timedelta(minutes=5)
    assert now.utcoffset() == timedelta(0)
