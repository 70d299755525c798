"""One large file down to its plaintext: ours in one go, ghga-connector in two steps; and our stages alone."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.contest import Claim, Job, Report, compete
from benchmarks.download_stand import DownloadStand
from benchmarks.process import Usage
from benchmarks.process import run as run_process
from benchmarks.stand import Options

ROOT = Path(__file__).resolve().parents[2]


def run(options: Options) -> Report:
    report = Report("decrypted")
    with DownloadStand(options, "decrypted") as stand:
        stand.prepare([options.size])

        def stage(what: str) -> Usage:
            module = "benchmarks.contestants.pipeline"
            return run_process([sys.executable, "-m", module, what, str(options.size)], cwd=ROOT)

        stages: dict[str, Job] = {
            "stage: fetch and write": lambda: stand.fetch_in_parts("bulk"),
            "stage: open, 2 threads": lambda: stage("open"),
            "stage: sha256, 1 thread": lambda: stage("sha256"),
        }
        contest = compete(
            "download --decrypt",
            {
                "connector": lambda: stand.download_with_ours("--decrypt"),
                "ghga-connector, two steps": lambda: stand.download_with_peer(decrypt=True),
                **stages,
            },
            amount=options.size / 1e6,
            unit="MB",
            rounds=options.rounds,
            room=options.room(),
        )
    report.contests.append(contest)
    slowest = max(stages, key=contest.median)
    report.claims += [
        Claim.of_ratios(
            "download --decrypt against ghga-connector's two steps (times as fast)",
            contest.ratios("ghga-connector, two steps", "connector"),
            4.0,
        ),
        Claim.of_ratios(
            f"download --decrypt against its slowest stage alone ({slowest})",
            contest.ratios(slowest, "connector"),
            0.85,
        ),
    ]
    return report
