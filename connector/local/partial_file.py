"""A file written in parts under a temporary name, journaled, and renamed once it is complete and verified."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from connector.errors import LocalError
from connector.local.disk import local_failures
from connector.local.files import PositionalFile, start_writeback, sync, sync_directory
from connector.local.journal import Journal, JournalFile, load
from connector.local.lock_file import LockFile
from connector.local.lock_owner import boot_id
from connector.local.targets import NO_SPACE_CODES, check_space, check_target, lock_path, no_space_error, working_paths

FLUSH_BYTES = 64 * 1024**2
_FLUSH_SECONDS = 5.0


class PartialFile:
    """The partial file `NAME.part` of a target, with its journal.

    Methods block (call them in threads) and may be called from several threads.

    Every 64 MiB or 5 s, data is synced before its parts are recorded as done. Until then they are recorded as written,
    which is valid unless the machine was restarted: a killed process loses no finished part, a power failure those
    64 MiB or 5 s. Without `facts` there is no journal, and an unfinished file is removed: for files that are written
    again faster than they are verified. Write-back starts with each write, so that the final sync does not have to
    write everything.
    """

    def __init__(
        self,
        target: Path,
        size: int,
        lock_file: LockFile,
        file: PositionalFile,
        journal: JournalFile | None,
        *,
        boot: str | None,
        flush_bytes: int,
    ) -> None:
        self.target = target
        self.done: Set[int] = frozenset()
        self._size = size
        self._lock_file = lock_file
        self._file = file
        self._journal = journal
        self._boot = boot
        self._flush_bytes = flush_bytes
        self._lock = threading.Lock()
        self._pending: set[int] = set()
        self._unsynced = 0
        self._last_flush = time.monotonic()
        self._flushing = False
        self._completed = False

    @classmethod
    def open(
        cls,
        target: Path,
        *,
        size: int,
        kind: str,
        facts: Mapping[str, Any] | None,
        boot: Callable[[], str | None] = boot_id,
        flush_bytes: int = FLUSH_BYTES,
    ) -> PartialFile:
        """Open the partial file of `target`, which will have `size` bytes.

        One whose journal has the same `kind` and `facts` is resumed: `done` then holds the numbers of its parts. Any
        other is restarted. `boot` returns the present boot id.

        Raises:
            LocalError: If the disk cannot hold the file, another process works on it, or a file that is none of ours
                has the name of the partial file.
            LockedElsewhereError: If whether that process still runs is not visible from here.
        """
        path, journal_path = working_paths(target)
        with local_failures("write", target), suppress(FileNotFoundError):
            os.lstat(target)  # fails now instead of at the end, if the name is too long for this file system
        with ExitStack() as undo:
            lock_file = LockFile.take(lock_path(target), target)
            undo.callback(lock_file.release)
            if _has_no_journal(target):
                if not lock_file.is_taken_over():
                    raise _in_the_way(target)
                undo.callback(path.unlink, missing_ok=True)  # the next run would not know any more that it is ours
            earlier = _earlier(target, kind, facts) if facts is not None else None
            with local_failures("write", path):
                # No link is followed: in a shared folder it could point to any file of this user.
                flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
                file = PositionalFile(os.open(path, flags, 0o666))
                if earlier is None:
                    undo.callback(path.unlink, missing_ok=True)
                undo.callback(file.close)
                if earlier is None:
                    # Before the file is truncated: an old journal must not describe what is written from now on.
                    journal_path.unlink(missing_ok=True)
                    os.ftruncate(file.descriptor, 0)
                check_space(target, size - _allocated_size(file))
            journal: JournalFile | None = None
            if earlier is not None:
                journal = JournalFile.resume(journal_path, earlier)
            elif facts is not None:
                journal = JournalFile.begin(journal_path, kind, facts)
            undo.pop_all()
        partial = cls(target, size, lock_file, file, journal, boot=boot(), flush_bytes=flush_bytes)
        if earlier is not None:
            partial._pending = earlier.unsynced(partial._boot)
            partial.done = earlier.parts.keys() | partial._pending
        return partial

    def write(self, offset: int, views: Sequence[memoryview]) -> None:
        """Write `views` in order at `offset`; `LocalError` if another process has taken over."""
        self._lock_file.check()
        with self._translated_write_errors():
            written = self._file.write_from(offset, views)
            start_writeback(self._file.descriptor, offset, written)
        with self._lock:
            self._unsynced += written

    def read_into(self, offset: int, views: Sequence[memoryview]) -> bool:
        """Read back what was written; returns whether the file is long enough."""
        with local_failures("read", self.target):
            return self._file.read_into(offset, views) == sum(map(len, views))

    def record(self, number: int) -> None:
        """Record that part `number` is written; it is recorded as done once its data is synced."""
        if self._journal is None:
            return
        self._lock_file.check()
        with self._lock:
            self._pending.add(number)
            if self._boot is not None:
                self._journal.add_written(number, self._boot)
        self._flush_if_due()

    def complete(
        self, *, overwrite: bool = True, before_rename: Callable[[os.stat_result], None] = lambda state: None
    ) -> None:
        """Rename the file, which is complete and verified, to its target.

        `before_rename` is called with its state, so that what it records is there if the process is killed after that.

        Raises:
            FileExistsAlready: Without `overwrite`, if a file of that name was created meanwhile.
            LocalError: If another process has taken over, or replaced the partial file, which then stays.
        """
        with self._translated_write_errors():
            sync(self._file.descriptor)
        self._lock_file.check()
        self._check_not_replaced()
        check_target(self.target, overwrite=overwrite)
        with local_failures("write", self.target):
            before_rename(os.fstat(self._file.descriptor))
        with local_failures("write", self.target):
            self._file.close()
            os.replace(working_paths(self.target)[0], self.target)
            sync_directory(self.target.parent)
        self._completed = True
        if self._journal is not None:
            self._journal.remove()

    def discard(self) -> None:
        """Remove the partial file, unless another process has taken over."""
        with suppress(OSError):  # what could not be written is not needed any more
            self._file.close()
        self._lock_file.check()
        for path in working_paths(self.target):
            with local_failures("remove", path):
                path.unlink(missing_ok=True)
        self._completed = True

    def close(self) -> None:
        """Close the file. Unfinished, it stays with its journal, or is removed if there is none."""
        with local_failures("write", self.target), ExitStack() as after:
            after.callback(self._lock_file.release)
            if self._journal is not None:
                after.callback(self._journal.close)
            after.callback(self._file.close)
            if not self._completed and self._journal is None:
                self.discard()
            elif not self._completed:
                self._flush()

    def _check_not_replaced(self) -> None:
        """Raise `LocalError` if another file has the name of the partial file by now: it would be renamed instead."""
        path, _ = working_paths(self.target)
        with local_failures("write", self.target):
            ours, named = os.fstat(self._file.descriptor), os.lstat(path)
        # Some network file systems give a file another number each time it is looked up.
        if not os.path.samestat(ours, named) and (
            (ours.st_size, ours.st_mtime_ns) != (named.st_size, named.st_mtime_ns)
        ):
            raise LocalError(
                f"{path} was replaced while it was written.",
                hint="Let no other program use this name; remove it, then run the same command again.",
            )

    def _flush_if_due(self) -> None:
        with self._lock:
            due = self._unsynced >= self._flush_bytes or time.monotonic() - self._last_flush >= _FLUSH_SECONDS
            if self._flushing or not due:
                return  # one thread syncs, the others continue
            self._flushing = True
        try:
            self._flush()
        finally:
            self._flushing = False

    def _flush(self) -> None:
        if self._file.descriptor < 0:
            return
        with self._lock:
            batch, self._pending = self._pending, set()
            self._unsynced, self._last_flush = 0, time.monotonic()
        if batch and self._journal is not None:
            with self._translated_write_errors():
                sync(self._file.descriptor)
            self._lock_file.check()
            with self._lock:
                self._journal.add_parts({number: {} for number in sorted(batch)})

    @contextmanager
    def _translated_write_errors(self) -> Iterator[None]:
        """Translate write errors into a `LocalError`; that for lack of space states how much is missing."""
        with local_failures("write", self.target):
            try:
                yield
            except OSError as error:
                if error.errno not in NO_SPACE_CODES:
                    raise
                raise no_space_error(error, self.target, self._size - _allocated_size(self._file)) from error


def unfinished_facts(target: Path, kind: str, facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """All facts of the unfinished file of `target` that has these; none if there is none. Blocks."""
    earlier = _earlier(target, kind, facts)
    return {} if earlier is None else earlier.head


def _has_no_journal(target: Path) -> bool:
    """Whether there is a partial file without a journal: of a process that died, or of another program or a person, who
    give such names, too."""
    path, journal_path = working_paths(target)
    with local_failures("read", path):
        try:
            return stat.S_ISREG(os.lstat(path).st_mode) and not os.path.lexists(journal_path)
        except FileNotFoundError:
            return False


def _in_the_way(target: Path) -> LocalError:
    path, _ = working_paths(target)
    return LocalError(
        f"{path} is in the way: {target.name} would be written under this name, and it was not begun by an earlier"
        " run.",
        hint="Rename it, or delete it if it is not needed, then run the same command again.",
    )


def _earlier(target: Path, kind: str, facts: Mapping[str, Any]) -> Journal | None:
    """The journal of an earlier run that can be resumed: of the same transfer, and with its partial file."""
    path, journal_path = working_paths(target)
    journal = load(journal_path)
    if journal is None or not path.is_file():
        return None
    expected = {"kind": kind, **facts}
    return journal if all(journal.head.get(name) == value for name, value in expected.items()) else None


def _allocated_size(file: PositionalFile) -> int:
    """Bytes that the file occupies on the disk: its size without the holes that parts out of order leave."""
    state = os.fstat(file.descriptor)
    return min(state.st_size, getattr(state, "st_blocks", state.st_size) * 512)
