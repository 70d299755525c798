"""Objects in memory, with the same rules as those of a server."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Self

import anyio.lowlevel
import attrs

from persistence import errors
from persistence.objects.content import Content, gather
from persistence.objects.multipart import ExpectedParts, UploadKey, check_digest, multipart_etag
from persistence.objects.naming import MIN_PART_SIZE, check_span
from persistence.objects.paging import PagedIterator
from persistence.objects.protocol import SignedStorage
from persistence.objects.signing import UrlSigner
from persistence.objects.values import Names, ObjectStat, PartStat, Span, UploadRef, now

_CHUNK: Final = 1024**2


@attrs.define
class _Upload:
    ref: UploadRef
    parts: dict[int, tuple[PartStat, bytes]] = attrs.field(factory=dict)


@attrs.define
class _Bucket:
    objects: dict[str, tuple[ObjectStat, bytes]] = attrs.field(factory=dict)
    uploads: dict[str, _Upload] = attrs.field(factory=dict)


class MemoryStorage(SignedStorage):
    """Object storage in dicts; its content lasts as long as the Python object, not only its `async with` block.

    Args:
        signing: makes the presigned URLs; by default with a secret of this object alone.
        min_part_size: bytes of every part but the last; by default the limit of S3.
    """

    def __init__(self, *, signing: UrlSigner | None = None, min_part_size: int = MIN_PART_SIZE) -> None:
        self.signing = signing or UrlSigner("http://memory.invalid", secrets.token_bytes(32), time.time)
        self.min_part_size = min_part_size
        self._buckets: dict[str, _Bucket] = {}
        self._is_open = False

    async def __aenter__(self) -> Self:
        self._is_open = True
        return self

    async def __aexit__(self, *error: object) -> None:
        self._is_open = False

    async def list_buckets(self) -> list[str]:
        await self._checkpoint()
        return sorted(self._buckets)

    async def _bucket_exists(self, bucket: str) -> bool:
        await self._checkpoint()
        return bucket in self._buckets

    async def _create_bucket(self, bucket: str) -> None:
        await self._checkpoint()
        if bucket in self._buckets:
            raise errors.BucketExists(bucket)
        self._buckets[bucket] = _Bucket()

    async def _delete_bucket(self, bucket: str, with_content: bool) -> None:
        if (await self._bucket(bucket)).objects and not with_content:
            raise errors.BucketNotEmpty(bucket)
        del self._buckets[bucket]

    async def _stat(self, names: Names) -> ObjectStat:
        return (await self._object(names))[0]

    def _list_objects(self, bucket: str, prefix: str) -> AsyncIterator[ObjectStat]:
        async def page(_: int) -> tuple[list[ObjectStat], int | None]:
            objects = (await self._bucket(bucket)).objects
            return [objects[key][0] for key in sorted(objects) if key.startswith(prefix)], None

        return PagedIterator(page, 0)

    async def _delete_object(self, names: Names) -> None:
        await self._object(names)
        del self._buckets[names[0]].objects[names[1]]

    async def _copy_object(self, source: Names, target: Names, span: Span | None) -> ObjectStat:
        stat, content = await self._object(source)
        await self._bucket(target[0])
        if span is None:
            return self._store(target, content, stat.etag)
        start, stop = check_span(source, stat.size, *span)
        return self._store(target, content[start:stop])

    async def _read_into(self, names: Names, start: int, view: memoryview) -> int:
        stat, content = await self._object(names)
        check_span(names, stat.size, start, None)
        piece = content[start : start + len(view)]
        view[: len(piece)] = piece
        return len(piece)

    @asynccontextmanager
    async def _open_range(self, names: Names, start: int, stop: int | None) -> AsyncIterator[AsyncIterator[bytes]]:
        stat, content = await self._object(names)
        start, end = check_span(names, stat.size, start, stop)

        async def page(position: int) -> tuple[list[bytes], int | None]:
            await self._checkpoint()
            following = min(position + _CHUNK, end)
            return [content[position:following]] if position < end else [], following if following < end else None

        yield PagedIterator(page, start)

    async def _put_object(self, names: Names, content: Content, overwrite: bool) -> ObjectStat:
        await self._bucket(names[0])
        stored = bytes(await gather(content))
        if names[1] in (await self._bucket(names[0])).objects and not overwrite:
            raise errors.ObjectExists(*names)
        return self._store(names, stored)

    async def _start_upload(self, names: Names) -> str:
        uploads = (await self._bucket(names[0])).uploads
        upload_id = secrets.token_hex(16)
        uploads[upload_id] = _Upload(UploadRef(*names, upload_id, now()))
        return upload_id

    async def _put_part(self, upload: UploadKey, number: int, content: Content, md5: str | None) -> PartStat:
        await self._upload(upload)
        stored = bytes(await gather(content))
        part = PartStat(number, len(stored), _md5(stored))
        check_digest(part.etag, md5, what=f"part {number} of object {upload.object_id!r}")
        (await self._upload(upload)).parts[number] = (part, stored)
        return part

    async def _list_parts(self, upload: UploadKey, first: int, limit: int | None) -> list[PartStat]:
        parts = (await self._upload(upload)).parts
        return [parts[number][0] for number in sorted(parts) if number >= first][:limit]

    async def _list_uploads(self, bucket: str, object_id: str | None) -> list[UploadRef]:
        refs = [upload.ref for upload in (await self._bucket(bucket)).uploads.values()]
        return [ref for ref in refs if object_id in (None, ref.object_id)]

    async def _complete_upload(self, upload: UploadKey, expected: ExpectedParts) -> ObjectStat:
        stored = (await self._upload(upload)).parts
        parts = [stored[number][0] for number in sorted(stored)]
        expected.check(upload, parts)
        del self._buckets[upload.bucket].uploads[upload.upload_id]
        content = b"".join(stored[part.number][1] for part in parts)
        return self._store((upload.bucket, upload.object_id), content, multipart_etag(parts))

    async def _abort_upload(self, upload: UploadKey) -> None:
        await self._upload(upload)
        del self._buckets[upload.bucket].uploads[upload.upload_id]

    async def _checkpoint(self) -> None:
        if not self._is_open:
            raise errors.Closed("The storage")
        await anyio.lowlevel.checkpoint()

    async def _bucket(self, bucket: str) -> _Bucket:
        await self._checkpoint()
        if bucket not in self._buckets:
            raise errors.BucketNotFound(bucket)
        return self._buckets[bucket]

    async def _object(self, names: Names) -> tuple[ObjectStat, bytes]:
        found = (await self._bucket(names[0])).objects.get(names[1])
        if found is None:
            raise errors.ObjectNotFound(*names)
        return found

    async def _upload(self, upload: UploadKey) -> _Upload:
        found = (await self._bucket(upload.bucket)).uploads.get(upload.upload_id)
        if found is None or found.ref.object_id != upload.object_id:
            raise upload.not_found()
        return found

    def _store(self, names: Names, content: bytes, etag: str = "") -> ObjectStat:
        stat = ObjectStat(*names, len(content), etag or _md5(content), now())
        self._buckets[names[0]].objects[names[1]] = (stat, content)
        return stat


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
