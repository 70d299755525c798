"""Objects in memory, with the same rules as a server's."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self

import anyio.lowlevel
import attrs

from persistence.errors import (
    BucketExists,
    BucketNotEmpty,
    BucketNotFound,
    Closed,
    InvalidRange,
    ObjectExists,
    ObjectNotFound,
    PersistenceError,
    UploadNotFound,
)
from persistence.objects.content import gather
from persistence.objects.multipart import check_digest, check_parts, multipart_etag
from persistence.objects.naming import (
    MIN_PART_SIZE,
    check_bucket,
    check_object_id,
    check_part_number,
    check_prefix,
    check_upload_id,
)
from persistence.objects.paging import PagedIterator
from persistence.objects.protocol import (
    Buffer,
    ObjectStat,
    PartStat,
    UploadRef,
)
from persistence.objects.signed_urls import SignedUrls
from persistence.objects.signing import UrlSigner

_CHUNK: Final = 1024**2


@attrs.define
class _Upload:
    ref: UploadRef
    parts: dict[int, tuple[PartStat, bytes]] = attrs.field(factory=dict)


@attrs.define
class _Bucket:
    objects: dict[str, tuple[ObjectStat, bytes]] = attrs.field(factory=dict)
    uploads: dict[str, _Upload] = attrs.field(factory=dict)


class MemoryStorage(SignedUrls):
    """Object storage in dicts; it lasts as long as the object, not just its `async with` block.

    Args:
        signing: makes the presigned URLs; by default with a secret of this object alone.
        min_part_size: bytes of every part but the last; S3's own limit by default.
    """

    def __init__(self, *, signing: UrlSigner | None = None, min_part_size: int = MIN_PART_SIZE) -> None:
        self.signing = signing or UrlSigner("http://memory.invalid", secrets.token_bytes(32), time.time)
        self._min_part_size = min_part_size
        self._buckets: dict[str, _Bucket] = {}
        self._open = False

    async def __aenter__(self) -> Self:
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False

    async def bucket_exists(self, bucket: str) -> bool:
        await self._turn()
        return check_bucket(bucket) in self._buckets

    async def create_bucket(self, bucket: str) -> None:
        await self._turn()
        if check_bucket(bucket) in self._buckets:
            raise BucketExists(bucket)
        self._buckets[bucket] = _Bucket()

    async def delete_bucket(self, bucket: str, *, with_content: bool = False) -> None:
        if (await self._bucket(bucket)).objects and not with_content:
            raise BucketNotEmpty(bucket)
        del self._buckets[bucket]

    async def list_buckets(self) -> list[str]:
        await self._turn()
        return sorted(self._buckets)

    async def object_exists(self, bucket: str, object_id: str) -> bool:
        check_object_id(object_id)
        return object_id in (await self._bucket(bucket)).objects

    async def stat(self, bucket: str, object_id: str) -> ObjectStat:
        return (await self._object(bucket, object_id))[0]

    def list_objects(self, bucket: str, *, prefix: str = "") -> AsyncIterator[ObjectStat]:
        check_bucket(bucket)
        check_prefix(prefix)

        async def page(_: int) -> tuple[list[ObjectStat], int | None]:
            objects = (await self._bucket(bucket)).objects
            return [objects[key][0] for key in sorted(objects) if key.startswith(prefix)], None

        return PagedIterator(page, 0)

    async def delete_object(self, bucket: str, object_id: str) -> None:
        await self._object(bucket, object_id)
        del self._buckets[bucket].objects[object_id]

    async def delete_objects(self, bucket: str, object_ids: Iterable[str]) -> dict[str, PersistenceError]:
        ids = [check_object_id(object_id) for object_id in object_ids]
        objects = (await self._bucket(bucket)).objects
        for object_id in ids:
            objects.pop(object_id, None)
        return {}

    async def copy_object(
        self,
        bucket: str,
        object_id: str,
        *,
        to_bucket: str,
        to_object_id: str,
        byte_range: tuple[int, int] | None = None,
    ) -> ObjectStat:
        check_object_id(to_object_id)
        stat, content = await self._object(bucket, object_id)
        await self._bucket(to_bucket)
        if byte_range is None:
            return self._store(to_bucket, to_object_id, content, stat.etag)
        _check_range(stat, *byte_range)
        return self._store(to_bucket, to_object_id, content[byte_range[0] : byte_range[1]])

    async def read_into(self, bucket: str, object_id: str, start: int, buffer: memoryview) -> int:
        stat, content = await self._object(bucket, object_id)
        _check_range(stat, start, None)
        piece = memoryview(content)[start : start + len(buffer)]
        buffer[: len(piece)] = piece
        return len(piece)

    @asynccontextmanager
    async def open_range(
        self, bucket: str, object_id: str, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        stat, content = await self._object(bucket, object_id)
        _check_range(stat, start, stop)
        end = stat.size if stop is None else min(stop, stat.size)

        async def page(position: int) -> tuple[list[bytes], int | None]:
            await self._turn()
            following = min(position + _CHUNK, end)
            return [content[position:following]] if position < end else [], following if following < end else None

        yield PagedIterator(page, start)

    async def put_object(
        self, bucket: str, object_id: str, data: Buffer | AsyncIterable[bytes], *, overwrite: bool = True
    ) -> ObjectStat:
        check_object_id(object_id)
        await self._bucket(bucket)
        content = bytes(await gather(data))
        if object_id in (await self._bucket(bucket)).objects and not overwrite:
            raise ObjectExists(bucket, object_id)
        return self._store(bucket, object_id, content)

    async def start_upload(self, bucket: str, object_id: str) -> str:
        check_object_id(object_id)
        uploads = (await self._bucket(bucket)).uploads
        upload_id = secrets.token_hex(16)
        uploads[upload_id] = _Upload(UploadRef(bucket, object_id, upload_id, _now()))
        return upload_id

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
        check_part_number(number)
        await self._upload(bucket, object_id, upload_id)
        content = bytes(await gather(data))
        part = PartStat(number, len(content), _md5(content))
        check_digest(part.etag, md5, what=f"part {number} of object {object_id!r}")
        upload = await self._upload(bucket, object_id, upload_id)
        upload.parts[number] = (part, content)
        return part

    async def upload_exists(self, bucket: str, object_id: str, upload_id: str) -> bool:
        try:
            await self._upload(bucket, object_id, upload_id)
        except UploadNotFound:
            return False
        return True

    async def list_parts(self, bucket: str, object_id: str, upload_id: str) -> list[PartStat]:
        parts = (await self._upload(bucket, object_id, upload_id)).parts
        return [parts[number][0] for number in sorted(parts)]

    async def list_uploads(self, bucket: str, object_id: str | None = None) -> list[UploadRef]:
        if object_id is not None:
            check_object_id(object_id)
        refs = [upload.ref for upload in (await self._bucket(bucket)).uploads.values()]
        chosen = [ref for ref in refs if object_id in (None, ref.object_id)]
        return sorted(chosen, key=lambda ref: (ref.object_id, ref.started, ref.upload_id))

    async def complete_upload(
        self,
        bucket: str,
        object_id: str,
        upload_id: str,
        *,
        expected_parts: int | None = None,
        expected_part_size: int | None = None,
    ) -> ObjectStat:
        parts = await self.list_parts(bucket, object_id, upload_id)
        check_parts(
            parts,
            upload=(bucket, object_id, upload_id),
            expected_parts=expected_parts,
            expected_part_size=expected_part_size,
            min_part_size=self._min_part_size,
        )
        upload = self._buckets[bucket].uploads.pop(upload_id)
        content = b"".join(upload.parts[part.number][1] for part in parts)
        return self._store(bucket, object_id, content, multipart_etag([part.etag for part in parts]))

    async def abort_upload(self, bucket: str, object_id: str, upload_id: str) -> None:
        await self._upload(bucket, object_id, upload_id)
        del self._buckets[bucket].uploads[upload_id]

    async def _turn(self) -> None:
        if not self._open:
            raise Closed("The storage")
        await anyio.lowlevel.checkpoint()

    async def _bucket(self, bucket: str) -> _Bucket:
        check_bucket(bucket)
        await self._turn()
        if bucket not in self._buckets:
            raise BucketNotFound(bucket)
        return self._buckets[bucket]

    async def _object(self, bucket: str, object_id: str) -> tuple[ObjectStat, bytes]:
        check_object_id(object_id)
        found = (await self._bucket(bucket)).objects.get(object_id)
        if found is None:
            raise ObjectNotFound(bucket, object_id)
        return found

    async def _upload(self, bucket: str, object_id: str, upload_id: str) -> _Upload:
        check_object_id(object_id)
        check_upload_id(upload_id)
        found = (await self._bucket(bucket)).uploads.get(upload_id)
        if found is None or found.ref.object_id != object_id:
            raise UploadNotFound(bucket, object_id, upload_id)
        return found

    def _store(self, bucket: str, object_id: str, content: bytes, etag: str = "") -> ObjectStat:
        stat = ObjectStat(bucket, object_id, len(content), etag or _md5(content), _now())
        self._buckets[bucket].objects[object_id] = (stat, content)
        return stat


def _check_range(stat: ObjectStat, start: int, stop: int | None) -> None:
    if start < 0 or start > stat.size or (stop is not None and stop < start):
        raise InvalidRange(stat.bucket, stat.object_id, start, stop, stat.size)


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _now() -> datetime:
    time_now = datetime.now(UTC)
    return time_now.replace(microsecond=time_now.microsecond // 1000 * 1000)
