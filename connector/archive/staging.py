"""Staging: copies files from the permanent bucket into the download bucket when somebody asks for them."""

from __future__ import annotations

import logging
from contextlib import suppress

import trio

from connector.archive.models import RegisteredFile
from connector.archive.settings import DOWNLOAD_BUCKET, PERMANENT_BUCKET, ArchiveSettings, Clock
from persistence.errors import NotFound, PersistenceError
from persistence.objects.protocol import ObjectStorage

_log = logging.getLogger(__name__)

_COPIES_AT_ONCE = 4
_SWEEP_INTERVAL = 600.0
_BYTES_A_SECOND = 100 * 10**6
"""At which rate a client is told that files are staged."""
_SHORTEST_WAIT, _LONGEST_WAIT = 5, 300


def staging_wait(size: int) -> int:
    """Seconds that a client is told to wait for a file of ``size`` bytes to be staged."""
    return max(_SHORTEST_WAIT, min(_LONGEST_WAIT, size // _BYTES_A_SECOND))


class StagingArea:
    """The download bucket. :meth:`run` does the copying, and removes copies that nobody uses any more."""

    def __init__(self, storage: ObjectStorage, settings: ArchiveSettings, *, clock: Clock) -> None:
        self._storage = storage
        self._settings = settings
        self._clock = clock
        self._requests, self._orders = trio.open_memory_channel[RegisteredFile](10_000)
        self._under_way: set[str] = set()
        self._removed: set[str] = set()
        self._last_use: dict[str, float] = {}
        self._failures: dict[str, PersistenceError] = {}

    async def is_staged(self, file: RegisteredFile) -> bool:
        """Whether the file can be fetched now. If not, it is being staged from now on.

        Raises what went wrong, once, if that failed: a client that is told to wait again would wait forever.
        """
        failure = self._failures.pop(file.object_id, None)
        if failure is not None:
            raise failure
        if file.object_id in self._under_way:
            return False
        if await self._storage.object_exists(DOWNLOAD_BUCKET, file.object_id):
            self._last_use[file.object_id] = self._clock()
            return True
        if file.object_id not in self._under_way:
            # With ten thousand files in line this one is left out; the client will ask again anyway.
            with suppress(trio.WouldBlock):
                self._requests.send_nowait(file)
                self._under_way.add(file.object_id)
        return False

    async def remove(self, object_id: str) -> None:
        """Remove the staged copy of a file that is taken out of the archive, also one that is being made."""
        if object_id in self._under_way:
            self._removed.add(object_id)
        self._last_use.pop(object_id, None)
        self._failures.pop(object_id, None)
        with suppress(NotFound):
            await self._storage.delete_object(DOWNLOAD_BUCKET, object_id)

    async def run(self) -> None:
        """Serve requests until cancelled. What is cut off by that is staged anew when asked for again."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._sweep_now_and_then)
            for _ in range(_COPIES_AT_ONCE):
                nursery.start_soon(self._work)

    async def _work(self) -> None:
        async for file in self._orders.clone():
            try:
                await trio.sleep(self._settings.staging_delay)
                await self._storage.copy_object(
                    PERMANENT_BUCKET, file.object_id, to_bucket=DOWNLOAD_BUCKET, to_object_id=file.object_id
                )
                if file.object_id in self._removed:
                    await self._storage.delete_object(DOWNLOAD_BUCKET, file.object_id)
            except PersistenceError as error:
                if file.object_id not in self._removed:
                    _log.error("Staging of %s failed: %s", file.accession, error)
                    self._failures[file.object_id] = error
            finally:
                self._under_way.discard(file.object_id)
                self._removed.discard(file.object_id)

    async def _sweep_now_and_then(self) -> None:
        while True:
            await trio.sleep(_SWEEP_INTERVAL)
            try:
                await self.sweep()
            except PersistenceError as error:
                _log.error("Staged copies could not be removed: %s", error)

    async def sweep(self) -> None:
        """Remove the staged copies that were not asked for within their lifetime."""
        now = self._clock()
        old = []
        async for stat in self._storage.list_objects(DOWNLOAD_BUCKET):
            # Not asked for since the start of the server: it counts as asked for when first seen.
            if now - self._last_use.setdefault(stat.object_id, now) > self._settings.stage_lifetime:
                old.append(stat.object_id)
        for object_id in old:
            del self._last_use[object_id]
        await self._storage.delete_objects(DOWNLOAD_BUCKET, old)
