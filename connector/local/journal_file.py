"""A journal on disk: records are added behind each other, and each is on the disk before anybody relies on it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from connector.local.failures import local_failures
from connector.local.journal import Journal, encode_head, encode_part, encode_written, read_journal
from connector.local.positional import sync

MAX_JOURNAL = 64 * 1024**2
"""Bytes that are read of one."""


class JournalFile:
    """Adds records to one journal. Readable by its owner alone. Methods block: call them in threads, one at a time.

    Without ``lasting`` nothing is synced: right for a journal that need only outlive its process.
    """

    def __init__(self, path: Path, descriptor: int, *, lasting: bool = True) -> None:
        self.path = path
        self._descriptor = descriptor
        self._lasting = lasting

    @classmethod
    def begin(cls, path: Path, kind: str, facts: Mapping[str, Any], *, lasting: bool = True) -> JournalFile:
        """Start a new journal at ``path``; an old one stays until the new one has its head."""
        new = path.with_name(path.name + ".new")
        with local_failures("write", path):
            new.unlink(missing_ok=True)
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
            journal = cls(new, descriptor, lasting=lasting)
            try:
                journal._append(encode_head(kind, facts))
                os.replace(new, path)
            except BaseException:
                journal.remove()
                raise
        journal.path = path
        return journal

    @classmethod
    def resume(cls, path: Path, journal: Journal) -> JournalFile:
        """Go on with a journal that :func:`load` read; what could not be believed is cut off."""
        with local_failures("write", path):
            descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0))
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

    def add_written(self, number: int, facts: Mapping[str, Any], boot: str) -> None:
        """Note that a part is written, though not on the disk yet; neither is this record."""
        with local_failures("write", self.path):
            self._write(encode_written(number, facts, boot))

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
        self._write(data)
        if self._lasting:
            sync(self._descriptor)

    def _write(self, data: bytes) -> None:
        start = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            # On a full disk: what is added behind a line that was cut short would never be believed.
            os.ftruncate(self._descriptor, start)
            os.lseek(self._descriptor, start, os.SEEK_SET)
            raise


def load(path: Path) -> Journal | None:
    """The journal at ``path`` as far as it can be believed, ``None`` if there is none."""
    with local_failures("read", path):
        try:
            with path.open("rb") as file:
                return read_journal(file.read(MAX_JOURNAL))
        except FileNotFoundError:
            return None
