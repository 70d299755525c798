"""The process that a lock file names, and whether it still runs."""

from __future__ import annotations

import functools
import json
import os
import socket
import sys
from pathlib import Path

import attrs

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@attrs.frozen
class LockOwner:
    """A process as described in its lock files. All but `host` and `pid` may be unknown (`None`).

    Attributes:
        started: Its start time, which distinguishes it from a later process with the same PID.
        boot: The boot id of its machine; with `pid_namespace` it distinguishes machines and containers of one name.
        touched: That it refreshes its lock files, which earlier versions look for.
    """

    host: str
    pid: int
    started: str | None = None
    boot: str | None = None
    pid_namespace: str | None = None
    touched: bool = True

    @classmethod
    def this_process(cls) -> LockOwner:
        """This process."""
        return _describe(os.getpid(), socket.gethostname())

    @classmethod
    def read(cls, data: bytes) -> LockOwner | None:
        """The process that a lock file names; `None` if the file is not completely written."""
        try:
            facts = json.loads(data)
            started, boot, pid_namespace = (facts.get(name) for name in ("started", "boot", "pid_namespace"))
            return cls(str(facts["host"]), int(facts["pid"]), started, boot, pid_namespace)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return None

    def encode(self) -> bytes:
        """The content of all lock files of the process."""
        return json.dumps(attrs.asdict(self)).encode()

    def is_visible(self, *, platform: str = sys.platform) -> bool:
        """Whether it would be visible to this process: same host name, boot and PID namespace.

        Host names alone are not sufficient: containers and cloned machines share them.
        """
        if platform == "win32":
            return False  # On Windows, signal 0 does not test whether a process exists.
        ours = self.this_process()
        return self.host == ours.host and all(
            None in (one, other) or one == other
            for one, other in ((self.boot, ours.boot), (self.pid_namespace, ours.pid_namespace))
        )

    def runs(self) -> bool:
        """Whether it still runs; only meaningful for a visible one."""
        try:
            os.kill(self.pid, 0)
        except (ProcessLookupError, OverflowError):
            return False
        except PermissionError:
            return True
        return self.started is None or _start_time(self.pid) == self.started


@functools.lru_cache(1)
def _describe(pid: int, host: str) -> LockOwner:
    return LockOwner(host, pid, _start_time(pid), boot_id(), _pid_namespace())


def _start_time(pid: int) -> str | None:
    """The start time of a process (Linux: /proc; otherwise unknown); `None` for a zombie (state Z or X)."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state in "ZX" else fields[18]
    except (OSError, ValueError, IndexError):
        return None


def _pid_namespace() -> str | None:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return None


@functools.cache
def boot_id() -> str | None:
    """The id of the present boot of this machine, `None` if the system has none (Linux has).

    Data that was written but not synced survives the process, but not the boot.
    """
    try:
        return _BOOT_ID.read_text().strip() or None
    except (OSError, ValueError):
        return None
