"""An archive in memory, with a clock that stands still until it is moved."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from datetime import datetime, timedelta
from typing import Any

import attrs
import trio

from connector.archive.assembly import Archive, assemble, open_key_ring
from connector.archive.hubs import Hub, Hubs
from connector.archive.key_ring import KeyRing
from connector.archive.key_rotation import complete_ring
from connector.archive.master_keys import GivenMasterKeys
from connector.archive.models import FileUpload
from connector.archive.sealing import MasterKey
from connector.archive.settings import ArchiveSettings, utc_now
from persistence.documents import DaoFactory
from persistence.documents.memory import MemoryDaoFactory
from persistence.objects.memory import MemoryStorage
from persistence.objects.protocol import ObjectStorage


@attrs.define
class ManualClock:
    """Tells the time that it was set to, in seconds since the epoch."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def given_keys(count: int = 1) -> GivenMasterKeys:
    """Fresh master keys that are stored nowhere."""
    return GivenMasterKeys(tuple(MasterKey(os.urandom(32)) for _ in range(count)))


async def memory_ring(documents: DaoFactory, alias: str = "embedded") -> KeyRing:
    """A key ring with a key of each kind."""
    ring = await open_key_ring(documents, given_keys())
    await complete_ring(ring, {alias: None})
    return ring


@asynccontextmanager
async def memory_archive(
    clock: ManualClock | None = None,
    *,
    storage: ObjectStorage | None = None,
    documents: DaoFactory | None = None,
    **settings: Any,
) -> AsyncIterator[Archive]:
    """An empty archive without a server, over other parts where they are given (open ones, in case of documents).

    The time of its database is that of the clock, and goes on with trio's.
    """
    chosen = storage if storage is not None else MemoryStorage()
    clock, start = clock or ManualClock(), trio.current_time()

    def database_time() -> datetime:
        return utc_now(clock) + timedelta(seconds=trio.current_time() - start)

    made = MemoryDaoFactory(clock=database_time)
    async with chosen, nullcontext(documents) if documents is not None else made as database:
        ring = await memory_ring(database)
        hub = Hub(alias="embedded", ring=ring, storage=chosen)
        await hub.create_buckets()
        yield await assemble(ArchiveSettings(**settings), ring, Hubs([hub]), database, clock=clock)


@asynccontextmanager
async def working(archive: Archive) -> AsyncIterator[None]:
    """A worker that does the jobs of the archive."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(archive.make_worker().run)
        try:
            yield
        finally:
            nursery.cancel_scope.cancel()


async def at_rest(archive: Archive) -> None:
    """Wait until nothing is due or in progress."""
    with trio.fail_after(180):
        while await archive.jobs.find_all(scheduled=False):
            await trio.sleep(0.01)


async def until_state(archive: Archive, file_id: str, *states: str) -> FileUpload:
    """Wait until an upload is in one of these states."""
    with trio.fail_after(180):
        while (found := await archive.upload_repository.get(file_id)).state not in states:
            await trio.sleep(0.01)
    return found
