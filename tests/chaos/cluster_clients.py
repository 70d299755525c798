"""The clients of a cluster whose processes are killed: they upload, delete and read at the same time."""

from __future__ import annotations

import hashlib
import random
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx

from connector.archive import admin
from connector.crypt4gh.keys import KeyPair
from connector.errors import ConnectorError
from persistence.errors import PersistenceError
from tests.support.archive_cluster import ArchiveCluster
from tests.support.command_line import CommandLine
from tests.support.contract_client import MIB, ContractClient, unseal
from tests.support.program import Program, kill_at_end

SIZES = (8 * MIB, 64 * MIB)
AT_ONCE = 4
CLIENT_ERRORS = (httpx.HTTPError, AssertionError, ValueError, KeyError, ConnectorError, PersistenceError)
"""What calls end with whose servers are killed."""


class Uploads:
    """Files that are uploaded by the command line; a command that fails is run again, as people do.

    Attributes:
        codes: How commands have ended.
        told_why: The last line of each that has failed.
    """

    def __init__(self, user: CommandLine, token: str, count: int, rng: random.Random) -> None:
        self.aliases = [f"file-{number:03}" for number in range(count)]
        self.codes: Counter[int] = Counter()
        self.told_why: list[str] = []
        self._folder = user.folder
        self._sizes = {alias: rng.randint(*SIZES) for alias in self.aliases}
        self._checksums: dict[str, str] = {}
        self._waiting = list(self.aliases)
        self._begun: set[str] = set()
        self._running: dict[str, subprocess.Popen[str]] = {}
        self._program = Program(
            user.folder,
            {
                "HOME": str(user.folder),
                "XDG_STATE_HOME": str(user.folder / "state"),
                "CONNECTOR_WKVS_URL": user.archive.wkvs_url,
                "CONNECTOR_MY_PRIVATE_KEY_PATH": str(user.folder / "my.sec"),
                "CONNECTOR_ACCESS_TOKEN": token,
                "CONNECTOR_PART_SIZE": "5MiB",
            },
        )

    @property
    def left(self) -> int:
        return len(self._waiting) + len(self._running)

    @property
    def done(self) -> bool:
        return not self.left

    @property
    def told(self) -> str:
        return f"{len(self._running)} uploads in flight, {self.codes[0]} done"

    @contextmanager
    def ended(self) -> Iterator[None]:
        """End what still runs when the block ends."""
        try:
            yield
        finally:
            kill_at_end(list(self._running.values()))

    def step(self, begun: int) -> None:
        """Look after the commands, and start further ones while no more than ``begun`` files were ever begun."""
        for alias, process in list(self._running.items()):
            if process.poll() is not None:
                del self._running[alias]
                _, told = process.communicate()
                self.codes[process.returncode] += 1
                if process.returncode != 0:
                    self._waiting.insert(0, alias)
                    self.told_why.append(f"{alias}: {process.returncode}: {told.strip().splitlines()[-1:]}")
                assert "Traceback" not in told, told
        while self._waiting and len(self._running) < AT_ONCE:
            if self._waiting[0] not in self._begun and len(self._begun) >= begun:
                return
            alias = self._waiting.pop(0)
            self._begun.add(alias)
            self._running[alias] = self._program.start("upload", self._source(alias), "--alias", alias, "--quiet")

    def checksum(self, alias: str) -> str:
        """The sha256 of a file."""
        return self._checksums[alias]

    def _source(self, alias: str) -> Path:
        path = self._folder / f"{alias}.bin"
        if not path.exists():
            content = random.Random(alias).randbytes(self._sizes[alias])
            self._checksums[alias] = hashlib.sha256(content).hexdigest()
            path.write_bytes(content)
        return path


@attrs.define(eq=False)
class InBackground:
    """A client in a thread that works until the kills are over."""

    over: threading.Event

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self.work, name=type(self).__name__)
        thread.start()
        try:
            yield
        finally:
            self.over.set()
            thread.join(120)
            assert not thread.is_alive()

    def work(self) -> None:
        raise NotImplementedError


