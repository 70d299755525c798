"""The processes of a cluster that are killed, and started again as a service manager does."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from persistence.testing.servers import run_member
from tests.support.archive_cluster import ArchiveCluster

KINDS = ("server", "server", "worker", "primary")
"""What is killed, by its share."""
PAUSES = (0.0, 2.0)
"""Seconds until what was killed is started again."""
OWN_END_PAUSE = 1.0
"""Seconds until a process is started again that ended by itself."""


class Processes:
    """Serving processes, workers and the members of the replica set.

    Args:
        cluster: Has the processes of the archive.
        folder: Of the replica set's data.
        members: Its processes by port.
    """

    def __init__(self, cluster: ArchiveCluster, folder: Path, members: dict[int, subprocess.Popen[bytes]]) -> None:
        self._cluster = cluster
        self._folder = folder
        self._members = members
        self._due: dict[str, tuple[float, Callable[[], None]]] = {}
        self._stack = ExitStack()
        self.ended_by_themselves: list[str] = []

    @contextmanager
    def watched(self) -> Iterator[Processes]:
        """End the members that were started again."""
        with self._stack:
            yield self

    def kill(self, rng: random.Random) -> str | None:
        """Kill one of those that run; gives its name, or None if no such one runs at the moment."""
        kind = rng.choice(KINDS)
        if kind == "primary":
            return self._kill_primary(rng)
        processes = self._cluster.servers if kind == "server" else self._cluster.workers
        index = rng.randrange(len(processes))
        name = f"{kind} {index}"
        if name in self._due or processes[index].poll() is not None:
            return None
        end(processes[index])
        self._due[name] = (time.monotonic() + rng.uniform(*PAUSES), lambda: self._start(kind, index))
        return name

    def restart_due(self) -> None:
        """Start again what was killed a while ago, or has ended by itself."""
        for kind, processes in (("server", self._cluster.servers), ("worker", self._cluster.workers)):
            for index, process in enumerate(processes):
                name = f"{kind} {index}"
                if name not in self._due and process.poll() is not None:
                    self.ended_by_themselves.append(f"{name}: {process.returncode}")
                    end(process)
                    later = time.monotonic() + OWN_END_PAUSE
                    self._due[name] = (later, lambda kind=kind, index=index: self._start(kind, index))  # type: ignore[misc]
        for name, (when, start) in list(self._due.items()):
            if when <= time.monotonic():
                del self._due[name]
                start()

    def restart_all(self) -> None:
        """Start again whatever does not run, and wait until all servers are ready and there is a primary."""
        self._due = {name: (0.0, start) for name, (_, start) in self._due.items()}
        self.restart_due()
        deadline = time.monotonic() + 60
        while self._primary() is None:
            assert time.monotonic() < deadline, "no primary was elected"
            time.sleep(0.2)

    def _start(self, kind: str, index: int) -> None:
        if kind == "server":
            self._cluster.servers[index] = self._cluster.start_server(index)
        else:
            self._cluster.workers[index] = self._cluster.start_worker()

    def _kill_primary(self, rng: random.Random) -> str | None:
        port = self._primary()
        if port is None:
            return None
        name = f"primary {port}"
        self._members[port].kill()
        self._members[port].wait()
        self._due[name] = (time.monotonic() + rng.uniform(*PAUSES), lambda: self._start_member(port))
        return name

    def _start_member(self, port: int) -> None:
        self._members[port] = self._stack.enter_context(run_member(self._folder / str(port), port))

    def _primary(self) -> int | None:
        """The port of the member that takes writes."""
        for port, process in self._members.items():
            if process.poll() is None:
                client: MongoClient[dict[str, object]]
                with MongoClient(
                    "127.0.0.1", port, directConnection=True, serverSelectionTimeoutMS=1000, timeoutMS=1000
                ) as client:
                    try:
                        if client.admin.command("hello").get("isWritablePrimary"):
                            return port
                    except PyMongoError:
                        continue
        return None


def end(process: subprocess.Popen[str]) -> None:
    """Kill a process, unless it has ended, and close its pipe."""
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
