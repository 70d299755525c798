"""Contestants that do the same job in turn, and what can be read from their times."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.process import Usage


@dataclass(frozen=True)
class Run:
    """One run of one contestant: seconds, seconds of processor (its own and the servers'), bytes of peak memory."""

    wall: float
    cpu: float
    peak: int
    server_cpu: float = 0.0


@dataclass
class Contest:
    """``amount`` of ``unit`` moved per run; ``runs`` of each contestant, the n-th of all of them in one round."""

    title: str
    amount: float
    unit: str
    runs: dict[str, list[Run]] = field(default_factory=dict)

    def median(self, name: str, what: str = "wall") -> float:
        """Median over the runs of a contestant."""
        return float(statistics.median(getattr(run, what) for run in self.runs[name]))

    def rate(self, name: str) -> float:
        """Median amount per second."""
        return self.amount / self.median(name)

    def ratios(self, slow: str, fast: str) -> list[float]:
        """How many times the wall clock of ``fast`` the one of ``slow`` is, round by round."""
        return [a.wall / b.wall for a, b in zip(self.runs[slow], self.runs[fast], strict=True)]


@dataclass
class Claim:
    """What came out, and whether it is at least (or at most) what was asked for, if something was.

    ``means`` says in a sentence what a user has of it; claims with one are README's rows.
    """

    text: str
    value: float
    bound: float | None = None
    at_most: bool = False
    spread: tuple[float, float] | None = None
    means: str = ""

    @property
    def holds(self) -> bool:
        if self.bound is None:
            return True
        return self.value <= self.bound if self.at_most else self.value >= self.bound

    @classmethod
    def of_ratios(cls, text: str, ratios: list[float], bound: float) -> Claim:
        """The median of ratios, with the smallest and the largest."""
        return cls(text, statistics.median(ratios), bound, spread=(min(ratios), max(ratios)))


@dataclass
class Report:
    """What a scenario found."""

    name: str
    contests: list[Contest] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    series: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """Curves for a plot: points of seconds (or sizes) and values."""

    def write(self, folder: Path, made_by: str) -> Path:
        """Write it as JSON, for the table and the plots; ``made_by`` is the command."""
        claims = [{**asdict(claim), "holds": claim.holds} for claim in self.claims]
        path = folder / f"{self.name}.json"
        path.write_text(json.dumps({**asdict(self), "claims": claims, "made_by": made_by}, indent=1) + "\n")
        return path


Job = Callable[[], Usage | tuple[Usage, float]]
"""Does the work once, checks the result, and returns what it took; with the servers' seconds of processor, if known."""


def compete(
    title: str,
    jobs: Mapping[str, Job],
    *,
    amount: float,
    unit: str,
    rounds: int,
    room: Callable[[], None] = lambda: None,
) -> Contest:
    """Let all contestants run in turn, ``rounds`` times; the first round starts with the first of them, and so on,
    so that nobody always follows the same neighbour. ``room`` is called before each, and sees to equal conditions.
    """
    contest = Contest(title, amount, unit, {name: [] for name in jobs})
    names = list(jobs)
    for number in range(rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            os.sync()  # nobody pays for what the one before left to be written
            room()
            done = jobs[name]()
            usage, server_cpu = done if isinstance(done, tuple) else (done, 0.0)
            contest.runs[name].append(Run(usage.wall, usage.cpu, usage.peak, server_cpu))
            print(
                f"  {title}, round {number + 1}: {name:<28} {usage.wall:7.3f} s  {amount / usage.wall:9.1f} {unit}/s"
                f"  cpu {usage.cpu:6.2f} s  {usage.peak / 1e6:5.0f} MB",
                flush=True,
            )
    return contest
