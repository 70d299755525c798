"""A worker of an archive on SQLite that stops itself in the transaction with which it ends a job.

python -m tests.support.stopped_worker FILE
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import trio

from connector.archive.database import Database, open_database
from connector.archive.jobs import JobQueue
from persistence.documents.sqlite import SqliteDaoFactory

LEASE = 1.0


async def stop(_: Database) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


async def main(file: Path) -> None:
    async with SqliteDaoFactory(file) as factory:
        queue = JobQueue(await open_database(factory), LEASE)
        (job,) = [one async for one in queue.claim({"clean": 1}, worker="stopped")]
        await queue.commit(job, stop, None)


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]))
