"""The archive itself: what a request takes of its processes, on SQLite and files and on MongoDB and S3.

Each kind of request is sent by wrk to the serving processes themselves, without nginx. What counts is processor time
per request, of the serving processes alone, as a multiple of that of ``/health`` of the same processes: it says what
the archive adds to a server that does nothing, whatever the machine. Small files and one large one are then uploaded by
the command, and interrogated.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from benchmarks.contest import Claim, Contest, Report, Run
from benchmarks.process import Failed, cpu_seconds_of
from benchmarks.stand import Options, Stand
from benchmarks.wrk import Request, send
from connector.archive import admin
from connector.local.key_files import read_public_key
from persistence.testing.servers import run_juicefs, run_replica_set
from tests.support.archive_cluster import ArchiveCluster, archive_cluster
from tests.support.archive_process import ArchiveProcess, serving
from tests.support.contract_client import ContractClient, new_private_key, public_of
from tests.support.served_archive import ServedArchive

CONNECTIONS = 16
"""To each serving process, or half of them."""
SECONDS = 4.0
LISTED = 100
FILES = "SQLite + files"
ONE, TWO = "MongoDB + S3", "MongoDB + S3, two processes"
AT_MOST = {"part URL": 6.0, "token": 6.0}
"""Times the processor time of ``/health``; GHGA's services take 25 and 15 times that of theirs."""
ONE_HALF, TWO_HALF = f"{ONE}, half the clients", f"{TWO}, half the clients each"
"""The clients of one process divided among two; and one process that has only its share of them."""
BESIDE = f"{ONE}, beside another archive's process"
"""One process, whose machine is as busy as that of two; they share nothing else."""
TWO_AT_MOST = 1.15
"""Times the processor time of one process with as many clients as each of the two, per request."""
_SETTINGS = {"work_order_lifetime": 36_000, "open_uploads": 1000, "url_lifetime": 3600}


@dataclass(frozen=True)
class SetUp:
    """An archive under load: the processes that serve it, with their addresses, and those that work beside them; and
    how many connections each of the former is given; and what is sent to a process of another archive meanwhile."""

    archive: ServedArchive
    bases: Sequence[str]
    serving: Sequence[int]
    working: Sequence[int]
    connections: int = CONNECTIONS
    beside: tuple[str, Mapping[str, Request]] | None = None


