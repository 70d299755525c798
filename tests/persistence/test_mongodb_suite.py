"""The DAO suite on a real mongod, natively under asyncio and through the loop thread under trio."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest

from persistence.testing import Case, DaoHarness, dao_suite

pymongo = pytest.importorskip("pymongo")
from persistence.providers.mongodb import MongoDaoFactory  # noqa: E402

pytestmark = pytest.mark.anyio


@pytest.fixture
async def mongo_harness(anyio_backend: str, mongodb: str) -> AsyncIterator[DaoHarness]:
    factory = MongoDaoFactory(mongodb, f"suite_{secrets.token_hex(4)}")
    async with factory:
        yield DaoHarness(factory)
        await factory.drop_database()


@pytest.mark.parametrize("case", dao_suite(), ids=str)
async def test_dao(case: Case[DaoHarness], mongo_harness: DaoHarness) -> None:
    await case.run(mongo_harness)
