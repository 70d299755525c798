"""Uploads as they are listed: all of a box, and those that an earlier run left unfinished.

The latter are known by their journals, which takes no key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import attrs

from connector.errors import LocalError
from connector.local.disk import local_failures
from connector.local.journal import load_all
from connector.local.lock_file import LockFile
from connector.upload.journals import SUFFIX, lock_path
from connector.upload.states import ANNOUNCED_KIND, KIND
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


@attrs.frozen
class UnfinishedUpload:
    """An upload that is open in the archive. `size`: bytes of the file; `done`: those that are stored."""

    alias: str
    path: Path
    box: UUID
    file_id: UUID
    size: int
    done: int
    journal: Path

    def lock(self) -> LockFile:
        """Lock it; `LocalError` if another process works on it. Blocks."""
        return LockFile.take(lock_path(self.journal), self.alias)

    def listed(self) -> ListedFile:
        """The upload as a `ListedFile` of unknown state."""
        return ListedFile.of_upload(FileUpload(self.file_id, self.alias, UNKNOWN, self.size))

    def forget(self) -> None:
        """Remove the journal. Blocks."""
        with local_failures("remove", self.journal):
            self.journal.unlink(missing_ok=True)


@attrs.frozen
class AnnouncedUpload:
    """An upload whose creation was requested by a run that ended before the response."""

    alias: str
    size: int


def unfinished_uploads(
    folder: Path, on_unreadable: Callable[[LocalError], None] | None = None
) -> list[UnfinishedUpload]:
    """The unfinished uploads whose journals are in `folder`, by alias. Blocks.

    A journal that cannot be read is left out if `on_unreadable` takes its error, which is raised otherwise.
    """
    found = []
    for path, journal in load_all(folder, SUFFIX, {KIND}, on_unreadable):
        try:
            found.append(_read(journal.head, len(journal.parts), path))
        except (KeyError, TypeError, ValueError, AttributeError):
            continue  # of another version, or damaged: it cannot be resumed
    return sorted(found, key=lambda upload: upload.alias)


def announced_uploads(folder: Path, on_unreadable: Callable[[LocalError], None] | None = None) -> list[AnnouncedUpload]:
    """The uploads in `folder` of which only the announcement was recorded, as `unfinished_uploads` finds them."""
    found = []
    for _, journal in load_all(folder, SUFFIX, {ANNOUNCED_KIND}, on_unreadable):
        head = journal.head
        try:
            found.append(AnnouncedUpload(alias=str(head["alias"]), size=int(head["size"])))
        except (KeyError, TypeError, ValueError, AttributeError):
            continue
    return found


def _read(head: Mapping[str, Any], parts: int, path: Path) -> UnfinishedUpload:
    return UnfinishedUpload(
        alias=str(head["alias"]),
        path=Path(head["path"]),
        box=UUID(head["box"]),
        file_id=UUID(head["file_id"]),
        size=int(head["size"]),
        done=min(int(head["size"]), parts * int(head["part_size"])),
        journal=path,
    )
