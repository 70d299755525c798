from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from persistence.documents import DaoFactory
from persistence.documents.memory import MemoryDaoFactory
from persistence.documents.sqlite import SqliteDaoFactory
from persistence.objects.filesystem import FilesystemStorage, UrlSigner
from persistence.objects.memory import MemoryStorage
from persistence.objects.protocol import ObjectStorage
from persistence.testing import DaoHarness, StorageHarness
from persistence.testing.gateway import SignedGateway

SECRET = b"a secret of the tests only"


class Clock:
    """Time as the URL signers of the tests see it."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead

    async def wait(self, seconds: float) -> None:
        self.ahead += seconds
        await anyio.lowlevel.checkpoint()


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["memory", "filesystem"])
async def storage_harness(
    request: pytest.FixtureRequest, anyio_backend: str, tmp_path: Path
) -> AsyncIterator[StorageHarness]:
    clock = Clock()
    signer = UrlSigner("http://storage.test/s3", SECRET, clock)
    storage: ObjectStorage = MemoryStorage(signing=signer)
    if request.param == "filesystem":
        storage = FilesystemStorage(tmp_path, signing=signer)
    async with storage:
        yield StorageHarness(storage, SignedGateway(storage, signer), clock.wait)


@pytest.fixture(params=["memory", "sqlite"])
async def dao_harness(request: pytest.FixtureRequest, anyio_backend: str, tmp_path: Path) -> AsyncIterator[DaoHarness]:
    def make_factory() -> DaoFactory:
        return MemoryDaoFactory() if request.param == "memory" else SqliteDaoFactory(tmp_path / "documents.db")

    async with make_factory() as factory:
        yield DaoHarness(factory, make_factory)
