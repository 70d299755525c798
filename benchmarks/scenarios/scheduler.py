"""The scheduler with nothing to move: time per part, and memory that must not grow with their number."""

from __future__ import annotations

import json
import statistics
import sys

from benchmarks.contest import Claim, Report, compete
from benchmarks.process import Usage
from benchmarks.process import run as run_process
from benchmarks.stand import ROOT, Options

COUNTS = (10_000, 100_000)


def run(options: Options) -> Report:
    report = Report("scheduler")
    medians, peaks = {}, {}
    for count in COUNTS:
        found: list[dict[str, float]] = []

        def once(count: int = count, found: list[dict[str, float]] = found) -> Usage:
            command = [sys.executable, "-m", "benchmarks.contestants.empty_moves", str(count)]
            usage = run_process(command, cwd=ROOT)
            found.append(json.loads(usage.output))
            return usage

        title = f"{count} parts with nothing to do"
        report.contests.append(
            compete(title, {"scheduler": once}, amount=float(count), unit="parts", rounds=options.rounds)
        )
        medians[count] = statistics.median(each["microseconds"] for each in found)
        peaks[count] = statistics.median(each["peak"] for each in found)
        report.claims.append(Claim(f"microseconds per part, {count} parts", medians[count], 60.0, at_most=True))
    growth = peaks[COUNTS[1]] / peaks[COUNTS[0]]
    report.claims.append(Claim("peak memory of ten times the parts against that of once", growth, 1.02, at_most=True))
    return report
