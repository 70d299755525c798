"""One object straight from an S3 server, which is not ours: s5cmd, rclone, curl, and our transport on its URL.

No archive takes part, so only the transport of ours runs, as a program of a few lines around it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.contest import Report, compete
from benchmarks.data import check
from benchmarks.peers import program
from benchmarks.process import Command, Usage
from benchmarks.process import run as run_process
from benchmarks.servers.juicefs import BUCKET, JuiceFs
from benchmarks.stand import ROOT, Options, Stand


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
        fetch: Command = [sys.executable, "-m", "benchmarks.contestants.fetch_in_parts", "--transport", "bulk"]
        # The gateway reads ahead beyond the end of every range, so that small parts cost it twice the work.
        fetch += ["--connections", "2", "--part", "64", url]

        def job(*words: str | Path) -> tuple[Usage, float]:
            out, before = stand.empty("out"), storage.cpu_seconds()
            usage = run_process([*words, out / "object"], env=storage.env, cwd=ROOT)
            spent = storage.cpu_seconds() - before
            check(out / "object", digest)
            return usage, spent

        contest = compete(
            "one object from S3",
            {
                "bulk transport": lambda: job(*fetch),
                "s5cmd cp": lambda: job(*s5cmd, "cp", f"s3://{BUCKET}/object"),
                "rclone copyto": lambda: job(program("rclone"), "copyto", "-q", "--config", "/dev/null", remote),
                "curl -o": lambda: job(program("curl"), "-sS", url, "-o"),
            },
            amount=options.size / 1e6,
            unit="MB",
            rounds=options.rounds,
        )
    report.contests.append(contest)
    best = min(("s5cmd cp", "rclone copyto", "curl -o"), key=contest.median)
    ratio = contest.median(best) / contest.median("bulk transport")
    report.notes.append(f"The bulk transport moves {ratio:.2f} times what {best} does; the gateway is the limit.")
    return report
