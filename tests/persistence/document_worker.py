"""A process that works on a database: takes jobs from a queue, or moves money until it is killed.

    python document_worker.py DATABASE take WORKER     prints the ids of the jobs it took
    python document_worker.py DATABASE move SEED       moves amounts between accounts for ever

DATABASE is a path of an SQLite file or a mongodb:// URI, with `#NAME` for the database.
"""

from __future__ import annotations

import dataclasses
import random
import sys
from functools import partial
from pathlib import Path

import anyio

from persistence.documents import Dao, DaoFactory, Index, Transaction
from persistence.documents.sqlite import SqliteDaoFactory
from persistence.testing.models import Job

JOBS = "jobs"
ACCOUNTS = "accounts"


def open_factory(database: str) -> DaoFactory:
    if database.startswith("mongodb://"):
        from persistence.documents.mongodb import MongoDaoFactory

        uri, _, name = database.partition("#")
        return MongoDaoFactory(uri, name, deadline=60)
    return SqliteDaoFactory(Path(database), deadline=60)


async def jobs_of(factory: DaoFactory, name: str) -> Dao[Job]:
    return await factory.dao(name, Job, id_field="id", indexes=[Index("state")])


async def take(database: str, worker: str) -> list[int]:
    """Take jobs, one by one, until none is new."""
    taken: list[int] = []
    async with open_factory(database) as factory:
        jobs = await jobs_of(factory, JOBS)
        while True:
            offered = [job async for job in jobs.find_all({"state": "new"}, limit=16)]
            if not offered:
                return taken
            job = random.choice(offered)
            if await jobs.compare_and_set(
                job.id, expected={"state": "new"}, changes={"state": "taken", "owner": worker}
            ):
                taken.append(job.id)


async def move(database: str, seed: str) -> None:
    """Move amounts between accounts, each time in a transaction, until killed."""
    chance = random.Random(seed)
    async with open_factory(database) as factory:
        accounts = await jobs_of(factory, ACCOUNTS)

        async def work(transaction: Transaction, source: int, target: int) -> None:
            bound = transaction.bind(accounts)
            giver = await bound.get_by_id(source)
            await bound.update(dataclasses.replace(giver, version=giver.version - 1))
            taker = await bound.get_by_id(target)
            await bound.update(dataclasses.replace(taker, version=taker.version + 1))

        print("ready", flush=True)
        while True:
            source, target = chance.sample(range(4), 2)
            await factory.with_transaction(partial(work, source=source, target=target), attempts=1000)
            print(".", end="", flush=True)


if __name__ == "__main__":
    _, database, what, who = sys.argv
    backend = "trio" if hash(who) % 2 else "asyncio"
    if what == "take":
        print(*anyio.run(take, database, who, backend=backend))
    else:
        anyio.run(move, database, who, backend=backend)
