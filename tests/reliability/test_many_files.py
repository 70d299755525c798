"""Batches of very many files: what a command remembers of those that are finished takes little memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import attrs
import pytest

from tests.reliability.conftest import Scripted
from tests.support.program import command, environment

pytestmark = pytest.mark.soak

COUNT = int(os.environ.get("SOAK_FILES", "20000"))
MIB = 1024**2
MOST = 50 * MIB
"""Peak memory that very many finished files may take, above that of a batch of one."""


@attrs.frozen
class Measured:
    """An ended command: its peak memory in bytes, its seconds, and what it printed."""

    code: int
    peak: int
    seconds: float
    out: str
    err: str


_LAUNCH = """
import os, resource, sys
code = os.spawnvp(os.P_WAIT, sys.argv[2], sys.argv[2:])
with open(sys.argv[1], "w") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""
"""Started by a small process: Linux counts what the parent has at the fork into the peak of its child."""


def measured(scripted: Scripted, *arguments: object) -> Measured:
    out, err, peak = (scripted.folder / name for name in ("stdout", "stderr", "peak"))
    began = time.monotonic()
    with out.open("w") as stdout, err.open("w") as stderr:
        done = subprocess.run(
            [sys.executable, "-S", "-c", _LAUNCH, str(peak), *command(*arguments)],
            cwd=scripted.folder,
            env=environment(**scripted.program.settings),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            check=False,
        )
    seconds = time.monotonic() - began
    return Measured(done.returncode, int(peak.read_text()) * 1024, seconds, out.read_text(), err.read_text())


RUNS = {"moved": [], "there": [], "there, in JSON": ["--json"]}
"""Three runs of the same command, and the options of each."""


def test_downloads_that_are_finished_take_little_memory(scripted: Scripted) -> None:
    scripted.archive.package_type = "download"
    peaks: dict[str, list[int]] = {what: [] for what in RUNS}
    for count in (1, COUNT):
        for number in range(len(scripted.archive.files), count):
            scripted.archive.add_file(f"GHGAF{number:08}", b"%d" % number)
        out = scripted.folder / f"out{count}"
        for what, options in RUNS.items():
            scripted.archive.counts.clear()
            run = measured(scripted, "download", "--output-dir", out, *options)
            check(run, "downloaded", count, what)
            assert scripted.archive.counts["get"] == (count if what == "moved" else 0)
            peaks[what].append(run.peak)
        assert len(os.listdir(out)) == count
    assert all(many - one <= MOST for one, many in peaks.values()), peaks


def test_uploads_that_are_finished_take_little_memory(scripted: Scripted) -> None:
    scripted.archive.package_type = "upload"
    peaks: dict[str, list[int]] = {what: [] for what in RUNS}
    for count in (1, COUNT):
        scripted.archive.uploads.clear()
        for what, options in RUNS.items():
            scripted.archive.counts.clear()
            run = measured(scripted, "upload", "--tsv", listed(scripted.folder, count), *options)
            check(run, "uploaded", count, what)
            assert scripted.archive.counts["put"] == (count if what == "moved" else 0)
            peaks[what].append(run.peak)
        assert sum(upload.state == "inbox" for upload in scripted.archive.uploads.values()) == count
    assert all(many - one <= MOST for one, many in peaks.values()), peaks


def check(run: Measured, verb: str, count: int, what: str) -> None:
    """Whether all files are done, and those of an earlier run are said to be."""
    print(f"{verb}, {what}, {count} files: {run.peak / MIB:.1f} MiB, {run.seconds:.1f} s", flush=True)
    assert run.code == 0, run.err[-1000:]
    before = f", {count} of them" if what != "moved" else ""
    assert count == 1 or f"{count} of {count} files {verb}{before}." in run.err
    assert len(run.out.splitlines()) == (count if "JSON" in what else 0)


def listed(folder: Path, count: int) -> Path:
    """A list of so many small files, which are made."""
    (folder / "in").mkdir(exist_ok=True)
    lines = []
    for number in range(count):
        path = folder / "in" / f"{number}.bin"
        if not path.exists():
            path.write_bytes(b"%d" % number)
        lines.append(f"in/{number}.bin\tsample-{number}.bin\n")
    (folder / "files.tsv").write_text("".join(lines))
    return folder / "files.tsv"
