"""The DAO suite on the providers that need no server."""

from __future__ import annotations

import pytest

from persistence.testing import Case, DaoHarness, dao_suite

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("case", dao_suite(), ids=str)
async def test_dao(case: Case[DaoHarness], dao_harness: DaoHarness) -> None:
    await case.run(dao_harness)


def test_the_suite_is_large() -> None:
    names = [str(case) for case in dao_suite()]
    assert len(names) == len(set(names))
    assert len(names) >= 80
