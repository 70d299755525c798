"""What a listed file says of itself, and of what the archive leaves open."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from connector.upload.listing import ListedFile
from connector.wire.payloads import FileUpload

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)


def test_an_upload_is_called_by_its_alias() -> None:
    listed = ListedFile.of_upload(FileUpload(UUID(int=7), "a.bin", "failed", 5, 161, "2026-11-27T11:00:00Z", "no"))
    assert (listed.kind, listed.name, listed.file_name, listed.file_id) == ("upload", "a.bin", "a.bin", UUID(int=7))
    assert (listed.size, listed.encrypted_size, listed.state, listed.failure_reason) == (5, 161, "failed", "no")


@pytest.mark.parametrize(
    ("since", "age"),
    [
        ("2026-11-27T11:00:00+00:00", 3600),
        ("2026-11-27T11:00:00Z", 3600),
        ("2026-11-27T13:00:00+02:00", 3600),
        ("2026-11-27T11:00:00", 3600),
        ("2026-11-27T12:00:30Z", 0),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
def test_its_age_is_that_of_its_state_as_far_as_it_is_known(since: str | None, age: int | None) -> None:
    assert ListedFile("upload", "a", state_updated=since).age(NOW) == age
