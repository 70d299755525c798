"""Documents and part URLs beside hexkit: the same mongod, the same S3 server, small turns one after the other."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import persistence as contestants
from benchmarks.contest import Claim, Contest, Job, Report, compete
from benchmarks.persistence.peer import PACKAGE, hexkit_python
from benchmarks.process import Failed, Usage
from benchmarks.stand import Options
from persistence.objects.s3.settings import S3Settings, connect
from persistence.testing.servers import run_juicefs, run_mongod

HERE = Path(contestants.__file__).parent
HEXKIT = PACKAGE.partition("[")[0] + " " + PACKAGE.partition("==")[2]
COUNTS = {"insert": (100, 1000), "get_by_id": (200, 2000), "find_one": (100, 1000), "find_all": (10_000, 64_000)}
"""Operations (of find_all: documents) in one turn, with 1 caller and with 32: a fraction of a second each."""
URLS = 400
TURNS_PER_ROUND = 4
"""Twenty turns with the usual five rounds: they are short, and vary."""
LONE = {"asyncio": 0.95, "trio": 0.75}
MANY = {"asyncio": 1.0, "trio": 0.75}
BATCHED = {"asyncio": 2.0, "trio": 1.6}
"""How many times as fast as hexkit: with 1 caller, with 32, and with 32 where calls are batched."""
OF_URLS = {"asyncio": 50.0, "trio": 50.0}


def run(options: Options) -> Report:
    report = Report("persistence")
    hexkit = hexkit_python()
    turns = TURNS_PER_ROUND * options.rounds
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else options.folder) as folder:
        with run_mongod(Path(folder) / "mongod") as uri:
            _documents(report, uri, hexkit, turns)
        with run_juicefs(Path(folder) / "juicefs") as endpoint:
            _urls(report, (endpoint.url, endpoint.access_key, endpoint.secret_key, "bench"), hexkit, turns)
    return report


def _documents(report: Report, uri: str, hexkit: Path, turns: int) -> None:
    with _contestants(hexkit, "dao", uri, "bench", "prepare", "1", "0"):
        pass
    for operation, counts in COUNTS.items():
        for callers, count in zip((1, 32), counts, strict=True):
            amount = count // callers if operation == "find_all" else count
            with _contestants(hexkit, "dao", uri, "bench", operation, str(callers), str(amount)) as jobs:
                for job in jobs.values():
                    job()  # whatever is made once only
                title = f"{operation}, {callers} caller{'s' if callers > 1 else ''}"
                contest = compete(title, jobs, amount=count, unit="operations", rounds=turns)
            report.contests.append(contest)
            batched = callers > 1 and operation in ("insert", "get_by_id")
            report.claims += _claims(contest, BATCHED if batched else MANY if callers > 1 else LONE)


def _urls(report: Report, server: tuple[str, str, str, str], hexkit: Path, turns: int) -> None:
    client: Any = connect(S3Settings(*server[:3]))[0]
    for bucket in (server[3], f"{server[3]}-ours"):  # hexkit allows no other upload of its object
        client.create_bucket(Bucket=bucket)
    with _contestants(hexkit, "urls", *server, str(URLS)) as jobs:
        contest = compete("URLs of parts", jobs, amount=URLS, unit="URLs", rounds=turns)
    report.contests.append(contest)
    report.claims += _claims(contest, OF_URLS)


def _claims(contest: Contest, wanted: dict[str, float]) -> list[Claim]:
    return [
        Claim.of_ratios(f"{contest.title}, {name}, against {HEXKIT} (times as fast)", contest.ratios("hexkit", name), x)
        for name, x in wanted.items()
    ]


@contextlib.contextmanager
def _contestants(hexkit: Path, *words: str) -> Iterator[dict[str, Job]]:
    """Processes that are ready, each doing one turn when it is called."""
    commands = {"hexkit": [hexkit, HERE / "theirs.py"]}
    commands |= {backend: [Path(sys.executable), HERE / "ours.py", Path(backend)] for backend in LONE}
    with contextlib.ExitStack() as stack:
        jobs: dict[str, Job] = {}
        for name, command in commands.items():
            process = subprocess.Popen([*command, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.callback(_end, process)
            jobs[name] = lambda process=process, name=name: _turn(process, name)  # type: ignore[misc]
        yield jobs


def _turn(process: subprocess.Popen[str], name: str) -> Usage:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise Failed(f"{name} gave up")
    return Usage(**json.loads(line))


def _end(process: subprocess.Popen[str]) -> None:
    try:
        process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
