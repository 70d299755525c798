"""Uploads that an earlier run left unfinished, by their journals. This takes no key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs

from connector.local.failures import local_failures
from connector.local.journal import Journal, load
from connector.local.lock_file import LockFile
from connector.upload.journals import SUFFIX, lock_path
from connector.upload.listing import UNKNOWN, ListedFile
from connector.upload.states import ANNOUNCED_KIND, KIND
from connector.wire.payloads import FileUpload


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


def unfinished_uploads(folder: Path) -> list[UnfinishedUpload]:
    """The unfinished uploads whose journals are in `folder`, by alias. Blocks."""
    found = []
    for path, journal in _journals(folder, KIND):
        try:
            found.append(_read(journal.head, len(journal.parts), path))
        except (KeyError, TypeError, ValueError, AttributeError):
            continue  # of another version, or damaged: it cannot be resumed
    return sorted(found, key=lambda upload: upload.alias)


def announced_uploads(folder: Path) -> list[AnnouncedUpload]:
    """The uploads in `folder` of which only the announcement was recorded. Blocks."""
    found = []
    for _, journal in _journals(folder, ANNOUNCED_KIND):
        head = journal.head
        try:
            found.append(AnnouncedUpload(alias=str(head["alias"]), size=int(head["size"])))
        except (KeyError, TypeError, ValueError, AttributeError):
            continue
    return found


def _journals(folder: Path, kind: str) -> Iterator[tuple[Path, Journal]]:
    with local_failures("read", folder):
        paths = sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else []
    for path in paths:
        journal = load(path)
        if journal is not None and journal.head.get("kind") == kind:
            yield path, journal


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
