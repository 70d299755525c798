"""Rules of multipart uploads that hold on every storage: the ETag, and when parts may be completed."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Sequence

import attrs

from persistence.errors import DigestMismatch, PartsMismatch, UploadNotFound
from persistence.objects.naming import check_bucket, check_object_id, check_upload_id
from persistence.objects.values import PartStat


@attrs.frozen
class UploadKey:
    """The names of a multipart upload, checked: `InvalidName`."""

    bucket: str = attrs.field(converter=check_bucket)
    object_id: str = attrs.field(converter=check_object_id)
    upload_id: str = attrs.field(converter=check_upload_id)

    def not_found(self) -> UploadNotFound:
        """The error that there is no such upload."""
        return UploadNotFound(self.bucket, self.object_id, self.upload_id)


def multipart_etag(parts: Sequence[PartStat]) -> str:
    """The ETag that S3 gives an object of parts: md5 over their binary md5s, a hyphen, their count."""
    digest = hashlib.md5(b"".join(bytes.fromhex(part.etag) for part in parts), usedforsecurity=False)
    return f"{digest.hexdigest()}-{len(parts)}"


@attrs.frozen
class ExpectedParts:
    """What the parts of an upload must be to become an object.

    Attributes:
        count: number of parts, if known.
        size: bytes of all parts but the last, which may be smaller, if known.
        smallest: bytes that all parts but the last must have.
    """

    count: int | None
    size: int | None
    smallest: int

    def check(self, upload: UploadKey, parts: Sequence[PartStat]) -> None:
        """Raise `PartsMismatch` unless the stored parts, sorted by number, can become the object."""
        why = self._mismatch(parts)
        if why:
            raise PartsMismatch(upload.bucket, upload.object_id, upload.upload_id, why)

    def _mismatch(self, parts: Sequence[PartStat]) -> str:
        if not parts:
            return "it has no parts"
        if self.count is not None and len(parts) != self.count:
            return f"it has {len(parts)} parts, not {self.count}"
        for position, part in enumerate(parts, 1):
            if part.number != position:
                return f"part {position} is missing"
        for part in parts[:-1]:
            if part.size < self.smallest:
                return f"part {part.number} has {part.size} bytes, fewer than {self.smallest}"
            if self.size is not None and part.size != self.size:
                return f"part {part.number} has {part.size} bytes, not {self.size}"
        if self.size is not None and parts[-1].size > self.size:
            return f"the last part has {parts[-1].size} bytes, more than {self.size}"
        return ""


def check_md5(md5: str | None) -> str | None:
    """Return an md5 in lower-case hex, or None if none is given; `DigestMismatch` if it is no md5."""
    if md5 is not None and not (isinstance(md5, str) and re.fullmatch(r"[0-9A-Fa-f]{32}", md5)):
        raise DigestMismatch("What was given as the md5 is no md5.", hint="Give its 32 hexadecimal digits.")
    return md5 if md5 is None else md5.lower()


def content_md5(md5: str) -> str:
    """An md5 in hex as the value of the header Content-MD5 (RFC 1864)."""
    return b64encode(bytes.fromhex(md5)).decode()


def check_digest(found: str, given: str | None, *, what: str) -> None:
    """Raise `DigestMismatch` if an md5 was given that is not the one found."""
    if given is not None and given != found:
        raise DigestMismatch(f"The md5 of {what} is {found}, not {given}.", hint="Send the content again.")
