"""Concurrency that finds its height: where each connection is slow, and where the server refuses too many."""

from __future__ import annotations

import time

from benchmarks.contest import Claim, Contest, Report, Run
from benchmarks.download_stand import DownloadStand
from benchmarks.stand import Curve, Options

PARTS = ("--part-size", "4MiB")
FIXED = (4, 8, 16, 32)
WINDOW = 2.0


def run(options: Options) -> Report:
    report = Report("adaptive")
    _slow_connections(options, report)
    _refusals(options, report)
    return report


def _slow_connections(options: Options, report: Report) -> None:
    size = 3 * options.size
    contest = Contest("download at 10 MB/s per connection", size / 1e6, "MB")
    with DownloadStand(options, "adaptive") as stand:
        # nginx's own limit_rate gives every request a second's worth at once, which is more than a part.
        stand.prepare([size], faults=["--bytes-per-second", "10e6", "--only", "^GET /storage/download/"])
        for words in (["adaptive"], *([str(number)] for number in FIXED)):
            fixed = [] if words == ["adaptive"] else ["--max-concurrency", *words]
            name = "connector" if not fixed else f"fixed at {words[0]}"
            curve: Curve = []
            usage, server = stand.download_with_ours(*PARTS, *fixed, written=curve)
            contest.runs[name] = [Run(usage.wall, usage.cpu, usage.peak, server)]
            report.series[name] = _rates(curve)
            print(f"  {name}: {size / 1e6 / usage.wall:.0f} MB/s in {usage.wall:.1f} s", flush=True)
    report.contests.append(contest)
    best = max(_steady(report.series[f"fixed at {number}"]) for number in FIXED)
    reached = next((at for at, rate in report.series["connector"] if rate >= 0.9 * best), float("inf"))
    report.notes.append(
        f"The best fixed concurrency moves {best:.0f} MB/s; rates are those of the last {WINDOW:g} seconds."
    )
    report.claims.append(
        Claim("seconds until 0.9 of the best fixed concurrency is reached", reached, 10.0, at_most=True)
    )


def _refusals(options: Options, report: Report) -> None:
    limits = "limit_conn crowd 6; limit_conn_status 503; limit_rate 20000k;"
    size = 2 * options.size
    contest = Contest("download, 503 above 6 connections", size / 1e6, "MB")
    with DownloadStand(options, "refusals") as stand:
        stand.prepare([size], limits=limits)
        time.sleep(1.5)
        before = len(stand.nginx.answers())
        curve: Curve = []
        usage, server = stand.download_with_ours(*PARTS, written=curve)
        contest.runs["connector"] = [Run(usage.wall, usage.cpu, usage.peak, server)]
        time.sleep(1.5)
        statuses = [status for status, _ in stand.nginx.answers()[before:]]
        usage, server = stand.download_with_ours(*PARTS, "--max-concurrency", "6")
        contest.runs["fixed at 6"] = [Run(usage.wall, usage.cpu, usage.peak, server)]
    refused = statuses.count(503) / len(statuses)
    report.contests.append(contest)
    report.series["503 above 6"] = _rates(curve)
    report.claims.append(Claim("share of requests that were refused (percent)", 100 * refused, 3.0, at_most=True))
    report.notes.append(f"{statuses.count(503)} of {len(statuses)} requests were refused with 503.")


def _rates(curve: Curve) -> Curve:
    """Megabytes a second over the window that ends at each point."""
    rates = []
    for at, count in curve:
        earlier = next(((t, n) for t, n in curve if t >= at - WINDOW), (0.0, 0.0))
        if at - earlier[0] > WINDOW / 2:
            rates.append((at, (count - earlier[1]) / (at - earlier[0]) / 1e6))
    return rates


def _steady(rates: Curve) -> float:
    """The mean of the middle half."""
    middle = rates[len(rates) // 4 : max(1, 3 * len(rates) // 4)] or rates
    return sum(rate for _, rate in middle) / len(middle) if middle else 0.0
