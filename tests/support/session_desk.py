"""A user who downloads from or uploads to the archive in memory, in as many sessions as it takes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from trio.testing import MockClock

from connector.crypt4gh.keys import KeyPair
from connector.session import Session
from tests.support.fake_archive import FakeArchive
from tests.support.fake_session import fake_session, open_descriptors
from tests.support.observers import Notes
from tests.support.virtual_time import let_time_pass


class SessionDesk:
    """`folder` (made here) has the user's files, `state` what runs note for later ones."""

    PART: int

    def __init__(self, folder: Path, state: Path) -> None:
        self.user = KeyPair.of(b"u" * 32)
        self.archive = FakeArchive(self.user)
        self.folder = folder
        self.state = state
        self.folder.mkdir()
        self.notes = Notes()
        self.threads = trio.CapacityLimiter(4)

    def session(self, **options: Any) -> AbstractAsyncContextManager[Session]:
        return fake_session(
            self.archive, self.state, observer=self.notes, threads=self.threads, part_size=self.PART, **options
        )

    @asynccontextmanager
    async def leaving_nothing_open(self) -> AsyncIterator[None]:
        before = open_descriptors()
        yield
        left = [name for name in open_descriptors() if name not in before]
        assert not [name for name in left if str(self.folder.parent) in name]

    def keep_time(self, nursery: trio.Nursery) -> None:
        """Under a `MockClock`, let its time pass while threads of this desk are at work."""
        clock = trio.lowlevel.current_clock()
        if isinstance(clock, MockClock):
            nursery.start_soon(let_time_pass, clock, self.threads)
