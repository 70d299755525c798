"""Commands that are walked along the boundary: each with each fault at each of its calls into the system.

What a command calls is found by watching it (`tests.support.boundary`), so a new call is walked without a change here.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import shutil
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import attrs

from connector.cli import main
from tests.support import boundary
from tests.support.boundary import Ended
from tests.support.call_sites import Site

PLAIN = random.Random(3).randbytes(200_000)
AT_ONCE = int(os.environ.get("WALK_PROCESSES", os.cpu_count() or 1))
"""Commands that run at a time: each waits for threads, a disk and perhaps an archive."""
SITES = os.environ.get("WALK_SITES", "")
"""A file of call sites that walks before have come to the end of, and that others leave out: it takes a fraction of
the time. Without it, each command is walked with all of its own."""
_NETWORK = ("socket.", "_socket.", "ssl.", "_ssl.")
_OF_THE_NETWORK, _OF_THIS_MACHINE = (0, 3, 5), (0, 2, 3)
"""Exit codes of the right families: an error of this machine is no refusal, no broken connection and no damage."""


@attrs.frozen
class Case:
    """A fault at a call site, in a run after one that was killed after a number of calls if that is not 0."""

    site: Site
    fault: str
    interrupted_at: int = 0

    def __str__(self) -> str:
        after = f", after a run that was killed at its call {self.interrupted_at}" if self.interrupted_at else ""
        return f"{self.site} {self.fault}{after}"


@attrs.frozen
class Walk:
    """A command that is walked.

    Attributes:
        arguments: The words behind `connector`; FOLDER stands for the name of the working folder.
        prepare: Fills the folder.
        wrong: Returns what must not be there after a failure, or is wrong after a success; empty if nothing is.
        environment: Variables besides those that all walks have.
        interrupted_at: Numbers of calls after each of which an earlier run of the same command is killed; 0 for no
            such run.
        program: What is run: `connector`, or more than that.
        is_repeated: Whether the same command has to succeed after a run that failed.
    """

    arguments: tuple[str, ...]
    prepare: Callable[[Path], None]
    wrong: Callable[[Path, bool], str]
    environment: Mapping[str, str] = attrs.field(factory=dict)
    interrupted_at: Sequence[int] = (0, 0)
    program: Callable[[], object] = main
    is_repeated: bool = False

    def resumed(self, folder: Path) -> Walk:
        """The same command after a run of it that was killed: early, in the middle, or nearly done."""
        ended, complaint = self.run(folder / "to-be-interrupted")
        assert (ended.code, complaint) == (0, ""), ended.err
        return attrs.evolve(self, interrupted_at=[int(ended.calls * share / 10) for share in (4, 5, 6, 7, 8, 9)])

    def run(self, folder: Path, case: Case | None = None, *, interrupted_at: int = 0) -> tuple[Ended, str]:
        """Run it in a folder of its own; returns also what is wrong with how it ended, if anything is."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self.prepare(folder)
        calls = interrupted_at if case is None else case.interrupted_at
        if calls:
            # On a busy machine the archive may be too slow for it.
            assert any(self._start(folder, None, kill_after=calls).code in (-9, 0) for _ in range(3))
        ended = self._start(folder, case)
        complaint = self._complaint(ended, folder, case)
        if self.is_repeated and ended.code and not complaint:
            again = self._start(folder, None)
            complaint = self._complaint(again, folder, None)
            if complaint or again.code:
                complaint = f"the next run ended with {again.code}: {complaint} {again.err.strip()[-300:]}"
        return ended, complaint

    def _start(self, folder: Path, case: Case | None, *, kill_after: int = 0) -> Ended:
        environment = {
            "PATH": os.environ["PATH"],
            "CONNECTOR_CONFIG": os.devnull,
            "XDG_STATE_HOME": str(folder / "state"),
            **self.environment,
        }
        arguments = [argument.replace("FOLDER", folder.name) for argument in self.arguments]
        fault = None if case is None else (case.site, case.fault)
        return boundary.run(arguments, environment, folder, fault, kill_after=kill_after, main=self.program)

    def _complaint(self, ended: Ended, folder: Path, case: Case | None) -> str:
        if ended.code is None:
            return "it hung"
        network = case is not None and case.site.call.startswith(_NETWORK)
        if ended.code not in (_OF_THE_NETWORK if network else _OF_THIS_MACHINE):
            return f"exit code {ended.code}"
        if "Traceback" in ended.err or "bug in connector" in ended.err:
            return "a traceback or a bug"
        if ended.code and not ended.err.strip():
            return "no sentence"
        return self.wrong(folder, ended.code == 0)


def faults_of(walk: Walk, folder: Path) -> list[Case]:
    """All faults at all call sites of a command, which has to succeed without.

    It runs more than once, since what threads do first is different from run to run. What it imports is imported here,
    so that the runs to come need not.
    """
    sites: dict[Site, int] = {}
    for number, calls in enumerate(walk.interrupted_at):
        ended, complaint = walk.run(folder.with_name(f"{folder.name}-{number}"), interrupted_at=calls)
        assert (ended.code, complaint) == (0, ""), f"{complaint} {ended.err}"
        sites |= dict.fromkeys(ended.sites, calls)
        for name in ended.modules:
            with suppress(Exception):
                importlib.import_module(name)
    assert len(sites) > 5, "nothing was watched"
    for known in sites_walked():
        sites.pop(known, None)
    return [Case(site, fault, calls) for site, calls in sorted(sites.items()) for fault in site.faults()]


def walk_along(walk: Walk, cases: Sequence[Case], folder: Path) -> None:
    """Run all cases, several at a time, and fail if any of them ends wrongly."""
    children = [_fork(walk, cases, folder, number) for number in range(AT_ONCE)]
    ended = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    lines = [json.loads(line) for n in range(AT_ONCE) for line in (folder / f"share-{n}").read_text().splitlines()]
    complaints = sorted(line["complaint"] for line in lines if line["complaint"])
    sites, met = {case.site for case in cases}, sum(line["met"] for line in lines)
    print(f"{len(sites)} call sites, {len(cases)} faults, {met} of them met, {len(complaints)} wrong")
    assert not complaints, "\n".join(complaints)
    assert (set(ended), len(lines)) == ({0}, len(cases))
    note_walked(sites)


def sites_walked() -> set[Site]:
    """The call sites that other walks leave out: none, unless `SITES` is set."""
    path = Path(SITES or os.devnull)
    rows = [line.split("\t") for line in (path.read_text().splitlines() if path.exists() else [])]
    return {Site(file, int(line), call) for file, line, call in rows}


def note_walked(sites: Iterable[Site]) -> None:
    """Note call sites that a walk has come to the end of, if `SITES` is set."""
    if SITES:
        with open(SITES, "a") as known:
            known.writelines(f"{site.file}\t{site.line}\t{site.call}\n" for site in sites)


def _fork(walk: Walk, cases: Sequence[Case], folder: Path, share: int) -> int:
    """Start a process that runs its share of the cases and writes a line about each."""
    parent = os.getpid()
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        with (folder / f"share-{share}").open("w") as lines:
            for number in range(share, len(cases), AT_ONCE):
                if os.getppid() != parent:  # the tests were interrupted
                    break
                place = folder / f"case-{number}"
                ended, complaint = walk.run(place, cases[number])
                shutil.rmtree(place, ignore_errors=True)
                if complaint:
                    complaint = f"{cases[number]}: {complaint}\n    {ended.err.strip()[-300:]}"
                print(json.dumps({"complaint": complaint, "met": ended.raised}), file=lines, flush=True)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
