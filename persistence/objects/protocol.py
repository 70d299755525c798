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

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, Self

from persistence import errors
from persistence.errors import PersistenceError
from persistence.objects import naming
from persistence.objects.content import Content, as_content, as_view
from persistence.objects.multipart import ExpectedParts, UploadKey, check_md5, content_md5
from persistence.objects.signing import UrlSigner, content_disposition
from persistence.objects.values import Data, Fields, Names, ObjectStat, PartStat, PresignedPost, Span, UploadRef


class ObjectStorage(Protocol):
    """Buckets, objects, multipart uploads, presigned URLs and bytes.

    The ETag of an object put in one call is the md5 of its content in hex; that of a multipart
    object is the md5 over the concatenated binary md5s of its parts, a hyphen and their count.

    Attributes:
        min_part_size: bytes of every part but the last.
    """

    min_part_size: int

    async def __aenter__(self) -> Self:
        """Open the storage."""

    async def __aexit__(self, *error: object) -> None:
        """Close the storage."""

    async def bucket_exists(self, bucket: str) -> bool:
        """Whether the bucket exists."""
        return await self._bucket_exists(naming.check_bucket(bucket))

    async def create_bucket(self, bucket: str) -> None:
        """Create a bucket; `BucketExists`."""
        await self._create_bucket(naming.check_bucket(bucket))

    async def delete_bucket(self, bucket: str, *, with_content: bool = False) -> None:
        """Delete a bucket, its open uploads included.

        Raises `BucketNotFound`; `BucketNotEmpty` if it has objects and `with_content` is false.
        """
        await self._delete_bucket(naming.check_bucket(bucket), with_content)

    async def list_buckets(self) -> list[str]:
        """Names of all buckets, sorted."""

    async def object_exists(self, bucket: str, object_id: str) -> bool:
        """Whether the object exists; `BucketNotFound` if not even the bucket does."""
        try:
            await self.stat(bucket, object_id)
        except errors.ObjectNotFound:
            return False
        return True

    async def stat(self, bucket: str, object_id: str) -> ObjectStat:
        """Size, ETag and time of an object in one call; `BucketNotFound`, `ObjectNotFound`."""
        return await self._stat(naming.check_names(bucket, object_id))

    def list_objects(self, bucket: str, *, prefix: str = "") -> AsyncIterator[ObjectStat]:
        """All objects whose ids begin with `prefix`, sorted by id, fetched page by page.

        `BucketNotFound` is raised by the first step. Nothing stays open between two steps.
        """
        return self._list_objects(naming.check_bucket(bucket), naming.check_prefix(prefix))

    async def delete_object(self, bucket: str, object_id: str) -> None:
        """Delete one object; `BucketNotFound`, `ObjectNotFound`."""
        await self._delete_object(naming.check_names(bucket, object_id))

    async def delete_objects(self, bucket: str, object_ids: Iterable[str]) -> dict[str, PersistenceError]:
        """Delete many objects, in as few calls as the service allows.

        Ids without an object count as deleted. Returns the errors of the objects that could not be deleted, by id;
        raises `BucketNotFound`.
        """
        if isinstance(object_ids, str) or not isinstance(object_ids, Iterable):
            raise errors.InvalidValue(f"A {type(object_ids).__name__} is no list of object ids.", hint="Use a list.")
        ids = list(dict.fromkeys(map(naming.check_object_id, object_ids)))
        return await self._delete_objects(naming.check_bucket(bucket), ids)

    async def copy_object(
        self, bucket: str, object_id: str, *, to_bucket: str, to_object_id: str, byte_range: Span | None = None
    ) -> ObjectStat:
        """Copy an object, or the bytes `[start, stop)` of it, of any size, within the storage.

        An existing target is replaced. The copy keeps the content type and the metadata of the source, where it has
        any; its ETag may differ where it is assembled from parts. Raises `BucketNotFound`, `ObjectNotFound`,
        `InvalidRange`.
        """
        source, target = naming.check_names(bucket, object_id), naming.check_names(to_bucket, to_object_id)
        if byte_range is not None and not (isinstance(byte_range, Sequence) and len(byte_range) == 2):
            raise errors.InvalidValue("A range of bytes is a pair of offsets.", hint="Use (start, stop).")
        return await self._copy_object(source, target, byte_range and naming.check_offsets(source, *byte_range))

    async def read_into(self, bucket: str, object_id: str, start: int, buffer: memoryview) -> int:
        """Fill the buffer with bytes from offset `start`; returns how many, fewer than it has only at the end.

        All sizes are bytes, also where the items of the buffer are larger. Raises `InvalidRange` if `start` lies
        behind the end (at the end, 0 is returned); `InvalidValue` if the buffer is read-only or not contiguous.
        After an error or a cancellation the content of the buffer is undefined.
        """
        names = naming.check_names(bucket, object_id)
        naming.check_offsets(names, start)
        return await self._read_into(names, start, as_view(buffer, writable=True))

    def open_range(
        self, bucket: str, object_id: str, start: int = 0, stop: int | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Stream the bytes `[start, stop)` in pieces of at most 1 MiB; `stop` may lie behind the end.

        Entering raises `BucketNotFound`, `ObjectNotFound`, `InvalidRange`. If the object is replaced during reading,
        the stream continues with the old content to its end, or raises `ObjectChanged`.
        """
        names = naming.check_names(bucket, object_id)
        return self._open_range(names, *naming.check_offsets(names, start, stop))

    async def put_object(self, bucket: str, object_id: str, data: Data, *, overwrite: bool = True) -> ObjectStat:
        """Store an object in one step: it appears whole or not at all.

        A stream may be of any length; services that need parts get parts, in constant memory. With `overwrite=False`
        one of several calls at once creates the object, the others raise `ObjectExists`; where the service cannot
        guarantee that, all raise `NotSupported` before anything is sent. Raises `BucketNotFound`.
        """
        names, content = naming.check_names(bucket, object_id), as_content(data)
        if not overwrite and await self.object_exists(bucket, object_id):
            raise errors.ObjectExists(bucket, object_id)
        return await self._put_object(names, content, overwrite)

    async def presign_get(self, bucket: str, object_id: str, *, expires: int, file_name: str | None = None) -> str:
        """Make a URL for GET and ranged GET, valid for `expires` seconds; no network call.

        With `file_name` the response has a Content-Disposition with this name.
        """
        query = {} if file_name is None else {"response-content-disposition": content_disposition(file_name)}
        return self._sign("GET", naming.check_names(bucket, object_id), naming.check_expiry(expires), query, {})

    async def presign_put(self, bucket: str, object_id: str, *, expires: int) -> str:
        """Make a URL to PUT the whole object, valid for `expires` seconds; no network call."""
        return self._sign("PUT", naming.check_names(bucket, object_id), naming.check_expiry(expires), {}, {})

    async def presign_post(self, bucket: str, object_id: str, *, expires: int, max_size: int) -> PresignedPost:
        """Make a form to POST the object with at most `max_size` bytes; no network call."""
        names = naming.check_names(bucket, object_id)
        return self._sign_post(names, naming.check_expiry(expires), naming.check_count(max_size, "a number of bytes"))

    async def presign_part(
        self, bucket: str, object_id: str, upload_id: str, number: int, *, expires: int, md5: str | None = None
    ) -> str:
        """Make a URL to PUT one part; no network call, no check that the upload exists.

        With `md5` (hex) the PUT must have the header Content-MD5 with the same digest in base64; `DigestMismatch` if
        it is no md5.
        """
        upload = UploadKey(bucket, object_id, upload_id)
        query = {"uploadId": upload.upload_id, "partNumber": str(naming.check_part_number(number))}
        headers = {} if check_md5(md5) is None else {"content-md5": content_md5(md5 or "")}
        return self._sign("PUT", (bucket, object_id), naming.check_expiry(expires), query, headers)

    async def start_upload(self, bucket: str, object_id: str) -> str:
        """Open a multipart upload and return its id; `BucketNotFound`. Several may be open for one object."""
        return await self._start_upload(naming.check_names(bucket, object_id))

    async def put_part(
        self, bucket: str, object_id: str, upload_id: str, number: int, data: Data, *, md5: str | None = None
    ) -> PartStat:
        """Store a part, replacing an earlier one of that number; `UploadNotFound`, `DigestMismatch`.

        A stream given to S3 is gathered in memory first, since S3 must know its length.
        """
        upload = UploadKey(bucket, object_id, upload_id)
        return await self._put_part(upload, naming.check_part_number(number), as_content(data), check_md5(md5))

    async def upload_exists(self, bucket: str, object_id: str, upload_id: str) -> bool:
        """Whether this upload is open; `BucketNotFound`."""
        try:
            await self.list_parts(bucket, object_id, upload_id, limit=1)
        except errors.UploadNotFound:
            return False
        return True

    async def list_parts(
        self, bucket: str, object_id: str, upload_id: str, *, first: int = 1, limit: int | None = None
    ) -> list[PartStat]:
        """The stored parts of an upload by number, from number `first` on, at most `limit`; `UploadNotFound`."""
        upload = UploadKey(bucket, object_id, upload_id)
        if limit is not None:
            naming.check_count(limit, "a limit", lowest=1)
        return await self._list_parts(upload, naming.check_part_number(first), limit)

    async def list_uploads(self, bucket: str, object_id: str | None = None) -> list[UploadRef]:
        """Open uploads of the bucket, or of one object; `BucketNotFound`."""
        if object_id is not None:
            naming.check_object_id(object_id)
        found = await self._list_uploads(naming.check_bucket(bucket), object_id)
        return sorted(found, key=lambda ref: (ref.object_id, ref.started, ref.upload_id))

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

        Raises `UploadNotFound`; `ObjectNotFound` if the object was deleted at once; `PartsMismatch` if there is no
        part, if the numbers are not 1 to n, if n is not `expected_parts`, if a part but the last is smaller than the
        service's minimum or is not `expected_part_size`, or the last is larger than that. After a mismatch the upload
        stays open.
        """
        upload = UploadKey(bucket, object_id, upload_id)
        if expected_parts is not None:
            naming.check_count(expected_parts, "a number of parts")
        if expected_part_size is not None:
            naming.check_count(expected_part_size, "a number of bytes")
        expected = ExpectedParts(expected_parts, expected_part_size, self.min_part_size)
        return await self._complete_upload(upload, expected)

    async def abort_upload(self, bucket: str, object_id: str, upload_id: str) -> None:
        """Delete an upload and its parts; `UploadNotFound`."""
        await self._abort_upload(UploadKey(bucket, object_id, upload_id))

    # What a provider implements; the arguments are checked.

    async def _bucket_exists(self, bucket: str) -> bool: ...
    async def _create_bucket(self, bucket: str) -> None: ...
    async def _delete_bucket(self, bucket: str, with_content: bool) -> None: ...
    async def _stat(self, names: Names) -> ObjectStat: ...
    def _list_objects(self, bucket: str, prefix: str) -> AsyncIterator[ObjectStat]: ...
    async def _delete_object(self, names: Names) -> None: ...
    async def _copy_object(self, source: Names, target: Names, span: Span | None) -> ObjectStat: ...
    async def _read_into(self, names: Names, start: int, view: memoryview) -> int: ...
    def _open_range(
        self, names: Names, start: int, stop: int | None
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]: ...
    async def _put_object(self, names: Names, content: Content, overwrite: bool) -> ObjectStat: ...
    async def _start_upload(self, names: Names) -> str: ...
    async def _put_part(self, upload: UploadKey, number: int, content: Content, md5: str | None) -> PartStat: ...
    async def _list_parts(self, upload: UploadKey, first: int, limit: int | None) -> list[PartStat]: ...
    async def _list_uploads(self, bucket: str, object_id: str | None) -> list[UploadRef]: ...
    async def _complete_upload(self, upload: UploadKey, expected: ExpectedParts) -> ObjectStat: ...
    async def _abort_upload(self, upload: UploadKey) -> None: ...

    async def _delete_objects(self, bucket: str, object_ids: Sequence[str]) -> dict[str, PersistenceError]:
        failed: dict[str, PersistenceError] = {}
        if not await self._bucket_exists(bucket):
            raise errors.BucketNotFound(bucket)
        for object_id in object_ids:
            try:
                await self._delete_object((bucket, object_id))
            except errors.ObjectNotFound:
                continue
            except PersistenceError as error:
                failed[object_id] = error
        return failed

    def _sign(self, method: str, names: Names, expires: int, query: Fields, headers: Fields) -> str: ...
    def _sign_post(self, names: Names, expires: int, max_size: int) -> PresignedPost: ...


class SignedStorage(ObjectStorage, Protocol):
    """A storage that is no server itself: the server of its presigned URLs verifies them with `signing`."""

    signing: UrlSigner

    def _sign(self, method: str, names: Names, expires: int, query: Fields, headers: Fields) -> str:
        return self.signing.sign(method, *names, expires=expires, query=query, headers=headers)

    def _sign_post(self, names: Names, expires: int, max_size: int) -> PresignedPost:
        return self.signing.sign_post(*names, expires=expires, max_size=max_size)
