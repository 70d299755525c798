"""The files of a work package and their states, as `connector ls` shows them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

import attrs

from connector.wire.payloads import FileUpload

UNKNOWN = "unknown"
"""State of an upload of which only the id is known, since the archive refuses to list the box."""


@attrs.frozen
class ListedFile:
    """One file of a work package. What the archive does not state is `None`.

    Attributes:
        name: Alias of an upload, accession of a download.
        file_name: The name that `connector download` will give it; the alias for an upload.
        size: Of the plaintext in bytes.
        state_updated: The time of its last change of state.
    """

    kind: Literal["upload", "download"]
    name: str
    file_name: str | None = None
    file_id: UUID | None = None
    size: int | None = None
    encrypted_size: int | None = None
    state: str | None = None
    state_updated: str | None = None
    failure_reason: str | None = None

    @classmethod
    def of_upload(cls, upload: FileUpload) -> ListedFile:
        """A file upload as its box lists it."""
        return cls(
            kind="upload",
            name=upload.alias,
            file_name=upload.alias,
            file_id=upload.id,
            size=upload.decrypted_size,
            encrypted_size=upload.encrypted_size,
            state=upload.state,
            state_updated=upload.state_updated,
            failure_reason=upload.failure_reason,
        )

    def age(self, now: datetime) -> float | None:
        """Seconds since its last change of state; `None` without a valid date."""
        try:
            since = datetime.fromisoformat(self.state_updated or "")
        except ValueError:
            return None
        if since.tzinfo is None:
            since = since.replace(tzinfo=UTC)
        return max(0.0, (now - since).total_seconds())
