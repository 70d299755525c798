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
UNREGISTERED: tuple[UploadState, ...] = ("interrogated", "awaiting_archival")
"""States of an upload whose content is in the permanent bucket and that is not registered yet."""

JobKind = Literal["expire", "interrogate", "register", "stage", "unstage", "clean", "archive_box"]


@attrs.frozen
class Box:
    """A file upload box, and the research data upload box through which the user knows it.

    Attributes:
        max_size: Bytes of plaintext that it may hold; `None` for any number.
        version: Counts the changes of its state.
        used_size: Bytes of plaintext of its uploads that are neither failed nor cancelled.
        open_uploads: Its uploads in `init`. Both are changed in the transaction that changes an upload.
    """

    id: str
    rdub_id: str
    title: str
    storage_alias: str
    created: datetime
    state: BoxState = "open"
    max_size: int | None = None
    version: int = 1
    used_size: int = 0
    open_uploads: int = 0


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
        id: Also the name of the object in the inbox.
        upload_id: The multipart upload.
        parts_md5: The digests of all parts, of an upload that was closed before `PartDigests` had them.
        parts_sha256: The same.
        object_id: The name of the object in the permanent bucket, once the file was interrogated.
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
    object_id: str | None = None
    accession: str | None = None
    failure: str | None = None


@attrs.frozen
class PartDigests:
    """The client's digests of all parts of an upload, in concatenated hexadecimal digits.

    There may be 10,000, which is a megabyte: apart from the uploads, all of which are read for a listing.

    Attributes:
        id: That of the upload.
    """

    id: str
    md5: str
    sha256: str


@attrs.frozen
class RegisteredFile:
    """An archived file (an entry of the internal file registry).

    Attributes:
        object_id: The name of its object in the permanent bucket.
        encrypted_size: Bytes of the object in the permanent bucket, which has no Crypt4GH header.
        decrypted_sha256: Of the plaintext, lower case hex.
        staged_id: The name of its copy in the download bucket, while there is one.
        last_used: When that copy was last asked for, within a minute.
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
    staged_id: str | None = None
    last_used: datetime | None = None


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


@attrs.frozen
class Job:
    """What is to be done next about one file, or about one box (`archive_box`), and from when on.

    There is at most one for each, so nothing is ever done about a file twice at the same time. Times are those of the
    database.

    Attributes:
        id: Of the upload (also of the file that came of it), or of the box.
        hub: The alias of the storage that has its objects.
        due: From when on a worker may take it. While one has it, this is the end of its lease. `None` if the job was
            set aside after too many failures.
        token: Fencing token: increased whenever a worker takes the job, and when the job is taken from one. The first
            one is the time of the job's creation (milliseconds since the epoch), so that a file's tokens never recur.
        attempts: How often the job has failed, or its worker has died.
        worker: Who has it.
        reason: Why it failed last.
    """

    id: str
    kind: JobKind
    hub: str
    created: datetime
    due: datetime | None
    token: int
    attempts: int = 0
    worker: str | None = None
    reason: str | None = None

    @property
    def is_set_aside(self) -> bool:
        """Whether no worker takes it until it is scheduled again."""
        return self.due is None

    @property
    def attempt_id(self) -> str:
        """The name of the object that this attempt writes. Each attempt has its own, so that a late write of an
        earlier one harms nothing."""
        return f"{self.id}.{self.token}"

    @property
    def earlier_attempt_ids(self) -> list[str]:
        """The names of the objects that earlier attempts may have left."""
        first = int(self.created.timestamp() * 1000)
        return [f"{self.id}.{token}" for token in range(first + 1, self.token)]
