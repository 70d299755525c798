"""One large file both ways over lines with delay: how much of the capacity is used?

The line (:mod:`benchmarks.servers.line`) stands in front of all servers. A file fills it for 30 seconds, or is as large
as ``--size`` says if that is less. What counts is the share of the capacity from the first data byte to the end.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from benchmarks.contest import Claim, Contest, Job, Report, compete
from benchmarks.download_stand import DownloadStand
from benchmarks.peers import ours, program
from benchmarks.process import Failed, Usage
from benchmarks.servers.line import MIB, Conditions, Line, Moment
from benchmarks.stand import Curve, Options
from benchmarks.upload_stand import UploadStand
from persistence.testing.servers.processes import free_port

SECONDS = 30
LEAST = {20: 0.93, 100: 0.9, 250: 0.85}
LINES = [Conditions(ms, window, capacity) for ms in LEAST for window in (1, 4) for capacity in (50, 125)]
SHOWN = LINES[9]
"""Of which goodput and connections are drawn over time."""
CONTROL = MIB
"""Bytes of control calls, at most: data has begun when more have come."""


def run(options: Options) -> Report:
    report = Report("wan")
    for conditions in LINES:
        size = min(options.size, int(SECONDS * conditions.capacity * 1e6))
        _down(options, report, conditions, size)
        _up(options, report, conditions, size)
    return report


def _down(options: Options, report: Report, conditions: Conditions, size: int) -> None:
    front = free_port()
    with DownloadStand(options, "wan-down") as stand:
        stand.prepare([size], front=front)
        with Line(conditions, {front: stand.nginx.port}, stand.folder) as line:
            jobs: dict[str, Job] = {
                "connector": stand.download_with_ours,
                "ghga-connector": stand.download_with_peer,
                "aria2c -x16": lambda: stand.fetch_with_aria2c(16),
                "rclone copyurl": stand.fetch_with_rclone,
            }
            _compete(options, report, f"down, {conditions}", jobs, lambda: line, conditions, size)


def _up(options: Options, report: Report, conditions: Conditions, size: int) -> None:
    with UploadStand(options, "wan-up") as stand:
        stand.prepare([size], line=conditions)
        jobs: dict[str, Job] = {
            "connector": stand.upload_with_ours,
            "ghga-connector": lambda: stand.upload_with_peer(16 * MIB),
        }
        _compete(options, report, f"up, {conditions}", jobs, lambda: stand.line, conditions, size)


def _compete(
    options: Options,
    report: Report,
    title: str,
    jobs: Mapping[str, Job],
    line: Callable[[], Line | None],
    conditions: Conditions,
    size: int,
) -> None:
    shares: dict[str, list[float]] = {}

    def measured(name: str, job: Job) -> Job:
        def work() -> tuple[Usage, float]:
            before = len(_moments(line())) if title.startswith("down") else 0
            done = job()
            moments = _moments(line())[before:]
            shares.setdefault(name, []).append(share(moments, conditions))
            if conditions == SHOWN:
                report.series[f"{name} {title.partition(',')[0]}, MB/s"] = goodput(moments)
                report.series[f"connections of {name} {title.partition(',')[0]}"] = connections(moments)
            return done if isinstance(done, tuple) else (done, 0.0)

        return work

    there = {name: measured(name, job) for name, job in jobs.items() if _is_there(name, report)}
    contest: Contest = compete(title, there, amount=size / 1e6, unit="MB", rounds=options.rounds, room=options.room())
    report.contests.append(contest)
    least = LEAST[int(conditions.round_trip)]
    for name, found in shares.items():
        claim = f"{title}: share of the capacity, {name}"
        bound = least if name == "connector" else None
        report.claims.append(Claim(claim, statistics.median(found), bound, spread=(min(found), max(found))))


def _is_there(name: str, report: Report) -> bool:
    command = name.split()[0]
    try:
        _ = ours() if command == "connector" else program(command)
    except Failed as error:
        note = f"{command} did not take part: {str(error).splitlines()[0]}"
        if note not in report.notes:
            report.notes.append(note)
        return False
    return True


def _moments(line: Line | None) -> list[Moment]:
    return [] if line is None else line.moments()


def moved(moment: Moment) -> int:
    """Bytes either way so far."""
    return sum(entrance.down + entrance.up for entrance in moment.entrances)


def share(moments: Sequence[Moment], conditions: Conditions) -> float:
    """What was moved from the first data byte to the last, as a share of what the line could have moved."""
    begin = next(moment for moment in moments if moved(moment) - moved(moments[0]) > CONTROL)
    end = next(moment for moment in moments if moved(moment) + CONTROL > moved(moments[-1]))
    return (moved(end) - moved(begin)) / (end.at - begin.at) / conditions.capacity / 1e6


def goodput(moments: Sequence[Moment], window: int = 10) -> Curve:
    """MB/s over the half second before each point."""
    pairs = zip(moments, moments[window:], strict=False)
    return [(b.at - moments[0].at, (moved(b) - moved(a)) / (b.at - a.at) / 1e6) for a, b in pairs]


def connections(moments: Sequence[Moment], window: int = 10) -> Curve:
    """Connections that had bytes in flight, on average over the half second before each point."""
    active = [sum(entrance.active for entrance in moment.entrances) for moment in moments]
    return [
        (moment.at - moments[0].at, statistics.fmean(active[number : number + window]))
        for number, moment in enumerate(moments[window:])
    ]
