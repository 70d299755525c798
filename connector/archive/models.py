"""The documents of the embedded archive. All ids are strings, all times aware datetimes in UTC, all sizes bytes."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import attrs

BoxState = Literal["open", "locked", "archived"]
UploadState = Literal["init", "inbox", "interrogated", "awaiting_archival", "archived", "failed", "cancelled"]

REPLACEABLE: tuple[UploadState, ...] = ("failed", "cancelled")
"""An upload in one of these states does not stand in the way of another one under its alias."""
OVERWRITABLE: tuple[UploadState, ...] = ("init", "inbox")
"""An upload in one of these states gives way when the client asks to overwrite it."""
RECEIVED: tuple[UploadState, ...] = ("inbox", "interrogated", "awaiting_archival", "archived")
"""States after a successful close."""
UNFINISHED: tuple[UploadState, ...] = ("inbox", "interrogated", "awaiting_archival")
"""States in which the interrogation has work to do."""


@attrs.frozen
class Box:
    """A file upload box, and the research data upload box through which the user knows it."""

    id: str
    rdub_id: str
    title: str
    storage_alias: str
    created: datetime
    state: BoxState = "open"
    max_size: int | None = None
    version: int = 1


@attrs.frozen
class WorkPackage:
    """What a user was granted. ``token_hash``: sha256 (hex) of the access token, which itself is never stored.

    ``user_public_crypt4gh_key`` is base64 of the 32 byte key. ``files`` maps accessions to file name extensions.
    """

    id: str
    type: Literal["download", "upload"]
    user_public_crypt4gh_key: str
    token_hash: str
    created: datetime
    expires: datetime
    files: dict[str, str] | None = None
    rdub_id: str | None = None
    box_id: str | None = None


@attrs.frozen
class FileUpload:
    """One file on its way into a box. Its object in the inbox bucket is named after ``id``.

    ``upload_id`` names the multipart upload. The digests are the client's, checked when the upload is closed.
    ``parts_md5`` and ``parts_sha256``: those of all parts, in hexadecimal digits one after the other (there may be
    10,000 of each). ``failure`` says why the upload failed.
    """

    id: str
    box_id: str
    alias: str
    state: UploadState
    storage_alias: str
    upload_id: str
    decrypted_size: int
    encrypted_size: int
    part_size: int
    created: datetime
    state_updated: datetime
    completed: datetime | None = None
    decrypted_sha256: str | None = None
    encrypted_md5: str | None = None
    parts_md5: str | None = None
    parts_sha256: str | None = None
    secret_id: str | None = None
    accession: str | None = None
    failure: str | None = None


@attrs.frozen
class RegisteredFile:
    """A file that the archive has taken in for good (an entry of the internal file registry).

    ``encrypted_size``: of the object in the permanent bucket, without envelope; the object is named ``object_id`` in
    every bucket. ``decrypted_sha256`` is of the plaintext, lower case hex.
    """

    accession: str
    file_id: str
    box_id: str
    alias: str
    storage_alias: str
    object_id: str
    secret_id: str
    decrypted_size: int
    encrypted_size: int
    decrypted_sha256: str
    registered: datetime


@attrs.frozen
class StoredSecret:
    """A file secret (Crypt4GH session key), sealed under the key store's own key; base64 of nonce and ciphertext."""

    id: str
    sealed: str


@attrs.frozen
class Counter:
    """The last number given out of one sequence."""

    id: str
    value: int
