"""The storage suite on the providers that need no server."""

from __future__ import annotations

import pytest

from persistence.testing import Case, StorageHarness, object_storage_suite

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("case", object_storage_suite(), ids=str)
async def test_storage(case: Case[StorageHarness], storage_harness: StorageHarness) -> None:
    await case.run(storage_harness)
