"""Values of the storage protocol: properties of objects, parts and uploads, and the form of a presigned POST."""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping
from datetime import UTC, datetime
from typing import TypeAlias

import attrs

Buffer: TypeAlias = bytes | bytearray | memoryview
"""Content in memory, not copied: it must not change before the call returns. Items may have any size."""
Data: TypeAlias = Buffer | AsyncIterable[bytes]
"""Content as callers give it: a buffer or a stream."""
Names: TypeAlias = tuple[str, str]
"""Bucket and object id."""
Fields: TypeAlias = Mapping[str, str]
"""Parameters, headers or form fields by name."""
Span: TypeAlias = tuple[int, int | None]
"""The bytes `[start, stop)`; without a stop to the end."""


@attrs.frozen
class ObjectStat:
    """The properties of an object: size in bytes, ETag without quotes (empty if none is told), time of last change."""

    bucket: str
    object_id: str
    size: int
    etag: str
    modified: datetime


@attrs.frozen
class PartStat:
    """A stored part of an open upload: number from 1, size in bytes, ETag (its md5 in hex)."""

    number: int
    size: int
    etag: str


@attrs.frozen
class UploadRef:
    """An open multipart upload."""

    bucket: str
    object_id: str
    upload_id: str
    started: datetime


@attrs.frozen
class PresignedPost:
    """A form to be sent as multipart/form-data: all fields first, then the content as `file`."""

    url: str
    fields: Fields


def now() -> datetime:
    """The time of a change, in UTC and whole milliseconds."""
    time = datetime.now(UTC)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)
