"""The upload controller: receives files into boxes, part by part."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import attrs
import trio

from connector.archive import errors
from connector.archive import upload_checks as checks
from connector.archive.boxes import BoxService, box_state_error
from connector.archive.database import Database
from connector.archive.hubs import Hub, Hubs
from connector.archive.jobs import new_job, schedule, schedule_cleaning
from connector.archive.models import (
    OVERWRITABLE,
    RECEIVED,
    REPLACEABLE,
    Box,
    FileUpload,
    JobKind,
    RegisteredFile,
    UploadState,
)
from connector.archive.recent_checks import RecentChecks
from connector.archive.settings import ArchiveSettings, Clock, utc_now
from connector.archive.upload_repository import UploadChanged, UploadRepository
from connector.wire.payloads import UploadCompletion, UploadCreation
from persistence.documents import Sort
from persistence.errors import (
    AlreadyExists,
    NotFound,
    PartsMismatch,
    PersistenceError,
    Rejected,
    Unavailable,
    UploadNotFound,
)
from persistence.objects.values import ObjectStat

_COLLISION_PAUSES = (0.1, 0.4)
"""Seconds after which a completion is tried again that another call for the same upload may have disturbed."""


@attrs.define(eq=False)
class UploadController:
    """Opens, closes, cancels and lists uploads.

    All that it knows is in the documents, so any number of processes may do this. Each change is one transaction, with
    what is to be done next about the file (`connector.archive.jobs`), and the box last, for which others wait from then
    on. Of calls that collide one has its way, and the others are answered by what the upload has become.
    """

    _database: Database
    _boxes: BoxService
    _uploads: UploadRepository
    _hubs: Hubs
    _settings: ArchiveSettings
    _clock: Clock
    _known: RecentChecks = attrs.field(factory=RecentChecks, init=False)

    async def list_uploads(
        self, box_id: str, *, skip: int, limit: int, sort: Sort = ("alias",)
    ) -> tuple[list[FileUpload], int]:
        """Return one page of the box's uploads in all states, and their total number."""
        await self._boxes.get(box_id)
        return await self._uploads.page(box_id, skip=skip, limit=limit, sort=sort)

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
        try:
            return await self._open(box, hub, file_id, wanted, now)
        except BaseException:
            with trio.move_on_after(10, shield=True), suppress(PersistenceError):
                await self._abandon(hub, file_id)
            raise

    async def part_url(self, box_id: str, file_id: str, number: int) -> str:
        """A presigned URL to PUT one part (numbered from 1)."""
        upload = await self._uploads.get(file_id, box_id=box_id)
        if upload.state != "init":
            raise errors.S3UploadNotFound(f"The upload is {upload.state}: it takes no parts.")
        hub = self._hubs.get(upload.storage_alias)
        await self._boxes.get_open(box_id)
        count = checks.part_count(upload)
        if not 1 <= number <= count:
            raise errors.InvalidPartSize(f"The upload has parts 1 to {count}, not {number}.", file_id=file_id)
        if file_id not in self._known:
            # By far the most expensive step, so it is not repeated for every part.
            if not await hub.storage.upload_exists(hub.inbox, upload.id, upload.upload_id):
                raise checks.lost()
            self._known.add(file_id)
        return await hub.storage.presign_part(
            hub.inbox, upload.id, upload.upload_id, number, expires=self._settings.url_lifetime
        )

    async def close(self, box_id: str, file_id: str, completion: UploadCompletion) -> None:
        """Complete an upload: assemble the stored parts, and compare the object with the client's digests.

        A close that was interrupted by a failure or a crash is resumed by the next call.
        """
        checks.check_digests(completion)
        upload, stored = await self._assemble(box_id, file_id)
        if stored is None:
            return
        try:
            checks.check_completion(upload, completion, stored)
        except (errors.ChecksumMismatch, errors.UploadSizeMismatch) as error:
            if await self._settle(upload, "clean", state="failed", failure=error.message):
                raise
            return
        await self._settle(
            upload,
            "interrogate",
            state="inbox",
            needs_open_box=True,
            completed=utc_now(self._clock),
            decrypted_sha256=completion.decrypted_sha256.lower(),
            encrypted_md5=completion.encrypted_md5.lower(),
            parts_md5="".join(completion.encrypted_parts_md5).lower(),
            parts_sha256="".join(completion.encrypted_parts_sha256).lower(),
        )

    async def cancel(self, box_id: str, file_id: str) -> None:
        """Remove an upload from the box, whatever its state, also if it is registered, and free its storage."""
        now = await self._database.factory.now()

        async def withdraw(database: Database) -> tuple[FileUpload, RegisteredFile | None]:
            uploads = UploadRepository(database, self._clock)
            upload = await uploads.get(file_id, box_id=box_id)
            file = await database.files.find_one({"file_id": file_id}) if upload.secret_id is not None else None
            if file is not None:
                await database.files.delete(file.accession)
            if upload.secret_id is not None:
                with suppress(NotFound):
                    await database.secrets.delete(upload.secret_id)
            if upload.state != "cancelled":
                await schedule_cleaning(database, upload, now)
                await uploads.move(upload, "cancelled", needs_open_box=True)
            return upload, file

        upload, file = await self._database.transact(withdraw)
        # What its URLs lead to goes at once. The job does the same, and knows of attempts that no document names.
        with suppress(PersistenceError):
            await self._hubs.get(upload.storage_alias).free(upload, file)

    async def _open(self, box: Box, hub: Hub, file_id: str, wanted: UploadCreation, now: datetime) -> FileUpload:
        created = utc_now(self._clock)
        upload = FileUpload(
            id=file_id,
            box_id=box.id,
            alias=wanted.alias,
            state="init",
            storage_alias=hub.alias,
            upload_id=await hub.storage.start_upload(hub.inbox, file_id),
            decrypted_size=wanted.decrypted_size,
            encrypted_size=wanted.encrypted_size,
            part_size=wanted.part_size,
            created=created,
            state_updated=created,
        )

        async def enter(database: Database) -> None:
            replaced = await self._find_replaced(UploadRepository(database, self._clock), box.id, wanted)
            if replaced is not None:
                await database.uploads.delete(replaced.id)
                if replaced.state in OVERWRITABLE:
                    await schedule_cleaning(database, replaced, now)
            await database.uploads.insert(upload)
            await self._take_room(database, box.id, wanted, replaced)

        try:
            await self._database.transact(enter)
        except AlreadyExists as error:  # by another call at the same time
            raise checks.alias_taken(wanted.alias) from error
        return upload

    async def _abandon(self, hub: Hub, file_id: str) -> None:
        """Give up a multipart upload of which there is no document: one may have been stored without a response."""
        now = await self._database.factory.now()

        async def give_up(database: Database) -> None:
            if await UploadRepository(database, self._clock).find(file_id) is None:
                await schedule(database, file_id, "clean", hub=hub.alias, now=now)

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

    async def _assemble(self, box_id: str, file_id: str) -> tuple[FileUpload, ObjectStat | None]:
        """Make the object of an open upload; none if the upload was received before.

        Another call may be completing the same upload, or a job removing what was cancelled. What the storage says of
        the parts meanwhile is not to be relied on, so it is asked again.
        """
        pauses = iter(_COLLISION_PAUSES)
        while True:
            upload = await self._uploads.get(file_id, box_id=box_id)
            if upload.state in RECEIVED:
                return upload, None
            if upload.state != "init":
                raise checks.wrong_state(upload)
            hub = self._hubs.get(upload.storage_alias)
            await self._boxes.get_open(box_id)
            try:
                return upload, await self._complete(hub, upload)
            except (errors.UploadCompletionError, errors.S3UploadNotFound, Unavailable, Rejected):
                pause = next(pauses, None)
                if pause is None:
                    raise
            await trio.sleep(pause)

    async def _settle(self, upload: FileUpload, job: JobKind, *, state: UploadState, **changes: Any) -> bool:
        """Change the state of an open upload, with what is to be done next.

        Returns:
            Whether this call has done so; if not, another one has received the upload.

        Raises:
            FileUploadStateError: It was cancelled or has failed meanwhile.
            FileUploadNotFound: It was replaced meanwhile.
        """
        now = await self._database.factory.now()

        async def change(database: Database) -> None:
            await schedule(database, upload.id, job, hub=upload.storage_alias, now=now)
            await UploadRepository(database, self._clock).move(upload, state, **changes)

        try:
            await self._database.transact(change)
        except UploadChanged:
            pass
        else:
            return True
        current = await self._uploads.find(upload.id)
        if current is not None and current.state in RECEIVED:
            return False
        # The object may have been made after the storage was freed.
        await self._database.transact(
            lambda database: schedule(database, upload.id, "clean", hub=upload.storage_alias, now=now)
        )
        raise checks.wrong_state(await self._uploads.get(upload.id))

    async def _complete(self, hub: Hub, upload: FileUpload) -> ObjectStat:
        try:
            return await hub.storage.complete_upload(
                hub.inbox,
                upload.id,
                upload.upload_id,
                expected_parts=checks.part_count(upload),
                expected_part_size=upload.part_size,
            )
        except PartsMismatch as error:
            raise errors.UploadCompletionError(
                f"The stored parts do not make the announced file: {error.message}", file_id=upload.id
            ) from error
        except UploadNotFound as error:
            # It may have been completed by another call, or before a crash or a lost response.
            try:
                return await hub.storage.stat(hub.inbox, upload.id)
            except NotFound:
                raise checks.lost() from error
