"""The filesystem provider: object storage in a folder, on both anyio backends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Self

import anyio

from persistence.objects.checked import Names
from persistence.objects.content import Content
from persistence.objects.filesystem.disk import Disk, stat_of
from persistence.objects.filesystem.records import Extent, Record, now
from persistence.objects.filesystem.upkeep import Upkeep
from persistence.objects.filesystem.uploads import Uploads
from persistence.objects.multipart import PartsCheck, UploadKey, check_digest
from persistence.objects.naming import MIN_PART_SIZE, check_names, check_span
from persistence.objects.paging import PagedIterator
from persistence.objects.protocol import ObjectStat, PartStat, UploadRef
from persistence.objects.signing import UrlSigner

_PAGE: Final = 500
_CHUNK: Final = 1024**2


class FilesystemStorage(Upkeep):
    """Object storage in a folder, shared by any number of processes.

    Content is written once into files of its own; small records, replaced by rename, name the files that an object
    consists of. So completing a multipart upload copies nothing, copying an object creates hard links, and no crash
    leaves half an object.

    Args:
        root: the folder; created if missing.
        signing: makes the presigned URLs; the server that serves them verifies with the same signer.
        min_part_size: bytes of every part but the last; by default the limit of S3.
        durable: whether content and records are flushed to the device before a call returns, so that they survive a
            power cut and not only the end of the process.
        max_threads: threads used at the same time.
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
        self.min_part_size = min_part_size
        self._uploads = Uploads(self._disk)
        self._max_threads = max_threads

    async def __aenter__(self) -> Self:
        self._limiter = anyio.CapacityLimiter(self._max_threads)
        await self._run(self._disk.prepare)
        return self

    def _close(self) -> None:
        self._limiter = None

    async def list_buckets(self) -> list[str]:
        return await self._run(self._disk.bucket_names)

    async def _bucket_exists(self, bucket: str) -> bool:
        return await self._run(self._disk.has_bucket, bucket)

    async def _create_bucket(self, bucket: str) -> None:
        await self._run(self._disk.create_bucket, bucket)

    async def _delete_bucket(self, bucket: str, with_content: bool) -> None:
        await self._run(self._disk.delete_bucket, bucket, with_content)

    async def _stat(self, names: Names) -> ObjectStat:
        return stat_of(names[0], await self._run(self._disk.find, names))

    def _list_objects(self, bucket: str, prefix: str) -> AsyncIterator[ObjectStat]:
        # Names of records do not sort as ids do, so the ids come from the records, all of them at once.
        stats: list[ObjectStat] | None = None

        async def page(start: int) -> tuple[list[ObjectStat], int | None]:
            nonlocal stats
            if stats is None:
                names = await self._run(self._disk.record_names, bucket)
                stats = []
                for first in range(0, len(names), _PAGE):
                    stats += await self._run(self._disk.stats, bucket, names[first : first + _PAGE], prefix)
                stats.sort(key=lambda stat: stat.object_id)
            return stats[start : start + _PAGE], start + _PAGE if start + _PAGE < len(stats) else None

        return PagedIterator(page, 0)

    async def _delete_object(self, names: Names) -> None:
        await self._run(self._disk.delete, names)

    async def _copy_object(self, source: Names, target: Names, span: tuple[int, int | None] | None) -> ObjectStat:
        return await self._run(self._disk.copy, source, target, span)

    async def _read_into(self, names: Names, start: int, view: memoryview) -> int:
        record = await self._run(self._disk.find, names)
        done = 0
        for extent, first, last in record.spans(*check_span(names, record.size, start, start + len(view))):
            while first < last:
                piece = view[done : done + min(last - first, 4 * _CHUNK)]
                await self._read(names, extent, first, piece)
                first += len(piece)
                done += len(piece)
        return done

    @asynccontextmanager
    async def _open_range(self, names: Names, start: int, stop: int | None) -> AsyncIterator[AsyncIterator[bytes]]:
        record = await self._run(self._disk.find, names)
        spans = record.spans(*check_span(names, record.size, start, stop))

        async def page(position: tuple[int, int]) -> tuple[list[bytes], tuple[int, int] | None]:
            index, offset = position
            if index == len(spans):
                return [], None
            extent, first, last = spans[index]
            first += offset
            piece = bytearray(min(last - first, _CHUNK))
            await self._read(names, extent, first, memoryview(piece))
            following = (index + 1, 0) if first + len(piece) == last else (index, offset + len(piece))
            return [bytes(piece)], following

        yield PagedIterator(page, (0, 0))

    async def _put_object(self, names: Names, content: Content, overwrite: bool) -> ObjectStat:
        writer, size = await self._write(names[0], content)
        record = Record(names[1], writer.md5, now(), (Extent(self._disk.content_name(writer.path), size),))
        return await self._enter(writer, lambda: self._disk.publish(names[0], record, overwrite=overwrite))

    async def _start_upload(self, names: Names) -> str:
        return await self._run(self._uploads.start, names)

    async def _put_part(self, upload: UploadKey, number: int, content: Content, md5: str | None) -> PartStat:
        await self._run(self._uploads.check, upload)
        writer, size = await self._write(upload.bucket, content)
        part = PartStat(number, size, writer.md5)

        def enter() -> PartStat:
            check_digest(part.etag, md5, what=f"part {number} of object {upload.object_id!r}")
            self._uploads.add_part(upload, part, writer.path)
            return part

        return await self._enter(writer, enter)

    async def _list_parts(self, upload: UploadKey, first: int, limit: int | None) -> list[PartStat]:
        return await self._run(self._uploads.parts, upload, first, limit)

    async def _list_uploads(self, bucket: str, object_id: str | None) -> list[UploadRef]:
        return await self._run(self._uploads.open_uploads, bucket, object_id)

    async def _complete_upload(self, upload: UploadKey, check: PartsCheck) -> ObjectStat:
        return await self._run(self._uploads.complete, upload, check)

    async def _abort_upload(self, upload: UploadKey) -> None:
        await self._run(self._uploads.abort, upload)

    async def local_path(self, bucket: str, object_id: str) -> Path:
        """A file with the whole content of an object, for a server that sends it itself.

        A multipart object is first assembled into one file, once. The file must not be changed; it remains until the
        object is replaced or deleted. `BucketNotFound`, `ObjectNotFound`.
        """
        return await self._run(self._disk.single_file, check_names(bucket, object_id))

    async def local_files(self, bucket: str, object_id: str) -> tuple[ObjectStat, list[tuple[Path, int]]]:
        """The result of :meth:`stat`, and the files (with their bytes) that hold the object one after the other.

        For a server that sends them itself without assembling a multipart object. They must not be changed; they may
        be deleted when the object is replaced or deleted. `BucketNotFound`, `ObjectNotFound`.
        """
        record = await self._run(self._disk.find, check_names(bucket, object_id))
        return stat_of(bucket, record), [(self._disk.content(bucket, extent), extent.size) for extent in record.extents]
