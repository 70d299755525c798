"""Several processes on one database: a queue, conflicting transactions, and kills in the middle."""

from __future__ import annotations

import importlib.util
import random
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from persistence.documents import Transaction
from persistence.testing.models import Job

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

WORKER = Path(__file__).with_name("document_worker.py")
JOB_COUNT = 500
PROCESSES = 8


def load_worker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("document_worker", WORKER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


worker = load_worker()


@pytest.fixture(params=["sqlite", "mongodb"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield str(tmp_path / "documents.db")
    else:
        yield f"{request.getfixturevalue('mongodb')}#processes"


@pytest.fixture
def anyio_backend() -> str:
    return "trio"


def start(database: str, what: str, who: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(WORKER), database, what, who]
    return subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0)


async def test_each_job_is_taken_exactly_once(database: str) -> None:
    async with worker.open_factory(database) as factory:
        jobs = await worker.jobs_of(factory, worker.JOBS)
        assert await jobs.insert_many([Job(number) for number in range(JOB_COUNT)]) == {}
        processes = [start(database, "take", f"worker-{number}") for number in range(PROCESSES)]
        taken = []
        for process in processes:
            output, _ = process.communicate(timeout=120)
            assert process.returncode == 0
            taken.append([int(word) for word in output.split()])
        assert sorted(number for numbers in taken for number in numbers) == list(range(JOB_COUNT))
        for number, numbers in enumerate(taken):
            owned = [job.id async for job in jobs.find_all({"owner": f"worker-{number}"}, sort=["id"])]
            assert owned == sorted(numbers)


async def test_killed_in_the_middle_all_or_nothing_is_left(database: str) -> None:
    chance = random.Random(5)
    async with worker.open_factory(database) as factory:
        accounts = await worker.jobs_of(factory, worker.ACCOUNTS)
        await accounts.insert_many([Job(number, version=100) for number in range(4)])
        for round_ in range(3):
            movers = [start(database, "move", f"{round_}-{number}") for number in range(3)]
            for mover in movers:
                assert mover.stdout is not None
                assert mover.stdout.readline() == b"ready\n"
            # On a busy machine the first move takes its time, and three of them stand in each other's way.
            moving, _, _ = select.select([mover.stdout for mover in movers if mover.stdout], [], [], 60)
            assert moving
            time.sleep(0.3)
            before = [job.version async for job in accounts.find_all()]
            for mover in movers:
                time.sleep(chance.uniform(0, 0.05))
                mover.kill()
            moved = sum(len(mover.stdout.read()) for mover in movers if mover.stdout)
            for mover in movers:
                mover.wait()
            assert moved > 0
            assert sum(before) == 400

        async def total(transaction: Transaction) -> int:
            # A write in the same transaction waits for what the killed ones may still hold.
            bound = transaction.bind(accounts)
            found = [job async for job in bound.find_all()]
            for job in found:
                await bound.update(job)
            return sum(job.version for job in found)

        assert await factory.with_transaction(total, attempts=1000) == 400
