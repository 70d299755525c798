"""Local files that are read for a transfer, and checked for changes meanwhile."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import attrs

from connector.errors import LocalError, UsageError
from connector.local.disk import PositionalFile, local_failures


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
                hint = "Write its content to a file first; connector encrypt and decrypt also read pipes: - < PIPE."
                raise UsageError(f"{path} is not a regular file: it can be read only once.", hint=hint)
            if not stat.S_ISREG(mode):
                raise UsageError(f"{path} is not a regular file.", hint="Give files; a folder is not sent as a whole.")
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))
        return cls(path, PositionalFile(descriptor), SourceState.of(os.fstat(descriptor)))

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
