"""A session with the archive in memory, opened as the real one is, on a mock transport."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import trio

from connector.clients.work_packages import AccessToken
from connector.config import Settings
from connector.session import Components, Session, open_session
from connector.transfer import Backoff, Observer, Retrier
from tests.support.fake_archive import BASE, FakeArchive
from tests.support.fake_objects import FakeObjects


def open_descriptors() -> list[str]:
    """What this process has open, by name (Linux; elsewhere nothing).

    Without lock files, which the thread of the heartbeat reads for a moment, and nothing holds open.
    """
    folder = "/proc/self/fd"
    if not os.path.isdir(folder):
        return []
    names = []
    for number in os.listdir(folder):
        try:
            names.append(os.readlink(f"{folder}/{number}"))
        except FileNotFoundError:
            continue  # the one that this listing had open
    return sorted(name for name in names if ".lock" not in name)


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
    async with httpx.AsyncClient(transport=httpx.MockTransport(archive), trust_env=False) as api:
        components = Components(
            api=api,
            objects=FakeObjects(archive),
            retrier=Retrier(attempts=attempts, backoff=Backoff(base=1.0, cap=8.0), uniform=lambda: 1.0),
            threads=threads,
            uniform=lambda: 1.0,
        )
        token = AccessToken.parse(archive.access_token)
        async with open_session(
            settings, archive.user, token, observer=observer, state_folder=state_folder, components=components
        ) as session:
            yield session
