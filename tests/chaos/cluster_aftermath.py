"""What is left of a cluster after what was done to it: is everything in its place, registered and readable?"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any

import attrs

from connector.archive import admin
from tests.chaos.cluster_clients import CLIENT_ERRORS, Uploads
from tests.support.archive_cluster import ArchiveCluster
from tests.support.archive_process import run_cli
from tests.support.command_line import CommandLine

CALM_SECONDS = 240
"""Until all uploads and all jobs are done. Jobs that failed wait for minutes."""


@attrs.frozen
class Aftermath:
    """What was found.

    Attributes:
        states: The uploads in the archive by alias, as it lists them.
        wrong: What is not as it should be, a line each.
        compared: How many registered files were downloaded and compared.
        seconds: Until all jobs were done, and until all was compared.
    """

    states: dict[str, str]
    wrong: list[str]
    compared: int
    seconds: tuple[float, float]


def look_at(
    cluster: ArchiveCluster, user: CommandLine, uploads: Uploads, deleted: Set[str], tell: Callable[[str], None]
) -> Aftermath:
    """Wait until all jobs are done, check the archive, download every registered file and compare it."""
    calm = time.monotonic()
    wrong = _wait_until_at_rest(cluster, CALM_SECONDS)
    rested = time.monotonic()
    everything = cluster.administer(lambda archive: admin.list_files(archive, uploads=True))
    rows = [row for row in everything if row["alias"] in uploads.aliases]  # other clients compare theirs themselves
    wrong += _misplaced(uploads, deleted, rows)
    checked = run_cli("archive", "check", "--config", str(cluster.config_file))
    if (checked.returncode, checked.stdout) != (0, ""):
        wrong.append(f"archive check: {checked.returncode}\n{checked.stdout}{checked.stderr}")
    compared = 0
    for accession, alias in {row["accession"]: row["alias"] for row in rows if row["state"] == "archived"}.items():
        tell(f"downloading {alias}")
        compared += (right := _is_right(cluster, user, accession, uploads.checksum(alias)))
        if not right:
            wrong.append(f"{alias} ({accession}) was not downloaded as it was uploaded")
    states = {row["alias"]: row["state"] for row in rows}
    return Aftermath(states, wrong, compared, (rested - calm, time.monotonic() - rested))


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


def _misplaced(uploads: Uploads, deleted: Set[str], rows: list[dict[str, Any]]) -> list[str]:
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
