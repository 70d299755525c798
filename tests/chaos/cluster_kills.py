"""An archive on MongoDB and S3 whose processes and MongoDB primary are killed with -9 at random, while clients work.

Files of 8 to 64 MiB are uploaded by ``connector upload``, deleted and read; then the archive is checked, and every
registered file is downloaded and compared. By hand, with every kill::

    python -m tests.chaos.cluster_kills --uploads 40 --deletes 20 --kills 40
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import attrs

from connector.archive import admin
from persistence.testing.servers import run_juicefs, run_replica_set
from tests.chaos.cluster_clients import CLIENT_ERRORS, Deleter, Reader, Uploads
from tests.chaos.cluster_processes import Processes
from tests.support.archive_cluster import ArchiveCluster, archive_cluster
from tests.support.archive_process import run_cli
from tests.support.command_line import CommandLine

SETTINGS = """\
open_uploads = 50
job_lease = 5
stage_lifetime = 30
"""
"""Leases and copies end often enough for kills to fall into what follows."""
LEAD = 5
"""Uploads that are begun before the first kill. Neither kills nor uploads run ahead, so that kills fall into all."""
PAUSES = (0.5, 3.0)
"""Seconds between two kills."""
CALM_SECONDS = 240
"""After the last kill: until all uploads and all jobs are done. Jobs that failed wait for minutes."""


@attrs.frozen(kw_only=True)
class Plan:
    """How much of what, in which order."""

    uploads: int
    deletes: int
    kills: int
    seed: int


@attrs.frozen
class Outcome:
    """What became of everything.

    Attributes:
        kills: By what was killed.
        codes: How the commands that uploaded ended, by exit code.
        states: The uploads in the archive by alias, as it lists them.
        wrong: What is not as it should be, a line each.
        compared: How many registered files were downloaded in the end and compared, and how many meanwhile.
        seconds: How long uploads and kills took, until all was done, and until all was compared.
    """

    kills: Counter[str]
    codes: Counter[int]
    states: dict[str, str]
    deleted: set[str]
    wrong: list[str]
    compared: tuple[int, int]
    seconds: tuple[float, float, float]

    def __str__(self) -> str:
        kills = ", ".join(f"{count} x {kind}" for kind, count in sorted(self.kills.items()))
        codes = ", ".join(f"{count} x {code}" for code, count in sorted(self.codes.items()))
        states = ", ".join(f"{count} {state}" for state, count in sorted(Counter(self.states.values()).items()))
        during, calm, compared = self.seconds
        return (
            f"{len(self.states)} uploads ({states}), {len(self.deleted)} of them deleted; exit codes: {codes}\n"
            f"{sum(self.kills.values())} kills ({kills}) in {during:.0f} s, at rest after {calm:.0f} s more\n"
            f"{self.compared[0]} registered files downloaded and compared in {compared:.0f} s,"
            f" and {self.compared[1]} while processes were killed; {len(self.wrong)} wrong"
        )


@contextmanager
def open_cluster(folder: Path) -> Iterator[tuple[ArchiveCluster, Processes]]:
    """Run a cluster with servers of its own, on disks in memory where there are any."""
    memory = Path("/dev/shm")
    with ExitStack() as stack:
        shared = memory if memory.is_dir() and os.access(memory, os.W_OK) else folder
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cluster-", dir=shared)))
        uri, members = stack.enter_context(run_replica_set(data / "mongod"))
        s3 = stack.enter_context(run_juicefs(data / "juicefs"))
        cluster = stack.enter_context(archive_cluster(folder / "cluster", uri=uri, s3=s3, settings=SETTINGS))
        yield cluster, stack.enter_context(Processes(cluster, data / "mongod", members).watched())


def run(plan: Plan, folder: Path, tell: Callable[[str], None]) -> Outcome:
    """Upload, delete, read and kill; then look at what is left."""
    rng = random.Random(plan.seed)
    with open_cluster(folder) as (cluster, processes):
        user = CommandLine.of(cluster, folder / "user")
        token = cluster.grant_upload(user.keys.public)
        uploads = Uploads(user, token, plan.uploads, rng)
        over = threading.Event()
        deleter = Deleter(cluster.wkvs_url, token, user.keys.private, plan.deletes, random.Random(plan.seed + 1), over)
        reader = Reader(cluster, user.keys, random.Random(plan.seed + 2), over, uploads.checksum, deleter.deleted)
        began = time.monotonic()
        with uploads.ended(), deleter.running(), reader.running():
            try:
                kills = _kill(plan, rng, processes, uploads, deleter, tell)
            finally:
                over.set()
            during = time.monotonic() - began
            tell(f"{sum(kills.values())} kills in {during:.0f} s; ended by themselves: {processes.ended_by_themselves}")
            processes.restart_all()
            deadline = time.monotonic() + CALM_SECONDS
            while not uploads.done:
                assert time.monotonic() < deadline, f"{uploads.left} uploads are left: {uploads.told_why[-5:]}"
                processes.restart_due()
                uploads.step(plan.uploads)
                time.sleep(0.05)
            tell(f"uploads that were run again: {uploads.told_why}")
        wrong = [*deleter.wrong, *reader.wrong]
        calm = time.monotonic()
        wrong += _wait_until_at_rest(cluster, CALM_SECONDS)
        rested = time.monotonic()
        rows = cluster.administer(lambda archive: admin.list_files(archive, uploads=True))
        states = {row["alias"]: row["state"] for row in rows}
        wrong += _misplaced(uploads, deleter.deleted, rows)
        checked = run_cli("archive", "check", "--config", str(cluster.config_file))
        if (checked.returncode, checked.stdout) != (0, ""):
            wrong.append(f"archive check: {checked.returncode}\n{checked.stdout}{checked.stderr}")
        registered = {row["accession"]: row["alias"] for row in rows if row["state"] == "archived"}
        compared = 0
        for accession, alias in registered.items():
            tell(f"downloading {alias}")
            compared += (right := _is_right(cluster, user, accession, uploads.checksum(alias)))
            if not right:
                wrong.append(f"{alias} ({accession}) was not downloaded as it was uploaded")
    times = (during, rested - calm, time.monotonic() - rested)
    return Outcome(kills, uploads.codes, states, deleter.deleted, wrong, (compared, reader.compared), times)


def _kill(
    plan: Plan,
    rng: random.Random,
    processes: Processes,
    uploads: Uploads,
    deleter: Deleter,
    tell: Callable[[str], None],
) -> Counter[str]:
    kills: Counter[str] = Counter()
    next_kill = time.monotonic() + 2
    deadline = time.monotonic() + 60 + 30 * max(plan.kills, plan.uploads)
    while (count := sum(kills.values())) < plan.kills or not uploads.done or deleter.done < plan.deletes:
        assert time.monotonic() < deadline, f"{count} kills, {deleter.done} deletes, {uploads.left} uploads are left"
        begun = LEAD + plan.uploads if count >= plan.kills else LEAD + count * plan.uploads // plan.kills
        uploads.step(begun)
        processes.restart_due()
        timely = count * plan.uploads < (uploads.codes[0] + 2 * LEAD) * plan.kills
        if count < plan.kills and timely and time.monotonic() > next_kill:
            victim = processes.kill(rng)
            if victim is not None:
                kills[victim.partition(" ")[0]] += 1
                tell(f"kill {count + 1}: {victim}; {uploads.told}, {deleter.done} deletes")
            next_kill = time.monotonic() + rng.uniform(*PAUSES)
        time.sleep(0.05)
    return kills


def _wait_until_at_rest(cluster: ArchiveCluster, seconds: float) -> list[str]:
    """Until no job is left but those of open uploads and staged copies; what is left of others after that time."""
    deadline = time.monotonic() + seconds
    jobs: list[dict[str, Any]] = []
    while time.monotonic() < deadline:
        try:
            jobs = cluster.administer(lambda archive: admin.list_jobs(archive, scheduled=True))
        except CLIENT_ERRORS:
            jobs = []
        else:
            jobs = [job for job in jobs if job["kind"] not in ("expire", "unstage") or job["attempts"]]
            if not jobs:
                return []
        time.sleep(0.5)
    return [f"a job is left: {job}" for job in jobs] or ["the database did not answer"]


def _misplaced(uploads: Uploads, deleted: set[str], rows: list[dict[str, Any]]) -> list[str]:
    """Uploads that are neither registered as they were sent nor deleted by anybody."""
    by_alias = {row["alias"]: row for row in rows}
    wrong = [f"{len(rows)} records of {len(by_alias)} aliases"] if len(rows) != len(by_alias) else []
    for alias in uploads.aliases:
        row = by_alias.get(alias)
        state = None if row is None else row["state"]
        if row is not None and state == "archived":
            if row["sha256"] != uploads.checksum(alias):
                wrong.append(f"{alias} is registered with another checksum")
        elif state not in (None, "cancelled") or alias not in deleted:
            wrong.append(f"{alias} is {state}, was{'' if alias in deleted else ' not'} deleted: {row}")
    return wrong


def _is_right(cluster: ArchiveCluster, user: CommandLine, accession: str, sha256: str) -> bool:
    """Download and decrypt a file by the command line; tells whether it is as it was uploaded."""
    from tests.support.chaos_stage import sha256_of

    token = cluster.grant_download(user.keys.public, [accession])
    with tempfile.TemporaryDirectory(dir=user.folder) as out:
        done = user.run("download", "--decrypt", "--output-dir", out, token=token)
        files = list(Path(out).iterdir())
        return done.returncode == 0 and [sha256_of(file) for file in files] == [sha256]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("uploads", 40), ("deletes", 20), ("kills", 40), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    plan = Plan(**vars(parser.parse_args()))
    with tempfile.TemporaryDirectory(prefix="cluster-kills-") as folder:
        outcome = run(plan, Path(folder), lambda line: print(time.strftime("%X"), line, flush=True))
    print(outcome)
    print("\n".join(outcome.wrong))
    return int(bool(outcome.wrong))


if __name__ == "__main__":
    raise SystemExit(main())
