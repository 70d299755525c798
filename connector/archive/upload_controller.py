"""The upload controller: takes files into boxes, part by part."""

from __future__ import annotations

import re
from collections.abc import Callable
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
    InvalidRequest,
    NoSuchStorage,
    OrphanedMultipartUpload,
    S3UploadNotFound,
    TooManyOpenUploads,
    UploadSizeMismatch,
)
from connector.archive.models import OVERWRITABLE, RECEIVED, Box, FileUpload
from connector.archive.settings import INBOX_BUCKET, ArchiveSettings, Clock, moment
from connector.archive.upload_ledger import UploadLedger
from connector.core.checksums import multipart_etag
from connector.core.layout import ENVELOPE_SIZE, MAX_PART_SIZE, MAX_PARTS, MIN_PART_SIZE, Parts, sealed_size
from connector.core.payloads import UploadCompletion, UploadCreation
from persistence.errors import AlreadyExists, NotFound, PersistenceError, UploadNotFound
from persistence.protocols.object_storage import ObjectStorage, PartStat

_MAX_ALIAS = 1024
_MD5 = re.compile(r"[0-9a-f]{32}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class UploadController:
    """Opens, closes, cancels and lists uploads. ``received`` is told of each closed one, to interrogate it."""

    def __init__(
        self,
        boxes: BoxService,
        ledger: UploadLedger,
        storage: ObjectStorage,
        settings: ArchiveSettings,
        *,
        clock: Clock,
        received: Callable[[FileUpload], None],
    ) -> None:
        self._boxes = boxes
        self._ledger = ledger
        self._storage = storage
        self._settings = settings
        self._clock = clock
        self._received = received
        self._locks: dict[str, trio.Lock] = {}

    async def list_uploads(self, box_id: str, *, skip: int, limit: int) -> tuple[list[FileUpload], int]:
        """One page of the box's uploads, whatever their state, and how many there are in all."""
        await self._boxes.get(box_id)
        return await self._ledger.page(box_id, skip=skip, limit=limit)

    async def create(self, box_id: str, wanted: UploadCreation) -> FileUpload:
        """Open an upload; the one that holds the alias gives way where the contract allows it."""
        _check_announcement(wanted)
        # One at a time in each box: the checks below hold only as long as nobody else opens an upload there.
        async with self._locks.setdefault(box_id, trio.Lock()):
            box = await self._boxes.get_open(box_id)
            self._check_storage(box.storage_alias)
            standing = await self._ledger.find_standing(box_id, wanted.alias)
            if standing is not None and not (wanted.overwrite and standing.state in OVERWRITABLE):
                raise _alias_taken(wanted.alias)
            await self._check_room(box, wanted, standing)
            if standing is not None:
                await self._withdraw(standing)
            return await self._open(box, wanted)

    async def part_url(self, box_id: str, file_id: str, number: int) -> str:
        """A presigned URL to PUT one part (numbered from 1)."""
        upload = await self._ledger.get(file_id, box_id=box_id)
        if upload.state != "init":
            raise _wrong_state(upload)
        self._check_storage(upload.storage_alias)
        await self._boxes.get_open(box_id)
        count = _part_count(upload)
        if not 1 <= number <= count:
            raise InvalidPartSize(f"The upload has parts 1 to {count}, not {number}.", file_id=file_id)
        return await self._storage.presign_part(
            INBOX_BUCKET, upload.id, upload.upload_id, number, expires=self._settings.url_lifetime
        )

    async def close(self, box_id: str, file_id: str, claim: UploadCompletion) -> None:
        """Check all stored parts against what the client says of them and put them together."""
        upload = await self._ledger.get(file_id, box_id=box_id)
        if upload.state in RECEIVED:
            return _check_repetition(upload, claim)
        if upload.state != "init":
            raise _wrong_state(upload)
        self._check_storage(upload.storage_alias)
        await self._boxes.get_open(box_id)
        _check_claim(upload, claim)
        await self._complete(upload, claim)
        moved = await self._ledger.move(
            upload,
            "inbox",
            completed=moment(self._clock),
            decrypted_sha256=claim.decrypted_sha256.lower(),
            encrypted_md5=claim.encrypted_md5.lower(),
        )
        if moved is not None:
            return self._received(moved)
        # Somebody else was faster: the same client, impatient, or one that cancelled.
        now = await self._ledger.get(file_id)
        if now.state not in RECEIVED:
            with suppress(NotFound):
                await self._storage.delete_object(INBOX_BUCKET, upload.id)
            raise _wrong_state(now)
        return None

    async def cancel(self, box_id: str, file_id: str) -> None:
        """Take an upload out of the box again, as long as it has not been interrogated."""
        upload = await self._ledger.get(file_id, box_id=box_id)
        if upload.state == "cancelled":
            return
        await self._boxes.get_open(box_id)
        if upload.state == "failed":
            await self._ledger.move(upload, "cancelled")
        elif upload.state in OVERWRITABLE:
            await self._withdraw(upload)
        else:
            raise _wrong_state(upload)

    def _check_storage(self, alias: str) -> None:
        if alias != self._settings.storage_alias:
            raise NoSuchStorage(f"This archive does not serve the storage {alias!r}.", storage_alias=alias)

    async def _check_room(self, box: Box, wanted: UploadCreation, leaving: FileUpload | None) -> None:
        tally = await self._ledger.tally(box.id)
        open_uploads, used = tally.open_uploads, tally.used_size
        if leaving is not None:
            used -= leaving.decrypted_size
            open_uploads -= leaving.state == "init"
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
                max_open_uploads=self._settings.open_uploads,
            )

    async def _open(self, box: Box, wanted: UploadCreation) -> FileUpload:
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
        await self._ledger.add(upload)
        return upload

    async def _withdraw(self, upload: FileUpload) -> None:
        """Cancel an upload in ``init`` or ``inbox`` and free its storage."""
        if upload.state == "init":
            try:
                with suppress(NotFound):
                    await self._storage.abort_upload(INBOX_BUCKET, upload.id, upload.upload_id)
            except PersistenceError as error:
                raise _orphaned(upload.alias) from error
        moved = await self._ledger.move(upload, "cancelled")
        if moved is None:
            now = await self._ledger.get(upload.id)
            if now.state in OVERWRITABLE:
                return await self._withdraw(now)
            if now.state in RECEIVED:
                raise _wrong_state(now)
        # Also after an upload that was being closed: its object may have come into being just now.
        with suppress(NotFound):
            await self._storage.delete_object(INBOX_BUCKET, upload.id)
        return None

    async def _complete(self, upload: FileUpload, claim: UploadCompletion) -> None:
        try:
            stored = await self._storage.list_parts(INBOX_BUCKET, upload.id, upload.upload_id)
            _check_parts(upload, claim, stored)
            stat = await self._storage.complete_upload(
                INBOX_BUCKET,
                upload.id,
                upload.upload_id,
                expected_parts=_part_count(upload),
                expected_part_size=upload.part_size,
            )
        except UploadNotFound as error:
            # Put together before, and then the server went down or the answer was lost?
            try:
                stat = await self._storage.stat(INBOX_BUCKET, upload.id)
            except NotFound:
                raise S3UploadNotFound("The storage does not know this upload any more.") from error
        if stat.etag != claim.encrypted_md5.lower():
            raise ChecksumMismatch("The stored object has another checksum than stated.", file_id=upload.id)


