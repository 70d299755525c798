"""Which process a lock file names, and whether it still runs."""

from __future__ import annotations

import functools
import json
import os
import socket
from pathlib import Path

import attrs

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@attrs.frozen
class LockOwner:
    """A process as it describes itself in its lock files.

    `started`: when it began, to tell it from a later one with the same PID. `boot` and `pid_namespace` tell
    machines and containers apart that have the same host name. `touched`: whether it refreshes its lock files, which
    the first versions did not. All but `host` and `pid` may be unknown (`None`).
    """

    host: str
    pid: int
    started: str | None = None
    boot: str | None = None
    pid_namespace: str | None = None
    touched: bool = False

    @classmethod
    def this_process(cls) -> LockOwner:
        """This process."""
        return _describe(os.getpid(), socket.gethostname())

    @classmethod
    def read(cls, data: bytes) -> LockOwner | None:
        """The process that a lock file names; `None` if it is just being written, or its writer died meanwhile."""
        try:
            facts = json.loads(data)
            started, boot, pid_namespace = (facts.get(name) for name in ("started", "boot", "pid_namespace"))
            return cls(str(facts["host"]), int(facts["pid"]), started, boot, pid_namespace, bool(facts.get("touched")))
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def encode(self) -> bytes:
        """What the process writes into all of its lock files."""
        return json.dumps(attrs.asdict(self)).encode()

    def is_visible(self) -> bool:
        """Whether this process could see it running: it has the same host name, boot and PID namespace.

        Names alone do not tell: containers and cloned machines share them, and a PID means nothing to another.
        """
        if os.name == "nt":
            return False  # There, signal 0 is no question.
        ours = self.this_process()
        return self.host == ours.host and all(
            None in (one, other) or one == other
            for one, other in ((self.boot, ours.boot), (self.pid_namespace, ours.pid_namespace))
        )

    def runs(self) -> bool:
        """Whether it still runs; asked of a visible one."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return self.started is None or _start_time(self.pid) == self.started


@functools.lru_cache(1)
def _describe(pid: int, host: str) -> LockOwner:
    return LockOwner(host, pid, _start_time(pid), boot_id(), _pid_namespace(), touched=True)


def _start_time(pid: int) -> str | None:
    """When a process began (Linux: /proc, else unknown).

    One that has ended and was not yet waited for (state Z or X) has no beginning any more.
    """
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
    """Which boot of this machine it is, `None` where the system does not say (Linux does).

    What was written but not synced outlives the process, not the boot.
    """
    try:
        return _BOOT_ID.read_text().strip() or None
    except (OSError, ValueError):
        return None
