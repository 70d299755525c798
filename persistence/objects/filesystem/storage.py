"""The filesystem provider: object storage in a folder, on both anyio backends."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Final, Self, TypeAlias, TypeVar, TypeVarTuple

import anyio
import anyio.to_thread

from persistence import errors
from persistence.objects.content import Content, pieces
from persistence.objects.filesystem.content_files import ContentWriter, read_at
from persistence.objects.filesystem.disk import Disk
from persistence.objects.filesystem.leftovers import Leftovers
from persistence.objects.filesystem.records import Extent, Record
from persistence.objects.filesystem.uploads import Uploads
from persistence.objects.multipart import ExpectedParts, UploadKey, check_digest
from persistence.objects.naming import MIN_PART_SIZE, check_names, check_span
from persistence.objects.paging import PagedIterator
from persistence.objects.protocol import SignedStorage
from persistence.objects.signing import UrlSigner
from persistence.objects.values import Names, ObjectStat, PartStat, Span, UploadRef, now
from persistence.threads import gil_yielder

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

FileSpan: TypeAlias = tuple[Path, int, int]
"""A file, and the offsets in it at which bytes of an object begin and end."""

_PAGE: Final = 500
_CHUNK: Final = 1024**2
_FULL: Final = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


class FilesystemStorage(SignedStorage):
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
        self._disk = Disk(Path(root), durable=durable)
        self._limiter: anyio.CapacityLimiter | None = None
        self.signing = signing
        self.min_part_size = min_part_size
        self._uploads = Uploads(self._disk)
        self._leftovers = Leftovers(self._disk)
        self._max_threads = max_threads

    async def __aenter__(self) -> Self:
        self._limiter = anyio.CapacityLimiter(self._max_threads)
        await self._run(self._disk.prepare)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._limiter = None
        self._disk.close()

    async def list_buckets(self) -> list[str]:
        return await self._run(self._disk.bucket_names)

    async def _bucket_exists(self, bucket: str) -> bool:
        return await self._run(self._disk.has_bucket, bucket)

    async def _create_bucket(self, bucket: str) -> None:
        await self._run(self._disk.create_bucket, bucket)

    async def _delete_bucket(self, bucket: str, with_content: bool) -> None:
        await self._run(self._disk.delete_bucket, bucket, with_content)

    async def _stat(self, names: Names) -> ObjectStat:
        return (await self._run(self._disk.find, names)).stat(names[0])

    def _list_objects(self, bucket: str, prefix: str) -> AsyncIterator[ObjectStat]:
        # Names of records do not sort as ids do, so the ids come from the records, all of them at once.
        async def page(_: int) -> tuple[list[ObjectStat], int | None]:
            records = (record for record in self._disk.records(bucket) if record.id.startswith(prefix))
            stats = await self._all(record.stat(bucket) for record in records)
            return sorted(stats, key=lambda stat: stat.object_id), None

        return PagedIterator(page, 0)

    async def _delete_object(self, names: Names) -> None:
        await self._run(self._disk.delete, names)

    async def _copy_object(self, source: Names, target: Names, span: Span | None) -> ObjectStat:
        return await self._run(self._disk.copy, source, target, span)

    async def _read_into(self, names: Names, start: int, view: memoryview) -> int:
        record = await self._run(self._disk.find, names)
        done = 0
        for extent, first, last in record.spans(*check_span(names, record.size, start, start + len(view)), 4 * _CHUNK):
            await self._read(names, extent, first, view[done : done + last - first])
            done += last - first
        return done

    @asynccontextmanager
    async def _open_range(self, names: Names, start: int, stop: int | None) -> AsyncIterator[AsyncIterator[bytes]]:
        record = await self._run(self._disk.find, names)
        start, end = check_span(names, record.size, start, stop)

        async def page(position: int) -> tuple[list[bytes], int | None]:
            for extent, first, last in record.spans(position, end, _CHUNK):
                piece = bytearray(last - first)
                await self._read(names, extent, first, memoryview(piece))
                return [bytes(piece)], position + len(piece)
            return [], None

        yield PagedIterator(page, start)

    async def _put_object(self, names: Names, content: Content, overwrite: bool) -> ObjectStat:
        def publish(writer: ContentWriter) -> ObjectStat:
            record = Record(names[1], writer.md5, now(), (writer.extent,))
            return self._disk.publish(names[0], record, overwrite=overwrite)

        return await self._write(names[0], content, publish)

    async def _start_upload(self, names: Names) -> str:
        return await self._run(self._uploads.start, names)

    async def _put_part(self, upload: UploadKey, number: int, content: Content, md5: str | None) -> PartStat:
        await self._run(self._uploads.check, upload)

        def add(writer: ContentWriter) -> PartStat:
            part = PartStat(number, writer.extent.size, writer.md5)
            check_digest(part.etag, md5, what=f"part {number} of object {upload.object_id!r}")
            self._uploads.add_part(upload, part, writer.extent.file)
            return part

        return await self._write(upload.bucket, content, add)

    async def _list_parts(self, upload: UploadKey, first: int, limit: int | None) -> list[PartStat]:
        return await self._run(self._uploads.parts, upload, first, limit)

    async def _list_uploads(self, bucket: str, object_id: str | None) -> list[UploadRef]:
        return await self._run(self._uploads.open_uploads, bucket, object_id)

    async def _complete_upload(self, upload: UploadKey, expected: ExpectedParts) -> ObjectStat:
        return await self._run(self._uploads.complete, upload, expected)

    async def _abort_upload(self, upload: UploadKey) -> None:
        await self._run(self._uploads.abort, upload)

    async def settle(self) -> bool:
        """Finish completions and aborts that killed processes left half-done, if no other process writes at the moment.

        To be called before its first write by every process that writes for long; it counts as writing until the
        storage is closed. An upload that was being completed is open again afterwards, with all its parts, unless its
        object exists.

        Returns:
            Whether there is no other process that has called this.
        """
        return await self._run(self._leftovers.settle)

    async def remove_leftovers(self) -> int:
        """Remove files of killed processes that no record names; returns the bytes of content removed.

        Removes nothing unless `settle` found no other process, and then what was there at that moment, so others may
        write meanwhile.
        """
        await self._run(self._leftovers.empty_trash)
        return sum([sum(await self._all(self._leftovers.remove_content(one))) for one in await self.list_buckets()])

    async def unnamed_content(self, bucket: str) -> list[Path]:
        """Files of content that belong to no object and to no upload, which may be deleted; `BucketNotFound`.

        While a process writes, and where the file system has no locks, those only that have not changed for an hour: a
        younger one may yet become part of an object.
        """
        return [path for path in await self._all(self._leftovers.find_content(bucket)) if path is not None]

    async def local_files(self, bucket: str, object_id: str) -> tuple[ObjectStat, Callable[[int, int], list[FileSpan]]]:
        """The result of :meth:`stat`, and a function that finds the files with its bytes `start` to `stop`.

        For a server that sends them itself. They must not be changed; they may be deleted when the object is replaced
        or deleted. `BucketNotFound`, `ObjectNotFound`.
        """
        record = await self._run(self._disk.find, check_names(bucket, object_id))

        def find(start: int, stop: int) -> list[FileSpan]:
            return [(self._disk.content(bucket, one), first, last) for one, first, last in record.spans(start, stop)]

        return record.stat(bucket), find

    async def _read(self, names: Names, extent: Extent, offset: int, view: memoryview) -> None:
        changed = errors.ObjectChanged(*names)
        path = self._disk.content(names[0], extent)
        if await self._run(read_at, path, offset, view, missing=changed) < len(view):
            raise changed

    async def _write(self, bucket: str, content: Content, name: Callable[[ContentWriter], T]) -> T:
        """Write a content file and name it in a record; delete it if that fails or the call is cancelled before.

        Args:
            bucket: where the file belongs.
            content: its content.
            name: writes the record, in a thread; its result is returned.
        """
        path, durable = self._disk.new_content(bucket), self._disk.durable
        with await self._run(ContentWriter, path, durable, missing=errors.BucketNotFound(bucket)) as writer:
            async for piece in pieces(content):
                await self._run(writer.write, piece)
            return await self._run(lambda: writer.finish(name))

    async def _all(self, steps: Iterator[T]) -> list[T]:
        """Everything that a generator yields, fetched in short calls, so that a cancelled call ends soon."""
        found: list[T] = []
        while page := await self._run(list[T], islice(steps, _PAGE)):
            found += page
        return found

    async def _run(self, call: Callable[[*Ts], T], *args: *Ts, missing: errors.PersistenceError | None = None) -> T:
        """Run a short blocking call in a thread and wait for its end, since it may use the caller's buffer.

        Args:
            call, args: what is run.
            missing: raised instead if a file is missing.
        """
        if self._limiter is None:
            raise errors.Closed("The storage")
        try:
            with gil_yielder():
                return await anyio.to_thread.run_sync(call, *args, limiter=self._limiter)
        except OSError as error:
            if missing is not None and isinstance(error, FileNotFoundError):
                raise missing from error
            raise _translated(error, self._disk.root) from error


def _translated(error: OSError, root: Path) -> errors.PersistenceError:
    if error.errno in _FULL:
        return errors.StorageFull(f"There is no space left below {root}.", hint="Free some, then repeat the call.")
    if isinstance(error, PermissionError):
        return errors.CredentialsRefused(f"{root} may not be used: {error.strerror}.", hint="Check its permissions.")
    return errors.Unreachable(f"{root} cannot be used: {error}.")
