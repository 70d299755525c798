"""The upload controller: takes files into boxes, part by part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from uuid import uuid4

import trio

from connector.archive.boxes import BoxService
from connector.archive.errors import (
    BoxMaxSizeExceeded,
    ChecksumMismatch,
    FileUploadAlreadyExists,
    FileUploadStateError,
    InvalidPartSize,
    NoSuchStorage,
    OrphanedMultipartUpload,
    S3UploadNotFound,
    TooManyOpenUploads,
    UploadCompletionError,
    UploadSizeMismatch,
)
from connector.archive.keyed_locks import KeyedLocks
from connector.archive.models import OVERWRITABLE, RECEIVED, REPLACEABLE, Box, FileUpload
from connector.archive.removal import Removal
from connector.archive.settings import INBOX_BUCKET, ArchiveSettings, Clock, moment
from connector.archive.upload_checks import (
    check_announcement,
    check_claim,
    check_claim_form,
    check_part_count,
    part_count,
)
from connector.archive.upload_ledger import UploadLedger
from connector.wire.payloads import UploadCompletion, UploadCreation
from persistence.documents.protocol import Sort
from persistence.errors import AlreadyExists, NotFound, PartsMismatch, PersistenceError, UploadNotFound
from persistence.objects.protocol import ObjectStat, ObjectStorage


class UploadController:
    """Opens, closes, cancels and lists uploads. ``received`` is told of each closed one, to interrogate it.

    Steps that change one upload come one after the other, so that colliding calls are answered as repeated ones are.
    """

    def __init__(
        self,
        boxes: BoxService,
        ledger: UploadLedger,
        removal: Removal,
        storage: ObjectStorage,
        settings: ArchiveSettings,
        *,
        clock: Clock,
        received: Callable[[FileUpload], None],
    ) -> None:
        self._boxes = boxes
        self._ledger = ledger
        self._removal = removal
        self._storage = storage
        self._settings = settings
        self._clock = clock
        self._received = received
        self._box_locks = KeyedLocks()
        self._locks = KeyedLocks()

    async def list_uploads(
        self, box_id: str, *, skip: int, limit: int, sort: Sort = ("alias",)
    ) -> tuple[list[FileUpload], int]:
        """One page of the box's uploads, whatever their state, and how many there are in all."""
        await self._boxes.get(box_id)
        return await self._ledger.page(box_id, skip=skip, limit=limit, sort=sort)

    async def create(self, box_id: str, wanted: UploadCreation) -> FileUpload:
        """Open an upload; the one that holds the alias gives way where the contract allows it."""
        check_announcement(wanted)
        # One at a time in each box: the checks below hold only as long as nobody else opens an upload there.
        async with self._box_locks[box_id]:
            box = await self._boxes.get_open(box_id)
            self._check_storage(box.storage_alias)
            earlier = await self._ledger.find_alias(box_id, wanted.alias)
            if not all(_gives_way(upload, overwrite=wanted.overwrite) for upload in earlier):
                raise _alias_taken(wanted.alias)
            await self._check_room(box, wanted, earlier)
            check_part_count(wanted)
            return await self._open(box, wanted, earlier)

    async def part_url(self, box_id: str, file_id: str, number: int) -> str:
        """A presigned URL to PUT one part (numbered from 1)."""
        upload = await self._ledger.get(file_id, box_id=box_id)
        if upload.state != "init":
            raise S3UploadNotFound(f"The upload is {upload.state}: it takes no parts any more.")
        self._check_storage(upload.storage_alias)
        await self._boxes.get_open(box_id)
        count = part_count(upload)
        if not 1 <= number <= count:
            raise InvalidPartSize(f"The upload has parts 1 to {count}, not {number}.", file_id=file_id)
        if not await self._storage.upload_exists(INBOX_BUCKET, upload.id, upload.upload_id):
            raise _lost()
        return await self._storage.presign_part(
            INBOX_BUCKET, upload.id, upload.upload_id, number, expires=self._settings.url_lifetime
        )

    async def close(self, box_id: str, file_id: str, claim: UploadCompletion) -> None:
        """Put the stored parts together and compare the whole with what the client says of it.

        What a failure or a crash left half-done is taken up by the next call.
        """
        check_claim_form(claim)
        async with self._locks[file_id]:
            upload = await self._ledger.get(file_id, box_id=box_id)
            if upload.state in RECEIVED:
                if upload.state == "inbox":
                    # The answer to the change of state may have been lost, and the interrogation not told of it.
                    self._received(upload)
                return
            if upload.state != "init":
                raise _wrong_state(upload)
            self._check_storage(upload.storage_alias)
            await self._boxes.get_open(box_id)
            stored = await self._complete(upload)
            try:
                check_claim(upload, claim, stored)
            except (ChecksumMismatch, UploadSizeMismatch) as error:
                await self._fail(upload, error.message)
                raise
            moved = await self._ledger.move(
                upload,
                "inbox",
                completed=moment(self._clock),
                decrypted_sha256=claim.decrypted_sha256.lower(),
                encrypted_md5=claim.encrypted_md5.lower(),
                parts_md5="".join(claim.encrypted_parts_md5).lower(),
                parts_sha256="".join(claim.encrypted_parts_sha256).lower(),
            )
            if moved is None:
                raise _wrong_state(await self._ledger.get(file_id))
            self._received(moved)

    async def cancel(self, box_id: str, file_id: str) -> None:
        """Take an upload out of the box again, however far it came, and free what it takes up."""
        async with self._locks[file_id]:
            upload = await self._ledger.get(file_id, box_id=box_id)
            while upload.state != "cancelled":
                await self._boxes.get_open(box_id)
                # The interrogation may move it meanwhile; then once more from where it is.
                moved = await self._ledger.move(upload, "cancelled")
                upload = moved if moved is not None else await self._ledger.get(file_id)
            await self._free(upload)

    def _check_storage(self, alias: str) -> None:
        if alias != self._settings.storage_alias:
            raise NoSuchStorage(f"This archive does not serve the storage {alias!r}.", storage_alias=alias)

    async def _check_room(self, box: Box, wanted: UploadCreation, leaving: Sequence[FileUpload]) -> None:
        tally = await self._ledger.tally(box.id)
        open_uploads, used = tally.open_uploads, tally.used_size
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

    async def _open(self, box: Box, wanted: UploadCreation, earlier: Sequence[FileUpload]) -> FileUpload:
        file_id = str(uuid4())
        try:
            upload_id = await self._storage.start_upload(INBOX_BUCKET, file_id)
        except AlreadyExists as error:
            raise _orphaned(wanted.alias) from error
        now = moment(self._clock)
        upload = FileUpload(
            id=file_id,
            box_id=box.id,
            alias=wanted.alias,
            state="init",
            storage_alias=box.storage_alias,
            upload_id=upload_id,
            decrypted_size=wanted.decrypted_size,
            encrypted_size=wanted.encrypted_size,
            part_size=wanted.part_size,
            created=now,
            state_updated=now,
        )
        try:
            # Not before the new one has its place in the storage: a full disk is to cost no file.
            for one in earlier:
                await self._replace(one)
            await self._ledger.add(upload)
        except BaseException:
            with trio.CancelScope(shield=True), suppress(PersistenceError):
                await self._ledger.remove(upload)  # entered, if only the answer was lost
                await self._storage.abort_upload(INBOX_BUCKET, file_id, upload_id)
            raise
        return upload

    async def _replace(self, upload: FileUpload) -> None:
        """Take an upload out whose alias another one gets: an alias has one record."""
        async with self._locks[upload.id]:
            upload = await self._ledger.get(upload.id)
            while upload.state not in REPLACEABLE:
                if upload.state not in OVERWRITABLE:
                    raise _alias_taken(upload.alias)
                moved = await self._ledger.move(upload, "cancelled")
                upload = moved if moved is not None else await self._ledger.get(upload.id)
            await self._free(upload)
            await self._ledger.remove(upload)

    async def _fail(self, upload: FileUpload, why: str) -> None:
        """Say of an upload that it cannot become right any more, and free its storage."""
        failed = await self._ledger.move(upload, "failed", failure=why)
        if failed is not None:
            with suppress(PersistenceError):  # freed with the upload, or at the next start
                await self._removal.free(failed)

    async def _free(self, upload: FileUpload) -> None:
        try:
            await self._removal.free(upload)
        except PersistenceError as error:
            raise _orphaned(upload.alias) from error

    async def _complete(self, upload: FileUpload) -> ObjectStat:
        try:
            return await self._storage.complete_upload(
                INBOX_BUCKET,
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
            # Put together before, and then the server went down or the answer was lost?
            try:
                return await self._storage.stat(INBOX_BUCKET, upload.id)
            except NotFound:
                raise _lost() from error


def _gives_way(upload: FileUpload, *, overwrite: bool) -> bool:
    return upload.state in REPLACEABLE or (overwrite and upload.state in OVERWRITABLE)


def _lost() -> S3UploadNotFound:
    return S3UploadNotFound("The storage does not know this upload any more; begin it again.")


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
