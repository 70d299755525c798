"""Sixty-four clients for a minute: nothing is lost, nothing fails, and the processes do not grow.

For a longer run: ``LOAD_SECONDS=600 pytest -m soak tests/archive/test_load.py -rP``.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from connector.archive import admin
from tests.archive.test_processes import children_of
from tests.support.archive_cluster import ArchiveCluster
from tests.support.archive_load import Load, MemoryWatch
from tests.support.archive_process import ArchiveProcess
from tests.support.served_archive import ServedArchive

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory of processes in /proc"),
]

CLIENTS = 64
SECONDS = float(os.environ.get("LOAD_SECONDS", "60"))
ALLOWED_GROWTH = 16.0
"""MiB that a process may grow from a third of the time to its end. What still fills up then is bounded: the page cache
of each SQLite connection (2 MB), and the names of uploads that were there a moment ago (`RecentChecks`)."""


def processes_of(archive: ServedArchive) -> tuple[list[int], list[int]]:
    """The processes that serve an archive, and those that work for it."""
    if isinstance(archive, ArchiveCluster):
        return [one.pid for one in archive.servers], [one.pid for one in archive.workers]
    assert isinstance(archive, ArchiveProcess)
    return [archive.process.pid], children_of(archive.process.pid)


def until_registered(archive: ServedArchive, file_ids: set[str]) -> dict[str, str]:
    """The accession of each of these files, once all are registered."""
    deadline = time.monotonic() + 300
    while True:
        rows = archive.administer(lambda opened: admin.list_files(opened, uploads=True))
        found = {row["file_id"]: row for row in rows if row["file_id"] in file_ids}
        assert found.keys() == file_ids
        assert all(row["state"] != "failed" for row in found.values())
        if all(row["state"] == "archived" for row in found.values()):
            return {file_id: row["accession"] for file_id, row in found.items()}
        assert time.monotonic() < deadline, "not all are registered"
        time.sleep(1)


def test_many_clients_for_a_while(archive: ServedArchive) -> None:
    load = Load(archive)
    serving, working = processes_of(archive)
    with MemoryWatch([*serving, *working]).running() as memory:
        load.run(CLIENTS, SECONDS)
    sent = len(load.acknowledged)
    print(f"{sent} uploads, {load.downloads} downloads, slowest answer {load.slowest:.1f} s")
    print(sorted(load.answers.items()))
    early, late = memory.around(1 / 3), memory.around(1)
    for pid in memory.pids:
        kind = "serving" if pid in serving else "working"
        print(f"{kind}: {early[pid]:.1f} MiB after a third of the time, {late[pid]:.1f} MiB at its end")
    for pid in memory.pids:
        print(pid, [round(sample[pid]) for sample in memory.samples[::5]])
    accessions = until_registered(archive, set(load.acknowledged))
    load.download_all({accessions[file_id]: digest for file_id, digest in load.acknowledged.items()}, CLIENTS)
    assert load.faults == {}
    assert sent > SECONDS
    for pid in memory.pids:
        assert late[pid] - early[pid] <= ALLOWED_GROWTH
