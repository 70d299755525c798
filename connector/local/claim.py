"""Keeping two processes off one target, without ``flock``: that does nothing on many cluster file systems."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import time
import uuid
from pathlib import Path

from connector.errors import LocalError
from connector.local.failures import local_failures
from connector.local.heartbeat import HEARTBEAT, Heartbeat

SILENCE = 180.0
"""Seconds without a sign of life after which a process of another machine counts as gone: nine heartbeats, since a
network file system may show the time of a file a minute late (``acregmax`` in nfs(5))."""


class Claim:
    """A small file beside a target that says which process works on it. Methods block: call them in threads.

    It is made with ``O_EXCL``, which is atomic on NFS, Lustre and GPFS too, and touched every 20 seconds. One left
    behind by a process of this machine that is gone is taken over at once; one of another machine when it has not been
    touched for three minutes, by the clock of the file system that both see.
    """

    def __init__(self, path: Path, mark: bytes, heartbeat: Heartbeat) -> None:
        self.path = path
        self._mark = mark
        self._heartbeat = heartbeat
        self._taken = _both_clocks()

    @classmethod
    def take(cls, path: Path, heartbeat: Heartbeat = HEARTBEAT) -> Claim:
        """Claim the target beside which ``path`` lies; :class:`~connector.errors.LocalError` if another has it."""
        mark = _mark(os.getpid())
        with local_failures("write", path):
            for _ in range(3):
                try:
                    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                except FileExistsError:
                    if not _remove_if_stale(path):
                        break
                else:
                    try:
                        with open(descriptor, "wb") as file:
                            file.write(mark)
                    except BaseException:
                        path.unlink(missing_ok=True)  # on a full disk; empty, it would keep every later run out
                        raise
                    heartbeat.add(path, mark)
                    return cls(path, mark, heartbeat)
        raise _taken_by_another(path)

    def check(self) -> None:
        """Raise :class:`~connector.errors.LocalError` if another process has taken over, after a long silence of ours.

        To be asked before a step that would spoil the other's work: a machine that was asleep knows nothing of it.
        """
        with local_failures("read", self.path):
            ours = self._is_ours()
        if not ours:
            raise LocalError(
                f"Another process has taken over {self.path.with_suffix('')}, since nothing was heard of this one for"
                f" {SILENCE:g} seconds.",
                hint="Let the other one end; if there is none any more, run the same command again.",
            )

    def release(self) -> None:
        """Give the target free, unless another process has taken over."""
        self._heartbeat.remove(self.path)
        with contextlib.suppress(OSError):
            if self._is_ours():
                self.path.unlink(missing_ok=True)

    def _is_ours(self) -> bool:
        # A machine that sleeps stops one of the clocks, and somebody may set the other: the longer time counts.
        age = max(now - then for now, then in zip(_both_clocks(), self._taken, strict=True))
        if age < SILENCE:
            return True
        try:
            return self.path.read_bytes() == self._mark
        except FileNotFoundError:
            return False


def _both_clocks() -> tuple[float, float]:
    return time.monotonic(), time.time()


@functools.lru_cache(1)
def _mark(pid: int) -> bytes:
    """What a process writes into all of its claims; ``touched`` says that it touches them."""
    return json.dumps({"host": socket.gethostname(), "pid": pid, "started": _start_time(pid), "touched": True}).encode()


def _start_time(pid: int) -> str | None:
    """When a process began, to tell it from a later one with the same number (Linux: /proc, else unknown).

    One that has ended and was not yet waited for (state Z or X) has no beginning any more.
    """
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state in "ZX" else fields[18]
    except (OSError, ValueError, IndexError):
        return None


def _taken_by_another(path: Path) -> LocalError:
    hint = f"Wait for it to end; if there is none, delete {path} and run the same command again."
    message = f"Another process is working on {path.with_suffix('')}."
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        owner = json.loads(path.read_bytes())
        if owner["touched"] and owner["host"] != socket.gethostname():
            message = f"Another process is working on {path.with_suffix('')}, on the machine {owner['host']}."
            hint = f"Wait for it to end. If it was killed, run the same command again in {SILENCE / 60:g} minutes."
    return LocalError(message, hint=hint)


def _remove_if_stale(path: Path) -> bool:
    """Remove a claim whose process is gone; whether the way is free now."""
    try:
        data = path.read_bytes()
        touched = path.stat().st_mtime
    except FileNotFoundError:
        return True
    if not _is_stale(data, path, touched):
        return False
    # Moved aside first: of two processes that find the same stale claim only one can do that, and a claim that a third
    # has made in the meantime is put back.
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return True
    if aside.read_bytes() != data or aside.stat().st_mtime != touched:
        with contextlib.suppress(OSError):
            os.link(aside, path)
        aside.unlink()
        return False
    aside.unlink()
    return True


def _is_stale(data: bytes, path: Path, touched: float) -> bool:
    try:
        owner = json.loads(data)
        host, pid, started, touches = owner["host"], int(owner["pid"]), owner["started"], owner.get("touched", False)
    except (ValueError, KeyError, TypeError, AttributeError):
        return _silent(path, touched)  # just being written, or its writer died in the middle
    if host == socket.gethostname() and os.name != "nt":  # there, signal 0 is no question
        return not _lives(pid, started)
    return bool(touches) and _silent(path, touched)


def _silent(path: Path, touched: float) -> bool:
    """Whether ``path`` was touched too long ago, by the clock of its file system: that of a file made just now."""
    probe = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    probe.touch(0o600, exist_ok=False)
    try:
        return probe.stat().st_mtime - touched >= SILENCE
    finally:
        probe.unlink(missing_ok=True)


def _lives(pid: int, started: str | None) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return started is None or _start_time(pid) == started
