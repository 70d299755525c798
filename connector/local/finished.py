"""What earlier runs finished: a note of each file, so that the next run of the same command need not move it again.

One file of notes in the user's state folder for each output folder or upload box, in lines like those of a journal: a
line that was cut short or damaged costs that note alone. Notes are a convenience: where they cannot be read or written,
no transfer fails, and of files that are there already only the sizes are compared.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import attrs

from connector.local.journal import decode_record, encode_record

_SUFFIX = ".finished"
_LONGEST_LINE = 64 * 1024
_MOST_BYTES = 512 * 1024**2
_SUPERSEDED = 1000
"""Notes that may be superseded by later ones (or as many as are valid) until the file is written again without them."""
_KEPT_SECONDS = 365 * 86_400.0
"""Files of notes that nothing was added to for so long are removed."""


@attrs.frozen
class FinishedFile:
    """A finished file. `size` and `mtime_ns`: of the file on this disk (the target of a download, the source of an
    upload), when it was finished; `sha256`: of the plaintext in lower case hex, `None` where it is not known;
    `origin`: what it was made of or became: an accession, the id of an upload, the source of a decrypted file;
    `verified`: whether the content has that sha256, or it is only quoted.
    """

    size: int
    mtime_ns: int
    sha256: str | None
    origin: str
    verified: bool = True

    def is_unchanged(self, state: os.stat_result) -> bool:
        """Whether a file in this `state` is, by size and modification time, still the one that was finished."""
        return (state.st_size, state.st_mtime_ns) == (self.size, self.mtime_ns)


_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
_WRONG = FinishedFile(-1, -1, None, "", verified=False)
"""Stands for a note that does not hold any more. No file is like this."""


class FinishedFiles:
    """The notes about one output folder or upload box. Methods block: call them in threads; several may at once.

    A note is known by `key`: the name of the target, or the alias and the path of the source. It is to be added
    *before* what makes the file count as finished (the rename, the removal of the upload's journal): a run that is
    killed in between has lost nothing, since a note about a file that is not there says nothing.
    """

    def __init__(self, path: Path, notes: dict[str, FinishedFile]) -> None:
        self._path = path
        self._notes = notes
        self._lock = threading.Lock()
        self._begun = False

    @classmethod
    def read(cls, folder: Path, about: str) -> FinishedFiles:
        """Read the notes about `about` (a folder and an archive; a box) from the user's state folder `folder`."""
        name = hashlib.sha256(about.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        path = folder / f"{name}{_SUFFIX}"
        notes: dict[str, FinishedFile] = {}
        lines = 0
        with suppress(OSError):
            for key, note in _lines(path):
                notes[key] = note
                lines += 1
            if lines - len(notes) > max(_SUPERSEDED, len(notes)):
                _rewrite(path, notes)
        return cls(path, notes)

    def find(self, *key: str) -> FinishedFile | None:
        """The note known by `key`, if there is one."""
        note = self._notes.get("\0".join(key))
        return None if note == _WRONG else note

    def noted(self) -> list[tuple[str, ...]]:
        """The keys of all notes."""
        return [tuple(joined.split("\0")) for joined in self._notes]

    def add(self, file: FinishedFile, *key: str) -> None:
        """Note for the next run that `file` is finished. It outlives this process, though maybe not a power cut.

        This run is done with the file, so that it does not keep what very many of them take in memory.
        """
        joined = "\0".join(key)
        with self._lock:
            self._notes.pop(joined, None)
            with suppress(OSError):
                if not self._begun:
                    _make_ready(self._path)
                    self._begun = True
                # Opened for each: another process may have written the file again without its superseded lines.
                with open(os.open(self._path, _APPEND, 0o600), "ab", buffering=0) as notes:
                    notes.write(_encode(joined, file))

    def forget(self, *key: str) -> None:
        """Drop the note known by `key`: it has proved wrong."""
        if self.find(*key) is not None:
            self.add(_WRONG, *key)


def _lines(path: Path) -> Iterator[tuple[str, FinishedFile]]:
    with path.open("rb") as file:
        read = 0
        while (line := file.readline(_LONGEST_LINE)) and read < _MOST_BYTES:
            read += len(line)
            note = _decode(line.rstrip(b"\n"))
            if note is not None:
                yield note


def _encode(key: str, file: FinishedFile) -> bytes:
    return encode_record(
        {
            "key": key,
            "size": file.size,
            "mtime_ns": file.mtime_ns,
            "sha256": file.sha256,
            "origin": file.origin,
            "verified": file.verified,
        }
    )


def _decode(line: bytes) -> tuple[str, FinishedFile] | None:
    record = decode_record(line) or {}
    key, size, mtime_ns = record.get("key"), record.get("size"), record.get("mtime_ns")
    sha256, origin, verified = record.get("sha256"), record.get("origin"), record.get("verified")
    if not (isinstance(key, str) and isinstance(origin, str) and isinstance(sha256, str | None)):
        return None
    if not (isinstance(size, int) and isinstance(mtime_ns, int) and isinstance(verified, bool)):
        return None
    return key, FinishedFile(size, mtime_ns, sha256, origin, verified)


def _make_ready(path: Path) -> None:
    """Make the folder, or end a line that a killed run has left without its end: ours would be part of it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        _remove_old(path.parent)
        return
    with path.open("r+b") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")


def _rewrite(path: Path, notes: dict[str, FinishedFile]) -> None:
    new = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        with open(descriptor, "wb") as file:
            file.writelines(_encode(key, note) for key, note in notes.items())
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)


def _remove_old(folder: Path) -> None:
    now = time.time()
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                if now - entry.stat(follow_symlinks=False).st_mtime > _KEPT_SECONDS:
                    os.unlink(entry.path)
