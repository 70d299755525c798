"""Lock files, which exclude other processes from a target. `flock` has no effect on many cluster file systems."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
import uuid
from pathlib import Path

import attrs

from connector.errors import LocalError
from connector.local.disk import local_failures, read_own_file
from connector.local.lock_owner import LockOwner
from connector.transfer import NotReadyError

STALE_AFTER = 180.0
"""Seconds without a heartbeat after which the lock file of a process that is not visible from here is stale: nine
heartbeats, since a network file system may show the time of a file a minute late (`acregmax` in nfs(5))."""
_EMPTY_STALE_AFTER = 20.0
"""The same for one that is empty: a process writes its name at once, unless it was killed in between."""
_LONGEST = 64 * 1024
"""Bytes that are read of a lock file."""
_POLL_INTERVAL = 5.0
"""Seconds between two checks whether another machine has released its lock file."""


class LockedElsewhereError(LocalError, NotReadyError):
    """Locked by a process that is not visible from here: on another machine, or in another container.

    Its lock file is released or becomes stale in time, so a transfer of the scheduler waits; `seconds`: until the next
    check.
    """


class Heartbeat:
    """Refreshes the modification times of lock files in one daemon thread, which runs only while there are any.

    Args:
        seconds: from one refresh to the next.
    """

    def __init__(self, seconds: float = 20.0) -> None:
        self._seconds = seconds
        self.reset()

    def reset(self) -> None:
        """Forget all lock files: in a forked process they are those of its parent, and there is no thread."""
        self._marks: dict[Path, bytes] = {}
        self._change = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, path: Path, mark: bytes) -> None:
        """Refresh the file at `path` as long as its content is `mark`; with another content it is another process's."""
        with self._change:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="connector-heartbeat", daemon=True)
                thread.start()  # the system may allow no more threads
                self._thread = thread
            self._marks[path] = mark

    def remove(self, path: Path) -> None:
        """Stop refreshing the file at `path`."""
        with self._change:
            self._marks.pop(path, None)
            if not self._marks:
                self._change.notify()

    def _run(self) -> None:
        while True:
            with self._change:
                self._change.wait(self._seconds)
                if not self._marks:
                    self._thread = None
                    return
                marks = dict(self._marks)
            for path, mark in marks.items():
                with contextlib.suppress(OSError, MemoryError):  # a file system may be unreachable for a moment
                    if read_own_file(path, _LONGEST) == mark:
                        os.utime(path)


HEARTBEAT = Heartbeat()
"""One for the process: a lock file names a process."""
if hasattr(os, "register_at_fork"):  # Windows has none
    os.register_at_fork(after_in_child=HEARTBEAT.reset)


class LockFile:
    """A lock file beside a target that names the process working on it. Methods block: call them in threads.

    It is created with `O_EXCL`, which is atomic on NFS, Lustre and GPFS too, and touched every 20 seconds. That of a
    process of this machine which no longer runs is taken over at once; any other one when it was not touched for three
    minutes, an empty one for 20 seconds, by the clock of the shared file system.
    """

    def __init__(
        self, path: Path, subject: str, mark: bytes, heartbeat: Heartbeat, *, taken_over: bool = False
    ) -> None:
        self.path = path
        self._taken_over = taken_over
        self._subject = subject
        self._mark = mark
        self._heartbeat = heartbeat
        self._touched = _both_clocks()

    @classmethod
    def take(cls, path: Path, subject: object = None, heartbeat: Heartbeat = HEARTBEAT) -> LockFile:
        """Lock the target of the lock file `path`, called `subject` in messages.

        Raises:
            LocalError: If another process works on it.
            LockedElsewhereError: If whether that process still runs is not visible from here.
        """
        mark = LockOwner.this_process().encode()
        subject = str(path.with_suffix("") if subject is None else subject)
        taken_over = False
        with local_failures("write", path):
            for _ in range(3):
                try:
                    # Readable by others, who may share the folder of the target.
                    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
                except FileExistsError:
                    lock = _FoundLock.read(path)
                    if lock is not None:
                        lock.check_stale(subject)
                        lock.set_aside()
                        taken_over = True
                else:
                    try:
                        with open(descriptor, "wb") as file:
                            file.write(mark)
                        heartbeat.add(path, mark)
                    except BaseException:
                        path.unlink(missing_ok=True)  # on a full disk; an empty one would block every later run
                        raise
                    if taken_over:
                        _remove_set_aside(path, mark)
                    return cls(path, subject, mark, heartbeat, taken_over=taken_over)
        raise LocalError(f"{path} is in the way.", hint="Remove it, then run the same command again.")

    @staticmethod
    def check_free(path: Path, subject: object) -> None:
        """Raise what `take` would raise now, without locking anything."""
        with local_failures("read", path):
            lock = _FoundLock.read(path)
            if lock is not None:
                lock.check_stale(str(subject))

    def is_taken_over(self) -> bool:
        """Whether it was the lock of a process that died: what that has left is beside it. Blocks."""
        return self._taken_over or _remove_set_aside(self.path, self._mark)

    @property
    def may_be_lost(self) -> bool:
        """Whether `check` has to read the file: it was not refreshed for so long."""
        return self._age() >= STALE_AFTER / 2

    def check(self) -> None:
        """Raise `LocalError` if another process has taken over, while this one was suspended.

        Call it before each step that would damage the other's work: a process that was stopped, or whose machine was
        suspended, does not notice it.
        """
        if not self.may_be_lost:
            return
        with local_failures("read", self.path):
            ours = self._is_ours()
        if not ours:
            why = f": this one did not refresh its lock file for {STALE_AFTER:g} seconds, as if it had died"
            if not os.path.lexists(self.path):
                why = f", or {self.path} was removed, maybe with its folder"
            raise LocalError(
                f"Another process has taken over {self._subject}{why}.",
                hint="Let the other one end; if there is none any more, run the same command again.",
            )

    def release(self) -> None:
        """Release the lock, unless another process has taken over."""
        self._heartbeat.remove(self.path)
        with contextlib.suppress(OSError):
            if not self.may_be_lost or self._is_ours():
                self.path.unlink(missing_ok=True)

    def _age(self) -> float:
        # A suspended machine stops one of the clocks, and the other may be set: the longer time counts.
        return max(now - then for now, then in zip(_both_clocks(), self._touched, strict=True))

    def _is_ours(self) -> bool:
        """Whether the file is ours; if so, refresh it."""
        now = _both_clocks()
        try:
            if read_own_file(self.path, _LONGEST) != self._mark:
                return False
        except FileNotFoundError:
            return False
        with contextlib.suppress(OSError):  # on a full quota, say; then it is read again the next time
            os.utime(self.path)
            self._touched = now
        return True


