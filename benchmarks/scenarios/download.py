"""One large file down, kept encrypted: ours, ghga-connector, and what fetches a plain URL."""

from __future__ import annotations

from benchmarks.contest import Claim, Report, compete
from benchmarks.download_stand import DownloadStand
from benchmarks.processor import MANDATED, mandated_work, processor_claim
from benchmarks.stand import Options

PEAK = 200.0


def run(options: Options) -> Report:
    report = Report("download")
    with DownloadStand(options, "download") as stand:
        stand.prepare([options.size])
        contest = compete(
            "download",
            {
                "connector": stand.download_with_ours,
                MANDATED: lambda: mandated_work("download", options.size),
                "curl -o": stand.fetch_with_curl,
                "connector --no-verify": lambda: stand.download_with_ours("--no-verify"),
                "ghga-connector": stand.download_with_peer,
                "aria2c -x4": stand.fetch_with_aria2c,
                "rclone copyurl": stand.fetch_with_rclone,
            },
            amount=options.size / 1e6,
            unit="MB",
            rounds=options.rounds,
            room=options.room(),
        )
    report.contests.append(contest)
    report.claims += [
        processor_claim(contest, "curl -o", "Every byte is checked on its way to the disk."),
        Claim(
            "peak memory of a download (MB)",
            contest.median("connector", "peak") / 1e6,
            PEAK,
            at_most=True,
            means="However large and many the files: never more than `--memory` (256MiB) and the program itself.",
        ),
    ]
    return report
