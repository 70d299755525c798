"""Which answer of the archive leads where: the one table of the upload. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from connector.upload.states import Stage


@attrs.frozen
class Step:
    """What follows from a refusal.

    ``restart``: the upload is deleted in the archive, and the same run starts again; the word names the cause, and
    each cause does so once in a run.
    """

    name: str
    restart: str = ""


FAIL: Final = Step("fail")
"""The file fails. What is stored stays, and the next run resumes it."""
FORGET: Final = Step("forget")
"""The file fails, and the archive holds nothing of it."""
LOOK: Final = Step("look")
"""What stands in the box under the alias decides: see :mod:`connector.upload.existing`."""
CLOSE: Final = Step("close")
"""The archive may have received all of it: closing it tells."""
RESTART_LOST: Final = Step("restart", "lost")
"""The archive or its storage no longer has the upload, or has given it up."""
RESTART_INCOMPLETE: Final = Step("restart", "incomplete")
"""The storage cannot make an object of the parts that it has."""
RESTART_DAMAGED: Final = Step("restart", "damaged")
"""The archive has received something else than was sent."""

_OTHERWISE: Final[Mapping[Stage, Step]] = {Stage.ANNOUNCED: FORGET, Stage.SENDING: FAIL, Stage.RECEIVED: FAIL}

TABLE: Final[Mapping[tuple[Stage, str], Step]] = {
    # Asked to create an upload. Everything else that it refuses it does not hold.
    (Stage.ANNOUNCED, "fileUploadAlreadyExists"): LOOK,
    # Asked for the URL of a part, or the storage for room for it ("NoSuchUpload" is S3's own word).
    (Stage.SENDING, "fileUploadNotFound"): RESTART_LOST,
    (Stage.SENDING, "s3UploadNotFound"): RESTART_LOST,
    (Stage.SENDING, "NoSuchUpload"): RESTART_LOST,
    (Stage.SENDING, "fileUploadStateError"): RESTART_LOST,
    # Asked to close it.
    (Stage.RECEIVED, "fileUploadNotFound"): RESTART_LOST,
    (Stage.RECEIVED, "s3UploadNotFound"): RESTART_LOST,
    (Stage.RECEIVED, "fileUploadStateError"): RESTART_LOST,
    (Stage.RECEIVED, "uploadCompletionError"): RESTART_INCOMPLETE,
    (Stage.RECEIVED, "checksumMismatch"): RESTART_DAMAGED,
    (Stage.RECEIVED, "uploadSizeMismatch"): RESTART_DAMAGED,
    (Stage.RECEIVED, "invalidPartSize"): RESTART_DAMAGED,
}


def after(stage: Stage, exception_id: str, *, unacknowledged: bool = False, sealed: bool = False) -> Step:
    """What follows when the archive refuses, with ``exception_id``, what ``stage`` asks of it.

    ``unacknowledged``: an earlier announcement may have been granted and its answer lost, so that our own upload may be
    the reason for any refusal now. ``sealed``: an earlier run may have sent the one part of a small file and closed the
    upload, which then takes no more parts either.
    """
    step = TABLE.get((stage, exception_id), _OTHERWISE[stage])
    if step is FORGET and unacknowledged:
        return LOOK
    if step is RESTART_LOST and stage is Stage.SENDING and sealed:
        return CLOSE
    return step
