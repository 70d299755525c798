"""The filesystem provider: object storage in a folder, on both anyio backends."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

import anyio
import anyio.to_thread

from persistence.errors import (
    ObjectExists,
    PersistenceError,
)
from persistence.objects.filesystem.disk import Disk, check_range
from persistence.objects.filesystem.records import Extent, Record, now
from persistence.objects.filesystem.threaded_disk import check_names
from persistence.objects.filesystem.upkeep import Upkeep
from persistence.objects.filesystem.uploads import Uploads
from persistence.objects.multipart import check_digest
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
from persistence.objects.signing import UrlSigner

T = TypeVar("T")

_PAGE: Final = 500
_CHUNK: Final = 1024**2


class FilesystemStorage(Upkeep):
    """Object storage in a folder, shared by any number of processes.

    Content is written once into files of its own; small records, exchanged by rename, say which
    files make an object. So completing a multipart upload copies nothing, copying an object takes
    hard links, and no crash leaves half an object.

    Args:
        root: the folder; created if missing.
        signing: makes the presigned URLs; whoever serves them verifies with the same signer.
        min_part_size: bytes of every part but the last; S3's own limit by default.
        durable: whether content and records are flushed to the device before a call returns, so
            that they survive a power cut and not just the end of the process.
        max_threads: threads used at once.
    """

    def __init__(
        self,
        root: Path,
        *,
        signing: UrlSigner,
        min_part_size: int = MIN_PART_SIZE,
        durable: bool = False,
        max_threads: int = 16,
    ) -> None:
        super().__init__(Disk(Path(root), durable=durable))
        self.signing = signing
        self._uploads = Uploads(self._disk, min_part_size=min_part_size)
        self._max_threads = max_threads

    async def __aenter__(self) -> Self:
        self._limiter = anyio.CapacityLimiter(self._max_threads)
        await self._run(self._disk.prepare)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._limiter = None

    async def bucket_exists(self, bucket: str) -> bool:
        check_bucket(bucket)
        return await self._run(lambda: self._disk.has_bucket(bucket))

    async def create_bucket(self, bucket: str) -> None:
        check_bucket(bucket)
        await self._run(lambda: self._disk.create_bucket(bucket))

    async def delete_bucket(self, bucket: str, *, with_content: bool = False) -> None:
        check_bucket(bucket)
        await self._run(lambda: self._disk.delete_bucket(bucket, with_content=with_content))

    async def list_buckets(self) -> list[str]:
        return await self._run(self._disk.bucket_names)

    async def object_exists(self, bucket: str, object_id: str) -> bool:
        check_names(bucket, object_id)
        return await self._run(lambda: self._disk.has(bucket, object_id))

    async def stat(self, bucket: str, object_id: str) -> ObjectStat:
        record = await self._find(bucket, object_id)
        return ObjectStat(bucket, object_id, record.size, record.etag, record.modified)

    def list_objects(self, bucket: str, *, prefix: str = "") -> AsyncIterator[ObjectStat]:
        check_bucket(bucket)
        check_prefix(prefix)
        # Names of records do not sort as ids do, so the ids come from the records, all of them at once.
        stats: list[ObjectStat] | None = None

        async def page(start: int) -> tuple[list[ObjectStat], int | None]:
            nonlocal stats
            if stats is None:
                names = await self._run(lambda: self._disk.record_names(bucket))
                stats = []
                for first in range(0, len(names), _PAGE):
                    chunk = names[first : first + _PAGE]
                    stats += await self._run(lambda: self._disk.stats(bucket, chunk, prefix))  # noqa: B023
                stats.sort(key=lambda stat: stat.object_id)
            return stats[start : start + _PAGE], start + _PAGE if start + _PAGE < len(stats) else None

        return PagedIterator(page, 0)

    async def delete_object(self, bucket: str, object_id: str) -> None:
        check_names(bucket, object_id)
        await self._run(lambda: self._disk.delete(bucket, object_id))

    async def delete_objects(self, bucket: str, object_ids: Iterable[str]) -> dict[str, PersistenceError]:
        check_bucket(bucket)
        ids = [check_object_id(object_id) for object_id in object_ids]
        failed: dict[str, PersistenceError] = {}
        await self._run(lambda: self._disk.bucket(bucket))
        for object_id in ids:
            try:
                if await self.object_exists(bucket, object_id):
                    await self.delete_object(bucket, object_id)
            except PersistenceError as error:
                failed[object_id] = error
        return failed

    async def copy_object(
        self,
        bucket: str,
        object_id: str,
        *,
        to_bucket: str,
        to_object_id: str,
        byte_range: tuple[int, int] | None = None,
    ) -> ObjectStat:
        check_names(bucket, object_id)
        check_names(to_bucket, to_object_id)
        return await self._run(lambda: self._disk.copy(bucket, object_id, (to_bucket, to_object_id), byte_range))

    async def read_into(self, bucket: str, object_id: str, start: int, buffer: memoryview) -> int:
        record = await self._find(bucket, object_id)
        check_range(bucket, record, start, None)
        done = 0
        for extent, first, last in record.spans(start, start + len(buffer)):
            while first < last:
                view = buffer[done : done + min(last - first, 4 * _CHUNK)]
                await self._read(bucket, object_id, extent, first, view)
                first += len(view)
                done += len(view)
        return done

    @asynccontextmanager
    async def open_range(
        self, bucket: str, object_id: str, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        record = await self._find(bucket, object_id)
        check_range(bucket, record, start, stop)
        spans = record.spans(start, record.size if stop is None else min(stop, record.size))

        async def page(position: tuple[int, int]) -> tuple[list[bytes], tuple[int, int] | None]:
            index, offset = position
            if index == len(spans):
                return [], None
            extent, first, last = spans[index]
            first += offset
            piece = bytearray(min(last - first, _CHUNK))
            await self._read(bucket, object_id, extent, first, memoryview(piece))
            following = (index + 1, 0) if first + len(piece) == last else (index, offset + len(piece))
            return [bytes(piece)], following

        yield PagedIterator(page, (0, 0))

    async def put_object(
        self, bucket: str, object_id: str, data: Buffer | AsyncIterable[bytes], *, overwrite: bool = True
    ) -> ObjectStat:
        check_names(bucket, object_id)
        if not overwrite and await self.object_exists(bucket, object_id):
            raise ObjectExists(bucket, object_id)
        writer, size = await self._write(bucket, data)
        extents = (Extent(self._disk.content_name(writer.path), size),)

        def publish() -> ObjectStat:
            return self._disk.publish(bucket, Record(object_id, writer.md5, now(), extents), overwrite=overwrite)

        return await self._enter(writer, publish)

    async def start_upload(self, bucket: str, object_id: str) -> str:
        check_names(bucket, object_id)
        return await self._run(lambda: self._uploads.start(bucket, object_id))

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
        check_names(bucket, object_id)
        check_upload_id(upload_id)
        check_part_number(number)
        await self._run(lambda: self._uploads.check(bucket, object_id, upload_id))
        writer, size = await self._write(bucket, data)
        part = PartStat(number, size, writer.md5)

        def enter() -> PartStat:
            check_digest(part.etag, md5, what=f"part {number} of object {object_id!r}")
            self._uploads.add_part(bucket, object_id, upload_id, part, writer.path)
            return part

        return await self._enter(writer, enter)

    async def upload_exists(self, bucket: str, object_id: str, upload_id: str) -> bool:
        check_names(bucket, object_id)
        check_upload_id(upload_id)
        return await self._run(lambda: self._uploads.exists(bucket, object_id, upload_id))

    async def list_parts(self, bucket: str, object_id: str, upload_id: str) -> list[PartStat]:
        check_names(bucket, object_id)
        check_upload_id(upload_id)
        return await self._run(lambda: self._uploads.parts(bucket, object_id, upload_id))

    async def list_uploads(self, bucket: str, object_id: str | None = None) -> list[UploadRef]:
        check_bucket(bucket)
        if object_id is not None:
            check_object_id(object_id)
        return await self._run(lambda: self._uploads.open_uploads(bucket, object_id))

    async def complete_upload(
        self,
        bucket: str,
        object_id: str,
        upload_id: str,
        *,
        expected_parts: int | None = None,
        expected_part_size: int | None = None,
    ) -> ObjectStat:
        check_names(bucket, object_id)
        check_upload_id(upload_id)
        return await self._run(
            lambda: self._uploads.complete(bucket, object_id, upload_id, expected_parts, expected_part_size)
        )

    async def abort_upload(self, bucket: str, object_id: str, upload_id: str) -> None:
        check_names(bucket, object_id)
        check_upload_id(upload_id)
        await self._run(lambda: self._uploads.abort(bucket, object_id, upload_id))

    async def local_path(self, bucket: str, object_id: str) -> Path:
        """A file with the whole content of an object, for a server to send it itself.

        A multipart object is put together into one file first (once). The file must not be
        changed; it stays until the object is replaced or deleted. `BucketNotFound`, `ObjectNotFound`.
        """
        check_names(bucket, object_id)
        return await self._run(lambda: self._disk.single_file(bucket, object_id))

    async def local_files(self, bucket: str, object_id: str) -> tuple[ObjectStat, list[tuple[Path, int]]]:
        """What :meth:`stat` says, and the files (with their bytes) that hold the object one after the other.

        For a server that sends them itself, of a multipart object without putting it together. They must not be
        changed; they may vanish when the object is replaced or deleted. `BucketNotFound`, `ObjectNotFound`.
        """
        record = await self._find(bucket, object_id)
        stat = ObjectStat(bucket, object_id, record.size, record.etag, record.modified)
        return stat, [(self._disk.content(bucket, extent), extent.size) for extent in record.extents]
