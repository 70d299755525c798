"""The primary of three members is killed in the middle of writes: every acknowledged one is there, and none twice."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest
from pymongo import MongoClient

from persistence.documents import Transaction
from persistence.documents.mongodb import MongoDaoFactory
from persistence.errors import Conflict, Unavailable
from persistence.testing.models import Job
from persistence.testing.servers import run_mongod, run_replica_set

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

DEADLINE = 20.0
MARGIN = 20.0
INSERTS, INCREMENTS, TRANSACTIONS = 100, 50, 50
COUNTER = -1


async def test_the_primary_is_killed_in_the_middle_of_writes(tmp_path: Path) -> None:
    with run_replica_set(tmp_path) as (uri, processes):
        async with MongoDaoFactory(uri, "failover", deadline=DEADLINE) as factory:
            jobs = await factory.dao("jobs", Job, id_field="id")
            await jobs.insert(Job(COUNTER))
            acknowledged: dict[str, set[int]] = {"insert": set(), "increment": set(), "transaction": set()}
            failed: dict[str, set[int]] = {"insert": set(), "increment": set(), "transaction": set()}
            too_long: list[float] = []

            async def insert(number: int) -> None:
                await jobs.insert(Job(number))

            async def increment(number: int) -> None:
                await jobs.compare_and_set(COUNTER, expected={}, increments={"version": 1})

            async def transact(number: int) -> None:
                async def work(transaction: Transaction) -> None:
                    bound = transaction.bind(jobs)
                    await bound.insert(Job(1000 + number))
                    await bound.insert(Job(2000 + number))

                await factory.with_transaction(work, attempts=1)

            async def call(kind: str, number: int) -> None:
                # Half of them begin before the primary is killed, the others around and after it.
                await anyio.sleep(number % 10 * 0.1)
                began = time.monotonic()
                try:
                    await {"insert": insert, "increment": increment, "transaction": transact}[kind](number)
                except (Unavailable, Conflict):
                    failed[kind].add(number)
                else:
                    acknowledged[kind].add(number)
                # A transaction makes three calls.
                if time.monotonic() - began > (3 if kind == "transaction" else 1) * DEADLINE + MARGIN:
                    too_long.append(time.monotonic() - began)

            async with anyio.create_task_group() as tasks:
                counts = {"insert": INSERTS, "increment": INCREMENTS, "transaction": TRANSACTIONS}
                for kind, count in counts.items():
                    for number in range(count):
                        tasks.start_soon(call, kind, number)
                await anyio.sleep(0.4)
                primary = await anyio.to_thread.run_sync(primary_of, uri)
                processes[primary].kill()

            found = {job.id: job async for job in jobs.find_all()}
            print({kind: (len(acknowledged[kind]), len(failed[kind])) for kind in counts})
            assert too_long == []
            assert acknowledged["insert"] <= found.keys()
            assert {1000 + number for number in acknowledged["transaction"]} <= found.keys()
            done, doubtful = len(acknowledged["increment"]), len(failed["increment"])
            assert done <= found[COUNTER].version - Job(0).version <= done + doubtful
            # All or nothing of each transaction.
            assert {id_ + 1000 for id_ in found if 1000 <= id_ < 2000} == {id_ for id_ in found if id_ >= 2000}
            assert acknowledged["insert"]


async def test_a_transaction_does_not_wait_for_a_primary_again_and_again(tmp_path: Path) -> None:
    deadline = 2.0
    with ExitStack() as stack:
        uri = stack.enter_context(run_mongod(tmp_path))
        async with MongoDaoFactory(uri, "failover", deadline=deadline) as factory:
            jobs = await factory.dao("jobs", Job, id_field="id")
            await anyio.to_thread.run_sync(stack.close)

            async def work(transaction: Transaction) -> None:
                await transaction.bind(jobs).insert(Job(1))

            began = time.monotonic()
            with pytest.raises(Unavailable):
                await factory.with_transaction(work, attempts=100)
            assert time.monotonic() - began < 15 * deadline, "a hundred attempts would take 160 s"


def primary_of(uri: str) -> int:
    client: MongoClient[dict[str, Any]]
    with MongoClient(uri) as client:
        client.admin.command("ping")
        assert client.primary is not None
        return client.primary[1]
