"""The documents of the embedded archive. All ids are strings, all times aware datetimes in UTC, all sizes bytes."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import attrs

KeyKind = Literal["master", "signing", "hub", "url"]
BoxState = Literal["open", "locked", "archived"]
UploadState = Literal["init", "inbox", "interrogated", "awaiting_archival", "archived", "failed", "cancelled"]

REPLACEABLE: tuple[UploadState, ...] = ("failed", "cancelled")
"""States of an upload whose alias a new one may take."""
OVERWRITABLE: tuple[UploadState, ...] = ("init", "inbox")
"""States of an upload that a new one of the same alias may overwrite."""
RECEIVED: tuple[UploadState, ...] = ("inbox", "interrogated", "awaiting_archival", "archived")
"""States after a successful close."""
UNFINISHED: tuple[UploadState, ...] = ("inbox", "interrogated", "awaiting_archival")
"""States of an upload that is to be interrogated or registered."""


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
    """A grant to one user.

    Attributes:
        user_public_crypt4gh_key: Base64 of the 32 byte key.
        token_hash: The sha256 (hex) of the access token, which itself is never stored.
        files: File name extensions by accession.
        last_used: When its access token was accepted last, to a minute or so.
        revoked: When a steward has ended it.
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
    last_used: datetime | None = None
    revoked: datetime | None = None


@attrs.frozen
class FileUpload:
    """One file that is uploaded into a box.

    The digests are the client's; they are compared with the content when the upload is closed and interrogated.

    Attributes:
        id: Also the name of the object in the inbox and permanent buckets.
        upload_id: The multipart upload.
        parts_md5: The digests of all parts, in concatenated hexadecimal digits (there may be 10,000).
        parts_sha256: The same.
        failure: Why the upload failed.
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
    """An archived file (an entry of the internal file registry).

    Attributes:
        object_id: The name of its object in every bucket.
        encrypted_size: Bytes of the object in the permanent bucket, which has no Crypt4GH header.
        decrypted_sha256: Of the plaintext, lower case hex.
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
    """A file secret (Crypt4GH session key), sealed under a master key.

    Attributes:
        key_id: The master key.
        sealed: Base64 of nonce and ciphertext.
    """

    id: str
    key_id: str
    sealed: str


@attrs.frozen
class ArchiveKey:
    """A key of the archive; the newest of its kind (and hub) is the current one.

    Attributes:
        id: Made of the key, or of its public part.
        kind: What it is for: to sign work order tokens or presigned URLs, a hub's Crypt4GH key, or to seal the others.
        created: When it became current, by the database's clock.
        master_id: The master key that it is sealed under; of a master key itself.
        sealed: Base64 of nonce and ciphertext of its private part; of a master key, which is not stored, of nothing.
        hub: The storage alias of a hub's key, otherwise empty.
    """

    id: str
    kind: KeyKind
    created: datetime
    master_id: str
    sealed: str
    hub: str = ""


@attrs.frozen
class Counter:
    """The last number of one sequence."""

    id: str
    value: int
