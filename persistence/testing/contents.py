"""Helpers for tests that fill, read, empty and delete buckets and collections, on every provider."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from persistence.documents import Dao, SurrogateDao
from persistence.errors import BucketNotFound
from persistence.objects.protocol import ObjectStorage

M = TypeVar("M")


async def populate_buckets(storage: ObjectStorage, contents: Mapping[str, Mapping[str, bytes]]) -> None:
    """Store objects, in buckets that are created where they do not exist.

    Args:
        storage: the open storage.
        contents: content by object id, by bucket.
    """
    for bucket, objects in contents.items():
        if not await storage.bucket_exists(bucket):
            await storage.create_bucket(bucket)
        for object_id, content in objects.items():
            await storage.put_object(bucket, object_id, content)


async def bucket_contents(storage: ObjectStorage, bucket: str) -> dict[str, bytes]:
    """The content of all objects of a bucket, by id."""
    found: dict[str, bytes] = {}
    async for stat in storage.list_objects(bucket):
        content = bytearray(stat.size)
        await storage.read_into(bucket, stat.object_id, 0, memoryview(content))
        found[stat.object_id] = bytes(content)
    return found


async def empty_buckets(storage: ObjectStorage, *buckets: str) -> None:
    """Delete all objects and abort all open uploads of the buckets, which stay."""
    for bucket in buckets:
        ids = [stat.object_id async for stat in storage.list_objects(bucket)]
        for error in (await storage.delete_objects(bucket, ids)).values():
            raise error
        for upload in await storage.list_uploads(bucket):
            await storage.abort_upload(bucket, upload.object_id, upload.upload_id)


async def delete_buckets(storage: ObjectStorage, *buckets: str) -> None:
    """Delete the buckets with their content; a bucket that does not exist is no error."""
    for bucket in buckets:
        with suppress(BucketNotFound):
            await storage.delete_bucket(bucket, with_content=True)


async def populate_collection(dao: Dao[M], models: Iterable[M]) -> None:
    """Insert documents; the first error is raised, and the other documents are stored."""
    for error in (await dao.insert_many(models)).values():
        raise error


async def empty_collection(dao: Dao[Any] | SurrogateDao[Any, Any]) -> None:
    """Delete all documents of a collection; the indexes stay."""
    codec = dao.codec
    for error in (
        await dao.delete_many([codec.dump(model)[codec.id_field] async for model in dao.find_all()])
    ).values():
        raise error
