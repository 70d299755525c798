"""Runs the calls of the disk in worker threads; content is read and written piece by piece."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar, TypeVarTuple

import anyio
import anyio.to_thread

from persistence import errors
from persistence.objects.checked import CheckedStorage, Names
from persistence.objects.content import Content, pieces
from persistence.objects.filesystem.content_files import ContentWriter, read_at
from persistence.objects.filesystem.disk import Disk
from persistence.objects.filesystem.records import Extent
from persistence.threads import gil_yielder

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_FULL: Final = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


class ThreadedDisk(CheckedStorage):
    """Base of the storage: runs disk calls in worker threads."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._limiter: anyio.CapacityLimiter | None = None

    async def _read(self, names: Names, extent: Extent, offset: int, view: memoryview) -> None:
        changed = errors.ObjectChanged(*names)
        path = self._disk.content(names[0], extent)
        if await self._run(read_at, path, offset, view, missing=changed) < len(view):
            raise changed

    async def _write(self, bucket: str, content: Content) -> tuple[ContentWriter, int]:
        path, durable = self._disk.new_content(bucket), self._disk.durable
        missing = errors.BucketNotFound(bucket)
        writer = await self._run(ContentWriter, path, durable, missing=missing)
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
