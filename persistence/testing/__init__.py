"""Conformance suites, fixtures with real servers, helpers for test data, and a wrapper that injects faults.

A provider is tested with a suite like this:

    @pytest.mark.anyio
    @pytest.mark.parametrize("case", object_storage_suite(), ids=str)
    async def test_storage(case, my_harness):
        await case.run(my_harness)
"""

from persistence.testing.cases import Case
from persistence.testing.harness import DaoHarness, StorageHarness
from persistence.testing.suites import dao_suite, object_storage_suite

__all__ = ["Case", "DaoHarness", "StorageHarness", "dao_suite", "object_storage_suite"]
