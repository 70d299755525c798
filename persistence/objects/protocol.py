"""The methods that every object storage has, in the words of S3.

An implementation is an async context manager that returns itself; calls outside of it raise `Closed`. All methods may
be called from many tasks at once, on asyncio and on trio. Besides the errors named below, every call may raise
`InvalidName` (a name, a part number or a lifetime), `InvalidValue` (a count, a file name, or content that is neither
a buffer nor a stream) and the family `Unavailable`. No error of a driver is raised, whatever the arguments; errors of
the caller's own streams and iterables are passed on as they are.

Content types and other metadata of objects are not part of the protocol. Where objects put by other programs have
them, `copy_object` keeps them.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self, TypeAlias

import attrs

from persistence.errors import PersistenceError

Buffer: TypeAlias = bytes | bytearray | memoryview
"""Content in memory, not copied: it must not change before the call returns. Items may have any size."""


@attrs.frozen
class ObjectStat:
    """The properties of an object: size in bytes, ETag without quotes, time of its last change."""

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
    fields: Mapping[str, str]


class ObjectStorage(Protocol):
    """Buckets, objects, multipart uploads, presigned URLs and bytes.

    The ETag of an object put in one call is the md5 of its content in hex; that of a multipart
    object is the md5 over the concatenated binary md5s of its parts, a hyphen and their count.
    """

    async def __aenter__(self) -> Self:
        """Open the storage."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the storage."""

    async def bucket_exists(self, bucket: str) -> bool:
        """Whether the bucket exists."""

    async def create_bucket(self, bucket: str) -> None:
        """Create a bucket; `BucketExists`."""

    async def delete_bucket(self, bucket: str, *, with_content: bool = False) -> None:
        """Delete a bucket, its open uploads included.

        Raises `BucketNotFound`; `BucketNotEmpty` if it has objects and `with_content` is false.
        """

    async def list_buckets(self) -> list[str]:
        """Names of all buckets, sorted."""

    async def object_exists(self, bucket: str, object_id: str) -> bool:
        """Whether the object exists; `BucketNotFound` if not even the bucket does."""

    async def stat(self, bucket: str, object_id: str) -> ObjectStat:
        """Size, ETag and time of an object in one call; `BucketNotFound`, `ObjectNotFound`."""

    def list_objects(self, bucket: str, *, prefix: str = "") -> AsyncIterator[ObjectStat]:
        """All objects whose ids begin with `prefix`, sorted by id, fetched page by page.

        `BucketNotFound` is raised by the first step. Nothing stays open between two steps.
        """

    async def delete_object(self, bucket: str, object_id: str) -> None:
        """Delete one object; `BucketNotFound`, `ObjectNotFound`."""

    async def delete_objects(self, bucket: str, object_ids: Iterable[str]) -> dict[str, PersistenceError]:
        """Delete many objects, in as few calls as the service allows.

        Ids without an object count as deleted. Returns the errors of the objects that could not be deleted, by id;
        raises `BucketNotFound`.
        """

    async def copy_object(
        self,
        bucket: str,
        object_id: str,
        *,
        to_bucket: str,
        to_object_id: str,
        byte_range: tuple[int, int] | None = None,
    ) -> ObjectStat:
        """Copy an object, or the bytes `[start, stop)` of it, of any size, within the storage.

        An existing target is replaced. The copy keeps the content type and the metadata of the source, where it has
        any; its ETag may differ where it is assembled from parts. Raises `BucketNotFound`, `ObjectNotFound`,
        `InvalidRange`.
        """

    async def read_into(self, bucket: str, object_id: str, start: int, buffer: memoryview) -> int:
        """Fill the buffer with bytes from offset `start`; returns how many, fewer than it has only at the end.

        All sizes are bytes, also where the items of the buffer are larger. Raises `InvalidRange` if `start` lies
        behind the end (at the end, 0 is returned); `InvalidValue` if the buffer is read-only or not contiguous.
        After an error or a cancellation the content of the buffer is undefined.
        """

    def open_range(
        self, bucket: str, object_id: str, start: int = 0, stop: int | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Stream the bytes `[start, stop)` in pieces of at most 1 MiB; `stop` may lie behind the end.

        Entering raises `BucketNotFound`, `ObjectNotFound`, `InvalidRange`. If the object is replaced during reading,
        the stream continues with the old content to its end, or raises `ObjectChanged`.
        """

    async def put_object(
        self, bucket: str, object_id: str, data: Buffer | AsyncIterable[bytes], *, overwrite: bool = True
    ) -> ObjectStat:
        """Store an object in one step: it appears whole or not at all.

        A stream may be of any length; services that need parts get parts, in constant memory. With `overwrite=False`
        one of several calls at once creates the object, the others raise `ObjectExists`; where the service cannot
        guarantee that, all raise `NotSupported` before anything is sent. Raises `BucketNotFound`.
        """

    async def presign_get(self, bucket: str, object_id: str, *, expires: int, file_name: str | None = None) -> str:
        """Make a URL for GET and ranged GET, valid for `expires` seconds; no network call.

        With `file_name` the response has a Content-Disposition with this name.
        """

    async def presign_put(self, bucket: str, object_id: str, *, expires: int) -> str:
        """Make a URL to PUT the whole object, valid for `expires` seconds; no network call."""

    async def presign_post(self, bucket: str, object_id: str, *, expires: int, max_size: int) -> PresignedPost:
        """Make a form to POST the object with at most `max_size` bytes; no network call."""

    async def presign_part(
        self, bucket: str, object_id: str, upload_id: str, number: int, *, expires: int, md5: str | None = None
    ) -> str:
        """Make a URL to PUT one part; no network call, no check that the upload exists.

        With `md5` (hex) the PUT must have the header Content-MD5 with the same digest in base64; `DigestMismatch` if
        it is no md5.
        """

    async def start_upload(self, bucket: str, object_id: str) -> str:
        """Open a multipart upload and return its id; `BucketNotFound`. Several may be open for one object."""

    async def put_part(
        self,
        bucket: str,
        object_id: str,
        upload_id: str,
        number: int,
        data: Buffer | AsyncIterable[bytes],
        *,
        md5: str | None = None,
    ) -> PartStat:
        """Store a part, replacing an earlier one of that number; `UploadNotFound`, `DigestMismatch`.

        A stream given to S3 is gathered in memory first, since S3 must know its length.
        """

    async def upload_exists(self, bucket: str, object_id: str, upload_id: str) -> bool:
        """Whether this upload is open; `BucketNotFound`."""

    async def list_parts(
        self, bucket: str, object_id: str, upload_id: str, *, first: int = 1, limit: int | None = None
    ) -> list[PartStat]:
        """The stored parts of an upload by number, from number `first` on, at most `limit`; `UploadNotFound`."""

    async def list_uploads(self, bucket: str, object_id: str | None = None) -> list[UploadRef]:
        """Open uploads of the bucket, or of one object; `BucketNotFound`."""

    async def complete_upload(
        self,
        bucket: str,
        object_id: str,
        upload_id: str,
        *,
        expected_parts: int | None = None,
        expected_part_size: int | None = None,
    ) -> ObjectStat:
        """Make the object of the stored parts, in the order of their numbers, in one step.

        Raises `UploadNotFound`; `PartsMismatch` if there is no part, if the numbers are not 1 to n, if
        n is not `expected_parts`, if a part but the last is smaller than the service's minimum or is not
        `expected_part_size`, or the last is larger than that. After a mismatch the upload stays open.
        """

    async def abort_upload(self, bucket: str, object_id: str, upload_id: str) -> None:
        """Delete an upload and its parts; `UploadNotFound`."""
