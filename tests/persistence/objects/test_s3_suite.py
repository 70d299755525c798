"""The storage suite on a real S3 server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from persistence.objects.s3 import S3Storage
from persistence.testing import Case, StorageHarness, object_storage_suite
from persistence.testing.gateway import NetworkSender
from persistence.testing.servers import S3Endpoint
from persistence.testing.servers.cleaning import settings_of

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture
async def s3_harness(anyio_backend: str, s3_server: S3Endpoint) -> AsyncIterator[StorageHarness]:
    async with S3Storage(settings_of(s3_server)) as storage:
        yield StorageHarness(storage, NetworkSender(), anyio.sleep, differences=s3_server.differences)


@pytest.mark.parametrize("case", object_storage_suite(), ids=str)
async def test_storage(case: Case[StorageHarness], s3_harness: StorageHarness) -> None:
    await case.run(s3_harness)
