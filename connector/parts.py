"""Parts of an object: their arithmetic, which depends on no file format, and their digests.

Sources: the limits of S3 multipart uploads (5 MiB to 5 GiB a part, the last one may be smaller, at most 10,000 parts,
an object of at most 5 TiB).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import attrs

from connector.errors import UsageError

S3_MIN_PART_SIZE = 5 * 1024**2
S3_MAX_PART_SIZE = 5 * 1024**3
S3_MAX_PARTS = 10_000
S3_MAX_OBJECT_SIZE = 5 * 1024**4
"""Bytes of the largest object, encrypted and with its header."""


@attrs.frozen
class Part:
    """One piece of a transfer: its 1-based `number` and the half-open byte range `start` to `stop`."""

    number: int
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Bytes in this part."""
        return self.stop - self.start


@attrs.frozen
class Parts(Sequence[Part]):
    """The parts of `total` bytes, each of `part_size` but the last; computed on access, never stored."""

    total: int
    part_size: int

    def __len__(self) -> int:
        return -(-self.total // self.part_size)

    @overload
    def __getitem__(self, index: int) -> Part: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Part]: ...
    def __getitem__(self, index: int | slice) -> Part | Sequence[Part]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        count = len(self)
        if index < 0:
            index += count
        if not 0 <= index < count:
            raise IndexError(index)
        start = index * self.part_size
        return Part(index + 1, start, min(start + self.part_size, self.total))

    def __iter__(self) -> Iterator[Part]:
        return (self[i] for i in range(len(self)))


def check_object_size(total: int) -> None:
    """Raise `UsageError` for an object of more than `S3_MAX_OBJECT_SIZE` bytes."""
    if total > S3_MAX_OBJECT_SIZE:
        raise UsageError(
            f"Encrypted, the file has {total:,} bytes; the largest object that an archive can store has"
            f" {S3_MAX_OBJECT_SIZE:,} (5 TiB).",
            hint="Split it before uploading.",
        )


def memory_budget(memory: int, part_size: int) -> int:
    """The budget for part buffers: `memory`, or what one part needs if that is more."""
    return max(memory, part_size)


def split(part: Part, size: int, *, offset: int) -> Iterator[Part]:
    """Split `part` at `offset` plus multiples of `size` bytes; the pieces keep its number.

    With the offset of the first segment and a multiple of an encrypted segment as size, a piece holds whole segments,
    except at the borders of the part.
    """
    start = part.start
    while start < part.stop:
        stop = min(start + size - (start - offset) % size, part.stop)
        yield Part(part.number, start, stop)
        start = stop


@attrs.frozen
class PartDigests:
    """The md5 and sha256 (lower case hex) of one part as it was sent."""

    md5: str
    sha256: str


def digest_part(data: memoryview) -> PartDigests:
    """Both digests of one part. Takes a whole part so that hashlib releases the GIL."""
    return PartDigests(
        md5=hashlib.md5(data, usedforsecurity=False).hexdigest(), sha256=hashlib.sha256(data).hexdigest()
    )


def add_pieces(digest: hashlib._Hash, pieces: Iterable[memoryview]) -> None:
    """Add pieces of data to a running digest. Blocks."""
    for piece in pieces:
        digest.update(piece)


def multipart_etag(part_md5s: Iterable[str]) -> str:
    """The ETag of a multipart object in S3: md5 over the binary part md5s, `-`, part count."""
    digest = hashlib.md5(usedforsecurity=False)
    count = 0
    for count, md5 in enumerate(part_md5s, start=1):  # noqa: B007
        digest.update(bytes.fromhex(md5))
    return f"{digest.hexdigest()}-{count}"
