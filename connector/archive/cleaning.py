"""The work of cleaning up: gives up stale uploads, and frees what a removed file took up in the storage."""

from __future__ import annotations

import logging
from contextlib import suppress

import attrs

from connector.archive.attempts import abort_uploads, check_unregistered, remove_all_attempts
from connector.archive.database import Database
from connector.archive.hubs import Hubs
from connector.archive.jobs import Next
from connector.archive.settings import Clock
from connector.archive.upload_repository import UploadRepository
from connector.archive.worker import Lease
from persistence.errors import NotFound

_log = logging.getLogger(__name__)


@attrs.frozen(eq=False)
class Cleaner:
    """Frees the storage. Documents come first: they were changed when the job was written.

    Args:
        upload_lifetime: Seconds after which an upload that was not completed is given up.
    """

    _database: Database
    _hubs: Hubs
    _upload_lifetime: int
    _clock: Clock

    async def expire(self, lease: Lease) -> None:
        """The work of `expire`: an upload that is still open has failed."""
        upload = await UploadRepository(self._database, self._clock).find(lease.job.id)
        if upload is None:  # its creation was never answered
            return await lease.commit(then=Next("clean"))
        if upload.state != "init":
            return await lease.commit()
        if upload.storage_alias in self._hubs:
            await check_unregistered(lease.job, self._hubs.get(upload.storage_alias))
        open_upload = upload
        reason = f"The upload was not completed within {self._upload_lifetime / 3600:g} hours."

        async def give_up(database: Database) -> None:
            await UploadRepository(database, self._clock).move(open_upload, "failed", failure=reason)

        await lease.commit(give_up, then=Next("clean"))
        _log.info("The upload %s (%r) was given up.", upload.id, upload.alias)

    async def clean(self, lease: Lease) -> None:
        """The work of `clean`: removes all objects and multipart uploads of a file. Missing things are no error."""
        job, hub = lease.job, self._hubs.get(lease.job.hub)
        await abort_uploads(hub, hub.buckets.inbox, [job.id])
        with suppress(NotFound):
            await hub.storage.delete_object(hub.buckets.inbox, job.id)
        for bucket in (hub.buckets.permanent, hub.buckets.download):
            await remove_all_attempts(job, hub, bucket)
        await lease.commit()
