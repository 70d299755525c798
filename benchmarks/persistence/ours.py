"""Our side: `python ours.py BACKEND WORK ...`, printing operations per second as JSON."""

from __future__ import annotations

import sys

sys.path.pop(0)

import json
import uuid
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import attrs

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from benchmarks.persistence.measuring import TEXT, documents, fastest, portion


@attrs.frozen
class Item:
    id: uuid.UUID
    name: str
    number: int
    state: str
    created: datetime
    tags: list[str]
    note: str | None = None


def items(count: int) -> list[Item]:
    return [Item(**fields) for fields in documents(count)]


async def together(callers: int, work: Any, things: list[Any]) -> None:
    async def run(share: list[Any]) -> None:
        for thing in share:
            await work(thing)

    async with anyio.create_task_group() as tasks:
        for caller in range(callers):
            tasks.start_soon(run, portion(things, caller, callers))


async def dao_work(uri: str, database: str, operation: str, callers: int, count: int) -> float:
    from persistence.protocols.dao import Index
    from persistence.providers.mongodb import MongoDaoFactory

    async with MongoDaoFactory(uri, database) as factory:
        dao = await factory.dao("items", Item, id_field="id", indexes=[Index("name")])
        stored = items(10_000)
        if operation == "insert":
            return await fastest(lambda: together(callers, dao.insert, items(count)), count)
        if operation == "prepare":
            await dao.upsert_many(stored)
            return 0
        if operation == "get_by_id":
            return await fastest(lambda: together(callers, dao.get_by_id, [i.id for i in stored[:count]]), count)
        if operation == "find_one":

            async def find(name: str) -> None:
                assert await dao.find_one({"name": name})

            return await fastest(lambda: together(callers, find, [i.name for i in stored[:count]]), count)

        async def find_all(_: Any) -> None:
            assert sum([1 async for _ in dao.find_all({"state": TEXT})]) == 10_000

        return await fastest(
            lambda: together(callers, find_all, list(range(callers))), callers * 10_000, 1 if callers > 1 else 3
        )


async def url_work(url: str, key: str, secret: str, bucket: str, count: int) -> float:
    from persistence.providers.s3 import S3Settings, S3Storage

    async with S3Storage(S3Settings(url, key, secret)) as storage:
        upload = await storage.start_upload(bucket, "object")

        async def make() -> None:
            for number in range(1, count + 1):
                await storage.presign_part(bucket, "object", upload, number, expires=60)

        rate = await fastest(make, count, rounds=1)
        await storage.abort_upload(bucket, "object", upload)
        return rate


if __name__ == "__main__":
    backend, kind, *arguments = sys.argv[1:]
    if kind == "urls":
        work = partial(url_work, *arguments[:4], int(arguments[4]))
    else:
        work = partial(dao_work, *arguments[:3], int(arguments[3]), int(arguments[4]))
    print(json.dumps(anyio.run(work, backend=backend)))
