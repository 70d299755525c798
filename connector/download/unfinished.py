"""Downloads that an earlier run has left unfinished in a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from connector.errors import LocalError
from connector.local.disk import local_failures
from connector.local.journal import load_all
from connector.local.lock_file import LockFile
from connector.local.lock_owner import boot_id
from connector.local.targets import lock_path, working_paths

_JOURNAL = ".part.journal"
_KINDS = ("download", "download-decrypted", "download-unverified")
"""Kinds of journals; the last one is of older versions."""


@attrs.frozen
class UnfinishedDownload:
    """A partial file with its journal. `size` and `done`: encrypted bytes in total, and those that are done."""

    accession: str
    target: Path
    size: int
    done: int

    def discard(self) -> None:
        """Remove the partial file and its journal; `LocalError` while a process works on it. Blocks."""
        lock_file = LockFile.take(lock_path(self.target), self.target)
        try:
            for path in working_paths(self.target):
                with local_failures("remove", path):
                    path.unlink(missing_ok=True)
        finally:
            lock_file.release()


def unfinished_downloads(
    folder: Path, on_unreadable: Callable[[LocalError], None] | None = None
) -> list[UnfinishedDownload]:
    """The unfinished downloads in `folder`, by name. Blocks.

    A journal that cannot be read, as that of another user in a shared folder, is left out if `on_unreadable` takes its
    error, which is raised otherwise.
    """
    found = []
    for path, journal in load_all(folder, _JOURNAL, _KINDS, on_unreadable):
        target = path.with_name(path.name.removesuffix(_JOURNAL))
        if target.exists() and not working_paths(target)[0].exists():
            continue  # finished, and killed before it could remove the journal
        found.append(_read(journal.head, len(journal.parts) + len(journal.unsynced(boot_id())), target))
    return found


def _read(head: Mapping[str, Any], parts: int, target: Path) -> UnfinishedDownload:
    size, part_size = head.get("size"), head.get("part_size")
    size = size if isinstance(size, int) else 0
    done = min(size, parts * part_size) if isinstance(part_size, int) else 0
    return UnfinishedDownload(str(head.get("accession", target.name)), target, size, done)