def _part_count(upload: FileUpload) -> int:
    return len(Parts(upload.encrypted_size, upload.part_size))


def _check_announcement(wanted: UploadCreation) -> None:
    if not wanted.alias.strip() or len(wanted.alias) > _MAX_ALIAS:
        raise InvalidRequest(f"An alias has 1 to {_MAX_ALIAS} characters.")
    if wanted.decrypted_size < 1:
        raise InvalidRequest("An empty file cannot be uploaded.")
    smallest = sealed_size(wanted.decrypted_size) + ENVELOPE_SIZE
    if wanted.encrypted_size < smallest:
        raise UploadSizeMismatch(
            f"{wanted.decrypted_size} bytes take at least {smallest} bytes encrypted, not {wanted.encrypted_size}."
        )
    if not MIN_PART_SIZE <= wanted.part_size <= MAX_PART_SIZE:
        raise InvalidPartSize(f"A part has {MIN_PART_SIZE} to {MAX_PART_SIZE} bytes, not {wanted.part_size}.")
    if len(Parts(wanted.encrypted_size, wanted.part_size)) > MAX_PARTS:
        raise InvalidPartSize(f"Parts of {wanted.part_size} bytes would be more than {MAX_PARTS}.")


def _check_claim(upload: FileUpload, claim: UploadCompletion) -> None:
    """Whether the client's digests are well-formed and agree with each other."""
    count = _part_count(upload)
    md5s = [md5.lower() for md5 in claim.encrypted_parts_md5]
    sha256s = [sha256.lower() for sha256 in claim.encrypted_parts_sha256]
    if len(md5s) != count or len(sha256s) != count:
        raise ChecksumMismatch(f"The upload has {count} parts, so as many checksums are needed.", file_id=upload.id)
    sha256s.append(claim.decrypted_sha256.lower())
    if not all(map(_MD5.fullmatch, md5s)) or not all(map(_SHA256.fullmatch, sha256s)):
        raise InvalidRequest("Checksums are to be given in hexadecimal digits.")
    if multipart_etag(md5s) != claim.encrypted_md5.lower():
        raise ChecksumMismatch("encrypted_md5 does not follow from the checksums of the parts.", file_id=upload.id)


def _check_parts(upload: FileUpload, claim: UploadCompletion, stored: list[PartStat]) -> None:
    """Whether the storage holds what was announced and claimed."""
    planned = Parts(upload.encrypted_size, upload.part_size)
    if [part.number for part in stored] != list(range(1, len(planned) + 1)):
        raise UploadSizeMismatch(f"{len(stored)} of {len(planned)} parts have arrived.", file_id=upload.id)
    if any(part.size != upload.part_size for part in stored[:-1]):
        raise InvalidPartSize(f"All parts but the last must have {upload.part_size} bytes.", file_id=upload.id)
    total = sum(part.size for part in stored)
    if total != upload.encrypted_size:
        raise UploadSizeMismatch(
            f"{total} bytes have arrived, {upload.encrypted_size} were announced.", file_id=upload.id
        )
    for part, md5 in zip(stored, claim.encrypted_parts_md5, strict=True):
        if part.etag != md5.lower():
            raise ChecksumMismatch(f"Part {part.number} has another checksum than stated.", file_id=upload.id)


def _check_repetition(upload: FileUpload, claim: UploadCompletion) -> None:
    if claim.encrypted_md5.lower() != upload.encrypted_md5 or claim.decrypted_sha256.lower() != upload.decrypted_sha256:
        raise ChecksumMismatch("The upload was closed before, with other checksums.", file_id=upload.id)


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