def _both_clocks() -> tuple[float, float]:
    return time.monotonic(), time.time()


@attrs.frozen
class _FoundLock:
    """The state of an existing lock file: its content, and when it was touched (by the clock of its file system)."""

    path: Path
    data: bytes
    touched: float

    @classmethod
    def read(cls, path: Path) -> _FoundLock | None:
        try:
            return cls(path, read_own_file(path, _LONGEST), path.stat().st_mtime)
        except FileNotFoundError:
            return None  # released in this moment

    def check_stale(self, subject: str) -> None:
        """Raise `LocalError` unless its process no longer runs."""
        owner = LockOwner.read(self.data)
        if owner is not None and owner.is_visible():
            if owner == LockOwner.this_process():
                raise LocalError(
                    f"Another transfer of this process is working on {subject}.",
                    hint="Wait for it to end, then call this again.",
                )
            if owner.runs():
                raise LocalError(
                    f"Another process is working on {subject} (PID {owner.pid}).",
                    hint=f"Wait for it to end, or stop it (kill {owner.pid}); then run the same command again.",
                )
            return
        place = "" if owner is None else f", on the machine {owner.host}"
        left = (STALE_AFTER if self.data else _EMPTY_STALE_AFTER) - self._untouched_seconds()
        if left > 0:
            since = time.strftime("%H:%M:%S", time.localtime(self.touched))
            raise LockedElsewhereError(
                f"Another process is working on {subject}{place}; its last heartbeat was at {since}.",
                hint="Wait for it to end. If it was killed, run the same command again in"
                f" {STALE_AFTER / 60:g} minutes.",
                seconds=min(_POLL_INTERVAL, left),
            )

    def set_aside(self) -> None:
        """Rename it: it stays until a new one is written, so that a process killed in between leaves a trace of it."""
        # Only one of two processes that find the same stale file can rename it, and a new one that a third process has
        # created in the meantime is put back.
        aside = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex[:8]}")
        try:
            os.rename(self.path, aside)
        except FileNotFoundError:
            return
        if _FoundLock.read(aside) != attrs.evolve(self, path=aside):
            with contextlib.suppress(OSError):
                _put_back(aside, self.path)

    def _untouched_seconds(self) -> float:
        """Seconds since it was touched, by the clock of its file system: the time of a file created just now."""
        probe = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex[:8]}")
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            return os.fstat(descriptor).st_mtime - self.touched
        finally:
            os.close(descriptor)
            probe.unlink(missing_ok=True)


def _put_back(aside: Path, path: Path) -> None:
    """Give a lock file its name again, unless there is another one by now."""
    try:
        os.link(aside, path)
    except FileExistsError:
        pass
    except OSError:  # FAT and some network file systems have no hard links
        if not os.path.lexists(path):
            os.rename(aside, path)
    aside.unlink(missing_ok=True)


def _remove_set_aside(path: Path, mark: bytes) -> bool:
    """Remove what takeovers of the lock file at `path` have left; returns whether any of it named a process.

    One with our `mark` stays: another process puts it back just now.
    """
    named = False
    with contextlib.suppress(OSError):  # what cannot be removed does no harm
        for name in os.listdir(path.parent):
            if re.fullmatch(rf"{re.escape(path.name)}\.[0-9a-f]{{8}}", name):  # others are files of the user
                content = read_own_file(aside := path.with_name(name), _LONGEST)
                if content != mark:
                    aside.unlink(missing_ok=True)
                    named = named or bool(content)
    return named
