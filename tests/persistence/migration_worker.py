"""A process that migrates a database slowly: python migration_worker.py DATABASE; prints how many documents it changed.

DATABASE is a path of an SQLite file or a mongodb:// URI, with `#NAME` for the database.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import anyio

from persistence.documents import DaoFactory
from persistence.documents.migrations import Migration, migrate
from persistence.documents.sqlite import SqliteDaoFactory

COLLECTION = "counters"


def open_factory(database: str) -> DaoFactory:
    if database.startswith("mongodb://"):
        from persistence.documents.mongodb import MongoDaoFactory

        uri, _, name = database.partition("#")
        return MongoDaoFactory(uri, name, deadline=60)
    return SqliteDaoFactory(Path(database), deadline=60)


def slowly(document: dict[str, Any]) -> dict[str, Any]:
    time.sleep(0.0005)
    return {**document, "count": document["count"] + 1}


async def main(database: str) -> None:
    async with open_factory(database) as factory:
        print("ready", flush=True)
        print(await migrate(factory, [Migration(COLLECTION, slowly)] * 2, lease=0.3, batch=20, deadline=120))


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], backend="trio" if time.monotonic_ns() % 2 else "asyncio")
