from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from connector.crypt4gh.keys import KeyPair
from connector.crypt4gh.segments import CIPHER_SEGMENT_SIZE, SEGMENT_SIZE
from connector.download import DownloadedFile
from connector.session import Session
from connector.transfer import Outcome
from tests.support.contract_client import unseal
from tests.support.fake_archive import ENVELOPE, FakeArchive
from tests.support.fake_session import fake_session, open_descriptors
from tests.support.observers import Notes
from tests.support.virtual_time import let_time_pass

PART_SEGMENTS = 2


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


class Desk:
    """A user who downloads from the archive in memory, in as many runs as it takes."""

    PART = PART_SEGMENTS * CIPHER_SEGMENT_SIZE
    """Sealed bytes in a part."""
    PLAIN = PART_SEGMENTS * SEGMENT_SIZE
    """Plaintext bytes in a part."""

    def __init__(self, folder: Path) -> None:
        self.user = KeyPair.of(b"u" * 32)
        self.archive = FakeArchive(self.user)
        self.folder = folder / "out"
        self.state = folder / "state"
        self.folder.mkdir()
        self.notes = Notes()
        self.threads = trio.CapacityLimiter(4)

    def file(self, parts: float, accession: str = "GHGAF01", **options: Any) -> bytes:
        """Register a file of so many parts, and some bytes more if that is no whole number."""
        data = noise(int(parts * self.PLAIN))
        self.archive.add_file(accession, data, **options)
        return data

    def session(self, **options: Any) -> AbstractAsyncContextManager[Session]:
        return fake_session(
            self.archive, self.state, observer=self.notes, threads=self.threads, part_size=self.PART, **options
        )

    async def download(
        self, *accessions: str, decrypt: bool = False, overwrite: bool = False, verify: bool = True, **options: Any
    ) -> list[Outcome[DownloadedFile]]:
        async with self.session(**options) as session:
            return await session.download(
                accessions or None, output_dir=self.folder, decrypt=decrypt, overwrite=overwrite, verify=verify
            )

    @asynccontextmanager
    async def leaving_nothing_open(self) -> AsyncIterator[None]:
        before = open_descriptors()
        yield
        left = [name for name in open_descriptors() if name not in before]
        assert not [name for name in left if str(self.folder.parent) in name]

    @property
    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())

    def plaintext(self, name: str, *, decrypt: bool) -> bytes:
        content = (self.folder / name).read_bytes()
        return content if decrypt else unseal(content[:ENVELOPE], content[ENVELOPE:], self.user.private)


@pytest.fixture
async def desk(tmp_path: Path, nursery: trio.Nursery) -> Desk:
    desk = Desk(tmp_path)
    clock = trio.lowlevel.current_clock()
    if isinstance(clock, MockClock):
        nursery.start_soon(let_time_pass, clock, desk.threads)
    return desk


@pytest.fixture
def virtual_time() -> MockClock:
    """Waits cost no time; trio.current_time() says how long they would have been."""
    return MockClock()


@pytest.fixture(params=[False, True], ids=["sealed", "decrypted"])
def decrypt(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def name(decrypt: bool) -> str:
    """What the file of the accession GHGAF01 is called."""
    return "GHGAF01.bin" if decrypt else "GHGAF01.bin.c4gh"
