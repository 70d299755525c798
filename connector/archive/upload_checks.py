"""Checks of an upload: its announcement, the room for it, its completion. Pure: what is checked was read before."""

from __future__ import annotations

import re

from connector.archive.errors import (
    BoxMaxSizeExceeded,
    ChecksumMismatch,
    FileUploadAlreadyExists,
    FileUploadStateError,
    InvalidPartSize,
    InvalidRequest,
    S3UploadNotFound,
    TooManyOpenUploads,
    UploadSizeMismatch,
)
from connector.archive.models import REPLACEABLE, Box, FileUpload
from connector.crypt4gh.segments import HEADER_SIZE, sealed_size
from connector.parts import S3_MAX_OBJECT_SIZE, S3_MAX_PART_SIZE, S3_MAX_PARTS, S3_MIN_PART_SIZE, Parts, multipart_etag
from connector.wire.payloads import UploadCompletion, UploadCreation
from persistence.objects.values import ObjectStat

MAX_ALIAS = 1024
"""Characters."""
_MD5 = re.compile(r"[0-9a-f]{32}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ETAG = re.compile(r"[0-9a-f]{32}(-[0-9]{1,5})?")


def part_count(upload: FileUpload) -> int:
    """The number of parts that the announced sizes make."""
    return len(Parts(upload.encrypted_size, upload.part_size))


def usage_of(upload: FileUpload | None) -> dict[str, int]:
    """What an upload adds to the counters of its box."""
    if upload is None:
        return {"open_uploads": 0, "used_size": 0}
    size = 0 if upload.state in REPLACEABLE else upload.decrypted_size
    return {"open_uploads": int(upload.state == "init"), "used_size": size}


def check_announcement(wanted: UploadCreation) -> None:
    """Raise `InvalidRequest` for values out of bounds, independently of the box."""
    if not wanted.alias.strip() or len(wanted.alias) > MAX_ALIAS:
        raise InvalidRequest(f"An alias has 1 to {MAX_ALIAS} characters.", "body", "alias")
    if wanted.decrypted_size < 1:
        raise InvalidRequest("An empty file cannot be uploaded.", "body", "decrypted_size")
    if wanted.encrypted_size > S3_MAX_OBJECT_SIZE or wanted.decrypted_size > S3_MAX_OBJECT_SIZE:
        raise InvalidRequest(f"A file has at most {S3_MAX_OBJECT_SIZE} bytes encrypted.", "body", "encrypted_size")
    smallest = sealed_size(wanted.decrypted_size) + HEADER_SIZE
    if wanted.encrypted_size < smallest:
        raise InvalidRequest(
            f"{wanted.decrypted_size} bytes take at least {smallest} bytes encrypted, not {wanted.encrypted_size}.",
            "body",
            "encrypted_size",
        )
    if not S3_MIN_PART_SIZE <= wanted.part_size <= S3_MAX_PART_SIZE:
        raise InvalidRequest(
            f"A part has {S3_MIN_PART_SIZE} to {S3_MAX_PART_SIZE} bytes, not {wanted.part_size}.", "body", "part_size"
        )


def check_part_count(wanted: UploadCreation) -> None:
    """Raise `InvalidPartSize` if there are more parts than S3 allows."""
    if len(Parts(wanted.encrypted_size, wanted.part_size)) > S3_MAX_PARTS:
        raise InvalidPartSize(f"Parts of {wanted.part_size} bytes would be more than {S3_MAX_PARTS}.")


def check_digests(completion: UploadCompletion) -> None:
    """Raise `InvalidRequest` unless the digests of a completion have the form of digests."""
    fields = [
        ("decrypted_sha256", _SHA256, (completion.decrypted_sha256,)),
        ("encrypted_md5", _ETAG, (completion.encrypted_md5,)),
        ("encrypted_parts_md5", _MD5, completion.encrypted_parts_md5),
        ("encrypted_parts_sha256", _SHA256, completion.encrypted_parts_sha256),
    ]
    for name, form, values in fields:
        if len(values) > S3_MAX_PARTS:
            raise InvalidRequest(f"An upload has at most {S3_MAX_PARTS} parts.", "body", name)
        if not all(form.fullmatch(value.lower()) for value in values):
            raise InvalidRequest("Checksums are to be given in hexadecimal digits.", "body", name)


def check_completion(upload: FileUpload, completion: UploadCompletion, stored: ObjectStat) -> None:
    """Compare the stored object with the announcement and with the client's digests.

    Raises:
        UploadSizeMismatch: The object has another size than announced. The upload has failed.
        ChecksumMismatch: A digest differs. The upload has failed.
    """
    if stored.size != upload.encrypted_size:
        raise UploadSizeMismatch(
            f"{stored.size} bytes have arrived, {upload.encrypted_size} were announced.", file_id=upload.id
        )
    count = part_count(upload)
    md5s = [md5.lower() for md5 in completion.encrypted_parts_md5]
    if len(md5s) != count or len(completion.encrypted_parts_sha256) != count:
        raise ChecksumMismatch(f"The upload has {count} parts, so as many checksums are needed.", file_id=upload.id)
    # A storage may tell no ETag; interrogation compares the content itself.
    if stored.etag not in ("", completion.encrypted_md5.lower()):
        raise ChecksumMismatch("The stored object has another checksum than stated.", file_id=upload.id)
    if multipart_etag(md5s) != completion.encrypted_md5.lower():
        raise ChecksumMismatch("A part has another checksum than stated.", file_id=upload.id)


def check_room(box: Box, wanted: UploadCreation, replaced: FileUpload | None, max_open: int) -> None:
    """Check that a box has room for an upload, in the place of the one that it replaces.

    Raises:
        BoxMaxSizeExceeded: Its files would be larger than the box allows.
        TooManyOpenUploads: It has `max_open` open uploads.
    """
    freed = usage_of(replaced)
    open_uploads, used = box.open_uploads - freed["open_uploads"], box.used_size - freed["used_size"]
    if box.max_size is not None and used + wanted.decrypted_size > box.max_size:
        raise BoxMaxSizeExceeded(
            f"The file {wanted.alias!r} does not fit into the box: {used} of {box.max_size} bytes are taken.",
            box_id=box.id,
            max_size=box.max_size,
            current_size=used,
            file_alias=wanted.alias,
        )
    if open_uploads >= max_open:
        raise TooManyOpenUploads(
            f"The box holds {open_uploads} open uploads; finish or delete one of them first.",
            box_id=box.id,
            max_concurrent=max_open,
        )


def lost() -> S3UploadNotFound:
    """The error for an upload that the storage does not have."""
    return S3UploadNotFound("The storage no longer has this upload; start it again.")


def alias_taken(alias: str) -> FileUploadAlreadyExists:
    """The error for an alias that another upload of the box has."""
    return FileUploadAlreadyExists(f"The box holds an upload with the alias {alias!r} already.", alias=alias)


def wrong_state(upload: FileUpload) -> FileUploadStateError:
    """The error for an upload whose state does not allow a call."""
    return FileUploadStateError(
        f"The upload is {upload.state}, which does not allow this.", file_id=upload.id, state=upload.state
    )
