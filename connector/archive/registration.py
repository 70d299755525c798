"""The work of registration: files whose content was found valid enter the registry, when their box is due."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

import attrs

from connector.archive.attempts import abort_uploads
from connector.archive.boxes import BoxService
from connector.archive.database import Database
from connector.archive.file_registry import FileRegistry
from connector.archive.hubs import Hubs
from connector.archive.jobs import schedule
from connector.archive.models import UNREGISTERED, FileUpload
from connector.archive.settings import Clock
from connector.archive.upload_repository import UploadChanged, UploadRepository
from connector.archive.worker import Lease
from persistence.errors import NotFound


@attrs.frozen(eq=False)
class Registrar:
    """Registers interrogated uploads.

    Args:
        manual: Whether an interrogated upload is registered only when its box is archived.
    """

    _database: Database
    _boxes: BoxService
    _registry: FileRegistry
    _hubs: Hubs
    _manual: bool
    _clock: Clock

    async def register(self, lease: Lease) -> None:
        """The work of `register`: removes the inbox object, and registers the file unless a steward is to do so."""
        upload = await UploadRepository(self._database, self._clock).find(lease.job.id)
        if upload is None or upload.state not in UNREGISTERED:
            return await lease.commit()
        hub = self._hubs.get(upload.storage_alias)
        # A request that was sent again for want of a response may have started a second multipart upload.
        await abort_uploads(hub, hub.buckets.inbox, [upload.id])
        if upload.object_id is not None:
            await abort_uploads(hub, hub.buckets.permanent, [upload.object_id])
        with suppress(NotFound):  # removed by an earlier attempt
            await hub.storage.delete_object(hub.buckets.inbox, upload.id)
        if upload.state == "interrogated" and self._manual:
            box = await self._boxes.get(upload.box_id)
            if box.state != "archived":
                # If the box is archived just now, `archive_box` takes this job over, and the commit is refused.
                return await lease.commit()
        file = self._registry.new_file(upload, await self._registry.next_accession())

        async def enter(database: Database) -> None:
            await UploadRepository(database, self._clock).move(upload, "archived", accession=file.accession)
            await database.files.insert(file)

        await lease.commit(enter)

    async def archive_box(self, lease: Lease) -> None:
        """The work of `archive_box`: all interrogated uploads of an archived box are due to be registered."""
        uploads = UploadRepository(self._database, self._clock)
        now = await self._database.factory.now()
        # All are read first: each one changes the state that is searched for.
        for upload in [one async for one in uploads.find_all(box_id=lease.job.id, state="interrogated")]:
            await self._call_for(lease, upload, now)
        await lease.commit()

    async def _call_for(self, lease: Lease, upload: FileUpload, now: datetime) -> None:
        async def change(database: Database) -> None:
            with suppress(UploadChanged):  # registered meanwhile
                await UploadRepository(database, self._clock).move(upload, "awaiting_archival")
                await schedule(database, upload.id, "register", hub=upload.storage_alias, now=now)

        await lease.write(change)
