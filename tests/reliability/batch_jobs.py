"""Transfers as a batch system runs them: the same command again and again, on one node or another."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import attrs
import pytest

from connector.crypt4gh.segments import SEGMENT_SIZE
from tests.reliability.conftest import Scripted
from tests.support.program import Done, Program, finish
from tests.support.waiting import wait_until

PARTS = 12
SIZE = PARTS * 79 * SEGMENT_SIZE - 100_000
"""Bytes of a file of so many parts of 5 MiB, the least of an upload; in a download a part is whole segments."""


LIMITS = (8, 30, 120)
"""Seconds after which a run is stopped: a machine that is so busy that the first is over too soon has more."""


def node(name: str) -> tuple[str, ...]:
    """A runner that gives the command behind it a host name of its own; skips where nobody may do that."""
    for unshare in (("unshare", "--uts"), ("unshare", "--user", "--map-root-user", "--uts")):
        if shutil.which("unshare") and subprocess.run([*unshare, "hostname", "probe"], check=False).returncode == 0:
            return (*unshare, "sh", "-c", 'hostname "$0" && exec "$@"', name)
    if os.environ.get("CI"):
        pytest.fail("this machine cannot play two nodes: unshare --uts does not work")
    pytest.skip("NOT TESTED: this machine cannot play two nodes, since unshare --uts does not work")


def wait_until_it_says(process: subprocess.Popen[str], text: str) -> None:
    """Read what a command says until this is in it."""
    assert process.stderr is not None
    said = ""
    while text not in said:
        line = process.stderr.readline()
        assert line, f"it ended without a word of {text}:\n{said}"
        said += line


def nothing_ignored() -> None:
    """In a process that is about to become a command: have no signal ignored, as those are that a shell in the
    background starts."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU):
        signal.signal(number, signal.SIG_DFL)


def wait_for_handlers(process: subprocess.Popen[str]) -> None:
    """Wait until a command has got so far that signals do not simply kill it; another version may never get so far."""
    deadline = time.monotonic() + (1.5 if os.environ.get("CONNECTOR") else 60)
    while process.poll() is None and not _handles_signals(process) and time.monotonic() < deadline:
        time.sleep(0.01)


def _handles_signals(process: subprocess.Popen[str]) -> bool:
    """Whether it has got so far that SIGUSR1 does not simply kill it (Linux)."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGUSR1 - 1) & 1)


@attrs.frozen
class Job:
    """An upload or a download of one file in :data:`PARTS` parts; each part takes ``latency`` seconds."""

    scripted: Scripted
    direction: str
    content: bytes
    name: str
    out: str = "out"

    @classmethod
    def prepare(
        cls, scripted: Scripted, direction: str, *, latency: float = 0.3, name: str = "GHGAF01", size: int = SIZE
    ) -> Job:
        """Have a file in the archive or on the disk."""
        content = random.Random(name).randbytes(size)
        scripted.archive.package_type = direction
        scripted.archive.latency = {"get": latency, "put": latency}
        if direction == "download":
            scripted.archive.add_file(name, content)
        else:
            (scripted.folder / name).write_bytes(content)
        return cls(scripted, direction, content, name)

    def anew(self, name: str) -> Job:
        """The same with another file."""
        latency = self.scripted.archive.latency["get"]
        return self.prepare(self.scripted, self.direction, latency=latency, name=f"F{name}")

    @property
    def command(self) -> tuple[str, ...]:
        """The command line."""
        options = ("--max-concurrency", "2", "--part-size", "5MiB")
        if self.direction == "download":
            return ("download", "--output-dir", self.out, "--decrypt", self.name, *options)
        return ("upload", self.name, *options)

    def program(self, on: str = "") -> Program:
        """The connector on a node; none for this machine as it is."""
        return attrs.evolve(self.scripted.program, runner=node(on) if on else ())

    def start(self, *more: object, on: str = "", **options: object) -> subprocess.Popen[str]:
        """Start the command."""
        self.let_go()
        return self.program(on).start(*self.command, *more, **{"preexec_fn": nothing_ignored, **options})

    def run(self, *more: object, on: str = "", **options: object) -> Done:
        """Run the command to its end."""
        return finish(self.start(*more, on=on, **options))

    def start_and_wait(self, *more: object, parts: int = 4, on: str = "", **options: object) -> subprocess.Popen[str]:
        """Start the command and wait until some parts are through, and no more come before :meth:`let_go`."""
        process = self.start(*more, on=on, **options)
        self.wait_within(process, parts)
        return process

    def wait_within(self, process: subprocess.Popen[str], parts: int = 4) -> None:
        """Wait until so many more parts are through. The next ones wait, or it might be done before it is stopped."""
        last = self.hold_after(parts)
        wait_until(lambda: self.moved > last or process.poll() is not None, "nothing moves")
        assert process.poll() is None, process.communicate()

    def hold_after(self, parts: int) -> int:
        """Let later parts wait, until :meth:`let_go`; gives the number of the last one that is answered."""
        last = self.moved + parts
        self.scripted.archive.most_answered = {"get": last, "put": last}
        return last

    def let_go(self) -> None:
        """Answer the parts that wait, and all that follow."""
        self.scripted.archive.most_answered.clear()

    def run_within_limit(
        self, *more: object, on: str = "", said: str = "", environment: Mapping[str, str] = {}
    ) -> Done:
        """Run the command until its ``--until`` ends it amid its parts, or once it has ``said`` something."""
        before = self.moved
        for seconds in LIMITS:
            patient = {"CONNECTOR_READ_TIMEOUT": "600", **(environment or {})}
            process = self.start("--until", f"+{seconds}s", *more, on=on, environment=patient)
            self.hold_after(4)
            done = finish(process)
            if said in done.err if said else self.moved > before:
                break
        return done

    def hold_up(self, seconds: float) -> None:
        """Have each part that is asked for, or sent, from now on take so long."""
        self.scripted.archive.latency = {"get": seconds, "put": seconds}

    @property
    def moved(self) -> int:
        """Parts that were asked for, or sent, so far."""
        return self.scripted.archive.counts["get" if self.direction == "download" else "put"]

    @property
    def locks(self) -> list[Path]:
        """The lock files that are there."""
        return [path for path in self.scripted.folder.rglob("*.lock") if path.is_file()]

    def age_locks(self, seconds: float) -> None:
        """Let them look as if they had not been touched for so long."""
        for path in self.locks:
            os.utime(path, (time.time() - seconds,) * 2)

    def is_done(self) -> bool:
        """Whether the file has arrived, right and once."""
        if self.direction == "download":
            target = self.scripted.folder / self.out / f"{self.name}.bin"
            return target.exists() and target.read_bytes() == self.content
        uploads = [one for one in self.scripted.archive.uploads.values() if one.alias == self.name]
        states = sorted(one.state for one in uploads if one.state != "cancelled")
        return states == ["inbox"] and self.scripted.archive.opened(self.name) == self.content

    @property
    def leftovers(self) -> list[str]:
        """What lies about that is no file of the user's and no note of a finished one."""
        endings = (".part", ".journal", ".lock", ".upload", ".new")
        return [
            path.name for path in self.scripted.folder.rglob("*") if path.suffix in endings or ".lock." in path.name
        ]
