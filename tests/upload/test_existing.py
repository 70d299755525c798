"""What stands in the box: whether it is the file, and what is said where it is not."""

from __future__ import annotations

from uuid import UUID

import pytest

from connector.local.files import SourceState
from connector.local.state_folder import FinishedFile
from connector.upload.existing import alias_taken, compare
from connector.wire.payloads import FileUpload

SIZE, MTIME = 1000, 5
STATE = SourceState(SIZE, MTIME, 1, 2)
OURS, OTHERS = UUID(int=1), UUID(int=2)


def listed(state: str = "inbox", *, id: UUID = OURS, size: int | None = SIZE) -> FileUpload:
    return FileUpload(id, "x", state, size)


def record(*, size: int = SIZE, mtime: int = MTIME, id: UUID = OURS) -> FinishedFile:
    return FinishedFile(size, mtime, "a" * 64, str(id))


@pytest.mark.parametrize(
    ("in_box", "noted", "compared"),
    [
        (listed(), None, "size"),
        (listed("interrogated"), None, "size"),
        (listed("awaiting_archival"), None, "size"),
        (listed("archived"), record(), "record"),
        (listed(), record(mtime=6), "sha256"),
        (listed(), record(id=OTHERS), "size"),
        (listed(), record(size=999), None),
        (listed(size=999), None, None),
        (listed(size=None), None, None),
        (listed("init"), record(), None),
        (listed("failed"), record(), None),
        (listed("cancelled"), None, None),
        (None, record(), "record"),
        (None, record(mtime=6), "sha256"),
        (None, record(size=999), None),
        (None, None, None),
    ],
)
def test_what_shows_that_it_is_the_file(
    in_box: FileUpload | None, noted: FinishedFile | None, compared: str | None
) -> None:
    assert compare(in_box, STATE, noted) == compared


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("in_box", [None, *map(listed, ("init", "inbox", "interrogated", "archived"))])
def test_what_is_said_of_another_helps(in_box: FileUpload | None, overwrite: bool) -> None:
    error = alias_taken("x y", SIZE, in_box, overwrite=overwrite)
    assert (error.exit_code, error.exception_id) == (4, "fileUploadAlreadyExists")
    can_be_replaced = in_box is None or in_box.state == "inbox"
    assert ("--overwrite" in error.hint) is (can_be_replaced and not overwrite)
    assert error.hint.startswith(
        "Finish it" if in_box is not None and in_box.state == "init" else "Choose another --alias"
    )
    if in_box is not None:
        command = "discard --in-box" if in_box.state == "init" else "rm"
        assert error.hint.endswith(f"connector {command} 'x y'")


def test_the_difference_is_told() -> None:
    assert "999 bytes, not 1000" in alias_taken("x", SIZE, listed(size=999), overwrite=False).message
    assert "other content" in alias_taken("x", SIZE, listed(), overwrite=False).message


def test_the_command_of_the_hint_takes_an_alias_that_looks_like_an_option() -> None:
    assert alias_taken("-x", SIZE, listed(size=999), overwrite=False).hint.endswith("connector rm -- -x")
