"""Arithmetic of Crypt4GH segments and of S3 parts.

Sources: the Crypt4GH specification, section 3 ("File format": 64 KiB data blocks, each sealed with a 12 byte nonce
and a 16 byte tag), and the limits of S3 multipart uploads (5 MiB to 5 GiB a part, the last one may be smaller,
at most 10,000 parts, an object of at most 5 TiB).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import attrs

from connector.errors import IntegrityError, UsageError

NONCE_SIZE = 12
TAG_SIZE = 16
SEGMENT_OVERHEAD = NONCE_SIZE + TAG_SIZE
SEGMENT_SIZE = 65_536
CIPHER_SEGMENT_SIZE = SEGMENT_SIZE + SEGMENT_OVERHEAD
ENVELOPE_SIZE = 124
"""Bytes of a Crypt4GH header with one recipient and one data key packet."""

MIN_PART_SIZE = 5 * 1024**2
MAX_PART_SIZE = 5 * 1024**3
MAX_PARTS = 10_000
MAX_OBJECT_SIZE = 5 * 1024**4
"""Bytes of the largest object, sealed and with its envelope."""
MAX_DOWNLOAD_PARTS = 100_000
"""Ours: a journal names each part, and is held in memory when a download is resumed."""


def sealed_size(plain_size: int) -> int:
    """Bytes that ``plain_size`` bytes of plaintext take once cut in segments and sealed, without the envelope."""
    segments = -(-plain_size // SEGMENT_SIZE)
    return plain_size + segments * SEGMENT_OVERHEAD


def opened_size(content_size: int) -> int:
    """Bytes of plaintext in ``content_size`` bytes of sealed segments (no envelope).

    Raises :class:`~connector.errors.IntegrityError` for a size that no sequence of segments can have.
    """
    full, rest = divmod(content_size, CIPHER_SEGMENT_SIZE)
    if content_size < 0 or 0 < rest <= SEGMENT_OVERHEAD:
        raise IntegrityError(
            f"{content_size} bytes cannot be a whole number of Crypt4GH segments.",
            hint="The file is truncated or not Crypt4GH; fetch it again.",
        )
    return full * SEGMENT_SIZE + (rest - SEGMENT_OVERHEAD if rest else 0)


@attrs.frozen
class Part:
    """One piece of a transfer: its 1-based ``number`` and the half-open byte range ``start`` to ``stop``."""

    number: int
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Bytes in this part."""
        return self.stop - self.start


@attrs.frozen
class Parts(Sequence[Part]):
    """The parts of ``total`` bytes, each of ``part_size`` but the last; made when asked for, never stored."""

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


def align_to_segments(part_size: int) -> int:
    """The multiple of a sealed segment nearest below ``part_size``, but at least one segment."""
    return max(part_size // CIPHER_SEGMENT_SIZE, 1) * CIPHER_SEGMENT_SIZE


def fit_upload_part_size(total: int, wanted: int) -> int:
    """A part size close to ``wanted`` with which ``total`` bytes keep all limits of S3 multipart uploads.

    The result is a multiple of a sealed segment (65,564 bytes), at least 5 MiB, and large enough for at most
    10,000 parts. Raises :class:`~connector.errors.UsageError` for more than :data:`MAX_OBJECT_SIZE` bytes.
    """
    check_object_size(total)
    smallest = -(-max(MIN_PART_SIZE, -(-total // MAX_PARTS)) // CIPHER_SEGMENT_SIZE) * CIPHER_SEGMENT_SIZE
    return max(smallest, align_to_segments(min(wanted, MAX_PART_SIZE)))


def fit_download_part_size(total: int, wanted: int) -> int:
    """A part size close to ``wanted`` with which ``total`` bytes are at most :data:`MAX_DOWNLOAD_PARTS` parts.

    The result is a multiple of a sealed segment, so that no border cuts one, and at most 5 GiB.
    """
    smallest = -(-total // MAX_DOWNLOAD_PARTS // CIPHER_SEGMENT_SIZE) * CIPHER_SEGMENT_SIZE
    return align_to_segments(min(max(smallest, wanted), MAX_PART_SIZE))


def check_object_size(total: int) -> None:
    """Raise :class:`~connector.errors.UsageError` for an object of more than :data:`MAX_OBJECT_SIZE` bytes."""
    if total > MAX_OBJECT_SIZE:
        raise UsageError(
            f"Encrypted, the file has {total:,} bytes; the largest object that an archive can store has"
            f" {MAX_OBJECT_SIZE:,} (5 TiB).",
            hint="Split it before uploading.",
        )


def fit_memory(memory: int, part_size: int) -> int:
    """The budget for part buffers if ``memory`` was asked for: what one part needs, where that is more."""
    return max(memory, part_size)


def segment_range(part: Part, *, offset: int) -> range:
    """Indices of the segments that ``part`` of an object touches, when the first one starts at ``offset``."""
    first = max(part.start - offset, 0) // CIPHER_SEGMENT_SIZE
    last = -(-max(part.stop - offset, 0) // CIPHER_SEGMENT_SIZE)
    return range(first, last)


def cut(part: Part, size: int, *, offset: int) -> Iterator[Part]:
    """The pieces of ``part`` between borders at ``offset`` plus multiples of ``size`` bytes, numbered as it is.

    With the offset of the first segment and a multiple of a sealed segment as size, a piece holds whole segments but
    for what the part's own borders cut.
    """
    start = part.start
    while start < part.stop:
        stop = min(start + size - (start - offset) % size, part.stop)
        yield Part(part.number, start, stop)
        start = stop
