"""Many clients of one archive at once, written from the wire contract alone: what they do, and what they are told."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

import attrs
import httpx

from tests.support.contract_client import ContractClient, new_private_key, public_of, unseal
from tests.support.served_archive import ServedArchive

BOXES = 8
"""Upload boxes, each shared by some of the clients, so that they meet the cap of open uploads and each other."""
STOCKED = 16
"""Files that are downloaded again and again."""
LARGEST = 200_000
UPLOADS = 0.5
"""The share of uploads in what clients do."""
_LONGEST_PAUSE = 0.2
"""Seconds until a client asks again that was refused since its box has too many open uploads."""
_TIMEOUT = 120.0
"""Seconds for one answer: longer than on a machine that does nothing else."""
# One for all: making one takes longer than some requests.
_TLS = ssl.create_default_context()


class LoadClient(ContractClient):
    """A client that asks for its work package once, as clients do."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._package = super().package()

    def package(self, *, token: str | None = None) -> httpx.Response:
        return self._package


@attrs.frozen
class User:
    """A key pair and what was granted to its owner."""

    private_key: bytes
    access_token: str


@attrs.define(eq=False)
class Load:
    """What clients did and were told.

    Attributes:
        answers: How often each answer was given: method, status and, if it has one, the id of the error.
        acknowledged: The sha256 of each file whose upload was closed successfully, by its id.
        downloads: How many files were downloaded and were right.
        slowest: Seconds that the slowest answer took.
    """

    archive: ServedArchive
    seed: int = 1
    answers: Counter[tuple[str, int, str]] = attrs.field(factory=Counter)
    acknowledged: dict[str, str] = attrs.field(factory=dict)
    downloads: int = 0
    slowest: float = 0.0
    _lock: threading.Lock = attrs.field(factory=threading.Lock)

    @property
    def faults(self) -> dict[tuple[str, int, str], int]:
        """Answers that the contract does not name: every 5xx but those of a full box and of missing parts."""
        named = {(507, "boxMaxSizeExceeded"), (500, "uploadCompletionError")}
        return {answer: n for answer, n in self.answers.items() if answer[1] >= 500 and answer[1:] not in named}

    def run(self, clients: int, seconds: float) -> None:
        """Upload and download small files at once for a while; raises what any of the clients failed with."""
        writers = [self._user() for _ in range(BOXES)]
        stocked = self._stock(writers[0])
        key = new_private_key()
        reader = User(key, self.archive.grant_download(public_of(key), list(stocked)))
        until = time.monotonic() + seconds
        with ThreadPoolExecutor(clients) as threads:
            running = [
                threads.submit(self._act, number, writers[number % BOXES], reader, stocked, until)
                for number in range(clients)
            ]
            wait(running)
        for one in running:
            one.result()

    def download_all(self, digests: dict[str, str], clients: int) -> None:
        """Download registered files (the sha256 of each by its accession) and compare their content."""
        key = new_private_key()
        user = User(key, self.archive.grant_download(public_of(key), list(digests)))
        shares = [list(digests.items())[number::clients] for number in range(clients)]

        def fetch(share: Sequence[tuple[str, str]]) -> None:
            with self._client(user) as client:
                for accession, digest in share:
                    self._download(client, accession, digest)

        with ThreadPoolExecutor(clients) as threads:
            list(threads.map(fetch, shares))

    def _user(self) -> User:
        key = new_private_key()
        return User(key, self.archive.grant_upload(public_of(key)))

    def _stock(self, user: User) -> dict[str, str]:
        """Upload some files and wait for them; the sha256 of each by its accession."""
        stocked = {}
        with self._client(user) as client:
            contents = [os.urandom(LARGEST) for _ in range(STOCKED)]
            ids = [client.upload(f"stocked-{number}", client.seal(content)) for number, content in enumerate(contents)]
        for file_id, content in zip(ids, contents, strict=True):
            accession = self.archive.wait_for_file(file_id, seconds=60)["accession"]
            stocked[accession] = hashlib.sha256(content).hexdigest()
        return stocked

    def _act(self, number: int, writing: User, reading: User, stocked: dict[str, str], until: float) -> None:
        rng = random.Random(self.seed * 1000 + number)
        with self._client(writing) as writer, self._client(reading) as reader:
            for turn in itertools.count():
                if time.monotonic() >= until:
                    return
                if rng.random() < UPLOADS:
                    self._upload(writer, f"client-{number}-file-{turn}", rng, until)
                else:
                    accession = rng.choice(list(stocked))
                    self._download(reader, accession, stocked[accession])

    def _upload(self, client: ContractClient, alias: str, rng: random.Random, until: float) -> None:
        content = rng.randbytes(rng.randint(1, LARGEST))
        file = client.seal(content)
        while (created := client.create(alias, file)).status_code == 429:
            assert created.json()["exception_id"] == "tooManyOpenUploads", created.text
            if time.monotonic() >= until:
                return
            time.sleep(rng.uniform(0.02, _LONGEST_PAUSE))
        assert created.status_code == 201, created.text
        file_id = created.json()["file_id"]
        client.put_parts(file_id, file.parts)
        closed = client.close(file_id, file.claim())
        assert closed.status_code == 204, closed.text
        with self._lock:
            self.acknowledged[file_id] = hashlib.sha256(content).hexdigest()

    def _download(self, client: ContractClient, accession: str, digest: str) -> None:
        while (found := client.drs_object(accession)).status_code == 202:
            time.sleep(float(found.headers["retry-after"]))
        assert found.status_code == 200, found.text
        fetched = client.http.get(found.json()["access_methods"][0]["access_url"]["url"])
        assert fetched.status_code == 200, fetched.text
        content = unseal(client.envelope(accession), fetched.content, client.private_key)
        assert hashlib.sha256(content).hexdigest() == digest
        with self._lock:
            self.downloads += 1

    @contextmanager
    def _client(self, user: User) -> Iterator[ContractClient]:
        hooks = {"response": [self._note]}
        with httpx.Client(timeout=_TIMEOUT, trust_env=False, verify=_TLS, event_hooks=hooks) as http:
            yield LoadClient(self.archive.wkvs_url, user.access_token, user.private_key, http)

    def _note(self, answer: httpx.Response) -> None:
        answer.read()
        exception_id = ""
        if answer.status_code >= 400 and "json" in answer.headers.get("content-type", ""):
            exception_id = answer.json().get("exception_id", "")
        with self._lock:
            self.answers[answer.request.method, answer.status_code, exception_id] += 1
            self.slowest = max(self.slowest, answer.elapsed.total_seconds())


@attrs.define(eq=False)
class MemoryWatch:
    """The resident memory of processes in MiB, sampled each second by a thread; Linux alone."""

    pids: Sequence[int]
    samples: list[dict[int, float]] = attrs.field(factory=list)
    _over: threading.Event = attrs.field(factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[MemoryWatch]:
        thread = threading.Thread(target=self._sample, name="memory")
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            thread.join()

    def around(self, share: float) -> dict[int, float]:
        """The median of five samples about this share of the whole time."""
        middle = min(max(int(len(self.samples) * share), 2), len(self.samples) - 3)
        some = self.samples[middle - 2 : middle + 3]
        return {pid: sorted(sample[pid] for sample in some)[2] for pid in self.pids}

    def _sample(self) -> None:
        while not self._over.wait(1):
            self.samples.append({pid: _resident(pid) for pid in self.pids})


def _resident(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024**2
