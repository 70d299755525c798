"""How long the command takes to say anything."""

from __future__ import annotations

from benchmarks.contest import Claim, Report, compete
from benchmarks.peers import ours, program
from benchmarks.process import run as run_process
from benchmarks.stand import Options


def run(options: Options) -> Report:
    report = Report("startup")
    contest = compete(
        "start",
        {
            "connector --help": lambda: run_process([ours(), "--help"]),
            "import click": lambda: run_process([ours().with_name("python"), "-c", "import click"]),
            "ghga-connector --help": lambda: run_process([program("ghga-connector"), "--help"]),
        },
        amount=1.0,
        unit="start",
        rounds=max(20, options.rounds),
    )
    report.contests.append(contest)
    ratios = contest.ratios("connector --help", "import click")
    claim = Claim.of_ratios("connector --help against python -c 'import click' (times as long)", ratios, 1.8)
    claim.at_most = True
    report.claims.append(claim)
    return report
