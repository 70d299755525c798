"""An archive on MongoDB and S3 whose servers are away, stopped, full or started again all at once, while clients work.

Files are uploaded by ``connector upload``, deleted and read, and the archive is checked all the time, which must find
nothing wrong. Then every registered file is downloaded and compared. By hand::

    python -m tests.chaos.cluster_outages storage --uploads 12
"""

from __future__ import annotations

import argparse
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from tests.chaos.cluster_aftermath import CALM_SECONDS, look_at
from tests.chaos.cluster_clients import Checker, Deleter, Reader, Uploads
from tests.chaos.cluster_processes import Processes, open_cluster, open_cluster_at
from tests.support.archive_cluster import ArchiveCluster
from tests.support.archive_load import Load
from tests.support.command_line import CommandLine
from tests.support.small_disk import fill, small_disk_at

LEAD = 2
"""Uploads that are done before anything happens."""
SMALL_CLIENTS = 16
FULL_SECONDS = 30.0
SMALL_DISKS = {"full": ("juicefs", "1500m"), "full_database": ("mongod", "1500m")}
"""Servers whose disk gets full, and its size: with room for all that comes into it otherwise."""

Outage = Callable[[Processes, float], Iterator[float]]
"""Does something to the processes, and yields how many seconds to wait before what it does next."""


def election(processes: Processes, seconds: float) -> Iterator[float]:
    """Primaries step down, and one stops for a while and comes back as one that takes itself for the primary."""
    for _ in range(4):
        port = processes.primary()
        if port is not None:
            client: MongoClient[dict[str, object]]
            with MongoClient("127.0.0.1", port, directConnection=True, timeoutMS=15_000) as client:
                with suppress(PyMongoError):  # it closes the connection
                    client.admin.command("replSetStepDown", 5, secondaryCatchUpPeriodSecs=2, force=True)
        yield 4.0
    port = processes.primary()
    if port is not None:
        processes.member(port).send_signal(signal.SIGSTOP)
        yield min(seconds, 15.0)
        processes.member(port).send_signal(signal.SIGCONT)


def storage(processes: Processes, seconds: float) -> Iterator[float]:
    """The storage is away."""
    processes.storage.kill()
    processes.storage.wait()
    yield seconds
    processes.start_storage()


def stall(processes: Processes, seconds: float) -> Iterator[float]:
    """The storage takes connections and does not answer."""
    processes.storage.send_signal(signal.SIGSTOP)
    yield seconds
    processes.storage.send_signal(signal.SIGCONT)


def restart(processes: Processes, seconds: float) -> Iterator[float]:
    """Everything is killed at once, and started at once."""
    processes.kill_all()
    yield 0.0
    processes.start_all()


def full(processes: Processes, seconds: float) -> Iterator[float]:
    """The storage's disk is full for a while."""
    for _ in range(int(min(seconds, FULL_SECONDS))):
        greedy = fill(processes.data / "juicefs")  # again and again, since what is removed there makes room
        yield 1.0
    greedy.unlink()


def full_database(processes: Processes, seconds: float) -> Iterator[float]:
    """The disk of all members of the replica set is full for a while; those that end then are started again."""
    for _ in range(int(min(seconds, FULL_SECONDS))):
        greedy = fill(processes.data / "mongod")
        yield 1.0
    greedy.unlink()
    processes.start_members()


def busy(processes: Processes, seconds: float) -> Iterator[float]:
    """No outage: many more clients send and fetch small files."""
    with ThreadPoolExecutor(1) as threads:
        load = Load(processes.cluster)
        running = threads.submit(load.run, SMALL_CLIENTS, seconds)
        yield seconds
        running.result()
        assert load.faults == {}, load.faults
        assert load.acknowledged


OUTAGES: dict[str, Outage] = {
    one.__name__: one for one in (election, storage, stall, restart, full, full_database, busy)
}


@attrs.frozen
class Outcome:
    """What became of everything.

    Attributes:
        codes: How the commands that uploaded ended, by exit code.
        checks: How the checks beside them ended.
        states: The uploads in the archive by alias.
        wrong: What is not as it should be, a line each.
        compared: How many registered files were downloaded in the end and compared, and how many meanwhile.
        seconds: How long uploads and outage took, until all jobs were done, and until all was compared.
    """

    codes: Counter[int]
    checks: Counter[int]
    states: dict[str, str]
    wrong: list[str]
    compared: tuple[int, int]
    seconds: tuple[float, float, float]


@contextmanager
def site(outage: str, folder: Path) -> Iterator[tuple[ArchiveCluster, Processes]]:
    """A cluster, one of whose servers has a small disk if that is to be full."""
    if outage not in SMALL_DISKS:
        with open_cluster(folder) as opened:
            yield opened
        return
    data, (server, size) = folder / "data", SMALL_DISKS[outage]
    data.mkdir()
    with small_disk_at(data / server, size), open_cluster_at(data, folder) as opened:
        yield opened


def run(outage: str, uploads: int, seconds: float, folder: Path, tell: Callable[[str], None]) -> Outcome:
    """Upload, read and check during an outage; then look at what is left."""
    with site(outage, folder) as (cluster, processes):
        user = CommandLine.of(cluster, folder / "user")
        token, over = cluster.grant_upload(user.keys.public), threading.Event()
        sent = Uploads(user, token, uploads, random.Random(1))
        deleter = Deleter(cluster.wkvs_url, token, user.keys.private, uploads // 3, random.Random(2), over)
        reader = Reader(cluster, user.keys, random.Random(3), over, sent.checksum, deleter.deleted)
        checker = Checker(cluster, over)
        began = time.monotonic()

        def go_on(until: Callable[[], bool], limit: float) -> None:
            deadline = time.monotonic() + limit
            while not until():
                assert time.monotonic() < deadline, f"{sent.left} uploads are left: {sent.told_why[-5:]}"
                processes.restart_due()
                sent.step(uploads)
                time.sleep(0.05)

        def wait(pause: float) -> None:
            end = time.monotonic() + pause
            go_on(lambda: time.monotonic() >= end, pause + 60)

        with sent.ended(), deleter.running(), reader.running(), checker.running():
            go_on(lambda: sent.codes[0] >= LEAD, CALM_SECONDS)
            tell(f"{outage} begins: {sent.told}")
            for pause in OUTAGES[outage](processes, seconds):
                wait(pause)
                tell(f"{sent.told}; exit codes {dict(sent.codes)}, checks {dict(checker.codes)}")
            go_on(lambda: sent.done, CALM_SECONDS)
        during = time.monotonic() - began
        tell(f"uploads that were run again: {sent.told_why}")
        found = look_at(cluster, user, sent, deleter.deleted, tell)
        print(cluster.log.read_text())
    wrong = [*deleter.wrong, *reader.wrong, *checker.wrong, *found.wrong]
    wrong += [f"ended by itself: {one}" for one in processes.ended_by_themselves]
    compared, took = (found.compared, reader.compared), (during, *found.seconds)
    return Outcome(sent.codes, checker.codes, found.states, wrong, compared, took)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("outage", choices=OUTAGES)
    parser.add_argument("--uploads", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=120)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cluster-outage-") as folder:
        outcome = run(
            given.outage,
            given.uploads,
            given.seconds,
            Path(folder),
            lambda line: print(time.strftime("%X"), line, flush=True),
        )
    print(attrs.evolve(outcome, wrong=[], states={}), Counter(outcome.states.values()))
    print("\n".join(outcome.wrong))
    return int(bool(outcome.wrong))


if __name__ == "__main__":
    raise SystemExit(main())
