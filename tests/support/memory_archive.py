"""An archive in memory, with a clock that stands still until it is moved."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs

from connector.archive.assembly import Archive, assemble
from connector.archive.keys import new_keys
from connector.archive.settings import ArchiveSettings
from persistence.documents.memory import MemoryDaoFactory
from persistence.objects.memory import MemoryStorage
from persistence.objects.protocol import ObjectStorage


@attrs.define
class ManualClock:
    """Tells the time that it was set to, in seconds since the epoch."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def memory_archive(
    clock: ManualClock | None = None, *, storage: ObjectStorage | None = None, **settings: Any
) -> AsyncIterator[Archive]:
    """An empty archive without a server."""
    chosen = storage if storage is not None else MemoryStorage()
    async with chosen, MemoryDaoFactory() as documents:
        yield await assemble(
            ArchiveSettings(Path("/nowhere"), **settings), new_keys(), chosen, documents, clock=clock or ManualClock()
        )
