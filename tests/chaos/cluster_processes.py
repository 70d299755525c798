"""The processes of a cluster that are killed, and started again as a service manager does."""

from __future__ import annotations

import os
import random
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from persistence.testing.servers import run_member, run_replica_set
from persistence.testing.servers.juicefs import gateway_endpoint, make_volume, run_gateway
from persistence.testing.servers.processes import free_ports
from tests.support.archive_cluster import ArchiveCluster, archive_cluster

SETTINGS = """\
open_uploads = 50
job_lease = 5
stage_lifetime = 30
"""
"""Leases and copies end often enough for what is done to the processes to fall into what follows."""

KINDS = ("server", "server", "worker", "primary")
"""What is killed, by its share."""
PAUSES = (0.0, 2.0)
"""Seconds until what was killed is started again."""
OWN_END_PAUSE = 1.0
"""Seconds until a process is started again that ended by itself."""


@contextmanager
def open_cluster(folder: Path) -> Iterator[tuple[ArchiveCluster, Processes]]:
    """Run a cluster with servers of its own, on disks in memory where there are any."""
    memory = Path("/dev/shm")
    with ExitStack() as stack:
        shared = memory if memory.is_dir() and os.access(memory, os.W_OK) else folder
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cluster-", dir=shared)))
        with open_cluster_at(data, folder) as opened:
            yield opened


@contextmanager
def open_cluster_at(data: Path, folder: Path) -> Iterator[tuple[ArchiveCluster, Processes]]:
    """Run a cluster whose servers have their data, ``mongod`` and ``juicefs``, below a folder."""
    with ExitStack() as stack:
        uri, members = stack.enter_context(run_replica_set(data / "mongod"))
        make_volume(data / "juicefs")
        port = free_ports(2)
        storage = stack.enter_context(run_gateway(data / "juicefs", port))
        s3 = gateway_endpoint(port)
        cluster = stack.enter_context(archive_cluster(folder / "cluster", uri=uri, s3=s3, settings=SETTINGS))
        yield cluster, stack.enter_context(Processes(cluster, data, members, storage, port).watched())


class Processes:
    """Serving processes, workers, the members of the replica set, and the storage.

    Args:
        cluster: Has the processes of the archive.
        data: The folder of the servers' data.
        members: The processes of the replica set by port.
        storage: That of the S3 server.
        port: Of the S3 server.

    Attributes:
        cluster: The archive.
        data: The folder of the servers' data.
        storage: The process of the S3 server.
        ended_by_themselves: Serving processes and workers that nobody has killed, and their exit codes.
    """

    def __init__(
        self,
        cluster: ArchiveCluster,
        data: Path,
        members: dict[int, subprocess.Popen[bytes]],
        storage: subprocess.Popen[bytes],
        port: int,
    ) -> None:
        self.cluster = cluster
        self.data = data
        self._members = members
        self.storage = storage
        self._port = port
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
        processes = self.cluster.servers if kind == "server" else self.cluster.workers
        index = rng.randrange(len(processes))
        name = f"{kind} {index}"
        if name in self._due or processes[index].poll() is not None:
            return None
        end(processes[index])
        self._due[name] = (time.monotonic() + rng.uniform(*PAUSES), lambda: self._start(kind, index))
        return name

    def restart_due(self) -> None:
        """Start again what was killed a while ago, or has ended by itself."""
        for kind, processes in (("server", self.cluster.servers), ("worker", self.cluster.workers)):
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
        deadline = time.monotonic() + 180
        while self.primary() is None:
            assert time.monotonic() < deadline, "no primary was elected"
            time.sleep(0.2)

    def kill_all(self) -> None:
        """Kill everything at once, as when the power fails."""
        ours = [*self.cluster.servers, *self.cluster.workers]
        everything: list[subprocess.Popen[Any]] = [*ours, *self._members.values(), self.storage]
        for process in everything:
            process.kill()
        for process in everything:
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def start_all(self) -> None:
        """Start everything again at once, and wait until the storage answers."""
        for kind, count in (("server", len(self.cluster.servers)), ("worker", len(self.cluster.workers))):
            for index in range(count):
                self._start(kind, index)
        self.start_members()
        self.start_storage()

    def start_members(self) -> None:
        """Start those members of the replica set again that do not run."""
        for port, process in self._members.items():
            if process.poll() is not None:
                self._start_member(port)

    def start_storage(self) -> None:
        """Start the S3 server again."""
        self.storage = self._stack.enter_context(run_gateway(self.data / "juicefs", self._port))

    def member(self, port: int) -> subprocess.Popen[bytes]:
        """The process of a member of the replica set."""
        return self._members[port]

    def _start(self, kind: str, index: int) -> None:
        if kind == "server":
            self.cluster.servers[index] = self.cluster.start_server(index)
        else:
            self.cluster.workers[index] = self.cluster.start_worker()

    def _kill_primary(self, rng: random.Random) -> str | None:
        port = self.primary()
        if port is None:
            return None
        name = f"primary {port}"
        self._members[port].kill()
        self._members[port].wait()
        self._due[name] = (time.monotonic() + rng.uniform(*PAUSES), lambda: self._start_member(port))
        return name

    def _start_member(self, port: int) -> None:
        self._members[port] = self._stack.enter_context(run_member(self.data / "mongod" / str(port), port))

    def primary(self) -> int | None:
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
