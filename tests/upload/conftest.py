from __future__ import annotations

import copy
import os
import random
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from connector.crypt4gh.keys import KeyPair
from connector.session import Session
from connector.transfer import Outcome
from connector.upload import UploadedFile, UploadSource
from tests.support.fake_archive import FakeArchive
from tests.support.fake_session import fake_session, open_descriptors
from tests.support.observers import Notes
from tests.support.virtual_time import let_time_pass

MIB = 1024**2


@lru_cache(maxsize=4)
def noise(size: int) -> bytes:
    """Random bytes, the same for each file of a size."""
    return random.Random(size).randbytes(size)


class Desk:
    """A user who uploads to the archive in memory, in as many runs as it takes."""

    PART = 80 * 65_564
    """The smallest part that S3 allows, rounded up to whole segments; borders still cut segments, by the envelope."""

    def __init__(self, folder: Path) -> None:
        self.user = KeyPair.of(b"u" * 32)
        self.archive = FakeArchive(self.user)
        self.archive.package_type = "upload"
        self.folder = folder / "in"
        self.state = folder / "state"
        self.folder.mkdir()
        self.notes = Notes()
        self.threads = trio.CapacityLimiter(4)

    def file(self, size: int, name: str = "data.bin") -> UploadSource:
        path = self.folder / name
        path.write_bytes(noise(size))
        return UploadSource(path, name)

    @classmethod
    def elsewhere(cls, desk: Desk) -> Desk:
        """The same user with the same files on another machine, where nothing is known of what was done here."""
        other = copy.copy(desk)
        other.notes = Notes()
        other.state = desk.state.with_name("state elsewhere")
        return other

    def session(self, **options: Any) -> AbstractAsyncContextManager[Session]:
        return fake_session(
            self.archive, self.state, observer=self.notes, threads=self.threads, part_size=self.PART, **options
        )

    async def upload(
        self, *sources: UploadSource, overwrite: bool = False, **options: Any
    ) -> list[Outcome[UploadedFile]]:
        async with self.session(**options) as session:
            return await session.upload(sources, overwrite=overwrite)

    async def cancelled_at(self, *sources: UploadSource, **options: Any) -> None:
        """Upload until the archive is asked for what it is stuck at, and all else has gone on as far as it can."""
        before = open_descriptors()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: self.upload(*sources, **options))
            await self.archive.reached.wait()
            await trio.sleep(1)
            nursery.cancel_scope.cancel()
        self.archive.heal()
        left = [name for name in open_descriptors() if name not in before]
        assert not [name for name in left if str(self.folder.parent) in name]

    @asynccontextmanager
    async def leaving_nothing_open(self) -> AsyncIterator[None]:
        before = open_descriptors()
        yield
        left = [name for name in open_descriptors() if name not in before]
        assert not [name for name in left if str(self.folder.parent) in name]

    @property
    def states(self) -> list[str]:
        """The states of all uploads in the box."""
        return [upload.state for upload in self.archive.uploads.values()]

    @property
    def journals(self) -> list[Path]:
        folder = self.state / "uploads"
        return sorted(folder / name for name in os.listdir(folder)) if folder.is_dir() else []


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
