"""Names and numbers of a call: which ones every provider can store and every S3 server accepts.

Bucket names follow the rules of S3 (3 to 63 of a-z, 0-9, hyphen and dot, and no IP address). A tenant of Ceph may
stand before them, as in `tenant:bucket`. Object ids are 1 to 255 URL-safe ASCII characters without a slash, so that
an id is one file name and one segment of a URL.
"""

from __future__ import annotations

import re
import reprlib
from typing import Final

from persistence.errors import InvalidName, InvalidRange, InvalidValue, PersistenceError

MAX_PARTS = 10_000
"""Parts of one multipart upload (S3 limit)."""
MIN_PART_SIZE = 5 * 1024**2
"""Bytes of every part but the last (S3 limit)."""
MAX_PART_SIZE = 5 * 1024**3
"""Bytes of one part, and of one object copied or put in a single call (S3 limit)."""
MAX_EXPIRY = 7 * 24 * 3600
"""Seconds that a presigned URL may be valid (AWS signature version 4)."""
MAX_OFFSET: Final = 2**63 - 1
"""The largest offset of a byte that file systems and servers can express."""

_BUCKET = re.compile(
    r"(?:[A-Za-z0-9_]{1,64}:)?(?![0-9.]+\Z)(?!.*(?:\.\.|\.-|-\.))[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII
)
_OBJECT = re.compile(r"[A-Za-z0-9_-](?:[A-Za-z0-9._-]{0,253}[A-Za-z0-9_-])?", re.ASCII)
_UPLOAD = re.compile(r"(?!\.+\Z)[A-Za-z0-9._~=+-]{1,1024}", re.ASCII)
_PREFIX = re.compile(r"[A-Za-z0-9._-]{0,255}", re.ASCII)


def check_bucket(bucket: str) -> str:
    """Return the bucket name, or raise `InvalidName`."""
    hint = "Use 3 to 63 lower-case letters, digits, hyphens and single dots, a letter or digit at either end."
    return _matching(_BUCKET, bucket, "a bucket name", hint)


def check_object_id(object_id: str) -> str:
    """Return the object id, or raise `InvalidName`."""
    hint = "Use 1 to 255 ASCII letters, digits, hyphens, underscores and dots, with no dot at either end."
    return _matching(_OBJECT, object_id, "an object id", hint)


def check_names(bucket: str, object_id: str) -> tuple[str, str]:
    """Return both names, or raise `InvalidName`."""
    return check_bucket(bucket), check_object_id(object_id)


def check_upload_id(upload_id: str) -> str:
    """Return the upload id, or raise `InvalidName`: 1 to 1024 of the characters that servers use."""
    return _matching(_UPLOAD, upload_id, "an upload id", "Use the id that start_upload returned.")


def check_prefix(prefix: str) -> str:
    """Return the beginning of object ids, possibly empty, or raise `InvalidName`."""
    return _matching(_PREFIX, prefix, "the beginning of an object id", "")


def check_part_number(number: int) -> int:
    """Return the part number (1 to 10,000, S3 limit), or raise `InvalidName`."""
    return _within(number, 1, MAX_PARTS, "a part number", InvalidName)


def check_expiry(seconds: int) -> int:
    """Return the lifetime of a URL in seconds (1 to 604,800), or raise `InvalidName`."""
    return _within(seconds, 1, MAX_EXPIRY, "a lifetime of a URL in seconds", InvalidName)


def check_count(count: int, what: str, *, lowest: int = 0) -> int:
    """Return a number of parts or bytes, or raise `InvalidValue`."""
    return _within(count, lowest, MAX_OFFSET, what, InvalidValue)


def check_offsets(names: tuple[str, str], start: int, stop: int | None = None) -> tuple[int, int | None]:
    """Return the ends of a byte range, or raise `InvalidRange` if no object can have it, whatever its size.

    A `stop` that no object reaches becomes the largest one possible.
    """
    if stop is not None and _is_within(stop, MAX_OFFSET + 1, None):
        stop = MAX_OFFSET
    if not _is_within(start, 0, MAX_OFFSET) or (stop is not None and not _is_within(stop, start, None)):
        raise InvalidRange(*names, _shown(start), None if stop is None else _shown(stop), None)
    return start, stop


def check_span(names: tuple[str, str], size: int, start: int, stop: int | None) -> tuple[int, int]:
    """Return the range `[start, stop)` of an object cut to its size, or raise `InvalidRange` if it begins behind it."""
    if start > size:
        raise InvalidRange(*names, start, stop, size)
    return start, size if stop is None else min(stop, size)


def _matching(pattern: re.Pattern[str], name: str, what: str, hint: str) -> str:
    if not isinstance(name, str) or not pattern.fullmatch(name):
        raise InvalidName(f"{_shown(name)} is not {what}.", hint=hint)
    return name


def _within(number: int, lowest: int, highest: int, what: str, error: type[PersistenceError]) -> int:
    if not _is_within(number, lowest, highest):
        raise error(f"{_shown(number)} is not {what}.", hint=f"Use a whole number from {lowest} to {highest}.")
    return number


def _is_within(number: int, lowest: int, highest: int | None) -> bool:
    if isinstance(number, bool) or not isinstance(number, int):
        return False
    return lowest <= number and (highest is None or number <= highest)


def _shown(value: object) -> str:
    """The value in a message; neither a long one nor one that cannot be shown (int of 5,000 digits) gets in the way."""
    try:
        return _REPR.repr(value)
    except Exception:
        return f"This {type(value).__name__}"


_REPR: Final = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 300
