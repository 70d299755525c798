"""The upload controller: receives files into boxes, part by part."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import attrs
import trio

from connector.archive import errors
from connector.archive import upload_checks as checks
from connector.archive.boxes import BoxService
from connector.archive.database import Database
from connector.archive.hubs import Hub, Hubs
from connector.archive.jobs import schedule, schedule_cleaning
from connector.archive.models import (
    RECEIVED,
    FileUpload,
    JobKind,
    PartDigests,
    RegisteredFile,
    UploadState,
)
from connector.archive.recent_checks import RecentChecks
from connector.archive.settings import ArchiveSettings, Clock, utc_now
from connector.archive.upload_creation import UploadCreator
from connector.archive.upload_repository import UploadChanged, UploadRepository
from connector.wire.payloads import UploadCompletion, UploadCreation
from persistence.documents import Sort
from persistence.errors import (
    NotFound,
    ObjectNotFound,
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
    _creator: UploadCreator
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

    async def part_digests(self, uploads: Sequence[FileUpload]) -> dict[str, PartDigests]:
        """The clients' digests of the parts of these uploads, by their ids, as far as those were closed."""
        found = self._database.digests.find_all({"id": {"$in": [upload.id for upload in uploads]}})
        earlier = {
            upload.id: PartDigests(upload.id, upload.parts_md5, upload.parts_sha256 or "")
            for upload in uploads
            if upload.parts_md5 is not None
        }
        return earlier | {digests.id: digests async for digests in found}

    async def create(self, box_id: str, wanted: UploadCreation) -> FileUpload:
        """Open an upload; one of the same alias is replaced where the contract allows it."""
        return await self._creator.create(box_id, wanted)

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
            if not await hub.storage.upload_exists(hub.buckets.inbox, upload.id, upload.upload_id):
                raise checks.lost()
            self._known.add(file_id)
        return await hub.storage.presign_part(
            hub.buckets.inbox, upload.id, upload.upload_id, number, expires=self._settings.url_lifetime
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
        digests = PartDigests(
            upload.id,
            md5="".join(completion.encrypted_parts_md5).lower(),
            sha256="".join(completion.encrypted_parts_sha256).lower(),
        )
        await self._settle(
            upload,
            "interrogate",
            digests,
            state="inbox",
            needs_open_box=True,
            completed=utc_now(self._clock),
            decrypted_sha256=completion.decrypted_sha256.lower(),
            encrypted_md5=completion.encrypted_md5.lower(),
        )

    async def cancel(self, box_id: str, file_id: str) -> None:
        """Remove an upload from the box, whatever its state, also if it is registered, and free its storage.

        Raises:
            NoSuchStorage: Its hub is none of this archive's, so that it could not be freed.
        """
        now = await self._database.factory.now()

        async def withdraw(database: Database) -> tuple[FileUpload, RegisteredFile | None]:
            uploads = UploadRepository(database, self._clock)
            upload = await uploads.get(file_id, box_id=box_id)
            self._hubs.get(upload.storage_alias)  # before anything is changed
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

    async def _assemble(self, box_id: str, file_id: str) -> tuple[FileUpload, ObjectStat | None]:
        """Make the object of an open upload; none if the upload was received before.

        Another call may be completing the same upload, or a job removing what was cancelled. What the storage says of
        the parts or the object meanwhile is not to be relied on, so it is asked again.
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
                stored = await self._complete(hub, upload)
            except (errors.UploadCompletionError, errors.S3UploadNotFound, Unavailable, Rejected):
                pause = next(pauses, None)
                if pause is None:
                    raise
            else:
                pause = next(pauses, None) if stored.size != upload.encrypted_size else None
                if pause is None:
                    return upload, stored
            await trio.sleep(pause)

    async def _settle(
        self,
        upload: FileUpload,
        job: JobKind,
        digests: PartDigests | None = None,
        *,
        state: UploadState,
        **changes: Any,
    ) -> bool:
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
            if digests is not None:
                await database.digests.upsert(digests)
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
                hub.buckets.inbox,
                upload.id,
                upload.upload_id,
                expected_parts=checks.part_count(upload),
                expected_part_size=upload.part_size,
            )
        except PartsMismatch as error:
            raise errors.UploadCompletionError(
                f"The stored parts do not make the announced file: {error.message}", file_id=upload.id
            ) from error
        except (UploadNotFound, ObjectNotFound) as error:
            # It may have been completed by another call, or before a crash or a lost response; or deleted by another
            # just after this one has completed it.
            try:
                return await hub.storage.stat(hub.buckets.inbox, upload.id)
            except NotFound:
                raise checks.lost() from error
