"""Staging: copies files from the permanent bucket of their hub into its download bucket on demand."""

from __future__ import annotations

import logging
from contextlib import suppress

import attrs
import trio

from connector.archive.hubs import Hub, Hubs
from connector.archive.models import RegisteredFile
from connector.archive.settings import ArchiveSettings, Clock
from persistence.errors import NotFound, PersistenceError

_log = logging.getLogger(__name__)

_COPIES_AT_ONCE = 4
_SWEEP_INTERVAL = 600.0
_BYTES_A_SECOND = 100 * 10**6
"""The rate from which the wait that clients are told is computed."""
_SHORTEST_WAIT, _LONGEST_WAIT = 5, 300


def staging_wait(size: int) -> int:
    """Seconds that a client is told to wait for a file of `size` bytes to be staged."""
    return max(_SHORTEST_WAIT, min(_LONGEST_WAIT, size // _BYTES_A_SECOND))


@attrs.define(eq=False, slots=False)
class StagingArea:
    """The download buckets. `run` does the copying, and removes copies that are no longer used."""

    _hubs: Hubs
    _settings: ArchiveSettings
    _clock: Clock
    _in_progress: set[str] = attrs.field(factory=set, init=False)
    _removed: set[str] = attrs.field(factory=set, init=False)
    _last_use: dict[str, float] = attrs.field(factory=dict, init=False)
    _failures: dict[str, PersistenceError] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        """Open the queue of files to be staged."""
        self._requests, self._queue = trio.open_memory_channel[RegisteredFile](10_000)

    async def is_staged(self, file: RegisteredFile) -> bool:
        """Whether the file can be fetched now. If not, it is queued to be staged.

        Raises:
            PersistenceError: Staging has failed; raised once, so that the next call tries again.
            NoSuchStorage: The hub of the file is none of this archive's.
        """
        failure = self._failures.pop(file.object_id, None)
        if failure is not None:
            raise failure
        if file.object_id in self._in_progress:
            return False
        hub = self._hubs.get(file.storage_alias)
        if await hub.storage.object_exists(hub.download, file.object_id):
            self._last_use[file.object_id] = self._clock()
            return True
        if file.object_id not in self._in_progress:
            # With a full queue this one is left out: the client asks again.
            with suppress(trio.WouldBlock):
                self._requests.send_nowait(file)
                self._in_progress.add(file.object_id)
        return False

    async def remove(self, hub: Hub, object_id: str) -> None:
        """Remove the staged copy of a file that is removed from the archive, also one in progress."""
        if object_id in self._in_progress:
            self._removed.add(object_id)
        self._last_use.pop(object_id, None)
        self._failures.pop(object_id, None)
        with suppress(NotFound):
            await hub.storage.delete_object(hub.download, object_id)

    async def run(self) -> None:
        """Stage files until cancelled. An interrupted copy is made again on the next request."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._sweep_periodically)
            for _ in range(_COPIES_AT_ONCE):
                nursery.start_soon(self._work)

    async def _work(self) -> None:
        async for file in self._queue.clone():
            hub = self._hubs.get(file.storage_alias)
            try:
                await trio.sleep(self._settings.staging_delay)
                await hub.storage.copy_object(
                    hub.permanent, file.object_id, to_bucket=hub.download, to_object_id=file.object_id
                )
                if file.object_id in self._removed:
                    await hub.storage.delete_object(hub.download, file.object_id)
            except PersistenceError as error:
                if file.object_id not in self._removed:
                    _log.error("Staging of %s failed: %s", file.accession, error)
                    self._failures[file.object_id] = error
            finally:
                self._in_progress.discard(file.object_id)
                self._removed.discard(file.object_id)

    async def _sweep_periodically(self) -> None:
        while True:
            await trio.sleep(_SWEEP_INTERVAL)
            try:
                await self.sweep()
            except PersistenceError as error:
                _log.error("Staged copies could not be removed: %s", error)

    async def sweep(self) -> None:
        """Remove the staged copies that were not used within their lifetime."""
        now = self._clock()
        for hub in self._hubs:
            old = []
            async for stat in hub.storage.list_objects(hub.download):
                # Not used since the start of the server: it counts as used when first seen.
                if now - self._last_use.setdefault(stat.object_id, now) > self._settings.stage_lifetime:
                    old.append(stat.object_id)
            for object_id in old:
                del self._last_use[object_id]
            await hub.storage.delete_objects(hub.download, old)
