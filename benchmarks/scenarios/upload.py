"""One large file up to nginx: ours, ghga-connector at two part sizes, curl, the arithmetic of it alone; and ours to the
embedded archive, as it is run without nginx."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.contest import Claim, Report, compete
from benchmarks.process import run as run_process
from benchmarks.stand import Options
from benchmarks.upload_stand import UploadStand

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
PARTS = ("--part-size", "16MiB")
PEAK = 300.0
EMBEDDED = "connector, to the embedded archive"


def run(options: Options) -> Report:
    report = Report("upload")
    pipeline = [sys.executable, "-m", "benchmarks.contestants.pipeline", "send", str(options.size)]
    with UploadStand(options, "upload") as stand:
        stand.prepare([options.size])
        contest = compete(
            "upload",
            {
                "connector, 16 MiB parts": lambda: stand.upload_with_ours(*PARTS),
                "ghga-connector, 16 MiB parts": lambda: stand.upload_with_peer(16 * MIB),
                "ghga-connector, 64 MiB parts": lambda: stand.upload_with_peer(64 * MIB),
                "curl -T, unencrypted": stand.put_with_curl,
                "pipeline in memory": lambda: run_process(pipeline, cwd=ROOT),
                EMBEDDED: lambda: stand.upload_with_ours(*PARTS, receiver="archive"),
            },
            amount=options.size / 1e6,
            unit="MB",
            rounds=options.rounds,
            room=options.room(),
        )
    report.contests.append(contest)
    us = "connector, 16 MiB parts"
    best = min(("ghga-connector, 16 MiB parts", "ghga-connector, 64 MiB parts"), key=contest.median)
    report.claims += [
        Claim.of_ratios(f"upload against {best} (times as fast)", contest.ratios(best, us), 2.4),
        Claim.of_ratios("upload against the pipeline in memory", contest.ratios("pipeline in memory", us), 0.72),
        Claim("peak memory of an upload (MB)", contest.median(us, "peak") / 1e6, PEAK, at_most=True),
    ]
    report.notes.append(
        f"nginx and the control calls took {contest.median(us, 'server_cpu'):.1f} s of processor per upload of ours, "
        f"{contest.median(best, 'server_cpu'):.1f} s per upload of the peer, on the cores that the client uses; the "
        f"embedded archive, which digests the parts, {contest.median(EMBEDDED, 'server_cpu'):.1f} s. In real life "
        "these are another machine's. Storage that digests parts does it there, too."
    )
    return report
