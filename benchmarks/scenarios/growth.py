"""Files of 1, 4 and (with ``--large``) 16 times the size: time per byte and memory must stay what they are."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from benchmarks.contest import Claim, Contest, Job, Report, compete
from benchmarks.data import make_random_file, make_sparse_file
from benchmarks.download_stand import DownloadStand
from benchmarks.process import Failed
from benchmarks.stand import Options
from benchmarks.upload_stand import UploadStand

ROOM = 2.01
"""Times the size that lies on the disk at once. Up: the source (none if it is sparse) and the parts. Down: the source
while the archive is stocked, then its object, which nginx serves by a hard link, and what the contestant writes."""
SPARSE = 16


def run(options: Options) -> Report:
    report = Report("growth")
    ways: dict[str, list[Contest]] = {"up": [], "down": [], "down, decrypted": []}
    for factor in (1, 4, 16) if options.large else (1, 4):
        for way, contest in _step(options, factor):
            ways[way].append(contest)
    for way, contests in ways.items():
        report.contests += contests
        paces = [contest.median("connector") / contest.amount for contest in contests]
        peaks = [contest.median("connector", "peak") for contest in contests]
        # Start-up weighs on the small ones; only growth counts.
        report.claims += [
            Claim(
                f"growth {way}: time per byte of the larger against the smallest",
                max(paces) / paces[0],
                1.10,
                at_most=True,
            ),
            Claim(
                f"growth {way}: peak memory of the larger against the smallest",
                max(peaks) / peaks[0],
                1.05,
                at_most=True,
            ),
        ]
        report.series[way] = [(contest.amount, contest.rate("connector")) for contest in contests]
    return report


def rounds_of(options: Options, factor: int) -> int:
    """As many as make each size take about as long as the others; with ``--large`` (at 1 GiB, about 10 minutes
    altogether, of which the largest takes 5) 3 of all but the largest, since one alone may meet a busy moment."""
    if options.large:
        return min(options.rounds, 3) if factor < SPARSE else 1
    return max(1, options.rounds // factor)


def _step(options: Options, factor: int) -> Sequence[tuple[str, Contest]]:
    """One size all ways; the disk is as empty afterwards as it was before."""
    size = factor * options.size
    if (free := shutil.disk_usage(options.folder).free) < ROOM * size:
        raise Failed(f"{ROOM * size / 1e9:.0f} GB of disk are needed in {options.folder}, {free / 1e9:.0f} GB are free")
    make = make_sparse_file if factor >= SPARSE else make_random_file
    rounds = rounds_of(options, factor)

    def measure(way: str, job: Job) -> tuple[str, Contest]:
        title = f"{size / 1e9:.1f} GB {way}"
        room = options.room(factor)
        return way, compete(title, {"connector": job}, amount=size / 1e6, unit="MB", rounds=rounds, room=room)

    with UploadStand(options, "growth-up") as upload_stand:
        upload_stand.prepare([size], make=make)
        up = measure("up", upload_stand.upload_with_ours)
    with DownloadStand(options, "growth-down") as stand:
        stand.prepare([size], make=make)
        down = measure("down", stand.download_with_ours)
        decrypted = measure("down, decrypted", lambda: stand.download_with_ours("--decrypt"))
    return up, down, decrypted
