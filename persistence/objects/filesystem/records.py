"""Records of objects: small JSON files that name the files with the content.

An object is what its record says. The record is written to a temporary file and renamed, so that an object changes
from old to new in one step; content files are never changed after they were written. An object put in one step has
one content file, a multipart object one per part.
"""

from __future__ import annotations

import bisect
import contextlib
import json
import os
import secrets
from datetime import UTC, datetime
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import attrs


@attrs.frozen
class Extent:
    """A content file, relative to the bucket's data folder, and its size in bytes."""

    file: str
    size: int


@attrs.frozen
class Record:
    """The properties of one object, and its content files."""

    object_id: str
    etag: str
    modified: datetime
    extents: tuple[Extent, ...]
    ends: tuple[int, ...] = attrs.field(init=False, eq=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "ends", tuple(accumulate(extent.size for extent in self.extents)))

    @property
    def size(self) -> int:
        """Bytes of the object."""
        return self.ends[-1] if self.ends else 0

    def spans(self, start: int, stop: int) -> list[tuple[Extent, int, int]]:
        """The extents that hold the bytes `[start, stop)`, each with the first and last offset inside it."""
        found: list[tuple[Extent, int, int]] = []
        index = bisect.bisect_right(self.ends, start)
        while start < stop and index < len(self.extents):
            extent = self.extents[index]
            begin = self.ends[index] - extent.size
            end = min(stop, self.ends[index])
            found.append((extent, start - begin, end - begin))
            start = end
            index += 1
        return found

    def to_json(self) -> bytes:
        """The content of the record's file."""
        return json.dumps(
            {
                "id": self.object_id,
                "etag": self.etag,
                "modified": self.modified.isoformat(),
                "content": [[extent.file, extent.size] for extent in self.extents],
            }
        ).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Record:
        """The record in a file's content."""
        fields = json.loads(text)
        return cls(
            fields["id"],
            fields["etag"],
            datetime.fromisoformat(fields["modified"]),
            tuple(Extent(file, size) for file, size in fields["content"]),
        )


def now() -> datetime:
    """The time of a change, in UTC and whole milliseconds."""
    time = datetime.now(UTC)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def read_record(path: Path) -> Record | None:
    """The record in this file, or None if there is none."""
    try:
        status = os.stat(path)
        return _read_cached(path, status.st_mtime_ns, status.st_ino, status.st_size)
    except (FileNotFoundError, NotADirectoryError):
        return None


@lru_cache(maxsize=512)
def _read_cached(path: Path, _mtime: int, _inode: int, _size: int) -> Record:
    return Record.from_json(path.read_bytes())


def write_file(path: Path, content: bytes, *, durable: bool, exclusive: bool = False) -> None:
    """Write a small file so that it appears whole; `FileExistsError` if exclusive and it exists."""
    aside = path.with_name(f".{secrets.token_hex(8)}.new")
    try:
        with open(aside, "xb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        if exclusive:
            _link_new(aside, path)
        else:
            os.replace(aside, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside)
        raise
    if durable:
        sync_folder(path.parent)


def _link_new(aside: Path, path: Path) -> None:
    try:
        os.link(aside, path)
    except FileExistsError:
        raise
    except OSError:
        # No hard links here: create the file first, then replace it. A crash in between leaves an empty file.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        os.replace(aside, path)
    else:
        os.unlink(aside)


def sync_folder(folder: Path) -> None:
    """Make a rename in the folder survive a power cut; Windows has no call for it."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path) -> Any:
    """The content of a small JSON file, or None if there is none."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
