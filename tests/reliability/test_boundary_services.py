"""The walk along the boundary of `archive serve` and `archive work`: as they start, and while they are used.

A server answers each failure of its machine with 503 (or 507), never with a 500 or a refusal that its client would
believe, and the same request succeeds when the failure is over. A worker does each job in the end.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import attrs
import httpx
import pytest

from connector.crypt4gh.keys import KeyPair
from connector.local.key_files import read_private_key
from tests.reliability.conftest import WalkKeys
from tests.support.archive_checker import check
from tests.support.archive_process import serving
from tests.support.boundary import Ended
from tests.support.call_sites import ROOT
from tests.support.contract_client import ContractClient, SealedFile
from tests.support.walk import SITES, Case, Walk, faults_of, note_walked, sites_walked, walk_along
from tests.support.walked_archive import CONTENT, MANY, SETTINGS, WalkedArchive, faults_left, make_archive
from tests.support.walked_service import Fault, Played, Used, play

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and knows the system's functions of Linux")

SERVE = ("archive", "serve", "--root", "arch", "--port", "0", "--no-worker", *MANY)
WORK = ("archive", "work", "--root", "arch")
ENVIRONMENT = {"PATH": os.environ["PATH"], **SETTINGS}
WORKING = {
    **ENVIRONMENT,
    "CONNECTOR_ARCHIVE_MANUAL_ARCHIVAL": "false",
    "CONNECTOR_ARCHIVE_STAGE_LIFETIME": "1",
    "CONNECTOR_ARCHIVE_JOB_LEASE": "3",
    "CONNECTOR_ARCHIVE_STAGING_DELAY": "1.2",
}
"""So that leases are extended and copies removed while a walk lasts."""
SAMPLE, SAMPLE_OF_JOBS = 15, 3


@pytest.fixture(scope="module")
def keys(walk_keys: WalkKeys) -> KeyPair:
    return KeyPair.of(read_private_key(walk_keys.folder / "my.sec", str))


@pytest.fixture(scope="module")
def made(keys: KeyPair, tmp_path_factory: pytest.TempPathFactory) -> WalkedArchive:
    return make_archive(tmp_path_factory.mktemp("template") / "arch", keys)


BESIDE = ("archive", "serve", "--root", "arch", "--port", "0", *MANY)
"""With a worker in a process of its own."""


@attrs.frozen
class Start(Walk):
    """A service that is stopped as soon as it is ready."""

    def _start(self, folder: Path, case: Case | None, *, kill_after: int = 0) -> Ended:
        def scene(used: Used) -> list[str]:
            used.first_line()
            return []

        faults = [] if case is None else [(case.site, case.fault)]
        played = play(self.arguments, {**ENVIRONMENT, **self.environment}, folder, scene, faults=faults)
        return played.ended


def begun(folder: Path, done: bool) -> str:
    """What is begun of a new archive is completed by the next process."""
    return faults_left(folder) if (folder / "arch" / "archive.sqlite").exists() else ""


def start_of(name: str, made: WalkedArchive) -> Walk:
    def prepare(folder: Path) -> None:
        made.copy_to(folder)
        # What a killed process leaves, so that there is something to settle.
        (folder / "arch" / "objects" / "buckets" / "inbox" / "uploads" / f"{'0' * 32}.new").mkdir()

    def whole(folder: Path, done: bool) -> str:
        return faults_left(folder)

    if name == "a new archive":
        return Start(SERVE, lambda folder: None, begun)
    return Start({"serve": SERVE, "work": WORK, "beside": BESIDE}[name], prepare, whole, {"PYTHONPATH": str(ROOT)})


@attrs.define
class Server:
    """A served archive, and requests of all kinds that can be repeated."""

    used: Used
    http: httpx.Client
    up: ContractClient
    down: ContractClient
    made: WalkedArchive
    file: SealedFile
    answers: list[httpx.Response] = attrs.field(factory=list)

    @classmethod
    def of(cls, used: Used, keys: KeyPair, made: WalkedArchive) -> Server:
        answers: list[httpx.Response] = []

        def note(response: httpx.Response) -> None:
            with suppress(httpx.HTTPError):
                response.read()
                answers.append(response)

        url = used.first_line().removeprefix("Archive ready at ")
        http = httpx.Client(trust_env=False, timeout=20, event_hooks={"response": [note]})
        up, down = (
            ContractClient(url, token, keys.private, http) for token in (made.upload_token, made.download_token)
        )
        return cls(used, http, up, down, made, up.seal(CONTENT), answers)

    def steps(self) -> dict[str, Callable[[], Callable[[], Any]]]:
        """For each kind of request, what prepares one and returns it."""

        def sent() -> str:
            file_id = self.new_upload()
            self.up.put_parts(file_id, self.file.parts)
            return file_id

        def to_put() -> Callable[[], Any]:
            url = self.up.part_url(self.new_upload(), 1).json()
            return lambda: self.http.put(url, content=self.file.parts[0])

        def to_close() -> Callable[[], Any]:
            file_id = sent()
            return lambda: self.up.close(file_id, self.file.claim())

        def to_delete() -> Callable[[], Any]:
            file_id = sent()
            return lambda: self.up.delete(file_id)

        def to_get() -> Callable[[], Any]:
            answer = self.down.drs_object(self.made.staged).json()
            url = answer["access_methods"][0]["access_url"]["url"]
            return lambda: self.http.get(url, headers={"Range": "bytes=100-6000"})

        def to_sign() -> Callable[[], Any]:
            file_id = self.new_upload()
            return lambda: self.up.part_url(file_id, 1)

        def to_stage() -> Callable[[], Any]:
            self.forget_staging()
            return lambda: self.down.drs_object(self.made.unstaged)

        return {
            "values": lambda: lambda: self.http.get(f"{self.up.wkvs_url}/values"),
            "package": lambda: self.up.package,
            "list": lambda: self.up.list_uploads,
            "create": lambda: lambda: self.up.create(uuid4().hex, self.file),
            "part URL": to_sign,
            "put": to_put,
            "close": to_close,
            "delete": to_delete,
            "staged": lambda: lambda: self.down.drs_object(self.made.staged),
            "not staged": to_stage,
            "envelope": lambda: lambda: self.down.envelope(self.made.staged),
            "get": to_get,
        }

    def new_upload(self) -> str:
        return str(self.up.create(uuid4().hex, self.file).json()["file_id"])

    def forget_staging(self) -> None:
        with sqlite3.connect("arch/archive.sqlite", timeout=10) as database:
            database.execute("DELETE FROM jobs WHERE json_extract(doc, '$.kind') = 'stage'")

    def wrong(self, fault: Fault, make: Callable[[], Callable[[], Any]]) -> str:
        """What is wrong with how a request is answered while a fault happens, and afterwards."""
        request = make()
        self.answers.clear()
        self.used.traps.set([fault])
        try:
            request()
        except AssertionError:
            pass  # the answer, which is judged below, was not the expected one
        except (httpx.HTTPError, httpx.StreamError, ValueError, KeyError) as error:
            # A body that ends early is no answer; what read it is told again by httpx as a stream that was consumed.
            if not self.answers and not isinstance(error, httpx.RemoteProtocolError | httpx.StreamError):
                return f"{type(error).__name__}: {error}"
        self.used.traps.set([])
        unnamed = [answer for answer in self.answers if not is_named(answer)]
        if unnamed:
            return f"{unnamed[0].request.url.path}: {unnamed[0].status_code} {unnamed[0].text[:200]}"
        self.answers.clear()
        with suppress(AssertionError):
            request()
        last = self.answers[-1]
        return "" if last.is_success else f"afterwards {last.status_code} {last.text[:200]}"


def is_named(answer: httpx.Response) -> bool:
    """Whether an answer is the usual one, or says that the same request may succeed later."""
    if answer.is_success:
        return True
    if answer.text.startswith("<?xml"):
        return answer.status_code in (503, 507) and "<Code>" in answer.text
    return answer.status_code == 503 and bool(answer.headers.get("retry-after")) and _id(answer) == "unavailable"


def _id(answer: httpx.Response) -> str:
    with suppress(json.JSONDecodeError):
        return str(answer.json()["exception_id"])
    return ""


def serve_scene(keys: KeyPair, made: WalkedArchive, sample: int | None) -> Callable[[Used], list[str]]:
    def scene(used: Used) -> list[str]:
        server, traps = Server.of(used, keys, made), used.traps
        cases: list[tuple[str, Fault]] = []
        known = sites_walked()
        for name, make in server.steps().items():
            request = make()
            traps.sites.clear()
            traps.set([])
            request()
            sites = sorted(traps.sites - known)
            if SITES:
                known.update(sites)  # with one kind of request
            # Paths consist of the root, which could be encoded when the server began, and of ids.
            cases += [(name, (site, f)) for site in sites for f in site.faults() if f != "UnicodeError"]
        traps.collecting = False
        if sample is not None:
            cases = random.Random(os.environ.get("WALK_SEED", "1")).sample(cases, sample)
        wrong = []
        for name, fault in cases:
            complaint = server.wrong(fault, server.steps()[name])
            if complaint:
                wrong.append(f"{name}: {fault[0]} {fault[1]}: {complaint}")
                print(wrong[-1], flush=True)
        note_walked({site for _, (site, _) in cases} if sample is None and not wrong else ())
        print(f"{len({fault[0] for _, fault in cases})} call sites, {len(cases)} faults, {len(traps.met)} met")
        traps.set([])
        for item in server.up.list_uploads(limit=1000).json()["items"]:
            if item["state"] == "init":
                server.up.delete(item["id"])
        return wrong

    return scene


def work_scene(
    url: str, keys: KeyPair, made: WalkedArchive, folder: Path, sample: int | None, at_once: int = 60
) -> Callable[[Used], list[str]]:
    def scene(used: Used) -> list[str]:
        used.first_line()
        traps = used.traps
        traps.set([])
        with httpx.Client(trust_env=False, timeout=20) as http:
            jobs = Jobs(ContractClient(url, made.upload_token, keys.private, http), folder / "arch" / "archive.sqlite")
            wrong = jobs.run(2)
            traps.collecting = False
            cases = [(site, fault) for site in sorted(traps.sites - sites_walked()) for fault in site.faults()]
            if sample is not None:
                cases = random.Random(os.environ.get("WALK_SEED", "1")).sample(cases, sample)
            unmet = 0
            for start in range(0, len(cases), at_once):
                traps.set(cases[start : start + at_once])
                wrong += jobs.run(min(at_once, len(cases) - start))
                unmet += len(traps.pending)
            note_walked(set(dict(cases)) if sample is None and not wrong else ())
            print(f"{len(set(dict(cases)))} call sites, {len(cases)} faults, {len(cases) - unmet} met")
        return wrong

    return scene


@attrs.frozen
class Jobs:
    """Gives a worker things to do: files to interrogate, register, stage, and to clean up."""

    client: ContractClient
    database: Path

    def run(self, count: int) -> list[str]:
        """Upload files, and delete them again once they are archived and staged."""
        file = self.client.seal(CONTENT)
        ids = [self.client.upload(uuid4().hex, file) for _ in range(count)]
        wrong = self._wait("archived", lambda: [one for one in ids if self._document("uploads", one) != "archived"])
        for file_id in ids:
            if self._document("uploads", file_id, "failure"):
                wrong.append(f"a file was refused: {self._document('uploads', file_id, 'failure')}")
        if wrong:
            return wrong  # what is not done has a job still
        self._stage(ids)
        wrong += self._wait("staged and unstaged", lambda: [one for one in ids if self._document("jobs", one, "kind")])
        for file_id in ids:
            self.client.delete(file_id)
        return wrong + self._wait("gone", lambda: [one for one in ids if self._document("jobs", one, "kind")])

    def _stage(self, ids: Sequence[str]) -> None:
        """Call for copies, as requests of downloads do; unused, they are removed again soon."""
        with sqlite3.connect(self.database, timeout=10) as database:
            (job,) = database.execute("SELECT doc FROM jobs LIMIT 1").fetchone()
            now = time.time()
            at = f"$t:{datetime.fromtimestamp(now, UTC).isoformat(timespec='milliseconds')[:23]}Z"
            changes = {"kind": "stage", "created": at, "due": at, "token": int(now * 1000), "worker": None}
            planned = json.loads(job) | changes | {"attempts": 0}
            rows = [(one, json.dumps(planned | {"id": one})) for one in ids]
            database.executemany("INSERT INTO jobs (id, doc) VALUES (?, ?)", rows)

    def _document(self, collection: str, document: str, field: str = "state") -> Any:
        with sqlite3.connect(self.database, timeout=10) as database:
            query = f"SELECT json_extract(doc, '$.{field}') FROM {collection} WHERE id = ?"
            return next((row[0] for row in database.execute(query, (document,))), None)

    def _wait(self, what: str, left: Callable[[], Sequence[str]], seconds: float = 200) -> list[str]:
        """A job that meets five of the faults is tried again after 5, 10, 20, 40 and 80 seconds."""
        deadline = time.monotonic() + seconds
        while missing := left():
            if time.monotonic() > deadline:
                reasons = {str(self._document("jobs", one, "reason")) for one in missing}
                return [f"{len(missing)} are not {what}: {reasons}"]
            time.sleep(0.1)
        return []


def verdict(played: Played, folder: Path) -> list[str]:
    """What is wrong with how a service ended, and with what it leaves."""
    left = faults_left(folder)
    return [*what_is_wrong(played), *([left] if left else [])]


def what_is_wrong(played: Played) -> list[str]:
    """What a scene found, and what is wrong with how a service ended."""
    wrong = [] if played.ended.code == 0 else [f"it ended with {played.ended.code}: {played.ended.err[-500:]}"]
    for word in ("Traceback", "bug in connector", "ASGI"):
        wrong += [line for line in played.ended.err.splitlines() if word in line]
    return [*played.wrong, *wrong]


def walk_server(made: WalkedArchive, keys: KeyPair, folder: Path, *, sample: int | None, seconds: float) -> None:
    made.copy_to(folder)
    played = play(SERVE, ENVIRONMENT, folder, serve_scene(keys, made, sample), seconds=seconds)
    print(played.ended.out)
    assert [*what_is_wrong(played), *do_jobs(folder)] == []


def do_jobs(folder: Path) -> list[str]:
    """What is left when a worker has done what there is to do."""

    def scene(used: Used) -> list[str]:
        used.traps.collecting = False
        used.first_line()  # before that it is interrupted, not stopped
        deadline = time.monotonic() + 240  # a walk leaves hundreds, some of which are due a minute later
        while (found := look()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return found

    def look() -> list[str]:
        try:
            return check(folder / "arch").faults
        except (OSError, ValueError) as error:  # read while it was changed
            return [str(error)]

    return verdict(play(WORK, ENVIRONMENT, folder, scene, seconds=300), folder)


def walk_worker(made: WalkedArchive, keys: KeyPair, folder: Path, *, sample: int | None, seconds: float) -> None:
    made.copy_to(folder)
    # The whole walk takes its time for each copy, so that leases are extended.
    working = WORKING if sample is None else {**WORKING, "CONNECTOR_ARCHIVE_STAGING_DELAY": "0.1"}
    with serving(folder / "arch", "--no-worker", *MANY) as served:
        scene = work_scene(served.wkvs_url, keys, made, folder, sample)
        played = play(WORK, working, folder, scene, seconds=seconds)
    print(played.ended.out)
    # Content that could not be deleted, the fault of some cases, is removed by the next process.
    assert [*what_is_wrong(played), *do_jobs(folder)] == []


def test_a_sample_of_the_faults_of_a_server(made: WalkedArchive, keys: KeyPair, tmp_path: Path) -> None:
    walk_server(made, keys, tmp_path, sample=SAMPLE, seconds=600)


def test_a_sample_of_the_faults_of_a_worker(made: WalkedArchive, keys: KeyPair, tmp_path: Path) -> None:
    walk_worker(made, keys, tmp_path, sample=SAMPLE_OF_JOBS, seconds=600)


@pytest.mark.soak
def test_the_whole_walk_of_a_server(made: WalkedArchive, keys: KeyPair, tmp_path: Path) -> None:
    walk_server(made, keys, tmp_path, sample=None, seconds=3600)


@pytest.mark.soak
def test_the_whole_walk_of_a_worker(made: WalkedArchive, keys: KeyPair, tmp_path: Path) -> None:
    walk_worker(made, keys, tmp_path, sample=None, seconds=3600)


@pytest.mark.soak
@pytest.mark.parametrize("name", ["serve", "work", "a new archive"])
def test_the_whole_walk_of_starts(made: WalkedArchive, tmp_path: Path, name: str) -> None:
    walk = start_of(name, made)
    walk_along(walk, faults_of(walk, tmp_path / "plain"), tmp_path)


@pytest.mark.soak
def test_the_calls_that_a_worker_beside_a_server_adds(made: WalkedArchive, tmp_path: Path) -> None:
    known = {case.site for case in faults_of(start_of("serve", made), tmp_path / "known")}
    walk = start_of("beside", made)
    cases = [case for case in faults_of(walk, tmp_path / "plain") if case.site not in known]
    assert SITES or any("child_process" in case.site.file for case in cases)
    walk_along(walk, cases, tmp_path)
