"""Hexkit's side: `python theirs.py WORK ...` in its own environment: the work once per line of standard input."""

from __future__ import annotations

import sys

sys.path.pop(0)

import asyncio
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

from hexkit.providers.mongodb import MongoDbDaoFactory
from hexkit.providers.mongodb.config import MongoDbConfig
from hexkit.providers.s3 import S3Config, S3ObjectStorage
from pydantic import BaseModel

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from benchmarks.persistence.measuring import TEXT, by_request, documents, portion


class Item(BaseModel):
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

    await asyncio.gather(*(run(portion(things, caller, callers)) for caller in range(callers)))


async def dao_work(uri: str, database: str, operation: str, callers: int, count: int) -> None:
    async with MongoDbDaoFactory.construct(config=MongoDbConfig(mongo_dsn=uri, db_name=database)) as factory:
        dao = await factory.get_dao(name="items", dto_model=Item, id_field="id")
        stored = items(10_000)
        if operation == "insert":
            return await by_request(lambda: run_concurrently(callers, dao.insert, items(count)))
        if operation == "get_by_id":
            return await by_request(lambda: run_concurrently(callers, dao.get_by_id, [i.id for i in stored[:count]]))
        if operation == "find_one":

            async def find(name: str) -> None:
                assert await dao.find_one(mapping={"name": name})

            return await by_request(lambda: run_concurrently(callers, find, [i.name for i in stored[:count]]))

        async def find_all(_: Any) -> None:
            assert sum([1 async for _ in dao.find_all(mapping={"state": TEXT}, limit=count)]) == count

        await by_request(lambda: run_concurrently(callers, find_all, list(range(callers))))


async def url_work(url: str, key: str, secret: str, bucket: str, count: int) -> None:
    config = S3Config(s3_endpoint_url=url, s3_access_key_id=key, s3_secret_access_key=secret)
    storage = S3ObjectStorage(config=config)
    upload = await storage.init_multipart_upload(bucket_id=bucket, object_id="object")

    async def make() -> None:
        for number in range(1, count + 1):
            await storage.get_part_upload_url(
                upload_id=upload, bucket_id=bucket, object_id="object", part_number=number
            )

    await by_request(make)
    await storage.abort_multipart_upload(upload_id=upload, bucket_id=bucket, object_id="object")


if __name__ == "__main__":
    kind, *arguments = sys.argv[1:]
    if kind == "urls":
        url, key, secret, bucket, count = arguments
        asyncio.run(url_work(url, key, secret, bucket, int(count)))
    else:
        uri, database, operation, callers, count = arguments
        asyncio.run(dao_work(uri, database, operation, int(callers), int(count)))
