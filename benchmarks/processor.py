"""The measure of a job: its processor time against that of the work that the contract asks for and of curl."""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys

from benchmarks.contest import Claim, Contest
from benchmarks.process import Usage, run
from benchmarks.stand import ROOT

MANDATED = "mandated work"
"""What the contestant is called that does nothing else (:mod:`benchmarks.contestants.mandated_work`)."""


def mandated_work(job: str, size: int) -> Usage:
    """Let it do the work of a job; start-up does not count."""
    usage = run([sys.executable, "-m", "benchmarks.contestants.mandated_work", job, str(size)], cwd=ROOT)
    return dataclasses.replace(usage, **json.loads(usage.output))


def processor_claim(contest: Contest, curl: str, means: str = "") -> Claim:
    """The ratio of a contest that has our job, the mandated work, and ``curl`` for the same bytes; round by round.

    ``means`` says what the user has of it; how fast that is on one core is added.
    """
    contestants = (contest.runs[name] for name in ("connector", MANDATED, curl))
    ratios = [ours.cpu / (mandated.cpu + plain.cpu) for ours, mandated, plain in zip(*contestants, strict=True)]
    rate = contest.amount / contest.median("connector", "cpu")
    return Claim(
        f"{contest.title}: processor time against mandated work and curl (times)",
        statistics.median(ratios),
        spread=(min(ratios), max(ratios)),
        means=means and f"{means} One core does {rate:.0f} MB/s ({8 * rate / 1000:.1f} Gbit/s).",
    )
