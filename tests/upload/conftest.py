from __future__ import annotations

import copy
import os
import random
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from connector.transfer import Outcome
from connector.upload import UploadedFile, UploadSource
from tests.support.observers import Notes
from tests.support.session_desk import SessionDesk

MIB = 1024**2


@lru_cache(maxsize=4)
def noise(size: int) -> bytes:
    """Random bytes, the same for each file of a size."""
    return random.Random(size).randbytes(size)


class Desk(SessionDesk):
    """A user who uploads to the archive in memory, in as many runs as it takes."""

    PART = 80 * 65_564
    """The smallest part that S3 allows, rounded up to whole segments; borders still cut segments, by the envelope."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "in", folder / "state")
        self.archive.package_type = "upload"

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

    async def upload(
        self, *sources: UploadSource, overwrite: bool = False, **options: Any
    ) -> list[Outcome[UploadedFile]]:
        async with self.session(**options) as session:
            return await session.upload(sources, overwrite=overwrite)

    async def cancelled_at(self, *sources: UploadSource, **options: Any) -> None:
        """Upload until the archive is asked for what it is stuck at, and all else has gone on as far as it can."""
        async with self.leaving_nothing_open(), trio.open_nursery() as nursery:
            nursery.start_soon(lambda: self.upload(*sources, **options))
            await self.archive.reached.wait()
            await trio.sleep(1)
            nursery.cancel_scope.cancel()
        self.archive.heal()

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
    desk.keep_time(nursery)
    return desk


@pytest.fixture
def virtual_time() -> MockClock:
    """Waits cost no time; trio.current_time() says how long they would have been."""
    return MockClock()
