"""Arithmetic of Crypt4GH segments, and the part sizes that keep segments whole.

Source: the Crypt4GH specification, section 3 ("File format": 64 KiB data blocks, each sealed with a 12 byte nonce
and a 16 byte tag).
"""

from __future__ import annotations

from connector.errors import IntegrityError
from connector.parts import S3_MAX_PART_SIZE, S3_MAX_PARTS, S3_MIN_PART_SIZE, Part, check_object_size

NONCE_SIZE = 12
TAG_SIZE = 16
SEGMENT_OVERHEAD = NONCE_SIZE + TAG_SIZE
SEGMENT_SIZE = 65_536
CIPHER_SEGMENT_SIZE = SEGMENT_SIZE + SEGMENT_OVERHEAD
HEADER_SIZE = 124
"""Bytes of a Crypt4GH header with one recipient and one data key packet."""

MAX_DOWNLOAD_PARTS = 100_000
"""A limit of the connector: a journal names each part, and is held in memory when a download is resumed."""


def sealed_size(plain_size: int) -> int:
    """Bytes of the encrypted segments of `plain_size` bytes of plaintext, without the header."""
    segments = -(-plain_size // SEGMENT_SIZE)
    return plain_size + segments * SEGMENT_OVERHEAD


def opened_size(content_size: int, *, checked: bool = True) -> int:
    """Bytes of plaintext in `content_size` bytes of encrypted segments, without the header.

    Raises:
        IntegrityError: For a size that no sequence of segments can have, unless it is not `checked`.
    """
    full, rest = divmod(content_size, CIPHER_SEGMENT_SIZE)
    if checked and (content_size < 0 or 0 < rest <= SEGMENT_OVERHEAD):
        raise IntegrityError(
            f"{content_size} bytes cannot be a whole number of Crypt4GH segments.",
            hint="The file is truncated or not Crypt4GH; fetch it again.",
        )
    return full * SEGMENT_SIZE + max(rest - SEGMENT_OVERHEAD, 0)


def align_to_segments(part_size: int) -> int:
    """Round `part_size` down to a multiple of an encrypted segment, but at least to one segment."""
    return max(part_size // CIPHER_SEGMENT_SIZE, 1) * CIPHER_SEGMENT_SIZE


def fit_upload_part_size(total: int, wanted: int) -> int:
    """A part size close to `wanted` with which `total` bytes meet all limits of S3 multipart uploads.

    The result is a multiple of an encrypted segment (65,564 bytes), at least 5 MiB, and large enough for at most
    10,000 parts.

    Raises:
        UsageError: For more than `S3_MAX_OBJECT_SIZE` bytes.
    """
    check_object_size(total)
    smallest = -(-max(S3_MIN_PART_SIZE, -(-total // S3_MAX_PARTS)) // CIPHER_SEGMENT_SIZE) * CIPHER_SEGMENT_SIZE
    return max(smallest, align_to_segments(min(wanted, S3_MAX_PART_SIZE)))


def fit_download_part_size(total: int, wanted: int) -> int:
    """A part size close to `wanted` with which `total` bytes are at most `MAX_DOWNLOAD_PARTS` parts.

    The result is a multiple of an encrypted segment, so that parts hold whole segments, and at most 5 GiB.
    """
    smallest = -(-total // MAX_DOWNLOAD_PARTS // CIPHER_SEGMENT_SIZE) * CIPHER_SEGMENT_SIZE
    return align_to_segments(min(max(smallest, wanted), S3_MAX_PART_SIZE))


def segment_range(part: Part, *, offset: int) -> range:
    """Indices of the segments that overlap `part` of an object whose first segment starts at `offset`."""
    first = max(part.start - offset, 0) // CIPHER_SEGMENT_SIZE
    last = -(-max(part.stop - offset, 0) // CIPHER_SEGMENT_SIZE)
    return range(first, last)
