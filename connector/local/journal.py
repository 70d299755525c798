"""The records of a journal: what a transfer has finished, in lines with a checksum each.

A journal is text, one record per line: 16 hex digits of BLAKE2b over the rest of the line, a space, JSON. The first
one identifies the transfer, each further one says that a part is done. Reading stops at a line that is truncated or
damaged: the records before it are valid, everything after it is done again.

A part may also be recorded as *written*: handed to the operating system, but not yet synced to the disk. That survives
the process, but not a crash of the machine, so such a record names the boot id and is valid during that boot only.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

from connector.errors import LocalError
from connector.local.disk import files_named, local_failures, read_own_file
from connector.local.files import sync

VERSION = 1
MAX_JOURNAL = 64 * 1024**2
"""Bytes of a journal that are read."""
_DIGEST_SIZE = 8


@attrs.frozen
class Journal:
    """The valid content of a journal.

    Attributes:
        head: The first record.
        parts: A record for each finished part.
        length: Bytes of the file that are valid; the rest is truncated before records are added.
        written: A record for each part that was written but not yet synced.
    """

    head: Mapping[str, Any]
    parts: Mapping[int, Mapping[str, Any]]
    length: int
    written: Mapping[int, Mapping[str, Any]] = attrs.field(factory=dict)

    def unsynced(self, boot: str | None) -> set[int]:
        """The parts that exist unless the machine was restarted since; `boot`: its present boot id."""
        found = {number for number, record in self.written.items() if boot is not None and record.get("boot") == boot}
        return found - self.parts.keys()


def encode_record(record: Mapping[str, Any]) -> bytes:
    """One line of a journal."""
    body = json.dumps(record, separators=(",", ":"), sort_keys=True).encode()
    return _digest(body) + b" " + body + b"\n"


def read_journal(data: bytes) -> Journal | None:
    """Read the valid beginning of a journal; `None` if not even its head is valid. Never raises."""
    head: Mapping[str, Any] | None = None
    parts: dict[int, Mapping[str, Any]] = {}
    written: dict[int, Mapping[str, Any]] = {}
    length = 0
    for line in data.split(b"\n")[:-1]:
        record = decode_record(line)
        if record is None:
            break
        if head is None:
            if record.get("journal") != VERSION:
                return None
            head = record
        else:
            number = record.get("part", record.get("written"))
            if not isinstance(number, int) or isinstance(number, bool) or number < 1:
                break
            (parts if "part" in record else written)[number] = record
            if "part" in record:
                written.pop(number, None)  # of large files there are many
        length += len(line) + 1
    return None if head is None else Journal(head, parts, length, written)


def decode_record(line: bytes) -> dict[str, Any] | None:
    """The record of one line, without its line break; `None` if the line is truncated or damaged. Never raises."""
    digest, _, body = line.partition(b" ")
    if digest != _digest(body):
        return None
    try:
        record = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


class JournalFile:
    """Adds records to one journal. Readable by its owner alone. Methods block: call them in threads, one at a time.

    Without `lasting` nothing is synced: for a journal that must only survive its process.
    """

    def __init__(self, path: Path, descriptor: int, *, lasting: bool = True) -> None:
        self.path = path
        self._descriptor = descriptor
        self._lasting = lasting

    @classmethod
    def begin(cls, path: Path, kind: str, facts: Mapping[str, Any], *, lasting: bool = True) -> JournalFile:
        """Start a new journal at `path`; an old one stays until the new one has its head."""
        new = path.with_name(path.name + ".new")
        with local_failures("write", path):
            new.unlink(missing_ok=True)
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
            journal = cls(new, descriptor, lasting=lasting)
            try:
                journal._append(encode_record({"journal": VERSION, "kind": kind, **facts}))
                os.replace(new, path)
            except BaseException:
                journal.remove()
                raise
        journal.path = path
        return journal

    @classmethod
    def resume(cls, path: Path, journal: Journal) -> JournalFile:
        """Resume a journal that `load` read; what is not valid is truncated."""
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
        """Record finished parts; the records are synced when this returns."""
        with local_failures("write", self.path):
            self._append(b"".join(encode_record({"part": number, **facts}) for number, facts in parts.items()))

    def add_written(self, number: int, boot: str) -> None:
        """Record that a part is written during this `boot`; neither the part nor this record is synced."""
        with local_failures("write", self.path):
            self._write(encode_record({"written": number, "boot": boot}))

    def close(self) -> None:
        """Close the file, once (see `PositionalFile.close`); the journal stays."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with local_failures("write", self.path):
                os.close(descriptor)

    def remove(self) -> None:
        """Close and delete the journal: the transfer is complete or given up."""
        with suppress(LocalError):  # what could not be written is not needed any more
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
            # On a full disk: records after a truncated line would never be valid.
            os.ftruncate(self._descriptor, start)
            os.lseek(self._descriptor, start, os.SEEK_SET)
            raise


def load(path: Path) -> Journal | None:
    """The valid beginning of the journal at `path`, `None` if there is none."""
    with local_failures("read", path):
        try:
            return read_journal(read_own_file(path, MAX_JOURNAL))
        except FileNotFoundError:
            return None


def load_all(
    folder: Path, ending: str, kinds: Collection[str], on_unreadable: Callable[[LocalError], None] | None = None
) -> Iterator[tuple[Path, Journal]]:
    """The journals of some kinds in `folder` whose names have this ending, by name. Blocks.

    One that cannot be read is left out if `on_unreadable` takes its error, which is raised otherwise.
    """
    for path in files_named(folder, ending):
        try:
            journal = load(path)
        except LocalError as error:
            if on_unreadable is None:
                raise
            on_unreadable(error)
            continue
        if journal is not None and journal.head.get("kind") in kinds:
            yield path, journal


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_DIGEST_SIZE).hexdigest().encode()
