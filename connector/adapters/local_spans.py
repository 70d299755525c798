"""Where the bytes of an object lie on this machine, so that a server may hand them to the kernel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs

from persistence.objects.filesystem import FilesystemStorage


@attrs.frozen
class LocalSpan:
    """The bytes `start` to `stop` of a file."""

    path: Path
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Bytes in this span."""
        return self.stop - self.start


@attrs.frozen
class LocalObject:
    """An object of the filesystem provider: size in bytes, ETag, and the files that hold it, in order."""

    size: int
    etag: str
    modified: float
    _spans: Sequence[LocalSpan]

    def spans(self, start: int, stop: int) -> list[LocalSpan]:
        """The pieces of files that hold the bytes `start` to `stop` of the object."""
        found = []
        position = 0
        for span in self._spans:
            first, last = max(start - position, 0), min(stop - position, span.size)
            if first < last:
                found.append(LocalSpan(span.path, span.start + first, span.start + last))
            position += span.size
        return found


async def find_local_object(storage: FilesystemStorage, bucket: str, object_id: str) -> LocalObject:
    """Look an object up; `BucketNotFound`, `ObjectNotFound`. Its files are never changed, but may be deleted."""
    stat, files = await storage.local_files(bucket, object_id)
    return LocalObject(stat.size, stat.etag, stat.modified.timestamp(), [LocalSpan(path, 0, n) for path, n in files])
