"""The stage for chaos: an archive in a process of its own, a fault proxy before it, and the command line as processes.

Everything that passes between the command and the archive, API calls and parts alike, goes through the proxy.
"""

from __future__ import annotations

import hashlib
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs
import trio

from connector.archive import admin
from connector.crypt4gh.keys import KeyPair
from connector.local.key_files import write_key_pair
from persistence.testing.servers.processes import free_port
from tests.support.archive_process import ArchiveProcess, served_archive
from tests.support.fault_proxy import FaultProxy
from tests.support.faults import Counts, Faults
from tests.support.program import Done, Program, finish

MIB = 1024**2


@contextmanager
def proxy_thread(upstream: tuple[str, int], port: int) -> Iterator[FaultProxy]:
    """A fault proxy that runs in a thread; its ``faults`` and ``counts`` may be set and read from this one."""
    proxy = FaultProxy(upstream)
    ready = threading.Event()
    tokens: list[tuple[trio.lowlevel.TrioToken, trio.CancelScope]] = []

    async def main() -> None:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(proxy.run, port)
                tokens.append((trio.lowlevel.current_trio_token(), scope))
                ready.set()

    thread = threading.Thread(target=lambda: trio.run(main), name="fault proxy")
    thread.start()
    try:
        assert ready.wait(60)
        yield proxy
    finally:
        for token, scope in tokens:
            token.run_sync_soon(scope.cancel)
        thread.join(60)
        assert not thread.is_alive()


@attrs.frozen
class Published:
    """A file that the archive has registered."""

    accession: str
    size: int
    sha256: str


@attrs.define
class Stage:
    """One archive and one user of it."""

    folder: Path
    archive: ArchiveProcess
    proxy: FaultProxy
    keys: KeyPair
    serve_options: tuple[str, ...]
    stack: ExitStack

    @property
    def program(self) -> Program:
        """The command line as the user of this stage has it."""
        settings = {
            "HOME": str(self.folder / "home"),
            "CONNECTOR_WKVS_URL": self.archive.wkvs_url,
            "CONNECTOR_MY_PUBLIC_KEY_PATH": str(self.folder / "user.pub"),
            "CONNECTOR_MY_PRIVATE_KEY_PATH": str(self.folder / "user.sec"),
        }
        return Program(self.folder, settings)

    def start(self, *arguments: object, token: str = "", **environment: str) -> subprocess.Popen[str]:
        """Start a command; the access token goes by the environment."""
        extra = {"CONNECTOR_ACCESS_TOKEN": token} if token else {}
        return self.program.start(*arguments, environment={**extra, **environment})

    def run(self, *arguments: object, token: str = "", timeout: float = 300, **environment: str) -> Done:
        """Run a command to its end."""
        return finish(self.start(*arguments, token=token, **environment), timeout=timeout)

    def source(self, name: str, size: int) -> Path:
        """A local file of ``size`` random bytes, the same for the same name."""
        path = self.folder / name
        if not path.exists() or path.stat().st_size != size:
            rng = random.Random(name)
            with path.open("wb") as file:
                for start in range(0, size, MIB):
                    file.write(rng.randbytes(min(MIB, size - start)))
        return path

    def publish(self, name: str, size: int) -> Published:
        """Upload a file and wait until the archive has registered it."""
        path = self.source(name, size)
        token = self.archive.grant_upload(self.keys.public)
        done = self.run("upload", path, "--quiet", token=token, timeout=300)
        assert done.code == 0, done.err
        return self.registered(name, seconds=120)

    def registered(self, alias: str, *, seconds: float = 180) -> Published:
        """The newest registered file of this alias, once there is one; checked against the local source."""
        deadline = time.monotonic() + seconds
        while True:
            rows = self.archive.administer(lambda archive: admin.list_files(archive, uploads=True))
            # A kill between creation and journal leaves an upload that the next run deletes: cancelled, rightly so.
            mine = [row for row in rows if row["alias"] == alias and row["state"] != "cancelled"]
            if mine and all(row["state"] == "archived" for row in mine):
                row = mine[-1]
                return Published(row["accession"], row["decrypted_size"], row["sha256"])
            assert not any(row["state"] == "failed" for row in mine), mine
            assert time.monotonic() < deadline, mine
            time.sleep(0.1)

    def grant_download(self, *accessions: str) -> str:
        return self.archive.grant_download(self.keys.public, accessions or None)

    def restart_archive(self, *, pause: float = 0.5) -> None:
        """End the archive's process as a crash does, and start it again on the same address."""
        self.archive.process.kill()
        self.archive.process.wait()
        time.sleep(pause)
        self.archive = self.stack.enter_context(served_archive(self.archive.root, *self.serve_options))

    def calm(self) -> None:
        """No faults, and counts from zero."""
        self.proxy.faults = Faults()
        self.proxy.counts = Counts()


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def open_stage(folder: Path, *serve_options: str) -> Iterator[Stage]:
    """Set the stage below ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "home").mkdir()
    with ExitStack() as stack:
        port, public = free_port(), free_port()
        url = f"http://127.0.0.1:{public}"
        # Fixed ports, so that an archive that is restarted is found again.
        options = ("--port", str(port), "--public-url", url, *serve_options)
        archive = stack.enter_context(served_archive(folder / "archive", *options))
        proxy = stack.enter_context(proxy_thread(("127.0.0.1", port), public))
        yield Stage(folder, archive, proxy, _make_keys(folder), options, stack)


def _make_keys(folder: Path) -> KeyPair:
    return write_key_pair(folder / "user.sec", folder / "user.pub", passphrase=None)
