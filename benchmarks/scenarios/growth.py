"""Files of 1, 4 and (with ``--large``) 16 times the size: time per byte and memory must stay what they are."""

from __future__ import annotations

import shutil

from benchmarks.contest import Claim, Contest, Report, compete
from benchmarks.download_stand import DownloadStand
from benchmarks.process import Failed
from benchmarks.stand import Options
from benchmarks.upload_stand import UploadStand

# The archive keeps the object, nginx its copy, the contestant writes a third; the source lies beside them.
ROOM = 5


def run(options: Options) -> Report:
    report = Report("growth")
    factors = (1, 4, 16) if options.large else (1, 4)
    needed = ROOM * factors[-1] * options.size
    if shutil.disk_usage(options.folder).free < needed:
        raise Failed(f"{needed / 1e9:.0f} GB of disk are needed in {options.folder}")
    ways: dict[str, list[Contest]] = {"up": [], "down": [], "down, decrypted": []}
    for factor in factors:
        size = factor * options.size
        rounds = max(1, options.rounds // factor)
        common = {"amount": size / 1e6, "unit": "MB", "rounds": rounds}
        with UploadStand(options, "growth-up") as upload_stand:
            upload_stand.prepare([size])
            jobs = {"connector": upload_stand.upload_with_ours}
            ways["up"].append(compete(f"{size / 1e9:.1f} GB up", jobs, **common))  # type: ignore[arg-type]
        with DownloadStand(options, "growth-down") as stand:
            stand.prepare([size])
            for way, words in (("down", ()), ("down, decrypted", ("--decrypt",))):

                def download(words: tuple[str, ...] = words):
                    return stand.download_with_ours(*words)

                title = f"{size / 1e9:.1f} GB {way}"
                ways[way].append(compete(title, {"connector": download}, **common))  # type: ignore[arg-type]
    for way, contests in ways.items():
        report.contests += contests
        paces = [contest.median("connector") / contest.amount for contest in contests]
        peaks = [contest.median("connector", "peak") for contest in contests]
        # Start-up weighs on the small ones; only growth counts.
        report.claims += [
            Claim(
                f"{way}: time per byte of the larger against the smallest", max(paces) / paces[0], 1.10, at_most=True
            ),
            Claim(f"{way}: peak memory of the larger against the smallest", max(peaks) / peaks[0], 1.05, at_most=True),
        ]
        report.series[way] = [(contest.amount, contest.rate("connector")) for contest in contests]
    return report
