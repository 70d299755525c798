"""A journal on disk: records are added behind each other, and each is on the disk before anybody relies on it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from connector.core.journal import Journal, encode_head, encode_part, read_journal
from connector.local.failures import local_failures
from connector.local.positional import sync

_MAX_JOURNAL = 64 * 1024**2


class JournalFile:
    """Adds records to one journal. Readable by its owner alone. Methods block: call them in threads."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    @classmethod
    def begin(cls, path: Path, kind: str, facts: Mapping[str, Any]) -> JournalFile:
        """Start a new journal at ``path``, in place of an old one."""
        with local_failures("write", path):
            path.unlink(missing_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
            journal = cls(path, descriptor)
            try:
                journal._append(encode_head(kind, facts))
            except BaseException:
                journal.remove()
                raise
        return journal

    @classmethod
    def resume(cls, path: Path, journal: Journal) -> JournalFile:
        """Go on with a journal that :func:`load` read; what could not be believed is cut off."""
        with local_failures("write", path):
            descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_BINARY", 0))
            try:
                os.ftruncate(descriptor, journal.length)
                os.lseek(descriptor, 0, os.SEEK_END)
            except BaseException:
                os.close(descriptor)
                raise
        return cls(path, descriptor)

    def add_parts(self, parts: Mapping[int, Mapping[str, Any]]) -> None:
        """Record finished parts; when this returns the records are on the disk."""
        with local_failures("write", self.path):
            self._append(b"".join(encode_part(number, facts) for number, facts in parts.items()))

    def close(self) -> None:
        """Close the file; the journal stays."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def remove(self) -> None:
        """Close and delete the journal: the transfer is complete or given up."""
        self.close()
        with local_failures("remove", self.path):
            self.path.unlink(missing_ok=True)

    def _append(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        sync(self._descriptor)


def load(path: Path) -> Journal | None:
    """The journal at ``path`` as far as it can be believed, ``None`` if there is none."""
    with local_failures("read", path):
        try:
            with path.open("rb") as file:
                return read_journal(file.read(_MAX_JOURNAL))
        except FileNotFoundError:
            return None
