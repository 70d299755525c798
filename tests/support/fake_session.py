"""A session with the archive in memory, put together as the real one is, on a mock transport."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import trio

from connector.clients.api_client import ApiClient
from connector.clients.exchange import ApiTransport
from connector.clients.well_known import WellKnown
from connector.clients.work_packages import WorkPackageClient
from connector.config import Settings
from connector.local.state_folder import StateFolder
from connector.session import Session
from connector.transfer import BufferPool, Observer, Retrier, RunContext, Scheduler
from connector.transfer.limit import ConcurrencyLimit
from connector.transfer.retry import Backoff
from connector.wire.tokens import AccessToken
from tests.support.fake_archive import BASE, FakeArchive
from tests.support.fake_objects import FakeObjects


def open_descriptors() -> list[str]:
    """What this process has open, by name (Linux; elsewhere nothing)."""
    folder = "/proc/self/fd"
    if not os.path.isdir(folder):
        return []
    names = []
    for number in os.listdir(folder):
        try:
            names.append(os.readlink(f"{folder}/{number}"))
        except FileNotFoundError:
            continue  # the one that this listing had open
    return sorted(names)


@asynccontextmanager
async def fake_session(
    archive: FakeArchive,
    state_folder: Path,
    *,
    observer: Observer,
    threads: trio.CapacityLimiter,
    part_size: int,
    concurrency: int = 3,
    attempts: int = 4,
    memory: int = 64 * 1024**2,
) -> AsyncIterator[Session]:
    """Open a session. Waits between tries have no randomness: 1 s, 2 s, 4 s."""
    settings = Settings(wkvs_url=f"{BASE}/wkvs", part_size=part_size, max_concurrency=concurrency, memory=memory)
    retrier = Retrier(attempts=attempts, backoff=Backoff(base=1.0, cap=8.0), uniform=lambda: 1.0)
    pool = BufferPool(settings.memory)
    async with httpx.AsyncClient(transport=httpx.MockTransport(archive), trust_env=False) as client:
        exchange = ApiTransport(client)
        well_known = WellKnown(ApiClient(exchange, retrier, observer), f"{BASE}/wkvs")
        caller = ApiClient(exchange, retrier, observer, refresh=well_known.refresh)
        access = AccessToken.parse(archive.access_token)
        packages = WorkPackageClient(caller, lambda: well_known.values.wps_api_url, access, archive.user)
        scheduler = Scheduler(pool=pool, limit=ConcurrencyLimit.fixed(concurrency), retrier=retrier, observer=observer)
        try:
            yield Session(
                settings=settings,
                keys=archive.user,
                well_known=well_known,
                package=await packages.package(),
                packages=packages,
                caller=caller,
                objects=FakeObjects(archive),
                scheduler=scheduler,
                run=RunContext(threads=threads, observer=observer, part_size=part_size, uniform=retrier.uniform),
                state=StateFolder(state_folder),
            )
        finally:
            pool.close()
