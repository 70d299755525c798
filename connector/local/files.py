"""Open files: read and written at positions, synced, and checked for changes while they are read."""

from __future__ import annotations

import errno
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import attrs

from connector.errors import LocalError, UsageError
from connector.local.disk import local_failures

_IOV_MAX = 1024
"""Pieces per vectored call that every POSIX system allows (Linux and macOS: 1024)."""
_HAS_VECTORED = hasattr(os, "preadv") and hasattr(os, "pwritev")
_CANNOT_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
"""Errors of file systems that cannot sync (some of FUSE, SMB and 9p), which is no reason to fail."""


class PositionalFile:
    """A file descriptor for reads and writes at given offsets, from several threads at once.

    Uses `preadv` and `pwritev`; without them (Windows; `vectored`), a lock guards seek and read or write. All methods
    block: call them in threads. Errors are plain `OSError`. `descriptor` is -1 once the file is closed.

    One thread writes at a time: file systems lock a file for each write, and on Linux a thread that waits for that lock
    spins, on a core that others could use.
    """

    def __init__(self, descriptor: int, *, vectored: bool = _HAS_VECTORED) -> None:
        self.descriptor = descriptor
        self._vectored = vectored
        self._lock = threading.Lock()
        self._write_lock = threading.Lock()

    def read_into(self, offset: int, views: Sequence[memoryview]) -> int:
        """Fill `views` in order from `offset` on; returns the bytes read, fewer only at the end of the file."""
        return self._transfer(offset, views, self._read_some)

    def write_from(self, offset: int, views: Sequence[memoryview]) -> int:
        """Write `views` in order from `offset` on; returns the bytes written: all of them."""
        with self._write_lock:
            return self._transfer(offset, views, self._write_some)

    def close(self) -> None:
        """Close the descriptor, once: close(2) frees it even when it fails, and another file may have its number."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _transfer(self, offset: int, views: Sequence[memoryview], some: Callable[[list[memoryview], int], int]) -> int:
        pending = [view for view in views if len(view)]
        position, done = 0, 0
        while position < len(pending):
            count = some(pending[position : position + _IOV_MAX], offset + done)
            if count == 0:
                break
            done += count
            while position < len(pending) and count >= len(pending[position]):
                count -= len(pending[position])
                position += 1
            if count:
                pending[position] = pending[position][count:]
        return done

    def _read_some(self, views: list[memoryview], offset: int) -> int:
        if sys.platform != "win32" and self._vectored:
            return os.preadv(self.descriptor, views, offset)
        with self._lock:
            os.lseek(self.descriptor, offset, os.SEEK_SET)
            data = os.read(self.descriptor, len(views[0]))
        views[0][: len(data)] = data
        return len(data)

    def _write_some(self, views: list[memoryview], offset: int) -> int:
        if sys.platform != "win32" and self._vectored:
            return os.pwritev(self.descriptor, views, offset)
        with self._lock:
            os.lseek(self.descriptor, offset, os.SEEK_SET)
            return os.write(self.descriptor, views[0])


def start_writeback(descriptor: int, offset: int, size: int, *, platform: str = sys.platform) -> None:
    """Start writing `size` bytes from `offset` on to the disk, without waiting for it.

    A hint: Linux writes back the dirty pages of a range that is not needed (`posix_fadvise(2)`), and keeps them in the
    cache meanwhile; other systems ignore it.
    """
    if sys.platform == "linux" and platform == "linux":
        with suppress(OSError):
            os.posix_fadvise(descriptor, offset, size, os.POSIX_FADV_DONTNEED)


def sync(descriptor: int) -> None:
    """Sync written data of a file to the disk (`fdatasync` if the system has it), if its file system can do that."""
    try:
        getattr(os, "fdatasync", os.fsync)(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def sync_directory(path: str | os.PathLike[str], *, platform: str = sys.platform) -> None:
    """Sync a directory's entries to the disk, so that a rename in it survives a power failure, if that can be done.

    Windows cannot open a directory for that; NTFS journals renames itself. Elsewhere, one that may be written to but
    not be listed cannot be opened.
    """
    if platform == "win32":
        return
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
    finally:
        os.close(descriptor)


_READ_ONCE_HINT = "Write its content to a file first; connector encrypt and decrypt also read pipes: - < PIPE."


class SourceChangedError(LocalError):
    """A file changed while it was read: the result so far is invalid."""


@attrs.frozen
class SourceState:
    """Identifies the state of a file: size in bytes, modification time in ns, device and inode."""

    size: int
    mtime_ns: int
    device: int
    inode: int

    @classmethod
    def of(cls, result: os.stat_result) -> SourceState:
        """The state that a `stat` call saw."""
        return cls(result.st_size, result.st_mtime_ns, result.st_dev, result.st_ino)


class SourceFile:
    """A regular file open for positional reads. Methods block: call them in threads."""

    def __init__(self, path: Path, file: PositionalFile, state: SourceState) -> None:
        self.path = path
        self.state = state
        self._file = file

    @classmethod
    def open(cls, path: Path) -> SourceFile:
        """Open `path`.

        Raises:
            LocalError: If it cannot be read.
            UsageError: If it is not a regular file (a pipe has no size to announce, a folder no content).
        """
        with local_failures("read", path):
            # Checked before it is opened, since opening a pipe would block until it has a writer.
            mode = os.stat(path).st_mode
            if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
                raise UsageError(f"{path} is not a regular file: it can be read only once.", hint=_READ_ONCE_HINT)
            if not stat.S_ISREG(mode):
                raise UsageError(f"{path} is not a regular file.", hint="Give files; a folder is not sent as a whole.")
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))
        source = cls(path, PositionalFile(descriptor), SourceState.of(os.fstat(descriptor)))
        try:
            source._check_size()
        except BaseException:
            source.close()
            raise
        return source

    def read_into(self, offset: int, views: Sequence[memoryview]) -> None:
        """Fill all `views` from `offset` on; `SourceChangedError` if the file became shorter."""
        wanted = sum(map(len, views))
        with local_failures("read", self.path):
            done = self._file.read_into(offset, views)
        if done != wanted:
            raise self._changed()

    def check_unchanged(self) -> None:
        """Raise `SourceChangedError` if the file changed since it was opened."""
        with local_failures("read", self.path):
            by_handle = SourceState.of(os.fstat(self._file.descriptor))
            by_name = SourceState.of(os.stat(self.path))
        if by_handle != self.state or by_name != self.state:
            raise self._changed()

    def close(self) -> None:
        """Close the file. What was only read is not lost if that fails."""
        with suppress(OSError):
            self._file.close()

    def _check_size(self) -> None:
        """Raise `UsageError` for a file that claims to be empty and is not, as those of /proc and of some mounts."""
        if self.state.size == 0:
            with local_failures("read", self.path):
                if self._file.read_into(0, [memoryview(bytearray(1))]):
                    raise UsageError(f"{self.path} has content, but does not tell its size.", hint=_READ_ONCE_HINT)

    def _changed(self) -> SourceChangedError:
        return SourceChangedError(
            f"{self.path} changed while it was read.",
            hint="Nothing was completed; let no program write to it, then run the same command again.",
        )


def planned_files(
    files: Iterable[tuple[str, Path]], moved: Callable[[int], int] = lambda size: size
) -> list[tuple[str, int | None]]:
    """The label of each file, and the bytes that will be moved if its size is known. Blocks."""
    planned: list[tuple[str, int | None]] = []
    for label, path in files:
        size = None
        with suppress(OSError, ValueError):  # the file's own outcome will report why
            found = path.stat()
            if stat.S_ISREG(found.st_mode) and found.st_size:
                size = moved(found.st_size)
        planned.append((label, size))
    return planned
