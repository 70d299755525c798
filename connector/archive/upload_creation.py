"""The creation of uploads: room is taken in the box, and a multipart upload is started."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from uuid import uuid4

import attrs
import trio

from connector.archive import upload_checks as checks
from connector.archive.boxes import BoxService, box_state_error
from connector.archive.database import Database
from connector.archive.hubs import Hub, Hubs
from connector.archive.jobs import STORAGE_DELAY, new_job, schedule, schedule_cleaning
from connector.archive.models import OVERWRITABLE, REPLACEABLE, Box, FileUpload
from connector.archive.settings import ArchiveSettings, Clock, utc_now
from connector.archive.upload_repository import UploadRepository
from connector.wire.payloads import UploadCreation
from persistence.errors import AlreadyExists, NotFound, PersistenceError


@attrs.frozen(eq=False)
class UploadCreator:
    """Creates uploads. Each is entered in one transaction with the room that it takes in its box."""

    _database: Database
    _boxes: BoxService
    _uploads: UploadRepository
    _hubs: Hubs
    _settings: ArchiveSettings
    _clock: Clock

    async def create(self, box_id: str, wanted: UploadCreation) -> FileUpload:
        """Open an upload; one of the same alias is replaced where the contract allows it."""
        checks.check_announcement(wanted)
        box = await self._boxes.get_open(box_id)
        hub = self._hubs.get(box.storage_alias)
        # Checked again when it is entered; here so that a refusal leaves nothing behind.
        replaced = await self._find_replaced(self._uploads, box_id, wanted)
        checks.check_room(box, wanted, replaced, self._settings.open_uploads)
        checks.check_part_count(wanted)
        file_id = str(uuid4())
        now = await self._database.factory.now()
        # Before the multipart upload: if this process dies, the job gives that up some day.
        due = now + timedelta(seconds=self._settings.upload_lifetime)
        await self._database.jobs.insert(new_job(file_id, "expire", hub=hub.alias, now=now, due=due))
        upload = None
        try:
            upload = await self._start(box, hub, file_id, wanted)
            await self._enter(upload, wanted, now)
        except BaseException:
            with trio.move_on_after(10, shield=True), suppress(PersistenceError):
                await self._abandon(hub, file_id, is_started=upload is not None)
            raise
        return upload

    async def _start(self, box: Box, hub: Hub, file_id: str, wanted: UploadCreation) -> FileUpload:
        created = utc_now(self._clock)
        return FileUpload(
            id=file_id,
            box_id=box.id,
            alias=wanted.alias,
            state="init",
            storage_alias=hub.alias,
            upload_id=await hub.storage.start_upload(hub.buckets.inbox, file_id),
            decrypted_size=wanted.decrypted_size,
            encrypted_size=wanted.encrypted_size,
            part_size=wanted.part_size,
            created=created,
            state_updated=created,
        )

    async def _enter(self, upload: FileUpload, wanted: UploadCreation, now: datetime) -> None:
        async def enter(database: Database) -> None:
            replaced = await self._find_replaced(UploadRepository(database, self._clock), upload.box_id, wanted)
            if replaced is not None:
                await database.uploads.delete(replaced.id)
                with suppress(NotFound):
                    await database.digests.delete(replaced.id)
                if replaced.state in OVERWRITABLE:
                    await schedule_cleaning(database, replaced, now)
            await database.uploads.insert(upload)
            await self._take_room(database, upload.box_id, wanted, replaced)

        try:
            await self._database.transact(enter)
        except AlreadyExists as error:  # by another call at the same time
            raise checks.alias_taken(wanted.alias) from error

    async def _abandon(self, hub: Hub, file_id: str, *, is_started: bool) -> None:
        """Give up a multipart upload of which there is no document, unless that was stored without a response.

        If the storage has not said that it has started it, it may do so even now that it is not waited for.
        """
        now = await self._database.factory.now()
        due = now if is_started else now + STORAGE_DELAY

        async def give_up(database: Database) -> None:
            if await UploadRepository(database, self._clock).find(file_id) is None:
                await schedule(database, file_id, "clean", hub=hub.alias, now=due)

        await self._database.transact(give_up)

    async def _find_replaced(self, uploads: UploadRepository, box_id: str, wanted: UploadCreation) -> FileUpload | None:
        """The upload that the wanted one replaces, if there is one; `FileUploadAlreadyExists` if it may not."""
        upload = await uploads.find_alias(box_id, wanted.alias)
        replaceable = (*REPLACEABLE, *OVERWRITABLE) if wanted.overwrite else REPLACEABLE
        if upload is not None and upload.state not in replaceable:
            raise checks.alias_taken(wanted.alias)
        return upload

    async def _take_room(
        self, database: Database, box_id: str, wanted: UploadCreation, replaced: FileUpload | None
    ) -> None:
        """Count the wanted upload in its box, if that is open and has room for it."""
        box = await BoxService(database, self._clock).get_open(box_id)
        checks.check_room(box, wanted, replaced, self._settings.open_uploads)
        freed = checks.usage_of(replaced)
        increments = {
            "open_uploads": 1 - freed["open_uploads"],
            "used_size": wanted.decrypted_size - freed["used_size"],
        }
        # In a transaction: what was checked is still so, or this conflicts with the one that changed it.
        counted = await database.boxes.compare_and_set(box_id, expected={"state": "open"}, increments=increments)
        if counted is None:
            raise box_state_error(box)
