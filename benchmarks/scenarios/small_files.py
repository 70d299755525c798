"""Many small files both ways, at once and with 20 ms added to every call, also where few uploads may be open."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.contest import Contest, Job, Report, compete
from benchmarks.download_stand import DownloadStand
from benchmarks.stand import Options
from benchmarks.upload_stand import UploadStand

PEER = "ghga-connector"
DELAY = 0.02
SLOW = f"{DELAY * 1000:.0f} ms more per call"
ROOM = 64
"""Open uploads that an archive allows which is not to hold anybody up. Usually it allows 5."""


def run(options: Options) -> Report:
    report = Report("small_files")
    faults = ("--delay", str(DELAY))
    report.contests += [
        _down(options, "down"),
        _up(options, "up"),
        _down(options, f"down, {SLOW}", faults),
        _up(options, f"up, {SLOW}, {ROOM} may be open", faults, ROOM),
        _up(options, f"up, {SLOW}, 5 may be open", faults),
    ]
    report.notes += [_servers_share(contest, name) for contest in report.contests for name in ("connector", PEER)]
    return report


def _down(options: Options, which: str, faults: tuple[str, ...] = ()) -> Contest:
    with DownloadStand(options, "small-down") as stand:
        stand.prepare([options.file_size] * options.files, faults=faults)
        return _compete(options, which, {"connector": stand.download_with_ours, PEER: stand.download_with_peer})


def _up(options: Options, which: str, faults: tuple[str, ...] = (), open_uploads: int | None = None) -> Contest:
    with UploadStand(options, "small-up") as stand:
        stand.prepare([options.file_size] * options.files, faults=faults, open_uploads=open_uploads)
        return _compete(options, which, {"connector": stand.upload_with_ours, PEER: stand.upload_with_peer})


def _compete(options: Options, which: str, jobs: Mapping[str, Job]) -> Contest:
    title = f"{options.files} small files {which}"
    return compete(title, jobs, amount=float(options.files), unit="files", rounds=options.rounds, room=options.room())


def _servers_share(contest: Contest, name: str) -> str:
    """How much of the cores the servers take (and what makes calls slower, if anything does), for a note."""
    wall, servers, own = (contest.median(name, what) for what in ("wall", "server_cpu", "cpu"))
    return (
        f"{contest.title}, {name}: {contest.amount / wall:.0f} files/s. "
        f"The servers take {servers / wall:.2f} of a core, {1000 * servers / contest.amount:.1f} ms of processor "
        f"per file, the client {own / wall:.2f} of a core, "
        f"{1000 * own / contest.amount:.1f} ms per file: the servers' share of both is {servers / (servers + own):.0%}."
    )
