"""The DAO suite on a real mongod: on the running loop under asyncio, through a thread under trio."""

from __future__ import annotations

from collections.abc import AsyncIterator

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
