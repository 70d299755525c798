"""The user's state folder: the journals of unfinished uploads, and the records of what earlier runs finished.

It is in the user's home by default, which the machines of a cluster share. By its records the next run of the same
command need not move finished files again. There is one file of records for each output folder or upload box, in the
line format of journals: a truncated or damaged line loses that record alone. If records cannot be read or written, no
transfer fails, and only the sizes of existing files are compared.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs
import platformdirs

from connector.config import APPLICATION
from connector.errors import LocalError
from connector.local.disk import without_waiting
from connector.local.journal import decode_record, encode_record

_NOWHERE = Path(os.devnull, APPLICATION)
"""The state folder of a user without a home: nothing can be created in it."""
_SUFFIX = ".finished"
_LONGEST_LINE = 64 * 1024
_MOST_BYTES = 512 * 1024**2
_SUPERSEDED = 1000
"""Superseded records (or as many as are valid) from which the file is rewritten without them."""
_KEPT_SECONDS = 365 * 86_400.0
"""Files to which no record was added for so long are removed."""


def _or_users(path: Path | None) -> Path:
    if path is not None:
        return path
    try:
        found = Path(platformdirs.user_state_dir(APPLICATION))
    except RuntimeError:
        return _NOWHERE
    # Older versions of platformdirs leave "~" in it: no folder of that name must be created where the command runs.
    return found if found.is_absolute() else _NOWHERE


@attrs.frozen
class StateFolder:
    """The state folder of a user, by default the system's place for it; nothing is created before it is needed."""

    path: Path = attrs.field(default=None, converter=_or_users)

    @property
    def uploads(self) -> Path:
        """The folder of the journals of unfinished uploads."""
        return self.path / "uploads"

    @property
    def finished(self) -> Path:
        """The folder of the records of finished files (`FinishedFiles`)."""
        return self.path / "finished"

    @property
    def outputs(self) -> Path:
        """The folder of the records of output folders (`OutputFolders`)."""
        return self.path / "outputs"


@contextmanager
def state_failures(*, platform: str = sys.platform) -> Iterator[None]:
    """Add to a `LocalError` about the state folder how it is moved, unless another process is its cause."""
    try:
        yield
    except LocalError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        variable = "LOCALAPPDATA" if platform == "win32" else "XDG_STATE_HOME"
        hint = f"The state of uploads is kept there; {variable} names another folder for it."
        raise LocalError(error.message, hint=hint) from error.__cause__


@attrs.frozen
class FinishedFile:
    """The record of a finished file.

    Attributes:
        size: Bytes of the file on this disk (the target of a download, the source of an upload) when it was finished.
        mtime_ns: Its modification time then.
        sha256: Of the plaintext in lower case hex, `None` if it is not known.
        origin: What it was made from or became: an accession, the id of an upload, the source of a decrypted file.
        verified: Whether the content was checked against `sha256`.
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
_APPEND |= getattr(os, "O_NONBLOCK", 0)
_INVALID = FinishedFile(-1, -1, None, "", verified=False)
"""Marks a record as invalid; no file is equal to it."""


class FinishedFiles:
    """The records of one output folder or upload box. Methods block: call them in threads, also concurrently.

    The `key` of a record is the name of the target, or the alias and the path of the source. It must be added *before*
    the file counts as finished (the rename, the removal of the upload's journal): if the run is killed in between, a
    record of a file that does not exist has no effect.
    """

    def __init__(self, path: Path, records: dict[str, FinishedFile]) -> None:
        self._path = path
        self._notes = records
        self._lock = threading.Lock()
        self._begun = False

    @classmethod
    def read(cls, folder: Path, about: str) -> FinishedFiles:
        """Read the records about `about` (a folder and an archive; a box) from `folder`."""
        name = hashlib.sha256(about.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        path = folder / f"{name}{_SUFFIX}"
        records: dict[str, FinishedFile] = {}
        lines = 0
        with suppress(OSError):
            for key, record in _read_records(path):
                records[key] = record
                lines += 1
            if lines - len(records) > max(_SUPERSEDED, len(records)):
                _rewrite(path, records)
        return cls(path, records)

    def find(self, *key: str) -> FinishedFile | None:
        """The record of `key`, if there is one."""
        record = self._notes.get("\0".join(key))
        return None if record == _INVALID else record

    def all_keys(self) -> list[tuple[str, ...]]:
        """The keys of all records."""
        return [tuple(joined.split("\0")) for joined in self._notes]

    def add(self, file: FinishedFile, *key: str) -> None:
        """Record for later runs that `file` is finished. Survives this process, but maybe not a power failure.

        The record is not kept in memory, since this run does not need it and there may be very many files.
        """
        joined = "\0".join(key)
        with self._lock:
            self._notes.pop(joined, None)
            with suppress(OSError):
                if not self._begun:
                    _prepare(self._path)
                    self._begun = True
                # Opened for each record: another process may have rewritten the file.
                with open(os.open(self._path, _APPEND, 0o600), "ab", buffering=0) as records:
                    records.write(_encode(joined, file))

    def forget(self, *key: str) -> None:
        """Drop the record of `key`, which has proved wrong."""
        if self.find(*key) is not None:
            self.add(_INVALID, *key)


def _read_records(path: Path) -> Iterator[tuple[str, FinishedFile]]:
    with open(path, "rb", opener=without_waiting) as file:
        read = 0
        while (line := file.readline(_LONGEST_LINE)) and read < _MOST_BYTES:
            read += len(line)
            record = _decode(line.rstrip(b"\n"))
            if record is not None:
                yield record


def _encode(key: str, file: FinishedFile) -> bytes:
    return encode_record({"key": key, **attrs.asdict(file)})


def _decode(line: bytes) -> tuple[str, FinishedFile] | None:
    record = decode_record(line) or {}
    key, size, mtime_ns = record.get("key"), record.get("size"), record.get("mtime_ns")
    sha256, origin, verified = record.get("sha256"), record.get("origin"), record.get("verified")
    if not (isinstance(key, str) and isinstance(origin, str) and isinstance(sha256, str | None)):
        return None
    if not (isinstance(size, int) and isinstance(mtime_ns, int) and isinstance(verified, bool)):
        return None
    return key, FinishedFile(size, mtime_ns, sha256, origin, verified)


def _prepare(path: Path) -> None:
    """Create the folder, or complete a line that a killed run left without its line break."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        _remove_old(path.parent)
        return
    with open(path, "r+b", opener=without_waiting) as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")


def _rewrite(path: Path, records: dict[str, FinishedFile]) -> None:
    new = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        with open(descriptor, "wb") as file:
            file.writelines(_encode(key, record) for key, record in records.items())
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
