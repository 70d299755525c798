"""Writes that must not overwrite: one of many creates the object, or the service refuses them all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio

from persistence.errors import AlreadyExists, NotSupported, ObjectExists, Rejected
from persistence.testing.cases import Cases
from persistence.testing.harness import StorageHarness
from persistence.testing.raising import raises
from persistence.testing.storage_cases.objects import read_all, stream_of

cases: Cases[StorageHarness] = Cases()

NO_PUT = "no-conditional-put"
NO_PARTS = "no-conditional-parts"
PIECE = bytes(1024**2)


async def long_stream(number: int) -> AsyncIterator[bytes]:
    """More than providers put in one step."""
    for _ in range(9):
        yield PIECE
    yield str(number).encode()


async def race(h: StorageHarness, bucket: str, count: int, content: Callable[[int], Any]) -> dict[int, Any]:
    """The outcome of each of so many conditional puts at once: a stat or an error."""
    outcomes: dict[int, Any] = {}

    async def put(number: int) -> None:
        try:
            outcomes[number] = await h.storage.put_object(bucket, "object", content(number), overwrite=False)
        except (AlreadyExists, Rejected) as error:
            outcomes[number] = error

    async with anyio.create_task_group() as tasks:
        for number in range(count):
            tasks.start_soon(put, number)
    return outcomes


async def check_race(h: StorageHarness, bucket: str, outcomes: dict[int, Any], difference: str) -> None:
    if difference in h.differences:
        assert all(isinstance(outcome, NotSupported) for outcome in outcomes.values())
        assert [stat.object_id async for stat in h.storage.list_objects(bucket)] == []
    else:
        winners = [number for number, outcome in outcomes.items() if not isinstance(outcome, ObjectExists)]
        assert len(winners) == 1
        assert (await read_all(h, bucket, "object")).lstrip(b"\0") == str(winners[0]).encode()
        assert [stat.object_id async for stat in h.storage.list_objects(bucket)] == ["object"]
    assert await h.storage.list_uploads(bucket) == []


@cases
async def of_many_conditional_puts_one_wins(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        outcomes = await race(h, bucket, 20, lambda number: str(number).encode())
        await check_race(h, bucket, outcomes, NO_PUT)


@cases
async def of_many_conditional_puts_of_short_streams_one_wins(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        outcomes = await race(h, bucket, 20, lambda number: stream_of(b"\0", str(number).encode()))
        await check_race(h, bucket, outcomes, NO_PUT)


@cases
async def of_many_conditional_puts_of_long_streams_one_wins(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        await check_race(h, bucket, await race(h, bucket, 4, long_stream), NO_PARTS)


@cases
async def a_long_stream_does_not_overwrite_what_appears_meanwhile(h: StorageHarness) -> None:
    async def overtaken() -> AsyncIterator[bytes]:
        async for piece in long_stream(1):
            yield piece
        await h.storage.put_object(bucket, "object", b"first")

    async with h.bucket() as bucket:
        with raises(NotSupported if NO_PARTS in h.differences else ObjectExists):
            await h.storage.put_object(bucket, "object", overtaken(), overwrite=False)
        if NO_PARTS not in h.differences:
            assert await read_all(h, bucket, "object") == b"first"
        assert await h.storage.list_uploads(bucket) == []


@cases
async def an_existing_object_stays(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        await h.storage.put_object(bucket, "object", b"old")
        for content in (b"new", stream_of(b"new"), long_stream(1)):
            with raises(ObjectExists) as caught:
                await h.storage.put_object(bucket, "object", content, overwrite=False)
            assert caught.error.object_id == "object"
        assert await read_all(h, bucket, "object") == b"old"


@cases
async def a_new_object_is_created(h: StorageHarness) -> None:
    async with h.bucket() as bucket:
        if NO_PUT in h.differences:
            with raises(NotSupported):
                await h.storage.put_object(bucket, "object", b"new", overwrite=False)
            assert [stat.object_id async for stat in h.storage.list_objects(bucket)] == []
        else:
            await h.storage.put_object(bucket, "object", b"new", overwrite=False)
            assert await read_all(h, bucket, "object") == b"new"
