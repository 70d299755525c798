"""The local disk: files read whole or at positions, folders, free space, and errors as a sentence and a hint."""

from __future__ import annotations

import codecs
import errno
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from connector.errors import LocalError, UsageError

_IOV_MAX = 1024
"""Pieces per vectored call that every POSIX system allows (Linux and macOS: 1024)."""
_HAS_VECTORED = hasattr(os, "preadv") and hasattr(os, "pwritev")

NO_SPACE_CODES = (errno.ENOSPC, errno.EDQUOT)
_NO_SPACE_HINT = "Free some space, then run the same command again: what is done is kept."
_HINTS = {
    errno.ENOSPC: _NO_SPACE_HINT,
    errno.EDQUOT: "Your quota is used up: free some space, then run the same command again.",
    errno.EFBIG: "The file is larger than this file system or your limits allow (ulimit -f).",
    errno.ELOOP: "A symbolic link is in the way: remove it, or choose another folder.",
    errno.EACCES: "Check the permissions of the file and its folder.",
    errno.EPERM: "Check the permissions of the file and its folder.",
    errno.EROFS: "The file system is read-only: choose another folder.",
    errno.ENOENT: "Check the path.",
    errno.ENOTDIR: "Check the path: a part of it is a file, not a folder.",
    errno.EISDIR: "It is a folder: name a file.",
    errno.ENAMETOOLONG: "The name is too long for this file system: choose a shorter one.",
    errno.EMFILE: "Too many files are open: raise the limit (ulimit -n).",
    errno.EIO: "The disk reports a failure: check it.",
    errno.ESTALE: "The network file system lost the file: run the same command again.",
}
_ENCODING_HINT = "Choose a locale whose encoding has all characters (LC_ALL=C.UTF-8)."


_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_KIB = 1024


