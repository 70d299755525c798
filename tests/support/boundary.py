"""Runs commands with a fault at one of their calls into the system, each in a process of its own.

A profile function sees every call of a C function before it is made, and may raise instead of it. So a call site is
found without a list, and a fault needs no replacement of the function. The processes are forked from one that has
everything imported, since importing takes longer than all that a command does.
"""

from __future__ import annotations

import gc
import mmap
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import attrs

from connector.cli import main
from tests.support.call_sites import CONSTRUCTORS, FAULTS, Site, WatchedMap, site_of

SECONDS = 90
"""The longest run."""
LET_THROUGH = int(os.environ.get("WALK_SKIP", "0"))
"""Calls of a site that succeed before one fails: usually none, since the first one is reached for certain."""
GIVEN = ".in"
"""The file of the working folder that is standard input, if there is one."""


@attrs.frozen
class Ended:
    """How a command ended; `code` is `None` if it had to be killed.

    Attributes:
        sites: Where it called the system, if it was run without a fault.
        calls: How often.
        raised: Whether it came to the site of the fault.
        modules: What it imported.
    """

    code: int | None
    out: str
    err: str
    sites: frozenset[Site] = frozenset()
    calls: int = 0
    raised: bool = False
    modules: frozenset[str] = frozenset()


def run(
    arguments: Sequence[object],
    environment: Mapping[str, str],
    folder: Path,
    fault: tuple[Site, str] | None,
    *,
    kill_after: int = 0,
    main: Callable[[], object] = main,
) -> Ended:
    """Run a command in a child of this process, and watch its calls.

    Args:
        arguments: The words behind `connector`.
        environment: All variables.
        folder: The working folder.
        fault: What is raised by the first call of which site.
        kill_after: The number of calls after which the process is killed; 0 for never.
        main: The program.
    """
    streams = [folder / f".{name}" for name in ("out", "err", "sites")]
    child = os.fork()
    if not child:
        code = 1
        try:
            code = _in_child(list(map(str, arguments)), environment, folder, streams, fault, kill_after, main)
        finally:
            os._exit(code)
    status = wait_for(child, SECONDS)
    out, err, report = (path.read_text(errors="replace") if path.exists() else "" for path in streams)
    for path in streams:
        path.unlink(missing_ok=True)
    told: dict[str, list[str]] = {"site": [], "raised": [], "calls": [], "module": []}
    for line in report.splitlines():
        kind, _, text = line.partition("\t")
        told[kind].append(text)
    return Ended(
        status,
        out,
        err,
        sites=frozenset(
            Site(file, int(line), call) for file, line, call in (text.split("\t") for text in told["site"])
        ),
        calls=sum(map(int, told["calls"])),
        raised=bool(told["raised"]),
        modules=frozenset(told["module"]),
    )


def wait_for(child: int, seconds: float) -> int | None:
    """The exit code of a child; `None` if it ran for longer and was killed."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def become_command(
    arguments: Sequence[str], environment: Mapping[str, str], folder: Path, streams: Sequence[Path]
) -> None:
    """Give this process the arguments, variables, folder and three standard streams of a command of its own."""
    gc.freeze()  # what a collection visits would be copied
    given, *written = streams
    for number, path in enumerate(written, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    os.dup2(os.open(given, os.O_RDONLY), 0)
    os.chdir(folder)
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(n, mode, closefd=False) for n, mode in enumerate("rww"))
    sys.argv = ["connector", *arguments]
    os.environ.clear()
    os.environ.update(environment)
    mmap.mmap = WatchedMap  # type: ignore[misc]


def exit_code_of(main: Callable[[], object]) -> int:
    """The exit code of a program, whatever it raises."""
    try:
        main()
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _in_child(
    arguments: list[str],
    environment: Mapping[str, str],
    folder: Path,
    streams: list[Path],
    fault: tuple[Site, str] | None,
    kill_after: int,
    main: Callable[[], object],
) -> int:
    report = os.open(streams[2], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    given = folder / GIVEN
    become_command(arguments, environment, folder, [given if given.exists() else Path(os.devnull), *streams[:2]])
    imported = set(sys.modules)
    watch = _Watch(kill_after) if fault is None else _Trap(*fault)
    threading.setprofile(watch.function)
    sys.setprofile(watch.function)
    try:
        return exit_code_of(main)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
        lines = [*watch.report(), *(f"module\t{name}" for name in sorted(set(sys.modules) - imported))]
        os.write(report, "".join(f"{line}\n" for line in lines).encode())


class _Watch:
    """A profile function that collects the sites of all calls, and kills the process after a number of them."""

    def __init__(self, kill_after: int) -> None:
        self._kill_after = kill_after
        self._sites: set[Site] = set()
        self._calls = 0

    def function(self, frame: FrameType, event: str, function: Any) -> None:
        site = site_of(frame, event, function)
        if site is None:
            return
        self._sites.add(site)
        self._calls += 1
        if self._calls == self._kill_after:
            os.kill(os.getpid(), signal.SIGKILL)

    def report(self) -> list[str]:
        sites = [f"site\t{site.file}\t{site.line}\t{site.call}" for site in list(self._sites)]
        return [*sites, f"calls\t{self._calls}"]


class _Trap:
    """A profile function that raises a fault instead of the first call of a site, or of a later one (`LET_THROUGH`)."""

    def __init__(self, site: Site, fault: str) -> None:
        self._site = site
        self._fault = FAULTS[fault]
        self._raised = False

    @property
    def function(self) -> Callable[[FrameType, str, Any], None]:
        """It is called some hundred thousand times, so it is a plain function with local names."""
        site, wanted = self._site, "call" if any(self._site.call == call for _, call in CONSTRUCTORS) else "c_call"
        name = site.call.rpartition(".")[2]
        left = LET_THROUGH

        def profile(frame: FrameType, event: str, called: Any) -> None:
            if event != wanted or (wanted == "c_call" and called.__name__ != name):
                return
            if self._raised:
                sys.setprofile(None)  # of this thread
            elif site_of(frame, event, called) == site:
                nonlocal left
                if left:
                    left -= 1
                    return
                self._raised = True
                raise self._fault()

        return profile

    def report(self) -> list[str]:
        return ["raised\t"] * self._raised
