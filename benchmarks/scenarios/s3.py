"""One object straight from an S3 server, which is not ours: s5cmd, rclone, curl, and our transport on its URL.

No archive takes part, so only the transport of ours runs, as a program of a few lines around it. Two things set it
apart from the others, and both are measured here: Python and its imports, which take about as long as a quarter of a
GiB; and the gateway, which reads ahead beyond the end of every range, so that small parts cost it more.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks.contest import Report, compete
from benchmarks.data import check
from benchmarks.peers import program
from benchmarks.process import Command, Usage, cpu_seconds_of
from benchmarks.process import run as run_process
from benchmarks.stand import ROOT, Options, Stand
from persistence.objects.s3.settings import S3Settings, connect
from persistence.testing.servers.juicefs import gateway_endpoint, make_volume, run_gateway
from persistence.testing.servers.processes import free_ports

BUCKET = "bench"
LARGE = "object client, 2 x 64 MiB"
SMALL = "object client, 4 x 16 MiB"


def run(options: Options) -> Report:
    report = Report("s3")
    with Stand(options, "s3") as stand, contextlib.ExitStack() as stack:
        folder, port = stand.folder / "juicefs", free_ports(2)
        make_volume(folder)
        gateway = stack.enter_context(run_gateway(folder, port)).pid
        storage = gateway_endpoint(port)
        env = {"AWS_ACCESS_KEY_ID": storage.access_key, "AWS_SECRET_ACCESS_KEY": storage.secret_key}
        env["AWS_REGION"] = "us-east-1"
        client: Any = connect(S3Settings(storage.url, storage.access_key, storage.secret_key))[0]
        client.create_bucket(Bucket=BUCKET)
        source, digest = stand.source("object.bin", options.size)
        s5cmd: Command = [program("s5cmd"), "--endpoint-url", storage.url]
        run_process([*s5cmd, "cp", source, f"s3://{BUCKET}/object"], env=env)
        url = client.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "object"}, ExpiresIn=36_000)
        remote = f":s3,provider=Minio,env_auth=true,endpoint='{storage.url}':{BUCKET}/object"
        fetch: Command = [sys.executable, "-m", "benchmarks.contestants.fetch_in_parts"]
        read: dict[str, int] = {}

        def job(name: str, *words: str | Path) -> tuple[Usage, float]:
            out, before, read_before = stand.empty("out"), cpu_seconds_of(gateway), _bytes_read(gateway)
            usage = run_process([*words, out / "object"], env=env, cwd=ROOT)
            spent = cpu_seconds_of(gateway) - before
            read[name] = _bytes_read(gateway) - read_before
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


def _bytes_read(pid: int) -> int:
    """What a process has read so far, the gateway mostly from its disk."""
    fields = Path(f"/proc/{pid}/io").read_text().split()
    return int(fields[fields.index("rchar:") + 1])
