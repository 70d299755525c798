"""A line with delay, windows and a capacity in front of a server: `line.c`, compiled when it is first needed."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks.process import Failed, Server
from persistence.testing.servers.processes import free_port

SOURCE = Path(__file__).with_name("line.c")
MIB = 1 << 20


@dataclass(frozen=True)
class Conditions:
    """What a line is like.

    Attributes:
        round_trip: Milliseconds.
        window: The largest of a connection, in MiB.
        capacity: MB/s each way, shared by all connections.
        faults: Further options of `line.c`, such as `("-r", "20")`.
    """

    round_trip: float
    window: float
    capacity: float
    faults: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join([f"{self.round_trip:g} ms, {self.window:g} MiB, {self.capacity:g} MB/s", *self.faults])


@dataclass(frozen=True)
class Entrance:
    """What one entrance has seen: bytes so far, connections, and at which round trip the first byte came or went."""

    down: int
    up: int
    open: int
    active: int
    first_down: int
    first_up: int


@dataclass(frozen=True)
class Moment:
    """One line of the statistics; `at` in seconds, and what came to the whole line so far.

    `round_trips`: the longest chain of requests, each sent after the response to the one before.
    """

    at: float
    round_trips: int
    resets: int
    losses: int
    refusals: int
    connections: int
    entrances: tuple[Entrance, ...]


class Line:
    """The line as a process, as long as the `with` block lasts.

    Args:
        conditions: What it is like.
        targets: The ports of this machine to which it leads, by the port of the entrance.
        folder: For statistics and log.
    """

    def __init__(self, conditions: Conditions, targets: Mapping[int, int], folder: Path) -> None:
        self._statistics = folder / "line.txt"
        self._ports = list(targets)
        options = {
            "-d": conditions.round_trip / 2,
            "-w": conditions.window * MIB,
            "-c": conditions.capacity * 1e6,
            "-o": self._statistics,
        }
        words = [str(word) for option in options.items() for word in option]
        ends = [f"{entrance}:{target}" for entrance, target in targets.items()]
        self.server = Server([compiled(), *words, *conditions.faults, *ends], log=folder / "line.log")

    def __enter__(self) -> Line:
        self.server.wait_for_line("ready")
        return self

    def __exit__(self, *details: object) -> None:
        self.server.__exit__(*details)

    def moments(self) -> list[Moment]:
        """The statistics so far, 20 lines a second."""
        return [_moment(line) for line in self._statistics.read_text().splitlines(keepends=True) if line.endswith("\n")]


@cache
def compiled() -> Path:
    """The program, compiled once for each state of its source. Raises `Failed` where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise Failed("there is no C compiler: apt-get install gcc libc6-dev")
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    program = Path(tempfile.gettempdir()) / f"connector-line-{digest}"
    if not program.exists():
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / "line"
            done = subprocess.run(
                [compiler, "-O2", "-Wall", "-o", made, SOURCE, "-lm"], capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise Failed(f"{SOURCE.name} cannot be compiled:\n{done.stderr[-2000:]}")
            beside = program.with_name(f"{program.name}-{free_port()}")
            shutil.move(made, beside)
            beside.rename(program)  # two processes may compile it at once
    return program


def _moment(line: str) -> Moment:
    at, *words = line.split()
    round_trips, resets, losses, refusals, connections, *rest = map(int, words)
    entrances = tuple(Entrance(*rest[start : start + 6]) for start in range(0, len(rest), 6))
    return Moment(float(at), round_trips, resets, losses, refusals, connections, entrances)
