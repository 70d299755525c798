"""What all providers share: the arguments of a call are checked in one place, before anything is requested."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import TracebackType
from typing import Protocol

from persistence.errors import (
    BucketNotFound,
    InvalidValue,
    ObjectExists,
    ObjectNotFound,
    PersistenceError,
    UploadNotFound,
)
from persistence.objects import naming
from persistence.objects.content import Content, as_content, as_view
from persistence.objects.multipart import PartsCheck, UploadKey, check_md5, check_parts, content_md5
from persistence.objects.protocol import Buffer, ObjectStat, ObjectStorage, PartStat, PresignedPost, UploadRef
from persistence.objects.signing import UrlSigner, content_disposition

Names = tuple[str, str]
"""Bucket and object id."""


class CheckedStorage(ObjectStorage, Protocol):
    """Base of the providers: public methods check their arguments and call the methods below.

    Attributes:
        signing: signs the URLs of storages that are no servers themselves.
        min_part_size: bytes of every part but the last.
    """

    signing: UrlSigner
    min_part_size: int

    def _close(self) -> None: ...
    async def _bucket_exists(self, bucket: str) -> bool: ...
    async def _create_bucket(self, bucket: str) -> None: ...
    async def _delete_bucket(self, bucket: str, with_content: bool) -> None: ...
    async def _stat(self, names: Names) -> ObjectStat: ...
    def _list_objects(self, bucket: str, prefix: str) -> AsyncIterator[ObjectStat]: ...
    async def _delete_object(self, names: Names) -> None: ...
    async def _copy_object(self, source: Names, target: Names, span: tuple[int, int | None] | None) -> ObjectStat: ...
    async def _read_into(self, names: Names, start: int, view: memoryview) -> int: ...
    def _open_range(
        self, names: Names, start: int, stop: int | None
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]: ...
    async def _put_object(self, names: Names, content: Content, overwrite: bool) -> ObjectStat: ...
    async def _start_upload(self, names: Names) -> str: ...
    async def _put_part(self, upload: UploadKey, number: int, content: Content, md5: str | None) -> PartStat: ...
    async def _list_parts(self, upload: UploadKey, first: int, limit: int | None) -> list[PartStat]: ...
    async def _list_uploads(self, bucket: str, object_id: str | None) -> list[UploadRef]: ...
    async def _complete_upload(self, upload: UploadKey, check: PartsCheck) -> ObjectStat: ...
    async def _abort_upload(self, upload: UploadKey) -> None: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    async def bucket_exists(self, bucket: str) -> bool:
        return await self._bucket_exists(naming.check_bucket(bucket))

    async def create_bucket(self, bucket: str) -> None:
        await self._create_bucket(naming.check_bucket(bucket))

    async def delete_bucket(self, bucket: str, *, with_content: bool = False) -> None:
        await self._delete_bucket(naming.check_bucket(bucket), with_content)

    async def object_exists(self, bucket: str, object_id: str) -> bool:
        try:
            await self.stat(bucket, object_id)
        except ObjectNotFound:
            return False
        return True

    async def stat(self, bucket: str, object_id: str) -> ObjectStat:
        return await self._stat(naming.check_names(bucket, object_id))

    def list_objects(self, bucket: str, *, prefix: str = "") -> AsyncIterator[ObjectStat]:
        return self._list_objects(naming.check_bucket(bucket), naming.check_prefix(prefix))

    async def delete_object(self, bucket: str, object_id: str) -> None:
        await self._delete_object(naming.check_names(bucket, object_id))

    async def delete_objects(self, bucket: str, object_ids: Iterable[str]) -> dict[str, PersistenceError]:
        if isinstance(object_ids, str) or not isinstance(object_ids, Iterable):
            raise InvalidValue(f"A {type(object_ids).__name__} is no collection of object ids.", hint="Use a list.")
        ids = list(dict.fromkeys(map(naming.check_object_id, object_ids)))
        return await self._delete_objects(naming.check_bucket(bucket), ids)

    async def copy_object(
        self,
        bucket: str,
        object_id: str,
        *,
        to_bucket: str,
        to_object_id: str,
        byte_range: tuple[int, int] | None = None,
    ) -> ObjectStat:
        source, target = naming.check_names(bucket, object_id), naming.check_names(to_bucket, to_object_id)
        if byte_range is not None and not (isinstance(byte_range, Sequence) and len(byte_range) == 2):
            raise InvalidValue("A range of bytes is a pair of offsets.", hint="Use (start, stop).")
        return await self._copy_object(source, target, byte_range and naming.check_offsets(source, *byte_range))

    async def read_into(self, bucket: str, object_id: str, start: int, buffer: memoryview) -> int:
        names = naming.check_names(bucket, object_id)
        naming.check_offsets(names, start)
        return await self._read_into(names, start, as_view(buffer, writable=True))

    def open_range(
        self, bucket: str, object_id: str, start: int = 0, stop: int | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        names = naming.check_names(bucket, object_id)
        return self._open_range(names, *naming.check_offsets(names, start, stop))

    async def put_object(
        self, bucket: str, object_id: str, data: Buffer | AsyncIterable[bytes], *, overwrite: bool = True
    ) -> ObjectStat:
        names, content = naming.check_names(bucket, object_id), as_content(data)
        if not overwrite and await self.object_exists(bucket, object_id):
            raise ObjectExists(bucket, object_id)
        return await self._put_object(names, content, overwrite)

    async def start_upload(self, bucket: str, object_id: str) -> str:
        return await self._start_upload(naming.check_names(bucket, object_id))

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
        upload = UploadKey(bucket, object_id, upload_id)
        return await self._put_part(upload, naming.check_part_number(number), as_content(data), check_md5(md5))

    async def upload_exists(self, bucket: str, object_id: str, upload_id: str) -> bool:
        try:
            await self.list_parts(bucket, object_id, upload_id, limit=1)
        except UploadNotFound:
            return False
        return True

    async def list_parts(
        self, bucket: str, object_id: str, upload_id: str, *, first: int = 1, limit: int | None = None
    ) -> list[PartStat]:
        upload = UploadKey(bucket, object_id, upload_id)
        naming.check_count(limit, "a limit", lowest=1)
        return await self._list_parts(upload, naming.check_part_number(first), limit)

    async def list_uploads(self, bucket: str, object_id: str | None = None) -> list[UploadRef]:
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
        upload = UploadKey(bucket, object_id, upload_id)
        naming.check_count(expected_parts, "a number of parts")
        naming.check_count(expected_part_size, "a number of bytes")
        check = partial(check_parts, upload=upload, count=expected_parts, size=expected_part_size)
        return await self._complete_upload(upload, partial(check, smallest=self.min_part_size))

    async def abort_upload(self, bucket: str, object_id: str, upload_id: str) -> None:
        await self._abort_upload(UploadKey(bucket, object_id, upload_id))

    async def presign_get(self, bucket: str, object_id: str, *, expires: int, file_name: str | None = None) -> str:
        query = {} if file_name is None else {"response-content-disposition": content_disposition(file_name)}
        return self._sign("GET", naming.check_names(bucket, object_id), naming.check_expiry(expires), query, {})

    async def presign_put(self, bucket: str, object_id: str, *, expires: int) -> str:
        return self._sign("PUT", naming.check_names(bucket, object_id), naming.check_expiry(expires), {}, {})

    async def presign_post(self, bucket: str, object_id: str, *, expires: int, max_size: int) -> PresignedPost:
        names = naming.check_names(bucket, object_id)
        return self._sign_post(names, naming.check_expiry(expires), naming.check_size(max_size))

    async def presign_part(
        self, bucket: str, object_id: str, upload_id: str, number: int, *, expires: int, md5: str | None = None
    ) -> str:
        upload = UploadKey(bucket, object_id, upload_id)
        query = {"uploadId": upload.upload_id, "partNumber": str(naming.check_part_number(number))}
        headers = {} if check_md5(md5) is None else {"content-md5": content_md5(md5 or "")}
        return self._sign("PUT", (bucket, object_id), naming.check_expiry(expires), query, headers)

    async def _delete_objects(self, bucket: str, object_ids: Sequence[str]) -> dict[str, PersistenceError]:
        failed: dict[str, PersistenceError] = {}
        if not await self._bucket_exists(bucket):
            raise BucketNotFound(bucket)
        for object_id in object_ids:
            try:
                await self._delete_object((bucket, object_id))
            except ObjectNotFound:
                continue
            except PersistenceError as error:
                failed[object_id] = error
        return failed

    def _sign(self, method: str, names: Names, expires: int, query: dict[str, str], headers: dict[str, str]) -> str:
        return self.signing.sign(method, *names, expires=expires, query=query, headers=headers)

    def _sign_post(self, names: Names, expires: int, max_size: int) -> PresignedPost:
        return self.signing.sign_post(*names, expires=expires, max_size=max_size)
