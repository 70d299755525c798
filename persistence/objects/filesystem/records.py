"""Records of objects: small JSON files that name the files with the content.

An object is what its record says. The record is written to a temporary file and renamed, so that an object changes
from old to new in one step; content files are never changed after they were written. An object put in one step has
one content file, a multipart object one per part.
"""

from __future__ import annotations

import bisect
import contextlib
import errno
import json
import os
import secrets
import sys
from collections.abc import Iterator
from datetime import datetime
from functools import cached_property, lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import attrs
from cattrs.preconf.json import make_converter

from persistence.objects.values import ObjectStat

_CONVERTER: Final = make_converter(detailed_validation=False)


class NotSynced(OSError):
    """A file has its new name or content, which may be lost in a power cut: what it names must be kept."""


class Extent(NamedTuple):
    """A content file, relative to the bucket's data folder, and its size in bytes."""

    file: str
    size: int

    @classmethod
    def of(cls, path: Path, size: int) -> Self:
        """The extent of a file at this path."""
        return cls(f"{path.parent.name}/{path.name}", size)


@attrs.frozen
class Record:
    """The properties of one object, and its content files; the fields are those of the record's JSON."""

    id: str
    etag: str
    modified: datetime
    content: tuple[Extent, ...]

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """The offset in the object at which each content file ends."""
        return tuple(accumulate(extent.size for extent in self.content))

    @property
    def size(self) -> int:
        """Bytes of the object."""
        return self.ends[-1] if self.ends else 0

    def stat(self, bucket: str) -> ObjectStat:
        """The properties of the object for callers."""
        return ObjectStat(bucket, self.id, self.size, self.etag, self.modified)

    def spans(self, start: int, stop: int, most: int = sys.maxsize) -> Iterator[tuple[Extent, int, int]]:
        """The extents that hold the bytes `[start, stop)`, each with the first and last offset inside it.

        Args:
            start, stop: offsets in the object.
            most: bytes of one span; larger ones are split.
        """
        while start < stop and (index := bisect.bisect_right(self.ends, start)) < len(self.ends):
            begin = self.ends[index] - self.content[index].size
            last = min(start + most, stop, self.ends[index])
            yield self.content[index], start - begin, last - begin
            start = last


# As a pair, since an object may have 10,000 of them.
_CONVERTER.register_unstructure_hook(Extent, tuple)
_CONVERTER.register_structure_hook(Extent, lambda pair, _: Extent(*pair))


def read_record(path: Path) -> Record | None:
    """The record in this file, or None if there is none."""
    try:
        status = os.stat(path)
        return _read_cached(path, status.st_mtime_ns, status.st_ino, status.st_size)
    except (FileNotFoundError, NotADirectoryError):
        return None


@lru_cache(maxsize=512)
def _read_cached(path: Path, _mtime: int, _inode: int, _size: int) -> Record:
    return _CONVERTER.loads(path.read_bytes(), Record)


def write_record(path: Path, record: Record, *, durable: bool, exclusive: bool = False) -> None:
    """Make a record the valid one of its object; errors as from `write_file`."""
    write_file(path, _CONVERTER.dumps(record).encode(), durable=durable, exclusive=exclusive)


def write_file(path: Path, content: bytes, *, durable: bool, exclusive: bool = False) -> None:
    """Write a small file so that it appears whole.

    Raises:
        FileExistsError: it exists, and the call is exclusive.
        NotSynced: it has appeared. After any other error it has not.
    """
    aside = path.with_name(f".{secrets.token_hex(8)}.new")
    with synced_folder(path.parent) if durable else contextlib.nullcontext():
        try:
            with open(aside, "xb") as file:
                file.write(content)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            rename = _link_new if exclusive else os.replace
            rename(aside, path)
        finally:
            # It was renamed, or has a second name; what cannot be deleted now is left over.
            with contextlib.suppress(OSError):
                os.unlink(aside)


def _link_new(aside: Path, path: Path) -> None:
    try:
        os.link(aside, path)
    except OSError:
        # It exists, or there are no hard links here: create the file, then replace it. A crash leaves an empty file.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        os.replace(aside, path)


_CANNOT_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
"""Errors of file systems that cannot sync a folder (some of FUSE, SMB and 9p)."""


@contextlib.contextmanager
def synced_folder(folder: Path, *, platform: str = sys.platform) -> Iterator[None]:
    """Make what is renamed in a folder within the block survive a power cut, where the system has a call for it.

    Windows has none, nor have some file systems. The folder is opened first, so that no descriptor is lacking
    afterwards, nor the folder if it is renamed itself.

    Raises:
        NotSynced: at the end of the block.
    """
    if platform == "win32":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in _CANNOT_SYNC:
                raise NotSynced(error.errno, error.strerror) from error
    finally:
        with contextlib.suppress(OSError):  # nothing was written through it
            os.close(descriptor)


def read_json(path: Path) -> Any:
    """The content of a small JSON file, or None if there is none."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
