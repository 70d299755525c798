from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from connector.crypt4gh.segments import CIPHER_SEGMENT_SIZE, SEGMENT_SIZE
from connector.download import DownloadedFile
from connector.transfer import Outcome
from tests.support.contract_client import unseal
from tests.support.fake_archive import ENVELOPE
from tests.support.session_desk import SessionDesk

PART_SEGMENTS = 2


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


class Desk(SessionDesk):
    """A user who downloads from the archive in memory, in as many runs as it takes."""

    PART = PART_SEGMENTS * CIPHER_SEGMENT_SIZE
    """Sealed bytes in a part."""
    PLAIN = PART_SEGMENTS * SEGMENT_SIZE
    """Plaintext bytes in a part."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "out", folder / "state")

    def file(self, parts: float, accession: str = "GHGAF01", **options: Any) -> bytes:
        """Register a file of so many parts, and some bytes more if that is no whole number."""
        data = noise(int(parts * self.PLAIN))
        self.archive.add_file(accession, data, **options)
        return data

    async def download(
        self, *accessions: str, decrypt: bool = False, overwrite: bool = False, verify: bool = True, **options: Any
    ) -> list[Outcome[DownloadedFile]]:
        async with self.session(**options) as session:
            return await session.download(
                accessions or None, output_dir=self.folder, decrypt=decrypt, overwrite=overwrite, verify=verify
            )

    @property
    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())

    def plaintext(self, name: str, *, decrypt: bool) -> bytes:
        content = (self.folder / name).read_bytes()
        return content if decrypt else unseal(content[:ENVELOPE], content[ENVELOPE:], self.user.private)


@pytest.fixture
async def desk(tmp_path: Path, nursery: trio.Nursery) -> Desk:
    desk = Desk(tmp_path)
    desk.keep_time(nursery)
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
