"""Uploads that an earlier run has left unfinished, as their journals tell. No key is needed to read that much."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs

from connector.local.claim import Claim
from connector.local.failures import local_failures
from connector.local.journal_file import load
from connector.upload.resumption import KIND, SUFFIX, claim_path


@attrs.frozen
class UnfinishedUpload:
    """An upload that the archive still waits for. ``size``: bytes of the file; ``done``: those that are stored."""

    alias: str
    path: Path
    box: UUID
    file_id: UUID
    size: int
    done: int
    journal: Path

    def claim(self) -> Claim:
        """Keep other processes off it; :class:`~connector.errors.LocalError` if one works on it. Blocks."""
        return Claim.take(claim_path(self.journal))

    def forget(self) -> None:
        """Remove the journal. Blocks."""
        with local_failures("remove", self.journal):
            self.journal.unlink(missing_ok=True)


def unfinished_uploads(folder: Path) -> list[UnfinishedUpload]:
    """The unfinished uploads whose journals are in ``folder``, by alias. Blocks."""
    with local_failures("read", folder):
        paths = sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else []
    found = []
    for path in paths:
        journal = load(path)
        if journal is None or journal.head.get("kind") != KIND:
            continue
        try:
            found.append(_read(journal.head, len(journal.parts), path))
        except (KeyError, TypeError, ValueError, AttributeError):
            continue  # of another version, or tampered with: nothing that could be gone on with
    return sorted(found, key=lambda upload: upload.alias)


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
