"""How the filesystem provider gets at its disk: short calls in threads, reading and writing piece by piece."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterable, Callable
from pathlib import Path
from typing import Final, TypeVar

import anyio
import anyio.to_thread

from persistence.courtesy import courtesy
from persistence.errors import (
    BucketNotFound,
    Closed,
    CredentialsRefused,
    ObjectChanged,
    PersistenceError,
    StorageFull,
    Unreachable,
)
from persistence.objects.content import pieces
from persistence.objects.filesystem.content_files import ContentWriter, read_at
from persistence.objects.filesystem.disk import Disk
from persistence.objects.filesystem.records import Extent, Record
from persistence.objects.naming import check_bucket, check_object_id
from persistence.objects.protocol import Buffer
from persistence.objects.signed_urls import SignedUrls

T = TypeVar("T")

_FULL: Final = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


class ThreadedDisk(SignedUrls):
    """What the storage's methods do it with."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._limiter: anyio.CapacityLimiter | None = None

    async def _find(self, bucket: str, object_id: str) -> Record:
        check_names(bucket, object_id)
        return await self._run(lambda: self._disk.find(bucket, object_id))

    async def _read(self, bucket: str, object_id: str, extent: Extent, offset: int, view: memoryview) -> None:
        try:
            count = await self._run_raw(lambda: read_at(self._disk.content(bucket, extent), offset, view))
        except FileNotFoundError as error:
            raise ObjectChanged(bucket, object_id) from error
        if count < len(view):
            raise ObjectChanged(bucket, object_id)

    async def _write(self, bucket: str, data: Buffer | AsyncIterable[bytes]) -> tuple[ContentWriter, int]:
        path = self._disk.new_content(bucket)
        try:
            writer = await self._run_raw(lambda: ContentWriter(path, durable=self._disk.durable))
        except FileNotFoundError as error:
            raise BucketNotFound(bucket) from error
        try:
            async for piece in pieces(data):
                await self._run(lambda: writer.write(piece))  # noqa: B023 (called before the next step)
            return writer, await self._run(writer.close)
        except BaseException:
            # Deleting one file is quick, and a cancelled task gets no thread any more.
            writer.drop()
            raise

    async def _enter(self, writer: ContentWriter, entry: Callable[[], T]) -> T:
        """Name a written content file in a record; it is dropped if that does not come about, or the caller goes."""
        entered = False

        def enter() -> T:
            nonlocal entered
            result = entry()
            entered = True
            return result

        try:
            return await self._run(enter)
        except BaseException:
            if not entered:
                writer.drop()
            raise

    async def _run(self, call: Callable[[], T]) -> T:
        """As `_run_raw`, for calls to which no file of theirs may be missing."""
        try:
            return await self._run_raw(call)
        except OSError as error:
            raise _translated(error, self._disk.root) from error

    async def _run_raw(self, call: Callable[[], T]) -> T:
        """Run a short blocking call in a thread; it is never left behind, since it may use the caller's buffer."""
        if self._limiter is None:
            raise Closed("The storage")
        try:
            with courtesy():
                return await anyio.to_thread.run_sync(call, limiter=self._limiter)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _translated(error, self._disk.root) from error


def check_names(bucket: str, object_id: str) -> None:
    """Raise `Rejected` unless these may name a bucket and an object."""
    check_bucket(bucket)
    check_object_id(object_id)


def _translated(error: OSError, root: Path) -> PersistenceError:
    if error.errno in _FULL:
        return StorageFull(f"There is no room left below {root}.", hint="Free space, then repeat.")
    if isinstance(error, PermissionError):
        return CredentialsRefused(f"{root} may not be used: {error.strerror}.", hint="Check its permissions.")
    return Unreachable(f"{root} cannot be used: {error}.")
