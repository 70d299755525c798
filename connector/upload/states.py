"""The states of an upload, derived from the records of its journal, and what follows from a refusal. Pure.

========== ==========================================================================================================
announced  the creation of an upload was requested; whether the archive created it is not known
created    the archive has created the upload and returned its id
sending    some of its parts are stored
received   all of them are stored; the request to close it, or its response, is missing
done       the archive has closed it: it is recorded as finished, and its journal is removed
========== ==========================================================================================================
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final
from uuid import UUID

import attrs

from connector.crypt4gh.keys import open_text, seal_text
from connector.crypt4gh.segments import file_size
from connector.errors import ConnectorError
from connector.local.journal import Journal
from connector.parts import PartDigests, Parts
from connector.transfer import AlreadyThere

KIND = "upload"
ANNOUNCED_KIND = "upload-announced"
"""Kind of the journal that is written before the creation of an upload is requested: if the response is lost, it tells
that the upload with this alias is our own."""


class Stage(Enum):
    """The stage of an upload."""

    ANNOUNCED = "announced"
    CREATED = "created"
    SENDING = "sending"
    RECEIVED = "received"
    DONE = "done"


@attrs.frozen
class StartedUpload:
    """An upload that the archive has created: all that is needed to resume it.

    Its secrets are the session key, and the seed of the nonces at part borders (32 bytes each).
    """

    file_id: UUID
    part_size: int
    header: bytes
    session_key: bytes = attrs.field(repr=False)
    nonce_seed: bytes = attrs.field(repr=False)


@attrs.frozen
class SentPart:
    """The digests of a part as it was sent, and `plain`: the sha256 (hex) of the plaintext from its beginning to the
    end of this part, which tells whether the source is still the same.
    """

    digests: PartDigests
    plain: str

    def facts(self) -> dict[str, str]:
        """The fields of its record in the journal."""
        return {"md5": self.digests.md5, "sha256": self.digests.sha256, "plain": self.plain}


@attrs.frozen
class UploadState:
    """The state of an upload by its journal.

    Attributes:
        started: `None` if the upload is only announced or cannot be resumed: its journal is damaged, encrypted for a
            different key or, with `changed`, about another content of the source.
        parts: The parts that are stored.
        sealed: The only part of a small file; recorded before it is sent, so whether it is stored is not known.
        changed: Whether the source has changed.
    """

    stage: Stage
    file_id: UUID | None = None
    started: StartedUpload | None = attrs.field(default=None, repr=False)
    parts: Mapping[int, SentPart] = attrs.field(factory=dict)
    sealed: SentPart | None = None
    changed: bool = False


@attrs.frozen
class UploadedFile:
    """A finished upload. `size` and `sha256` (lower case hex) are of the plaintext; `already_there`: what was compared
    if the file was in the box already; `sha256` is `None` if that was the size alone.
    """

    alias: str
    file_id: UUID
    size: int
    sha256: str | None
    already_there: AlreadyThere | None = None


def created(started: StartedUpload) -> UploadState:
    """The state of an upload that the archive has created."""
    return UploadState(Stage.CREATED, started.file_id, started)


def fold(journal: Journal, private_key: bytes) -> UploadState | None:
    """The state of the upload of a journal, `None` if it names none. Never raises."""
    head = journal.head
    if head.get("kind") == ANNOUNCED_KIND:
        return UploadState(Stage.ANNOUNCED)
    try:
        file_id = UUID(head["file_id"]) if head.get("kind") == KIND else None
    except (KeyError, TypeError, ValueError, AttributeError):
        file_id = None
    if file_id is None:
        return None
    try:
        started = _read_started(head, file_id, private_key)
        parts = {number: _read_part(facts) for number, facts in journal.parts.items()}
        sealed = None if head.get("sealed") is None else _read_part(head["sealed"])
        total = len(Parts(file_size(int(head["size"])), started.part_size))
    except (ConnectorError, KeyError, TypeError, ValueError, AttributeError, ArithmeticError):
        return UploadState(Stage.CREATED, file_id)  # damaged, or encrypted for a different key of ours
    stored = {number: part for number, part in parts.items() if number <= total}
    if not stored and sealed is None:
        return UploadState(Stage.CREATED, file_id, started)
    stage = Stage.RECEIVED if len(stored) == total else Stage.SENDING
    return UploadState(stage, file_id, started, stored, sealed)


def head_facts(started: StartedUpload, public_key: bytes, sealed: SentPart | None) -> dict[str, Any]:
    """The fields of a journal's head for an upload that the archive has created: the reverse of `fold`."""
    secrets = {"session_key": _encode(started.session_key), "nonce_seed": _encode(started.nonce_seed)}
    facts: dict[str, Any] = {
        "file_id": str(started.file_id),
        "part_size": started.part_size,
        "envelope": _encode(started.header),
        "secrets": seal_text(json.dumps(secrets), public_key),
    }
    return facts if sealed is None else {**facts, "sealed": sealed.facts()}


