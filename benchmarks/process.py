"""Whole processes: what they take of time, processor and memory, and servers that live beside them."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

Command = list[str | Path]
"""The words of a command."""

_TICKS = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A contestant or a server did not do its job; the message ends with what it said."""


@dataclass(frozen=True)
class Usage:
    """Seconds of wall clock and processor, bytes of peak resident memory (of the largest process, if several)."""

    wall: float
    cpu: float
    peak: int
    output: str = ""

    def __add__(self, other: Usage) -> Usage:
        """One after the other."""
        return Usage(
            self.wall + other.wall, self.cpu + other.cpu, max(self.peak, other.peak), self.output + other.output
        )


def run(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | Path = "",
    stdout: Path | None = None,
    timeout: float = 900.0,
    expect: int = 0,
    written: list[tuple[float, float]] | None = None,
) -> Usage:
    """Run one process to its end and measure it. Raises :class:`Failed` on another exit code than expected.

    ``written`` is filled with points of seconds and bytes written to files so far, four a second.
    ``stdin`` is a text, or the path of a file; ``stdout`` may be sent to a file, the rest of what the process says
    is kept for the case of failure.

    Linux counts the memory of the process that starts another as a peak of that other one (``exec`` does not reset
    ``ru_maxrss``), so a smaller peak than the harness's own is taken from samples of ``VmHWM`` instead.
    """
    with contextlib.ExitStack() as stack:
        if isinstance(stdin, Path):
            source: IO[bytes] = stack.enter_context(stdin.open("rb"))
        else:
            source = stack.enter_context(_memory_file(stdin.encode()))
        said = stack.enter_context(_memory_file(b""))
        target = stack.enter_context(stdout.open("wb")) if stdout is not None else said
        environment = {**os.environ, **(env or {})}
        began = time.perf_counter()
        process = subprocess.Popen(
            [str(word) for word in command], stdin=source, stdout=target, stderr=said, env=environment, cwd=cwd
        )
        timer = threading.Timer(timeout, process.kill)
        timer.start()
        watch = _Watch(process.pid, began, written)
        threading.Thread(target=watch.run, daemon=True).start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            timer.cancel()
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        output = said.read().decode(errors="replace")
    if process.returncode != expect:
        name = " ".join(Path(str(word)).name for word in command[:3])
        raise Failed(f"{name} ended with {process.returncode} instead of {expect}:\n{output[-3000:]}")
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak = usage.ru_maxrss if usage.ru_maxrss > own else watch.peak_kib
    return Usage(wall, usage.ru_utime + usage.ru_stime, peak * 1024, output)


class _Watch:
    """Looks at a process from time to time while it lives."""

    def __init__(self, pid: int, began: float, written: list[tuple[float, float]] | None) -> None:
        self.peak_kib = 0
        self._folder = Path(f"/proc/{pid}")
        self._began = began
        self._written = written

    def run(self) -> None:
        looks = 0
        with contextlib.suppress(OSError, ValueError):
            while True:
                words = (self._folder / "status").read_text().split()
                self.peak_kib = int(words[words.index("VmHWM:") + 1])
                if self._written is not None and looks % 5 == 0:
                    fields = (self._folder / "io").read_text().split()
                    point = time.perf_counter() - self._began, float(fields[fields.index("wchar:") + 1])
                    self._written.append(point)
                looks += 1
                time.sleep(0.05 if looks > 5 else 0.01)


def _memory_file(content: bytes) -> IO[bytes]:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.write(content)
    file.seek(0)
    return file


class Server:
    """A process in the background, with all that it starts. Ends with the ``with`` block."""

    def __init__(self, command: Sequence[str | Path], *, log: Path, env: Mapping[str, str] | None = None) -> None:
        self.log = log
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, **(env or {})},
            )

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_for_line(self, start: str, *, seconds: float = 20.0) -> str:
        """Wait until a line of the log starts so, and return the rest of it."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._process.poll() is None:
            for line in self.log.read_text(errors="replace").splitlines():
                if line.startswith(start):
                    return line.removeprefix(start).strip()
            time.sleep(0.02)
        raise Failed(f"No {start!r} from a server:\n{self.log.read_text(errors='replace')[-2000:]}")

    def wait_for_port(self, port: int, *, seconds: float = 20.0) -> None:
        """Wait until somebody listens."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
            time.sleep(0.02)
        raise Failed(f"Nobody listens on port {port}:\n{self.log.read_text(errors='replace')[-2000:]}")

    def cpu_seconds(self) -> float:
        """Processor time so far, of all its processes that live."""
        return sum(cpu_seconds_of(pid) for pid in _family(self.pid))


def _family(pid: int) -> Iterator[int]:
    yield pid
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _family(int(child))


def cpu_seconds_of(pid: int) -> float:
    """Processor time of a process so far; 0 if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS
