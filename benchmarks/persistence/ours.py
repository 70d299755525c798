"""Our side: `python ours.py BACKEND WORK ...`: the work once per line of standard input."""

from __future__ import annotations

import sys

sys.path.pop(0)

import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
import attrs

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from benchmarks.persistence.measuring import TEXT, by_request, documents, portion


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


async def run_concurrently(callers: int, work: Any, things: list[Any]) -> None:
    async def run(share: list[Any]) -> None:
        for thing in share:
            await work(thing)

    async with anyio.create_task_group() as tasks:
        for caller in range(callers):
            tasks.start_soon(run, portion(things, caller, callers))


async def dao_work(uri: str, database: str, operation: str, callers: int, count: int) -> None:
    from persistence.documents import Index
    from persistence.documents.mongodb import MongoDaoFactory

    async with MongoDaoFactory(uri, database) as factory:
        dao = await factory.dao("items", Item, id_field="id", indexes=[Index("name")])
        stored = items(10_000)
        if operation == "insert":
            return await by_request(lambda: run_concurrently(callers, dao.insert, items(count)))
        if operation == "prepare":
            await dao.upsert_many(stored)
            return None
        if operation == "get_by_id":
            return await by_request(lambda: run_concurrently(callers, dao.get_by_id, [i.id for i in stored[:count]]))
        if operation == "find_one":

            async def find(name: str) -> None:
                assert await dao.find_one({"name": name})

            return await by_request(lambda: run_concurrently(callers, find, [i.name for i in stored[:count]]))

        async def find_all(_: Any) -> None:
            assert sum([1 async for _ in dao.find_all({"state": TEXT}, limit=count)]) == count

        await by_request(lambda: run_concurrently(callers, find_all, list(range(callers))))


async def url_work(url: str, key: str, secret: str, bucket: str, count: int) -> None:
    from persistence.objects.s3 import S3Settings, S3Storage

    bucket += "-ours"
    async with S3Storage(S3Settings(url, key, secret)) as storage:
        upload = await storage.start_upload(bucket, "object")

        async def make() -> None:
            for number in range(1, count + 1):
                await storage.presign_part(bucket, "object", upload, number, expires=60)

        await by_request(make)
        await storage.abort_upload(bucket, "object", upload)


if __name__ == "__main__":
    backend, kind, *arguments = sys.argv[1:]
    if kind == "urls":
        url, key, secret, bucket, count = arguments
        anyio.run(url_work, url, key, secret, bucket, int(count), backend=backend)
    else:
        uri, database, operation, callers, count = arguments
        anyio.run(dao_work, uri, database, operation, int(callers), int(count), backend=backend)
