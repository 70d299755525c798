"""The upload controller: receives files into boxes, part by part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from uuid import uuid4
from weakref import WeakValueDictionary

import attrs
import trio

from connector.archive.boxes import BoxService
from connector.archive.errors import (
    BoxMaxSizeExceeded,
    ChecksumMismatch,
    FileUploadAlreadyExists,
    FileUploadStateError,
    InvalidPartSize,
    OrphanedMultipartUpload,
    S3UploadNotFound,
    TooManyOpenUploads,
    UploadCompletionError,
    UploadSizeMismatch,
)
from connector.archive.hubs import Hub, Hubs
from connector.archive.ingest import Removal
from connector.archive.models import OVERWRITABLE, RECEIVED, REPLACEABLE, Box, FileUpload
from connector.archive.settings import ArchiveSettings, Clock, utc_now
from connector.archive.upload_checks import (
    check_announcement,
    check_completion,
    check_digests,
    check_part_count,
    part_count,
)
from connector.archive.upload_repository import UploadRepository
from connector.wire.payloads import UploadCompletion, UploadCreation
from persistence.documents import Sort
from persistence.errors import AlreadyExists, NotFound, PartsMismatch, PersistenceError, UploadNotFound
from persistence.objects.values import ObjectStat


@attrs.define(eq=False)
class UploadController:
    """Opens, closes, cancels and lists uploads.

    Calls that change one upload run one after the other, so that colliding calls are answered as repeated ones are.

    Args:
        received: Called with each closed upload, to interrogate it.
    """

    _boxes: BoxService
    _uploads: UploadRepository
    _removal: Removal
    _hubs: Hubs
    _settings: ArchiveSettings
    _clock: Clock
    _received: Callable[[FileUpload], None]
    # Locks by id, each kept only as long as a task holds it or waits for it.
    _box_locks: WeakValueDictionary[str, trio.Lock] = attrs.field(factory=WeakValueDictionary, init=False)
    _locks: WeakValueDictionary[str, trio.Lock] = attrs.field(factory=WeakValueDictionary, init=False)

    async def list_uploads(
        self, box_id: str, *, skip: int, limit: int, sort: Sort = ("alias",)
    ) -> tuple[list[FileUpload], int]:
        """Return one page of the box's uploads in all states, and their total number."""
        await self._boxes.get(box_id)
        return await self._uploads.page(box_id, skip=skip, limit=limit, sort=sort)

    async def create(self, box_id: str, wanted: UploadCreation) -> FileUpload:
        """Open an upload; one of the same alias is replaced where the contract allows it."""
        check_announcement(wanted)
        # One at a time in each box: opening another upload would invalidate the checks below.
        async with self._box_locks.setdefault(box_id, trio.Lock()):
            box = await self._boxes.get_open(box_id)
            hub = self._hubs.get(box.storage_alias)
            earlier = await self._uploads.find_alias(box_id, wanted.alias)
            replaceable = (*REPLACEABLE, *OVERWRITABLE) if wanted.overwrite else REPLACEABLE
            if not all(upload.state in replaceable for upload in earlier):
                raise _alias_taken(wanted.alias)
            await self._check_room(box, wanted, earlier)
            check_part_count(wanted)
            return await self._open(hub, box, wanted, earlier)

    async def part_url(self, box_id: str, file_id: str, number: int) -> str:
        """A presigned URL to PUT one part (numbered from 1)."""
        upload = await self._uploads.get(file_id, box_id=box_id)
        if upload.state != "init":
            raise S3UploadNotFound(f"The upload is {upload.state}: it takes no parts.")
        hub = self._hubs.get(upload.storage_alias)
        await self._boxes.get_open(box_id)
        count = part_count(upload)
        if not 1 <= number <= count:
            raise InvalidPartSize(f"The upload has parts 1 to {count}, not {number}.", file_id=file_id)
        if not await hub.storage.upload_exists(hub.inbox, upload.id, upload.upload_id):
            raise _lost()
        return await hub.storage.presign_part(
            hub.inbox, upload.id, upload.upload_id, number, expires=self._settings.url_lifetime
        )

    async def close(self, box_id: str, file_id: str, completion: UploadCompletion) -> None:
        """Complete an upload: assemble the stored parts, and compare the object with the client's digests.

        A close that was interrupted by a failure or a crash is resumed by the next call.
        """
        check_digests(completion)
        async with self._locks.setdefault(file_id, trio.Lock()):
            upload = await self._uploads.get(file_id, box_id=box_id)
            if upload.state in RECEIVED:
                if upload.state == "inbox":
                    # The response to the change of state may have been lost, and the upload not been queued.
                    self._received(upload)
                return
            if upload.state != "init":
                raise _wrong_state(upload)
            hub = self._hubs.get(upload.storage_alias)
            await self._boxes.get_open(box_id)
            stored = await self._complete(hub, upload)
            try:
                check_completion(upload, completion, stored)
            except (ChecksumMismatch, UploadSizeMismatch) as error:
                await self._fail(upload, error.message)
                raise
            moved = await self._uploads.move(
                upload,
                "inbox",
                completed=utc_now(self._clock),
                decrypted_sha256=completion.decrypted_sha256.lower(),
                encrypted_md5=completion.encrypted_md5.lower(),
                parts_md5="".join(completion.encrypted_parts_md5).lower(),
                parts_sha256="".join(completion.encrypted_parts_sha256).lower(),
            )
            if moved is None:
                raise _wrong_state(await self._uploads.get(file_id))
            self._received(moved)

    async def cancel(self, box_id: str, file_id: str) -> None:
        """Remove an upload from the box, whatever its state, and free its storage."""
        async with self._locks.setdefault(file_id, trio.Lock()):
            upload = await self._uploads.get(file_id, box_id=box_id)
            while upload.state != "cancelled":
                await self._boxes.get_open(box_id)
                # The interrogation may have changed its state meanwhile: try again from there.
                moved = await self._uploads.move(upload, "cancelled")
                upload = moved if moved is not None else await self._uploads.get(file_id)
            await self._free(upload)

    async def _check_room(self, box: Box, wanted: UploadCreation, leaving: Sequence[FileUpload]) -> None:
        usage = await self._uploads.usage(box.id)
        open_uploads, used = usage.open_uploads, usage.used_size
        for upload in leaving:
            used -= upload.decrypted_size if upload.state not in REPLACEABLE else 0
            open_uploads -= upload.state == "init"
        if box.max_size is not None and used + wanted.decrypted_size > box.max_size:
            raise BoxMaxSizeExceeded(
                f"The file {wanted.alias!r} does not fit into the box: {used} of {box.max_size} bytes are taken.",
                box_id=box.id,
                max_size=box.max_size,
                current_size=used,
                file_alias=wanted.alias,
            )
        if open_uploads >= self._settings.open_uploads:
            raise TooManyOpenUploads(
                f"The box holds {open_uploads} open uploads; finish or delete one of them first.",
                box_id=box.id,
                max_concurrent=self._settings.open_uploads,
            )

    async def _open(self, hub: Hub, box: Box, wanted: UploadCreation, earlier: Sequence[FileUpload]) -> FileUpload:
        file_id = str(uuid4())
        try:
            upload_id = await hub.storage.start_upload(hub.inbox, file_id)
        except AlreadyExists as error:
            raise _orphaned(wanted.alias) from error
        now = utc_now(self._clock)
        upload = FileUpload(
            id=file_id,
            box_id=box.id,
            alias=wanted.alias,
            state="init",
            storage_alias=hub.alias,
            upload_id=upload_id,
            decrypted_size=wanted.decrypted_size,
            encrypted_size=wanted.encrypted_size,
            part_size=wanted.part_size,
            created=now,
            state_updated=now,
        )
        try:
            # Only after the new one is open in the storage: a full disk must cost no file.
            for one in earlier:
                await self._replace(one)
            await self._uploads.add(upload)
        except BaseException:
            with trio.CancelScope(shield=True), suppress(PersistenceError):
                await self._uploads.remove(upload)  # it was inserted if only the response was lost
                await hub.storage.abort_upload(hub.inbox, file_id, upload_id)
            raise
        return upload

    async def _replace(self, upload: FileUpload) -> None:
        """Remove an upload whose alias a new one gets: an alias has one record."""
        async with self._locks.setdefault(upload.id, trio.Lock()):
            upload = await self._uploads.get(upload.id)
            while upload.state not in REPLACEABLE:
                if upload.state not in OVERWRITABLE:
                    raise _alias_taken(upload.alias)
                moved = await self._uploads.move(upload, "cancelled")
                upload = moved if moved is not None else await self._uploads.get(upload.id)
            await self._free(upload)
            await self._uploads.remove(upload)

    async def _fail(self, upload: FileUpload, why: str) -> None:
        """Mark an upload as failed, and free its storage."""
        failed = await self._uploads.move(upload, "failed", failure=why)
        if failed is not None:
            with suppress(PersistenceError):  # freed with the upload, or at the next start of the server
                await self._removal.free(failed)

    async def _free(self, upload: FileUpload) -> None:
        try:
            await self._removal.free(upload)
        except PersistenceError as error:
            raise _orphaned(upload.alias) from error

    async def _complete(self, hub: Hub, upload: FileUpload) -> ObjectStat:
        try:
            return await hub.storage.complete_upload(
                hub.inbox,
                upload.id,
                upload.upload_id,
                expected_parts=part_count(upload),
                expected_part_size=upload.part_size,
            )
        except PartsMismatch as error:
            raise UploadCompletionError(
                f"The stored parts do not make the announced file: {error.message}", file_id=upload.id
            ) from error
        except UploadNotFound as error:
            # It may have been completed before a crash, or a lost response.
            try:
                return await hub.storage.stat(hub.inbox, upload.id)
            except NotFound:
                raise _lost() from error


def _lost() -> S3UploadNotFound:
    return S3UploadNotFound("The storage no longer has this upload; start it again.")


def _alias_taken(alias: str) -> FileUploadAlreadyExists:
    return FileUploadAlreadyExists(f"The box holds an upload with the alias {alias!r} already.", alias=alias)


def _wrong_state(upload: FileUpload) -> FileUploadStateError:
    return FileUploadStateError(
        f"The upload is {upload.state}, which does not allow this.", file_id=upload.id, state=upload.state
    )


def _orphaned(alias: str) -> OrphanedMultipartUpload:
    return OrphanedMultipartUpload(
        f"An earlier multipart upload of {alias!r} cannot be aborted; delete the file and try again.", file_alias=alias
    )
