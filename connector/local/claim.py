"""Keeping two processes off one target, without ``flock``: that does nothing on many cluster file systems."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import uuid
from pathlib import Path

from connector.errors import LocalError
from connector.local.failures import local_failures


class Claim:
    """A small file beside a target that says which process works on it. Methods block: call them in threads.

    It is made with ``O_EXCL``, which is atomic on NFS, Lustre and GPFS too. One left behind by a process of this
    machine that is gone is taken over; one of another machine is respected, since nobody here can tell.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def take(cls, path: Path) -> Claim:
        """Claim the target beside which ``path`` lies; :class:`~connector.errors.LocalError` if another has it."""
        mine = _mark(os.getpid())
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
                            file.write(mine)
                    except BaseException:
                        path.unlink(missing_ok=True)  # on a full disk; empty, it would keep every later run out
                        raise
                    return cls(path)
        raise LocalError(
            f"Another process is working on {path.with_suffix('')}.",
            hint=f"Wait for it to end; if there is none, delete {path} and run the same command again.",
        )

    def release(self) -> None:
        """Give the target free."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)


@functools.lru_cache(1)
def _mark(pid: int) -> bytes:
    """What a process writes into all of its claims."""
    return json.dumps({"host": socket.gethostname(), "pid": pid, "started": _start_time(pid)}).encode()


def _start_time(pid: int) -> str | None:
    """When a process began, to tell it from a later one with the same number (Linux: /proc, else unknown).

    One that has ended and was not yet waited for (state Z or X) has no beginning any more.
    """
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state in "ZX" else fields[18]
    except (OSError, ValueError, IndexError):
        return None


def _remove_if_stale(path: Path) -> bool:
    """Remove a claim whose process is gone; whether the way is free now."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return True
    try:
        owner = json.loads(data)
        stale = owner["host"] == socket.gethostname() and not _lives(int(owner["pid"]), owner["started"])
    except (ValueError, KeyError, TypeError):
        stale = False  # just being written, or not ours
    if not stale:
        return False
    # Moved aside first: of two processes that find the same stale claim only one can do that, and a claim that a third
    # has made in the meantime is put back.
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return True
    if aside.read_bytes() != data:
        with contextlib.suppress(OSError):
            os.link(aside, path)
        aside.unlink()
        return False
    aside.unlink()
    return True


def _lives(pid: int, started: str | None) -> bool:
    if os.name == "nt":
        return True  # signal 0 is no question there; the hint says what to do
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return started is None or _start_time(pid) == started
