"""What holds for multipart uploads on every storage: the ETag, and when parts may be completed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from persistence.errors import DigestMismatch, PartsMismatch
from persistence.objects.protocol import PartStat


def multipart_etag(md5s: Sequence[str]) -> str:
    """The ETag that S3 gives an object of parts: md5 over their binary md5s, a hyphen, their count."""
    digest = hashlib.md5(b"".join(bytes.fromhex(md5) for md5 in md5s), usedforsecurity=False)
    return f"{digest.hexdigest()}-{len(md5s)}"


def check_parts(
    parts: Sequence[PartStat],
    *,
    upload: tuple[str, str, str],
    expected_parts: int | None,
    expected_part_size: int | None,
    min_part_size: int,
) -> None:
    """Raise `PartsMismatch` unless the parts, sorted by number, can become the object.

    Args:
        parts: what is stored.
        upload: bucket, object id and upload id.
        expected_parts: how many there must be, if known.
        expected_part_size: bytes of all but the last, which may be smaller, if known.
        min_part_size: bytes that all but the last must have.
    """
    why = _mismatch(parts, expected_parts, expected_part_size, min_part_size)
    if why:
        raise PartsMismatch(*upload, why)


def _mismatch(parts: Sequence[PartStat], count: int | None, size: int | None, smallest: int) -> str:
    if not parts:
        return "it has no parts"
    if count is not None and len(parts) != count:
        return f"it has {len(parts)} parts, not {count}"
    for position, part in enumerate(parts, 1):
        if part.number != position:
            return f"part {position} is missing"
    for part in parts[:-1]:
        if part.size < smallest:
            return f"part {part.number} has {part.size} bytes, fewer than {smallest}"
        if size is not None and part.size != size:
            return f"part {part.number} has {part.size} bytes, not {size}"
    if size is not None and parts[-1].size > size:
        return f"the last part has {parts[-1].size} bytes, more than {size}"
    return ""


def check_digest(found: str, announced: str | None, *, what: str) -> None:
    """Raise `DigestMismatch` if an announced md5 (hex) is not the one found."""
    if announced is not None and announced.lower() != found:
        raise DigestMismatch(f"The md5 of {what} is {found}, not {announced}.", hint="Send the content again.")
