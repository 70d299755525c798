"""Runs `connector archive serve` or `work` in a child of this process, and has calls of it fail while it is used.

The calls are found and made to fail as those of a command that ends by itself (`tests.support.boundary`). What uses the
service, a scene, runs in a thread of the child, says which calls are to fail, and is told which were met.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import attrs

from tests.support.boundary import Ended, become_command, exit_code_of, wait_for
from tests.support.call_sites import CONSTRUCTORS, FAULTS, Site, site_of

Fault = tuple[Site, str]
_CONSTRUCTORS = frozenset(code for code, _ in CONSTRUCTORS)


class Traps:
    """A profile function of all threads: collects the sites of calls, and raises each fault that is set once."""

    def __init__(self) -> None:
        self.sites: set[Site] = set()
        self.met: list[Fault] = []
        self.collecting = True
        self._pending: dict[Site, list[str]] = {}
        self._names: set[str] = set()

    def set(self, faults: Iterable[Fault]) -> None:
        """Let these faults happen from now on, the first calls of their sites first, and no others."""
        pending: dict[Site, list[str]] = {}
        for site, fault in faults:
            pending.setdefault(site, []).append(fault)
        self._names = {site.call.rpartition(".")[2] for site in pending}
        self._pending = pending
        # An exception of a profile function removes it from its thread.
        os.kill(os.getpid(), signal.SIGURG)

    @property
    def pending(self) -> list[Fault]:
        """The faults that were set and have not happened."""
        return [(site, fault) for site, faults in self._pending.items() for fault in faults]

    def __call__(self, frame: FrameType, event: str, function: Any) -> None:
        if event == "c_call":
            if not (self.collecting or getattr(function, "__name__", "") in self._names):
                return
        elif event != "call" or frame.f_code not in _CONSTRUCTORS:
            return
        site = site_of(frame, event, function)
        if site is None:
            return
        if self.collecting:
            self.sites.add(site)
        faults = self._pending.get(site)
        if faults:
            fault = faults.pop()
            self.met.append((site, fault))
            # The traceback has this frame: what it named would live on, such as a cursor that has been read in part.
            del frame, function
            raise FAULTS[fault]()


@attrs.frozen
class Used:
    """What a scene has of a service: its traps, its output, and whether it has ended."""

    traps: Traps
    out: Path
    err: Path
    over: threading.Event = attrs.field(factory=threading.Event)

    def first_line(self) -> str:
        """The first line of the output, which says that the service is ready; empty if it ends, or runs, without."""
        while not (text := self.out.read_text()).endswith("\n"):
            if self.over.wait(0.01) or "standard output cannot be written" in self.err.read_text(errors="replace"):
                return ""
        return text.splitlines()[0]


Scene = Callable[[Used], list[str]]
"""Uses a service, and returns a line for all that is wrong."""


@attrs.frozen
class Played:
    """How a service ended, and what its scene found."""

    ended: Ended
    wrong: list[str]
    met: int


def play(
    arguments: Sequence[object],
    environment: Mapping[str, str],
    folder: Path,
    scene: Scene,
    *,
    faults: Iterable[Fault] = (),
    seconds: float = 300,
) -> Played:
    """Run a service in `folder` for as long as the scene takes; `faults` happen from its start on.

    It is killed after `seconds`.
    """
    files = [folder / f".{name}" for name in ("out", "err", "report")]
    for file in files:
        file.write_text("")
    child = os.fork()
    if not child:
        code = 1
        try:
            code = _in_child(list(map(str, arguments)), environment, folder, files, scene, list(faults))
        finally:
            os._exit(code)
    code_or_none = wait_for(child, seconds)
    out, err, report = (file.read_text(errors="replace") for file in files)
    told = json.loads(report or "{}")
    sites = frozenset(Site(*site) for site in told.get("sites", ()))
    met = told.get("met", 0)
    return Played(Ended(code_or_none, out, err, sites, raised=met > 0), told.get("wrong", []), met)


def _in_child(
    arguments: list[str],
    environment: Mapping[str, str],
    folder: Path,
    files: list[Path],
    scene: Scene,
    faults: list[Fault],
) -> int:
    from connector.cli import main

    # Each call in a thread has one of its own, whose profile function is there.
    sys.modules["trio._core._thread_cache"].IDLE_TIMEOUT = 0  # type: ignore[attr-defined]
    become_command(arguments, environment, folder, [Path(os.devnull), *files[:2]])
    traps, wrong = Traps(), list[str]()
    used = Used(traps, files[0], files[1])

    def act() -> None:
        try:
            wrong.extend(scene(used))
        except BaseException:
            wrong.append(traceback.format_exc())
        finally:
            traps.collecting = False
            os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGURG, lambda *_: sys.setprofile(traps))
    traps.set(faults)
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    threading.setprofile(traps)
    sys.setprofile(traps)
    try:
        return exit_code_of(main)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
        used.over.set()
        thread.join(60)
        told = {"sites": [attrs.astuple(site) for site in traps.sites], "wrong": wrong, "met": len(traps.met)}
        files[2].write_text(json.dumps(told))
