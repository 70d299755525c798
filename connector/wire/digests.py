"""Digests of parts and of whole objects."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import attrs


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
