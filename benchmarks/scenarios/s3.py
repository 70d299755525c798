"""One object straight from an S3 server, which is not ours: s5cmd, rclone, curl, and our transport on its URL.

No archive takes part, so only the transport of ours runs, as a program of a few lines around it. Two things set it
apart from the others, and both are measured here: Python and its imports, which take about as long as a quarter of a
GiB; and the gateway, which reads ahead beyond the end of every range, so that small parts cost it more.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

from benchmarks.contest import Report, compete
from benchmarks.data import check
from benchmarks.peers import program
from benchmarks.process import Command, Usage
from benchmarks.process import run as run_process
from benchmarks.servers.juicefs import BUCKET, JuiceFs
from benchmarks.stand import ROOT, Options, Stand

LARGE = "object client, 2 x 64 MiB"
SMALL = "object client, 4 x 16 MiB"


def run(options: Options) -> Report:
    report = Report("s3")
    with Stand(options, "s3") as stand, JuiceFs(stand.folder / "juicefs") as storage:
        source, digest = stand.source("object.bin", options.size)
        s5cmd: Command = [program("s5cmd"), "--endpoint-url", storage.url]
        run_process([*s5cmd, "mb", f"s3://{BUCKET}"], env=storage.env)
        run_process([*s5cmd, "cp", source, f"s3://{BUCKET}/object"], env=storage.env)
        presign = [sys.executable, "-m", "benchmarks.contestants.presign", storage.url, BUCKET, "object"]
        url = run_process(presign, env=storage.env, cwd=ROOT).output.strip()
        remote = f":s3,provider=Minio,env_auth=true,endpoint='{storage.url}':{BUCKET}/object"
        fetch: Command = [sys.executable, "-m", "benchmarks.contestants.fetch_in_parts"]
        read: dict[str, int] = {}

        def job(name: str, *words: str | Path) -> tuple[Usage, float]:
            out, before, read_before = stand.empty("out"), storage.cpu_seconds(), storage.bytes_read()
            usage = run_process([*words, out / "object"], env=storage.env, cwd=ROOT)
            spent = storage.cpu_seconds() - before
            read[name] = storage.bytes_read() - read_before
            check(out / "object", digest)
            return usage, spent

        rclone: Command = [program("rclone"), "copyto", "-q", "--config", "/dev/null"]
        contest = compete(
            "one object from S3",
            {
                LARGE: lambda: job(LARGE, *fetch, "--connections", "2", "--part", "64", url),
                SMALL: lambda: job(SMALL, *fetch, "--connections", "4", "--part", "16", url),
                "s5cmd cp": lambda: job("s5cmd cp", *s5cmd, "cp", f"s3://{BUCKET}/object"),
                "rclone copyto": lambda: job("rclone copyto", *rclone, remote),
                "curl -o": lambda: job("curl -o", program("curl"), "-sS", url, "-o"),
            },
            amount=options.size / 1e6,
            unit="MB",
            rounds=options.rounds,
            room=options.room(),
        )
        start_up = statistics.median(run_process([*fetch, "--help"], cwd=ROOT).wall for _ in range(options.rounds))
    report.contests.append(contest)
    best = min(("s5cmd cp", "rclone copyto", "curl -o"), key=contest.median)
    ours = contest.median(LARGE)
    report.notes += [
        f"The object client moves {contest.median(best) / ours:.2f} times what {best} does; without the "
        f"{start_up:.2f} s that Python and its imports take, {contest.median(best) / (ours - start_up):.2f} times.",
        f"The gateway read, of an object of {contest.amount:.0f} MB: "
        + ", ".join(f"{count / 1e6:.0f} MB for {name}" for name, count in read.items())
        + ". It reads ahead beyond the end of every range.",
    ]
    return report