def run(options: Options) -> Report:
    report = Report("archive")
    kinds: dict[str, Contest] = {}
    memory = Path("/dev/shm")
    with Stand(options, "archive") as stand, contextlib.ExitStack() as stack:
        services = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)))
        uri, _ = stack.enter_context(run_replica_set(services / "mongod"))
        s3 = stack.enter_context(run_juicefs(services / "s3"))
        set_ups = {FILES: stack.enter_context(_embedded(stand.folder / "embedded"))}
        for name, count in ((ONE, 1), (TWO, 2)):
            folder = stand.folder / f"cluster-{count}"
            settings = "\n".join(f"{key} = {value}" for key, value in _SETTINGS.items())
            cluster = archive_cluster(folder, uri=uri, s3=s3, settings=settings, servers=count, workers=1)
            set_ups[name] = _of_cluster(stack.enter_context(cluster))
        requests = {name: _requests(set_up) for name, set_up in set_ups.items()}
        for name, half in ((ONE, ONE_HALF), (TWO, TWO_HALF)):
            set_ups[half] = replace(set_ups[name], connections=CONNECTIONS // 2)
            requests[half] = requests[name]
        set_ups[BESIDE] = replace(set_ups[ONE], beside=(set_ups[TWO].bases[0], requests[TWO]))
        requests[BESIDE] = requests[ONE]
        for number in range(options.rounds):
            for kind in requests[FILES]:
                contest = kinds.setdefault(kind, Contest(kind, 1000, "requests"))
                for name, set_up in set_ups.items():
                    measured = _load(stand.folder, set_up, requests[name], kind)
                    contest.runs.setdefault(name, []).append(measured)
                    print(f"  {kind}, round {number + 1}: {name:<50} {measured.server_cpu:.3f} ms", flush=True)
        report.contests += kinds.values()
        report.claims += _claims(kinds)
        report.contests += _transfers(stand, {name: set_ups[name] for name in (FILES, ONE)})
    return report


@contextlib.contextmanager
def _embedded(folder: Path) -> Iterator[SetUp]:
    words = [word for key, value in _SETTINGS.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    with serving(folder, "--retry-after", "1", *words) as archive:
        yield SetUp(
            archive, [archive.wkvs_url.removesuffix("/.well-known")], [archive.process.pid], children_of(archive)
        )


def children_of(archive: ArchiveProcess) -> list[int]:
    """The worker of an embedded archive that was just started."""
    time.sleep(1.0)  # until its worker has started
    tasks = Path(f"/proc/{archive.process.pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def _of_cluster(cluster: ArchiveCluster) -> SetUp:
    bases = [f"http://127.0.0.1:{port}" for port in cluster.ports]
    return SetUp(cluster, bases, [one.pid for one in cluster.servers], [one.pid for one in cluster.workers])


def _requests(set_up: SetUp) -> dict[str, Request]:
    """One request of each kind, against a box with some files."""
    key = new_private_key()
    token = set_up.archive.grant_upload(public_of(key))
    with httpx.Client(timeout=30, trust_env=False) as http:
        user = ContractClient(set_up.archive.wkvs_url, token, key, http)
        package = user.package().json()
        created = [user.create(f"file-{number}", user.seal(b"content")) for number in range(LISTED)]
        file_id = created[0].json()["file_id"]
        uploads = f"{{base}}/ucs/boxes/{package['file_upload_box_id']}/uploads"
        rdub = package["research_data_upload_box_id"]
        order = {"work_type": "upload", "alias": None, "file_id": file_id}
        tokens = f"{{base}}/wps/work-packages/{user.package_id}/boxes/{rdub}/work-order-tokens"
        part = f"{uploads}/{file_id}/parts/1"
        return {
            "health": Request("{base}/ucs/health"),
            "part URL": Request(part, user.upload_token("upload", file_id=file_id)),
            "token": Request(tokens, user.secret, order),
            f"listing of {LISTED}": Request(f"{uploads}?limit={LISTED}", user.upload_token("view")),
        }


def _load(folder: Path, set_up: SetUp, requests: Mapping[str, Request], kind: str) -> Run:
    """What a thousand requests take: seconds, and milliseconds of the servers' processor for one."""
    targets = [(base, requests[kind]) for base in set_up.bases]
    if set_up.beside is not None:
        base, others = set_up.beside
        targets.append((base, others[kind]))
    before = _spent(set_up.serving)
    began = time.monotonic()
    counts = send(folder, targets, connections=set_up.connections, seconds=SECONDS)
    count = sum(counts[: len(set_up.bases)])
    wall, spent = time.monotonic() - began, _spent(set_up.serving) - before
    return Run(wall * 1000 / count, 0.0, 0, spent * 1000 / count)


def _claims(kinds: dict[str, Contest]) -> list[Claim]:
    claims = []
    health = kinds["health"].runs
    for kind, contest in kinds.items():
        for name, runs in contest.runs.items() if kind != "health" else ():
            ratios = [mine.server_cpu / idle.server_cpu for mine, idle in zip(runs, health[name], strict=True)]
            text = f"{kind}, {name}: processor time against /health (times)"
            bound = AT_MOST.get(kind) if name != FILES else None
            claims.append(
                Claim(text, statistics.median(ratios), bound, at_most=True, spread=(min(ratios), max(ratios)))
            )
        for first, second, what, bound in (
            (ONE, TWO, f"two processes against one, {CONNECTIONS} clients each", TWO_AT_MOST),
            (ONE_HALF, TWO_HALF, f"two processes against one, {CONNECTIONS // 2} clients each", TWO_AT_MOST),
            (ONE, BESIDE, "one process beside that of another archive against one alone", None),
            (BESIDE, TWO, "two processes of one archive against two of two archives", None),
            (ONE, TWO_HALF, f"two processes that share {CONNECTIONS} clients against one that has them", None),
            (ONE, ONE_HALF, f"one process with {CONNECTIONS // 2} clients against one with {CONNECTIONS}", None),
        ):
            both = zip(contest.runs[first], contest.runs[second], strict=True)
            ratios = [other.server_cpu / one.server_cpu for one, other in both]
            text = f"{kind}, processor time: {what} (times)"
            claims.append(
                Claim(text, statistics.median(ratios), bound, at_most=True, spread=(min(ratios), max(ratios)))
            )
    return claims


def _transfers(stand: Stand, set_ups: dict[str, SetUp]) -> list[Contest]:
    """Small files and a large one, uploaded by the command; and the interrogation of the large one."""
    options = stand.options
    small = [stand.source(f"small-{number}", options.file_size)[0] for number in range(options.files)]
    large = [stand.source("large.bin", options.size)[0]]
    contests = [
        Contest("small uploads", options.files, "files"),
        Contest("interrogation", options.size / 1e6, "MB"),
    ]
    public_key = read_public_key(stand.keys.public)
    for _ in range(options.rounds):
        for name, set_up in set_ups.items():
            for contest, sources in zip(contests, (small, large), strict=True):
                granted = set_up.archive.administer(lambda archive: admin.grant_upload(archive, public_key))
                serving, working = _spent(set_up.serving), _spent(set_up.working)
                usage = stand.ours("upload", set_up.archive.wkvs_url, granted.access_token, *sources)
                began = time.monotonic()
                _until_archived(set_up.archive, str(granted.package.box_id))
                serving, working = _spent(set_up.serving) - serving, _spent(set_up.working) - working
                if sources is large:
                    run = Run(time.monotonic() - began, working, 0, serving)
                else:
                    run = Run(usage.wall, usage.cpu, usage.peak, serving + working)
                contest.runs.setdefault(name, []).append(run)
    return contests


def _spent(processes: Sequence[int]) -> float:
    return sum(map(cpu_seconds_of, processes))


def _until_archived(archive: ServedArchive, box_id: str) -> None:
    deadline = time.monotonic() + 600
    while True:
        rows = archive.administer(lambda opened: admin.list_files(opened, uploads=True))
        states = {row["state"] for row in rows if row["box"] == box_id}
        if states == {"archived"}:
            return
        if "failed" in states or time.monotonic() > deadline:
            raise Failed(f"not archived: {states}")
        time.sleep(0.1)
