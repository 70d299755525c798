"""Names of buckets, objects and uploads: what every provider can store and every S3 server accepts.

Bucket names follow the S3 rules (3 to 63 of a-z, 0-9 and hyphen), without dots, which break
TLS with virtual-host addressing. Object ids are 1 to 255 URL-safe ASCII characters and no
path: a slash never appears, so an id is one file name and one URL segment.
"""

from __future__ import annotations

import re

from persistence.errors import InvalidName

MAX_PARTS = 10_000
"""Parts of one multipart upload (S3 limit)."""
MIN_PART_SIZE = 5 * 1024**2
"""Bytes of every part but the last (S3 limit)."""
MAX_PART_SIZE = 5 * 1024**3
"""Bytes of one part, and of one object copied or put in a single call (S3 limit)."""
MAX_EXPIRY = 7 * 24 * 3600
"""Seconds that a presigned URL may live (AWS signature version 4)."""

_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9-]{1,61})[a-z0-9]", re.ASCII)
_OBJECT = re.compile(r"[A-Za-z0-9_-](?:[A-Za-z0-9._-]{0,253}[A-Za-z0-9_-])?", re.ASCII)
_UPLOAD = re.compile(r"(?!\.+$)[A-Za-z0-9._~=+-]{1,1024}", re.ASCII)


def check_bucket(bucket: str) -> str:
    """Give back the bucket name, or raise `InvalidName`."""
    if not isinstance(bucket, str) or not _BUCKET.fullmatch(bucket):
        raise InvalidName(
            f"{bucket!r} is not a bucket name.",
            hint="Use 3 to 63 lower-case letters, digits and hyphens, with no hyphen at either end.",
        )
    return bucket


def check_object_id(object_id: str) -> str:
    """Give back the object id, or raise `InvalidName`."""
    if not isinstance(object_id, str) or not _OBJECT.fullmatch(object_id):
        raise InvalidName(
            f"{object_id!r} is not an object id.",
            hint="Use 1 to 255 ASCII letters, digits, hyphens, underscores and dots, with no dot at either end.",
        )
    return object_id


def check_upload_id(upload_id: str) -> str:
    """Give back the upload id, or raise `InvalidName`: 1 to 1024 of the characters that servers use."""
    if not isinstance(upload_id, str) or not _UPLOAD.fullmatch(upload_id):
        raise InvalidName(f"{upload_id!r} is not an upload id.")
    return upload_id


def check_part_number(number: int) -> int:
    """Give back the part number (1 to 10,000, S3 limit), or raise `InvalidName`."""
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= MAX_PARTS:
        raise InvalidName(f"{number!r} is not a part number.", hint=f"Parts are numbered from 1 to {MAX_PARTS}.")
    return number


def check_expiry(seconds: int) -> int:
    """Give back the lifetime of a URL in seconds (1 to 604,800), or raise `InvalidName`."""
    if isinstance(seconds, bool) or not isinstance(seconds, int) or not 1 <= seconds <= MAX_EXPIRY:
        raise InvalidName(f"{seconds!r} is not a lifetime of a URL.", hint=f"Use 1 to {MAX_EXPIRY} whole seconds.")
    return seconds


def check_prefix(prefix: str) -> str:
    """Give back the beginning of object ids, possibly empty, or raise `InvalidName`."""
    if prefix and not (isinstance(prefix, str) and len(prefix) <= 255 and re.fullmatch(r"[A-Za-z0-9._-]+", prefix)):
        raise InvalidName(f"{prefix!r} cannot be the beginning of an object id.")
    return prefix
