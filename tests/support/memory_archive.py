"""An archive in memory, with a clock that stands still until it is moved."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import attrs
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from connector.archive.assembly import Archive, assemble
from connector.archive.hubs import Hub, Hubs
from connector.archive.keys import ArchiveKeys
from connector.archive.settings import ArchiveSettings
from persistence.documents.memory import MemoryDaoFactory
from persistence.documents.protocol import DaoFactory
from persistence.objects.memory import MemoryStorage
from persistence.objects.protocol import ObjectStorage


@attrs.define
class ManualClock:
    """Tells the time that it was set to, in seconds since the epoch."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def new_keys() -> ArchiveKeys:
    """Fresh secrets that are stored nowhere."""
    private = X25519PrivateKey.generate()
    return ArchiveKeys(
        hub_private=private.private_bytes_raw(),
        hub_public=private.public_key().public_bytes_raw(),
        signing=ec.generate_private_key(ec.SECP256R1()),
        url_secret=os.urandom(32),
        store_key=os.urandom(32),
    )


@asynccontextmanager
async def memory_archive(
    clock: ManualClock | None = None,
    *,
    storage: ObjectStorage | None = None,
    documents: DaoFactory | None = None,
    **settings: Any,
) -> AsyncIterator[Archive]:
    """An empty archive without a server, over other parts where they are given (open ones, in case of documents)."""
    chosen = storage if storage is not None else MemoryStorage()
    async with chosen, nullcontext(documents) if documents is not None else MemoryDaoFactory() as database:
        chosen_settings, keys = ArchiveSettings(**settings), new_keys()
        hub = Hub(alias="embedded", private_keys=(keys.hub_private,), public_key=keys.hub_public, storage=chosen)
        await hub.create_buckets()
        yield await assemble(chosen_settings, keys, Hubs([hub]), database, clock=clock or ManualClock())
