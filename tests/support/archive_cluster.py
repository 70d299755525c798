"""An archive on MongoDB and S3: several serving processes behind nginx, and several workers."""

from __future__ import annotations

import os
import secrets
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import attrs
import trio

from connector.archive.assembly import Archive, open_archive
from connector.archive.config import ArchiveConfig
from connector.archive.config_file import read_config
from persistence.objects.s3 import S3Storage
from persistence.testing.servers import S3Endpoint
from persistence.testing.servers.cleaning import settings_of
from persistence.testing.servers.processes import free_ports
from tests.support.nginx import run_nginx
from tests.support.served_archive import ServedArchive, end, read_url, start

T = TypeVar("T")

_CONFIG = """\
public_url = "{url}"
{settings}
[documents]
provider = "mongodb"
uri = "{uri}"
database = "{name}"

[[hubs]]
alias = "HD01"
label = "Heidelberg"

[hubs.storage]
provider = "s3"
endpoint_url = "{s3.url}"
access_key = "{s3.access_key}"
secret_key_file = "s3.key"
inbox = "{name}-inbox"
permanent = "{name}-permanent"
download = "{name}-download"
"""


class Steward:
    """A thread in which the archive is open, so that what a steward does needs no new connections each time."""

    def __init__(self, config: ArchiveConfig) -> None:
        self.config = config

    @contextmanager
    def at_work(self) -> Iterator[Steward]:
        opened = threading.Event()
        failures: list[BaseException] = []

        async def main() -> None:
            async with open_archive(self.config, check=True) as self._archive:
                self._token = trio.lowlevel.current_trio_token()
                self._stop = trio.Event()
                opened.set()
                await self._stop.wait()

        def run() -> None:
            try:
                trio.run(main)
            except BaseException as error:
                failures.append(error)
            finally:
                opened.set()

        thread = threading.Thread(target=run, name="steward")
        thread.start()
        try:
            opened.wait()
            if failures:
                raise failures[0]
            yield self
        finally:
            if thread.is_alive():
                self._token.run_sync_soon(self._stop.set)
            thread.join(60)

    def do(self, job: Callable[[Archive], Awaitable[T]]) -> T:
        """Run a job there."""
        return trio.from_thread.run(job, self._archive, trio_token=self._token)


@attrs.define(eq=False)
class ArchiveCluster(ServedArchive):
    """The processes of one archive. A test may stop, kill and start them again.

    Attributes:
        config_file: Its ``archive.toml``.
        url: That of nginx.
        ports: Those of the serving processes.
        servers: The serving processes.
        workers: The workers.
    """

    config_file: Path
    url: str
    ports: Sequence[int]
    steward: Steward
    options: tuple[str, ...] = ()
    servers: list[subprocess.Popen[str]] = attrs.field(factory=list)
    workers: list[subprocess.Popen[str]] = attrs.field(factory=list)

    @property
    def wkvs_url(self) -> str:  # type: ignore[override]  # it is only read
        return f"{self.url}/.well-known"

    @property
    def config(self) -> ArchiveConfig:
        return self.steward.config

    @property
    def location(self) -> tuple[str | Path, ...]:
        return "--config", self.config_file

    def administer(self, job: Callable[[Archive], Awaitable[T]]) -> T:
        return self.steward.do(job)

    @property
    def log(self) -> Path:
        """What all processes have to say of errors."""
        return self.config_file.with_suffix(".log")

    def start_server(self, index: int) -> subprocess.Popen[str]:
        """Start the serving process with this number; ``wait_for_server`` waits until it is ready."""
        return start("serve", self.log, *self.location, "--port", str(self.ports[index]), *self.options)

    def wait_for_server(self, process: subprocess.Popen[str]) -> None:
        """Wait until a server that was just started is ready."""
        read_url(process, self.log)

    def start_worker(self) -> subprocess.Popen[str]:
        """Start a worker."""
        return start("work", self.log, *self.location)

    def end(self) -> None:
        """End all processes."""
        for process in (*self.servers, *self.workers):
            if process.poll() is None:
                process.terminate()
        with ExitStack() as stack:
            for process in (*self.servers, *self.workers):
                stack.callback(end, process, self.log)


def write_config(folder: Path, *, url: str, uri: str, s3: S3Endpoint, settings: str = "") -> Path:
    """Write an ``archive.toml`` for a new database and new buckets of these servers."""
    folder.mkdir(parents=True, exist_ok=True)
    key = folder / "s3.key"
    key.touch(mode=0o600)
    key.write_text(s3.secret_key)
    file = folder / "archive.toml"
    name = f"archive-{secrets.token_hex(4)}"
    file.write_text(_CONFIG.format(url=url, uri=uri, s3=s3, name=name, settings=settings))
    trio.run(_create_buckets, s3, name)
    return file


async def _create_buckets(s3: S3Endpoint, name: str) -> None:
    async with S3Storage(settings_of(s3)) as storage:
        for kind in ("inbox", "permanent", "download"):
            await storage.create_bucket(f"{name}-{kind}")


@contextmanager
def archive_cluster(
    folder: Path, *, uri: str, s3: S3Endpoint, settings: str = "", servers: int = 2, workers: int = 2
) -> Iterator[ArchiveCluster]:
    """Run an archive on a replica set and an S3 server.

    Args:
        folder: Holds its configuration and keys, and nginx's files.
        uri: That of the replica set.
        s3: The S3 server.
        settings: Further lines of ``archive.toml``.
        servers: How many serving processes.
        workers: How many workers.
    """
    first = free_ports(servers + 1)
    ports, url = range(first + 1, first + 1 + servers), f"http://127.0.0.1:{first}"
    # Clients are not to wait long for staging unless told otherwise.
    settings = settings if "retry_after" in settings else f"retry_after = 1\n{settings}"
    file = write_config(folder, url=url, uri=uri, s3=s3, settings=settings)
    with ExitStack() as stack:
        steward = stack.enter_context(Steward(read_config(file, environment=os.environ)).at_work())
        cluster = ArchiveCluster(file, url, ports, steward)
        stack.callback(cluster.end)
        cluster.servers += [cluster.start_server(index) for index in range(servers)]
        cluster.workers += [cluster.start_worker() for _ in range(workers)]
        for process in cluster.servers:
            cluster.wait_for_server(process)
        stack.enter_context(run_nginx(folder / "nginx", first, ports))
        yield cluster
