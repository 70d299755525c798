"""The one table of which answer of the archive leads where, row by row."""

from __future__ import annotations

import pytest

from connector.upload.states import (
    CLOSE,
    FAIL,
    FORGET,
    INSPECT_BOX,
    RESTART_DAMAGED,
    RESTART_INCOMPLETE,
    RESTART_LOST,
    TABLE,
    Stage,
    after,
)

ANNOUNCED, SENDING, RECEIVED = Stage.ANNOUNCED, Stage.SENDING, Stage.RECEIVED
IDS = [
    "",
    "noSuchStorage",
    "checksumMismatch",
    "invalidPartSize",
    "uploadSizeMismatch",
    "boxNotFound",
    "fileUploadNotFound",
    "s3UploadNotFound",
    "NoSuchUpload",
    "boxStateError",
    "fileUploadAlreadyExists",
    "fileUploadStateError",
    "orphanedMultipartUpload",
    "boxVersionOutdated",
    "tooManyOpenUploads",
    "boxMaxSizeExceeded",
    "uploadCompletionError",
    "uploadAbortError",
    "internalError",
    "somethingNew",
]
ROWS = {
    (ANNOUNCED, "fileUploadAlreadyExists"): INSPECT_BOX,
    (SENDING, "fileUploadNotFound"): RESTART_LOST,
    (SENDING, "s3UploadNotFound"): RESTART_LOST,
    (SENDING, "NoSuchUpload"): RESTART_LOST,
    (SENDING, "fileUploadStateError"): RESTART_LOST,
    (RECEIVED, "fileUploadNotFound"): RESTART_LOST,
    (RECEIVED, "s3UploadNotFound"): RESTART_LOST,
    (RECEIVED, "fileUploadStateError"): RESTART_LOST,
    (RECEIVED, "uploadCompletionError"): RESTART_INCOMPLETE,
    (RECEIVED, "checksumMismatch"): RESTART_DAMAGED,
    (RECEIVED, "uploadSizeMismatch"): RESTART_DAMAGED,
    (RECEIVED, "invalidPartSize"): RESTART_DAMAGED,
}
DEFAULTS = {ANNOUNCED: FORGET, SENDING: FAIL, RECEIVED: FAIL}


@pytest.mark.parametrize("exception_id", IDS)
@pytest.mark.parametrize("stage", DEFAULTS)
def test_each_answer_leads_somewhere(stage: Stage, exception_id: str) -> None:
    assert after(stage, exception_id) is ROWS.get((stage, exception_id), DEFAULTS[stage])


def test_the_table_has_no_other_rows() -> None:
    assert TABLE.keys() == ROWS.keys()


@pytest.mark.parametrize("exception_id", IDS)
def test_while_an_announcement_may_have_been_granted_the_box_is_looked_into(exception_id: str) -> None:
    assert after(ANNOUNCED, exception_id, unacknowledged=True) is INSPECT_BOX


@pytest.mark.parametrize("exception_id", IDS)
def test_what_may_have_been_closed_is_closed_again_where_it_takes_no_more_parts(exception_id: str) -> None:
    plain = after(SENDING, exception_id)
    assert after(SENDING, exception_id, sealed=True) is (CLOSE if plain is RESTART_LOST else plain)


def test_each_restart_has_a_cause_and_nothing_else_has() -> None:
    for step in (RESTART_LOST, RESTART_INCOMPLETE, RESTART_DAMAGED):
        assert step.restart
    for step in (FAIL, FORGET, INSPECT_BOX, CLOSE):
        assert not step.restart
