"""Uploads that an earlier run has left unfinished, as their journals tell. No key is needed to read that much."""

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
    """An upload that the archive still waits for. `size`: bytes of the file; `done`: those that are stored."""

    alias: str
    path: Path
    box: UUID
    file_id: UUID
    size: int
    done: int
    journal: Path

    def claim(self) -> LockFile:
        """Keep other processes off it; `LocalError` if one works on it. Blocks."""
        return LockFile.take(lock_path(self.journal), self.alias)

    def listed(self) -> ListedFile:
        """It as an upload of its box, in a state that is not known here."""
        return ListedFile.of_upload(FileUpload(self.file_id, self.alias, UNKNOWN, self.size))

    def forget(self) -> None:
        """Remove the journal. Blocks."""
        with local_failures("remove", self.journal):
            self.journal.unlink(missing_ok=True)


@attrs.frozen
class AnnouncedUpload:
    """An upload that the archive was asked to create, by a run that ended before it could note more of it."""

    alias: str
    size: int


def unfinished_uploads(folder: Path) -> list[UnfinishedUpload]:
    """The unfinished uploads whose journals are in `folder`, by alias. Blocks."""
    found = []
    for path, journal in _journals(folder, KIND):
        try:
            found.append(_read(journal.head, len(journal.parts), path))
        except (KeyError, TypeError, ValueError, AttributeError):
            continue  # of another version, or tampered with: nothing that could be gone on with
    return sorted(found, key=lambda upload: upload.alias)


def announced_uploads(folder: Path) -> list[AnnouncedUpload]:
    """The uploads in `folder` of which no more is known than that they were announced. Blocks."""
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