class Deleter(InBackground):
    """Deletes uploads in any state, each until the archive says that it is gone.

    Attributes:
        done: How many deletes were answered.
        deleted: The aliases of which an upload was perhaps deleted.
        wrong: Answers that it should not get.
    """

    def __init__(
        self, wkvs_url: str, token: str, private_key: bytes, count: int, rng: random.Random, over: threading.Event
    ) -> None:
        super().__init__(over)
        self._make_client: Callable[[httpx.Client], ContractClient] = lambda http: ContractClient(
            wkvs_url, token, private_key, http
        )
        self._count = count
        self._rng = rng
        self.done = 0
        self.deleted: set[str] = set()
        self.wrong: list[str] = []

    def work(self) -> None:
        with httpx.Client(timeout=20, trust_env=False) as http:
            while self.done < self._count and not self.over.wait(self._rng.uniform(1.0, 6.0)):
                try:
                    client = self._make_client(http)
                    items = client.list_uploads(limit=1000).json()["items"]
                except CLIENT_ERRORS:
                    continue
                # A file is deleted once: its owner sends one again that is deleted in the middle of the upload.
                left = [item for item in items if item["state"] != "cancelled" and item["alias"] not in self.deleted]
                if left:
                    item = self._rng.choice(left)
                    self.deleted.add(item["alias"])
                    self._delete(client, item)

    def _delete(self, client: ContractClient, item: dict[str, Any]) -> None:
        while not self.over.is_set():
            try:
                answer = client.delete(item["id"])
            except CLIENT_ERRORS:
                continue
            if answer.status_code in (204, 404):  # 404: its owner has begun again meanwhile
                self.done += 1
                return
            if answer.status_code not in (502, 503, 504):
                self.wrong.append(f"delete of {item['alias']} ({item['state']}): {answer.status_code} {answer.text}")
                return
            self.over.wait(0.2)


class Reader(InBackground):
    """Reads registered files; staging and unstaging are interrupted by kills, too.

    Attributes:
        compared: How many were as they had been sent.
        wrong: Those that were not.
    """

    def __init__(
        self,
        cluster: ArchiveCluster,
        keys: KeyPair,
        rng: random.Random,
        over: threading.Event,
        checksum: Callable[[str], str],
        deleted: Set[str],
    ) -> None:
        super().__init__(over)
        self._cluster = cluster
        self._keys = keys
        self._rng = rng
        self._checksum = checksum
        self._deleted = deleted
        self.compared = 0
        self.wrong: list[str] = []

    def work(self) -> None:
        with httpx.Client(timeout=20, trust_env=False) as http:
            while not self.over.wait(self._rng.uniform(0.2, 1.0)):
                try:
                    rows = self._cluster.administer(admin.list_files)
                    if rows:
                        self._read(http, self._rng.choice(rows))
                except CLIENT_ERRORS:
                    continue

    def _read(self, http: httpx.Client, row: dict[str, Any]) -> None:
        token = self._cluster.grant_download(self._keys.public, [row["accession"]])
        client = ContractClient(self._cluster.wkvs_url, token, self._keys.private, http)
        while (answer := client.drs_object(row["accession"])).status_code == 202:
            if self.over.wait(0.3):
                return
        assert answer.status_code == 200
        content = http.get(answer.json()["access_methods"][0]["access_url"]["url"])
        if content.status_code != 200:
            # A storage that is away or full says so.
            if content.status_code < 500 and row["alias"] not in self._deleted:
                self.wrong.append(f"{row['alias']} was not read: {content.status_code} {content.text}")
            return
        envelope = client.envelope(row["accession"])
        plaintext = unseal(envelope, content.content, self._keys.private)
        if hashlib.sha256(plaintext).hexdigest() == self._checksum(row["alias"]):
            self.compared += 1
        else:
            self.wrong.append(f"{row['alias']} was read with another content")


class Checker(InBackground):
    """Checks the archive again and again, beside all that is done to it.

    Attributes:
        codes: How ``archive check`` has ended; 5 where the database or the storage is away.
        wrong: What it has reported as a fault.
    """

    def __init__(self, cluster: ArchiveCluster, over: threading.Event) -> None:
        super().__init__(over)
        self._program = Program(cluster.config_file.parent, {"CONNECTOR_ARCHIVE_CONFIG": str(cluster.config_file)})
        self.codes: Counter[int] = Counter()
        self.wrong: list[str] = []

    def work(self) -> None:
        while not self.over.wait(0.5):
            done = self._program.run("archive", "check", timeout=300)
            self.codes[done.code] += 1
            if done.code not in (0, 5) or done.out:
                self.wrong.append(f"archive check: {done.code}: {done.out}{done.err}")