@contextmanager
def local_failures(action: str, path: str | os.PathLike[str]) -> Iterator[None]:
    """Translate an `OSError`, and a name that cannot be encoded, into a `LocalError` about `path`.

    `action` completes "could not": `read`, `write`.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        hint = _HINTS.get(error.errno or 0, "")
        raise LocalError(f"Could not {action} {os.fspath(path)}: {reason}.", hint=hint) from error
    except UnicodeEncodeError as error:
        reason = f"the encoding of file names here ({error.encoding}) lacks a character of the name"
        raise LocalError(f"Could not {action} {os.fspath(path)}: {reason}.", hint=_ENCODING_HINT) from error


def check_space(target: Path, wanted: int) -> None:
    """Raise `LocalError` if the disk of `target` has fewer bytes free than `wanted`."""
    free = free_space(target)
    if free is not None and wanted > free:
        raise LocalError(
            f"{target} needs {wanted:,} more bytes, but only {free:,} are free there: {wanted - free:,} are missing.",
            hint=_NO_SPACE_HINT,
        )


def no_space_error(error: OSError, target: Path, wanted: int) -> LocalError:
    """The error for one of `NO_SPACE_CODES`, for a target that needs `wanted` more bytes."""
    free = free_space(target)
    why = "Your quota is used up" if error.errno == errno.EDQUOT else "The disk is full"
    known = "" if free is None else f", and {free:,} are free there"
    missing = "" if free is None or free >= wanted else f": {wanted - free:,} are missing"
    return LocalError(f"{why}: {target} needs {wanted:,} more bytes{known}{missing}.", hint=_NO_SPACE_HINT)


def free_space(target: Path) -> int | None:
    """Free bytes of the file system; `None` if it cannot tell, as some of FUSE, which fail or report a size of 0."""
    try:
        usage = shutil.disk_usage(target.parent)
    except OSError:
        return None
    return usage.free if usage.total else None


def ready_folder(folder: Path) -> None:
    """Create the folder if it does not exist; `LocalError` if that fails."""
    with local_failures("use the folder", folder):
        folder.mkdir(parents=True, exist_ok=True)


def files_named(folder: Path, ending: str) -> list[Path]:
    """The files of a folder whose names end so, sorted; none if there is no such folder. Blocks.

    `Path.glob` takes a folder that cannot be read for an empty one.

    Raises:
        LocalError: If it cannot be read.
    """
    with local_failures("look into", folder):
        try:
            names = os.listdir(folder)
        except (FileNotFoundError, NotADirectoryError):
            return []
    return sorted(folder / name for name in names if name.endswith(ending))


def missing_in(folder: Path, names: Sequence[str]) -> list[str]:
    """The names with which no file in the folder begins; `LocalError` if it cannot be read."""
    with local_failures("look into", folder):
        found = [path.name for path in folder.iterdir()]
    return [name for name in names if not any(file.startswith(name) for file in found)]


def read_small_file(path: Path, what: str, *, limit: int = 64 * _KIB) -> bytes:
    """The content of a file, as UTF-8 without a byte order mark if it has one; `what` names it in errors.

    For what people write: keys, settings, lists. It is read once, from start to end, so that it may be a pipe
    (`<(...)`), and not further than the limit, since a huge file may be given by mistake. Editors and shells of Windows
    put a byte order mark before the text. Blocks.

    Raises:
        LocalError: If it cannot be read.
        UsageError: If it has more than `limit` bytes.
    """
    with local_failures(f"read the {what}", path), path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise UsageError(
            f"{path} has more than {limit // _KIB:,} KiB, so it is not a {what}.", hint="Is it the data itself?"
        )
    return without_mark(content)


def read_own_file(path: Path, limit: int) -> bytes:
    """At most the first `limit` bytes of a file that this program writes; raises `OSError`.

    Another program may have put anything in its place: a pipe, which is not waited for and has no content, or a link to
    a device that never ends.
    """
    with open(path, "rb", opener=without_waiting) as file:
        return file.read(limit) or b""


def without_waiting(path: str, flags: int) -> int:
    """An `opener` for `open` that does not wait until a pipe has a writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def without_mark(content: bytes) -> bytes:
    """The text without its byte order mark, in UTF-8 if the mark is one of UTF-16; other content as it is."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            try:
                return content.decode(encoding).encode()
            except UnicodeError:
                return content
    return content


class PositionalFile:
    """A file descriptor for reads and writes at given offsets, from several threads at once.

    Uses `preadv` and `pwritev`; without them (Windows; `vectored`), a lock guards seek and read or write. All methods
    block: call them in threads. Errors are plain `OSError`.

    One thread writes at a time: file systems lock a file for each write, and on Linux a thread that waits for that lock
    spins, on a core that others could use.
    """

    def __init__(self, descriptor: int, *, vectored: bool = _HAS_VECTORED) -> None:
        self._descriptor = descriptor
        self._vectored = vectored
        self._lock = threading.Lock()
        self._write_lock = threading.Lock()

    @property
    def descriptor(self) -> int:
        """The open file descriptor."""
        return self._descriptor

    def read_into(self, offset: int, views: Sequence[memoryview]) -> int:
        """Fill `views` in order from `offset` on; returns the bytes read, fewer only at the end of the file."""
        return self._transfer(offset, views, self._read_some)

    def write_from(self, offset: int, views: Sequence[memoryview]) -> int:
        """Write `views` in order from `offset` on; returns the bytes written: all of them."""
        with self._write_lock:
            return self._transfer(offset, views, self._write_some)

    def close(self) -> None:
        """Close the descriptor, once: close(2) frees it even when it fails, and another file may have its number."""
        descriptor, self._descriptor = self._descriptor, -1
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
            return os.preadv(self._descriptor, views, offset)
        with self._lock:
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            data = os.read(self._descriptor, len(views[0]))
        views[0][: len(data)] = data
        return len(data)

    def _write_some(self, views: list[memoryview], offset: int) -> int:
        if sys.platform != "win32" and self._vectored:
            return os.pwritev(self._descriptor, views, offset)
        with self._lock:
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            return os.write(self._descriptor, views[0])


def start_writeback(descriptor: int, offset: int, size: int, *, platform: str = sys.platform) -> None:
    """Start writing `size` bytes from `offset` on to the disk, without waiting for it.

    A hint: Linux writes back the dirty pages of a range that is not needed (`posix_fadvise(2)`), and keeps them in the
    cache meanwhile; other systems ignore it.
    """
    if sys.platform == "linux" and platform == "linux":
        with suppress(OSError):
            os.posix_fadvise(descriptor, offset, size, os.POSIX_FADV_DONTNEED)


_CANNOT_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
"""Errors of file systems that cannot sync (some of FUSE, SMB and 9p), which is no reason to fail."""


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
