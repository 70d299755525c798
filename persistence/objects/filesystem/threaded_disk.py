"""Runs the calls of the disk in worker threads; content is read and written piece by piece."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar, TypeVarTuple

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
from persistence.objects.checked import CheckedStorage, Names
from persistence.objects.content import Content, pieces
from persistence.objects.filesystem.content_files import ContentWriter, read_at
from persistence.objects.filesystem.disk import Disk
from persistence.objects.filesystem.records import Extent

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_FULL: Final = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


class ThreadedDisk(CheckedStorage):
    """Base of the storage: runs disk calls in worker threads."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._limiter: anyio.CapacityLimiter | None = None

    async def _read(self, names: Names, extent: Extent, offset: int, view: memoryview) -> None:
        try:
            count = await self._run_raw(read_at, self._disk.content(names[0], extent), offset, view)
        except FileNotFoundError as error:
            raise ObjectChanged(*names) from error
        if count < len(view):
            raise ObjectChanged(*names)

    async def _write(self, bucket: str, content: Content) -> tuple[ContentWriter, int]:
        path = self._disk.new_content(bucket)
        try:
            writer = await self._run_raw(lambda: ContentWriter(path, durable=self._disk.durable))
        except FileNotFoundError as error:
            raise BucketNotFound(bucket) from error
        try:
            async for piece in pieces(content):
                await self._run(writer.write, piece)
            return writer, await self._run(writer.close)
        except BaseException:
            # Deleting one file is quick, and a cancelled task cannot use a thread any more.
            writer.drop()
            raise

    async def _enter(self, writer: ContentWriter, entry: Callable[[], T]) -> T:
        """Name a written content file in a record; delete it if that fails or the call is cancelled before."""
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

    async def _run(self, call: Callable[[*Ts], T], *args: *Ts) -> T:
        """As `_run_raw`, for calls that must find all files they use."""
        try:
            return await self._run_raw(call, *args)
        except OSError as error:
            raise _translated(error, self._disk.root) from error

    async def _run_raw(self, call: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run a short blocking call in a thread and wait for its end, since it may use the caller's buffer."""
        if self._limiter is None:
            raise Closed("The storage")
        try:
            with courtesy():
                return await anyio.to_thread.run_sync(call, *args, limiter=self._limiter)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _translated(error, self._disk.root) from error


def _translated(error: OSError, root: Path) -> PersistenceError:
    if error.errno in _FULL:
        return StorageFull(f"There is no space left below {root}.", hint="Free some, then repeat the call.")
    if isinstance(error, PermissionError):
        return CredentialsRefused(f"{root} may not be used: {error.strerror}.", hint="Check its permissions.")
    return Unreachable(f"{root} cannot be used: {error}.")
