"""Migrations by several processes, killed in the middle: each document is migrated exactly once."""

from __future__ import annotations

import math
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from pymongo import MongoClient
from pymongo.collection import Collection

from persistence.documents import DaoFactory
from persistence.documents.migrations import Migration, dry_run, migrate
from persistence.documents.mongodb import MongoDaoFactory, MongoSettings
from persistence.documents.sqlite import SqliteDaoFactory
from persistence.errors import MigrationFailed

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

WORKER = Path(__file__).with_name("migration_worker.py")
DOCUMENTS = 1000
KILLS = 2


@pytest.fixture(params=["sqlite", "mongodb"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield str(tmp_path / "documents.db")
    else:
        yield f"{request.getfixturevalue('mongodb')}#migrations"


@pytest.fixture
def anyio_backend() -> str:
    return "trio"


def open_factory(database: str) -> DaoFactory:
    if database.startswith("mongodb://"):
        uri, _, name = database.partition("#")
        return MongoDaoFactory(uri, name, deadline=60)
    return SqliteDaoFactory(Path(database), deadline=60)


def start(database: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, str(WORKER), database], stdout=subprocess.PIPE, bufsize=0)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


async def test_killed_in_the_middle_each_document_is_migrated_once(database: str) -> None:
    chance = random.Random(17)
    async with open_factory(database) as factory:
        counters = await factory.dao("counters", dict, id_field="id")
        await counters.insert_many({"id": f"{number:04}", "count": 0} for number in range(DOCUMENTS))
        for _ in range(KILLS):
            process = start(database)
            before = await counters.count({"count": 0})
            with anyio.fail_after(180):
                while await counters.count({"count": 0}) == before:
                    await anyio.sleep(0.01)
            time.sleep(chance.uniform(0, 0.1))
            process.kill()
            process.communicate()
            assert process.returncode < 0, "it was done before it was killed"

        # Two at once: one takes over when the lease of the killed one has expired, the other waits.
        last = [start(database) for _ in range(2)]
        changed = [int(process.communicate(timeout=180)[0]) for process in last]
        assert [process.returncode for process in last] == [0, 0]
        assert 0 < sum(changed) <= 2 * DOCUMENTS
        assert await counters.count({"count": 2}) == DOCUMENTS
        assert (await dry_run(factory, [Migration("counters", lambda document: document)] * 2)).pending == 0


async def test_values_of_other_programs_can_be_replaced(mongodb_databases: Callable[[], MongoSettings]) -> None:
    settings = mongodb_databases()
    client: MongoClient[dict[str, Any]]
    with MongoClient(settings.uri) as client:
        collection: Collection[dict[str, Any]] = client[settings.database]["files"]
        collection.insert_many([{"_id": "a", "size": math.inf}, {"_id": "b", "size": 1.0}])
    async with MongoDaoFactory(settings.uri, settings.database) as factory:
        left = [Migration("files", lambda document: {**document, "more": 1})]
        assert set((await dry_run(factory, left)).failures) == {("files", "a")}
        with pytest.raises(MigrationFailed, match="'a'"):
            await migrate(factory, left)

        def replaced(document: dict[str, Any]) -> dict[str, Any]:
            return {**document, "size": document["size"] if math.isfinite(document["size"]) else None}

        assert await migrate(factory, [Migration("files", replaced)]) == 1
        files = await factory.dao("files", dict, id_field="id")
        assert [file["size"] async for file in files.find_all(sort=["id"])] == [None, 1.0]