def _read_started(head: Mapping[str, Any], file_id: UUID, private_key: bytes) -> StartedUpload:
    secrets = json.loads(open_text(head["secrets"], private_key))
    return StartedUpload(
        file_id,
        int(head["part_size"]),
        base64.b64decode(head["envelope"]),
        base64.b64decode(secrets["session_key"]),
        base64.b64decode(secrets["nonce_seed"]),
    )


def _read_part(facts: Mapping[str, Any]) -> SentPart:
    md5, sha256, plain = (facts[name] for name in ("md5", "sha256", "plain"))
    if not (isinstance(md5, str) and isinstance(sha256, str) and isinstance(plain, str)):
        raise TypeError("digests expected")
    return SentPart(PartDigests(md5, sha256), plain)


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


@attrs.frozen
class Step:
    """What follows from a refusal.

    `restart`: the upload is deleted in the archive and restarted in the same run, once for each cause, which it names.
    """

    name: str
    restart: str = ""


FAIL: Final = Step("fail")
"""The file fails. What is stored stays, and the next run resumes it."""
FORGET: Final = Step("forget")
"""The file fails, and the archive holds nothing of it."""
INSPECT_BOX: Final = Step("inspect box")
"""The upload in the box with this alias decides: see `connector.upload.existing`."""
CLOSE: Final = Step("close")
"""The archive may have received all of it: the response to closing it decides."""
RESTART_LOST: Final = Step("restart", "lost")
"""The archive or its storage no longer has the upload, or has aborted it."""
RESTART_INCOMPLETE: Final = Step("restart", "incomplete")
"""The storage cannot assemble the object from the parts that it has."""
RESTART_DAMAGED: Final = Step("restart", "damaged")
"""The archive has received other bytes than were sent."""

_OTHERWISE: Final[Mapping[Stage, Step]] = {Stage.ANNOUNCED: FORGET, Stage.SENDING: FAIL, Stage.RECEIVED: FAIL}

TABLE: Final[Mapping[tuple[Stage, str], Step]] = {
    # Creating an upload. After any other refusal the archive holds nothing of it.
    (Stage.ANNOUNCED, "fileUploadAlreadyExists"): INSPECT_BOX,
    # Requesting the URL of a part, or putting it ("NoSuchUpload" is S3's own error code).
    (Stage.SENDING, "fileUploadNotFound"): RESTART_LOST,
    (Stage.SENDING, "s3UploadNotFound"): RESTART_LOST,
    (Stage.SENDING, "NoSuchUpload"): RESTART_LOST,
    (Stage.SENDING, "fileUploadStateError"): RESTART_LOST,
    # Closing it.
    (Stage.RECEIVED, "fileUploadNotFound"): RESTART_LOST,
    (Stage.RECEIVED, "s3UploadNotFound"): RESTART_LOST,
    (Stage.RECEIVED, "fileUploadStateError"): RESTART_LOST,
    (Stage.RECEIVED, "uploadCompletionError"): RESTART_INCOMPLETE,
    (Stage.RECEIVED, "checksumMismatch"): RESTART_DAMAGED,
    (Stage.RECEIVED, "uploadSizeMismatch"): RESTART_DAMAGED,
    (Stage.RECEIVED, "invalidPartSize"): RESTART_DAMAGED,
}


def after(stage: Stage, exception_id: str, *, unacknowledged: bool = False, sealed: bool = False) -> Step:
    """What follows when the archive refuses the request of `stage` with `exception_id`.

    Args:
        stage: The present stage of the upload.
        exception_id: The archive's id of the refusal.
        unacknowledged: The response to an earlier announcement was lost, so that our own upload may be the reason.
        sealed: An earlier run may have sent the only part and closed the upload, which then accepts no part.
    """
    step = TABLE.get((stage, exception_id), _OTHERWISE[stage])
    if step is FORGET and unacknowledged:
        return INSPECT_BOX
    if step is RESTART_LOST and stage is Stage.SENDING and sealed:
        return CLOSE
    return step
