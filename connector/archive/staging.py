"""Staging: copies files from the permanent bucket into the download bucket on demand, and removes unused copies."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import attrs
import trio

from connector.archive.attempts import remove_all_attempts, remove_earlier_attempts
from connector.archive.database import Database
from connector.archive.hubs import Hubs
from connector.archive.jobs import Next, find_job, schedule
from connector.archive.models import RegisteredFile
from connector.archive.recent_checks import RecentChecks
from connector.archive.settings import ArchiveSettings, Clock, utc_now
from connector.archive.worker import Lease
from persistence.errors import NotFound, PersistenceError, ServiceFailed

_BYTES_A_SECOND = 100 * 10**6
"""The rate from which the wait that clients are told is computed."""
_SHORTEST_WAIT, _LONGEST_WAIT = 5, 300
_USE_RESOLUTION = timedelta(minutes=1)
"""How exactly the last use of a copy is known: not every request writes a document."""


def staging_wait(size: int) -> int:
    """Seconds that a client is told to wait for a file of `size` bytes to be staged."""
    return max(_SHORTEST_WAIT, min(_LONGEST_WAIT, size // _BYTES_A_SECOND))


@attrs.frozen(eq=False)
class StagingArea:
    """The download bucket. A file's document names its copy there, and says when that was last used."""

    _database: Database
    _hubs: Hubs
    _settings: ArchiveSettings
    _clock: Clock
    _known: RecentChecks = attrs.field(factory=RecentChecks, init=False)

    async def find_copy(self, file: RegisteredFile) -> str | None:
        """The name of the file's copy, if it can be fetched now. If not, it is staged soon.

        Raises:
            ServiceFailed: Staging has failed for good; a steward has to look into it.
        """
        if file.staged_id is not None and await self._is_there(file, file.staged_id) and await self._touch(file):
            return file.staged_id
        job = await find_job(self._database, file.file_id)
        if job is None or job.kind != "stage" or job.is_set_aside:
            await self._database.transact(lambda database: self._call_for(database, file))
        return None

    async def stage(self, lease: Lease) -> None:
        """The work of `stage`."""
        file = await self._find(lease.job.id)
        if file is None:
            return await lease.commit()
        hub, copy_id = self._hubs.get(file.storage_alias), lease.job.attempt_id
        await remove_earlier_attempts(lease.job, hub, hub.buckets.download)
        await trio.sleep(self._settings.staging_delay)
        await hub.storage.copy_object(
            hub.buckets.permanent, file.object_id, to_bucket=hub.buckets.download, to_object_id=copy_id
        )
        changes = {"staged_id": copy_id, "last_used": utc_now(self._clock)}

        async def enter(database: Database) -> None:
            await database.files.compare_and_set(file.accession, expected={}, changes=changes)

        await lease.commit(enter, then=Next("unstage", due=await self._database.factory.now() + self._lifetime))

    async def unstage(self, lease: Lease) -> None:
        """The work of `unstage`: removes the copy of a file that was not used within its lifetime."""
        file = await self._find(lease.job.id)
        if file is None:
            return await lease.commit()
        if file.staged_id is not None:
            used = file.last_used or file.registered
            left = used + self._lifetime - utc_now(self._clock)
            if left > timedelta(0):
                return await lease.commit(then=Next("unstage", due=await self._database.factory.now() + left))
            # Looked at again: it may have been used just now.
            return await lease.write(lambda database: _change(database, file, {"staged_id": None, "last_used": None}))
        # Nothing refers to it any more, and no other job can make a copy meanwhile.
        hub = self._hubs.get(file.storage_alias)
        await remove_all_attempts(lease.job, hub, hub.buckets.download)
        await lease.commit()

    @property
    def _lifetime(self) -> timedelta:
        return timedelta(seconds=self._settings.stage_lifetime)

    async def _find(self, file_id: str) -> RegisteredFile | None:
        return await self._database.files.find_one({"file_id": file_id})

    async def _is_there(self, file: RegisteredFile, copy_id: str) -> bool:
        if copy_id not in self._known:
            hub = self._hubs.get(file.storage_alias)
            if not await hub.storage.object_exists(hub.buckets.download, copy_id):
                return False
            self._known.add(copy_id)
        return True

    async def _touch(self, file: RegisteredFile) -> bool:
        """Note that the copy is used; tells whether it is still the file's."""
        now = utc_now(self._clock)
        if file.last_used is not None and now - file.last_used < min(_USE_RESOLUTION, self._lifetime / 10):
            return True
        try:
            if await _change(self._database, file, {"last_used": now}):
                return True
        except PersistenceError:
            return True  # a full disk, for example: no reason to refuse a download
        current = await self._find(file.file_id)  # used by another request, or removed
        return current is not None and current.staged_id == file.staged_id

    async def _call_for(self, database: Database, file: RegisteredFile) -> None:
        current = await database.files.find_one({"file_id": file.file_id})
        if current is None or current.staged_id != file.staged_id:
            return  # removed, or staged since the document was read: that copy must not be made again
        job = await find_job(database, file.file_id)
        if job is not None and job.is_set_aside:
            raise ServiceFailed(f"The file {file.accession} cannot be staged: {job.reason}")
        # An unused copy that is being removed comes first. One that the storage has lost is made again.
        if job is None or (job.kind == "unstage" and job.worker is None and not job.attempts):
            now = await self._database.factory.now()
            await schedule(database, file.file_id, "stage", hub=file.storage_alias, now=now)


async def _change(database: Database, file: RegisteredFile, changes: Mapping[str, Any]) -> bool:
    """Change a file's document if its copy has not been used, replaced or removed since the document was read."""
    expected = {"staged_id": file.staged_id, "last_used": file.last_used}
    try:
        return await database.files.compare_and_set(file.accession, expected=expected, changes=changes) is not None
    except NotFound:
        return False
