"""An archive and its clients that are killed with -9 at random moments, while files are uploaded and deleted.

By hand, with the figures::

    python -m tests.support.archive_siege --uploads 40 --deletes 20 --kills 30
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import httpx

from connector.local.key_files import write_key_pair
from persistence.testing.servers.processes import free_port
from tests.support.archive_checker import Report, check
from tests.support.chaos_stage import MIB, sha256_of
from tests.support.contract_client import ContractClient
from tests.support.program import Program, command, environment, kill_at_end

SIZES = (1000, 300_000, 6 * MIB, 12 * MIB)
CLIENTS, SLOW_CLIENTS = 3, 2
COMING = ("inbox", "interrogated", "awaiting_archival")


@attrs.define
class Served:
    """An archive's server as a process of the command line under test, killed and started again on the same port."""

    root: Path
    port: int = attrs.field(factory=free_port)
    options: tuple[str, ...] = ()
    process: subprocess.Popen[str] | None = None

    @property
    def wkvs_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/.well-known"

    def start(self) -> None:
        arguments = ("archive", "serve", "--root", self.root, "--port", self.port, "--open-uploads", 50, *self.options)
        self.process = subprocess.Popen(
            command(*arguments),
            env=environment() | {"CONNECTOR_ARCHIVE_JOB_LEASE": "5"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("Archive ready at "), line

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def grant_upload(self, public_key: Path) -> str:
        """An access token for a new box."""
        arguments = ("archive", "grant", "upload", "--root", self.root, "--public-key", public_key)
        granted = subprocess.run(command(*arguments), env=environment(), capture_output=True, text=True, check=True)
        return granted.stdout.splitlines()[-1]

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=180)


@attrs.frozen
class Outcome:
    """What the kills left, what is left after a clean start, and what became of the files."""

    kills: int
    deletions: int
    left: list[Report]
    kept: Report
    seconds: float
    sent: dict[str, str]
    archived: dict[str, str]
    deleted: set[str]

    @property
    def missing(self) -> set[str]:
        """Files that a client was told are in the archive, that nobody deleted, and that are not there as they were."""
        return {alias for alias in self.sent if self.archived.get(alias) != self.sent[alias]} - self.deleted


class Siege:
    """One archive, one box, and as many uploads, deletes and kills as asked for."""

    def __init__(self, folder: Path, *, uploads: int, deletes: int, kills: int, seed: int) -> None:
        self.rng = random.Random(seed)
        self.folder = folder
        self.aliases = [f"file-{number:03}" for number in range(uploads)]
        self.deletes, self.kills, self.killed = deletes, kills, 0
        self.server = Served(folder / "archive")
        self.sent: dict[str, str] = {}
        self.deleted: set[str] = set()
        self.deletions = 0
        self.strays: list[Report] = []
        self.clients: dict[str, subprocess.Popen[str]] = {}
        self.over = threading.Event()

    def run(self, tell: Callable[[str], None] = lambda line: None) -> Outcome:
        folder = self.folder
        keys = write_key_pair(folder / "user.sec", folder / "user.pub", passphrase=None)
        self.server.start()
        token = self.server.grant_upload(folder / "user.pub")
        settings = {
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder / "state"),
            "CONNECTOR_WKVS_URL": self.server.wkvs_url,
            "CONNECTOR_MY_PRIVATE_KEY_PATH": str(folder / "user.sec"),
            "CONNECTOR_ACCESS_TOKEN": token,
            "CONNECTOR_PART_SIZE": "5MiB",
            "CONNECTOR_RETRIES": "20",
        }
        program = Program(folder, settings)
        with httpx.Client(timeout=20, trust_env=False) as http:
            client = ContractClient(self.server.wkvs_url, token, keys.private, http)
            beside = [threading.Thread(target=self._delete, args=(client,))]
            beside += [threading.Thread(target=self._send_slowly, args=(client, n)) for n in range(SLOW_CLIENTS)]
            for thread in beside:
                thread.start()
            try:
                self._upload_and_kill(program, tell)
            finally:
                self.over.set()
                kill_at_end(list(self.clients.values()))
                self.server.kill()
                for thread in beside:
                    thread.join(60)
            self.strays.append(check(self.server.root))
            files, size = sum(left.files for left in self.strays), sum(left.size for left in self.strays)
            tell(f"{self.killed} kills and the last one left {files} files, {size / 10**6:.1f} MB in all")
            started = time.monotonic()
            self.server.start()
            self._wait_until_at_rest(client)
            seconds = time.monotonic() - started
            uploads = {item["alias"]: item for item in self._list(client)}
            self.server.stop()
        archived = {alias: item["decrypted_sha256"] for alias, item in uploads.items() if item["state"] == "archived"}
        kept = check(self.server.root)
        return Outcome(self.killed, self.deletions, self.strays, kept, seconds, self.sent, archived, self.deleted)

    def _upload_and_kill(self, program: Program, tell: Callable[[str], None]) -> None:
        waiting = list(self.aliases)
        next_kill = time.monotonic() + 0.5
        deadline = time.monotonic() + 1800
        while waiting or self.clients or self.killed < self.kills or self.deletions < self.deletes:
            assert time.monotonic() < deadline, "still uploading"
            if not waiting and not self.clients:
                # All are there before the last kill: some of them once more, in place of what is there.
                waiting = self.rng.sample(self.aliases, CLIENTS)
            while waiting and len(self.clients) < CLIENTS:
                alias = waiting.pop(0)
                again = ("--overwrite",) if alias in self.sent or alias in self.deleted else ()
                path = self._source(alias)
                self.clients[alias] = program.start("upload", path, "--alias", alias, "--quiet", *again)
            time.sleep(0.02)
            for alias, process in list(self.clients.items()):
                if process.poll() is not None:
                    del self.clients[alias]
                    process.communicate()
                    if process.returncode == 0:
                        self.sent[alias] = sha256_of(self._source(alias))
                    elif process.returncode == -signal.SIGKILL and self.rng.random() < 0.7:
                        waiting.append(alias)  # the others never come back
            if self.killed < self.kills and time.monotonic() > next_kill:
                self._kill_something(tell)
                next_kill = time.monotonic() + self.rng.uniform(0.2, 1.6)

    def _kill_something(self, tell: Callable[[str], None]) -> None:
        self.killed += 1
        if self.clients and self.rng.random() < 0.35:
            alias = self.rng.choice(sorted(self.clients))
            self.clients[alias].kill()
            return tell(f"kill {self.killed}: the client of {alias}")
        self.server.kill()
        self.strays.append(left := self._look())
        tell(f"kill {self.killed}: the server; it leaves {left.files} files, {left.size / 10**6:.1f} MB")
        return self.server.start()

    def _look(self) -> Report:
        """What a killed server leaves. Its worker ends a little later, and may remove files while they are read."""
        for _ in range(600):
            with contextlib.suppress(FileNotFoundError):
                return check(self.server.root)
            time.sleep(0.1)
        return check(self.server.root)

    def _delete(self, client: ContractClient) -> None:
        """Delete uploads of any state now and then; the server may be killed under any call."""
        rng = random.Random(7)
        while self.deletions < self.deletes and not self.over.wait(rng.uniform(0.05, 0.4)):
            with contextlib.suppress(httpx.HTTPError, AssertionError, json.JSONDecodeError, KeyError):
                items = [item for item in self._list(client) if item["state"] != "cancelled"]
                if items:
                    item = rng.choice(items)
                    # Also if no answer comes: it may have been done.
                    self.deleted.add(item["alias"])
                    client.delete(item["id"])
                    self.deletions += 1

    def _send_slowly(self, client: ContractClient, number: int) -> None:
        """Upload a file again and again, so slowly that most kills come in the middle of a part or of the close."""
        rng = random.Random(number)
        alias = f"slow-{number}"
        file = client.seal(rng.randbytes(11 * MIB))

        def trickle(part: bytes) -> Iterator[bytes]:
            for start in range(0, len(part), MIB):
                yield part[start : start + MIB]
                time.sleep(0.03)

        while not self.over.is_set():
            with contextlib.suppress(httpx.HTTPError, AssertionError, json.JSONDecodeError, KeyError):
                created = client.create(alias, file, overwrite=True)
                if created.status_code == 409:
                    time.sleep(0.1)
                    self._delete_alias(client, alias)
                    continue
                file_id = created.json()["file_id"]
                for index, part in enumerate(file.parts, start=1):
                    url = client.part_url(file_id, index)
                    assert url.status_code == 200  # deleted meanwhile
                    client.http.put(url.json(), content=trickle(part), headers={"Content-Length": str(len(part))})
                client.close(file_id, file.claim())

    def _delete_alias(self, client: ContractClient, alias: str) -> None:
        for item in self._list(client):
            if item["alias"] == alias:
                client.delete(item["id"])

    def _list(self, client: ContractClient) -> list[dict[str, str]]:
        items: list[dict[str, str]] = []
        while True:
            page = client.list_uploads(skip=len(items), limit=100).json()
            items += page["items"]
            if not page["items"] or len(items) >= page["total_count"]:
                return items

    def _wait_until_at_rest(self, client: ContractClient, seconds: float = 240) -> None:
        """Until nothing is left to interrogate, and nothing to clean up either, if that comes to pass."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not any(item["state"] in COMING for item in self._list(client)):
                with contextlib.suppress(OSError, ValueError):  # read while it was changed
                    if not check(self.server.root).faults:
                        return
            time.sleep(0.5)  # in whose lulls files are interrogated

    def _source(self, alias: str) -> Path:
        path = self.folder / f"{alias}.bin"
        if not path.exists():
            path.write_bytes(random.Random(alias).randbytes(SIZES[sum(map(ord, alias)) % len(SIZES)]))
        return path


@contextlib.contextmanager
def besieged(folder: Path, **counts: int) -> Iterator[Siege]:
    """A siege whose processes are gone at the end."""
    siege = Siege(folder, **counts)
    try:
        yield siege
    finally:
        siege.over.set()
        kill_at_end([*siege.clients.values(), *([siege.server.process] if siege.server.process else [])])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("uploads", 40), ("deletes", 20), ("kills", 30), ("seed", os.getpid())):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = vars(parser.parse_args())
    with tempfile.TemporaryDirectory(prefix="siege-") as folder, besieged(Path(folder), **given) as siege:
        outcome = siege.run(tell=lambda line: print(line, flush=True))
    for fault in outcome.kept.faults:
        print(fault)
    print(
        f"after a clean start ({outcome.seconds:.1f} s): {len(outcome.kept.faults)} faults, {outcome.kept.files} files,"
        f" {outcome.kept.size / 10**6:.1f} MB; {len(outcome.archived)} archived, {outcome.deletions} deletions,"
        f" missing: {sorted(outcome.missing) or 'none'}"
    )
    return int(bool(outcome.kept.faults or outcome.missing))


if __name__ == "__main__":
    raise SystemExit(main())
