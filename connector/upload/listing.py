"""What became of the files of a work package, as `connector ls` shows it."""

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
    """One file of a work package. What the archive does not say is `None`.

    `name`: alias of an upload, accession of a download; `file_name`: what `connector download` will call it, the
    alias for an upload; `size`: of the plaintext in bytes; `state_updated`: since when it is in its state.
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
        """Seconds for which it has been in its state; `None` where the archive states no date that can be read."""
        try:
            since = datetime.fromisoformat(self.state_updated or "")
        except ValueError:
            return None
        if since.tzinfo is None:
            since = since.replace(tzinfo=UTC)
        return max(0.0, (now - since).total_seconds())
