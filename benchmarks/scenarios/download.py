"""One large file down, kept encrypted: ours, ghga-connector, and what fetches a plain URL."""

from __future__ import annotations

from benchmarks.contest import Claim, Report, compete
from benchmarks.download_stand import DownloadStand
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
                "connector --no-verify": lambda: stand.download_with_ours("--no-verify"),
                "ghga-connector": stand.download_with_peer,
                "curl -o": stand.fetch_with_curl,
                "aria2c -x4": stand.fetch_with_aria2c,
                "rclone copyurl": stand.fetch_with_rclone,
                "bulk transport, no control": lambda: stand.fetch_in_parts("bulk"),
                "httpx transport, no control": lambda: stand.fetch_in_parts("httpx"),
                "dd on the disk": stand.copy_on_disk,
            },
            amount=options.size / 1e6,
            unit="MB",
            rounds=options.rounds,
            room=options.room(),
        )
    report.contests.append(contest)
    report.claims += [
        Claim.of_ratios("download against curl -o (times as fast)", contest.ratios("curl -o", "connector"), 1.0),
        Claim.of_ratios(
            "download --no-verify against curl -o (times as fast)",
            contest.ratios("curl -o", "connector --no-verify"),
            1.0,
        ),
        Claim.of_ratios(
            "download against ghga-connector (times as fast)", contest.ratios("ghga-connector", "connector"), 4.0
        ),
        Claim("peak memory of a download (MB)", contest.median("connector", "peak") / 1e6, PEAK, at_most=True),
    ]
    return report
